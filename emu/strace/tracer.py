"""From events to lines: what strace(1) prints, in the same columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from emu.strace.decode import CallDecoder
from emu.strace.structs_task import siginfo, signal_name
from emu.strace.text import STRING_LIMIT, pointer, quote
from kernel_model.abi.signal import SA_IMMUTABLE, STOP_MASK
from kernel_model.events import Event, SeccompVerdict, SignalDelivered, SyscallEnter, SyscallExit, TaskExited
from kernel_model.signal.siginfo import pack

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

RESULT_COLUMN: Final = 40
"""Where `= result` begins at least."""

Write = Callable[[str], object]


class Tracer:
    """A listener that prints one line for each call, signal and exit.

    A call's line is begun when it is made and ended when it returns, so that one that never returns is seen.
    """

    def __init__(self, kernel: Kernel, write: Write) -> None:
        self._kernel = kernel
        self._write = write
        self._decoder = CallDecoder(kernel)
        self._open: Task | None = None
        self._column = 0

    def attach(self, task: Task, program: str, variables: int) -> None:
        """Print the execve of `program` that began `task` (with so many variables), and listen from now on."""
        words = ", ".join(quote(word[:STRING_LIMIT], more=len(word) > STRING_LIMIT) for word in task.argv)
        count = f"{variables} var{'' if variables == 1 else 's'}"
        line = f"execve({quote(os.fsencode(program))}, [{words}], {pointer(task.mm.env_start)} /* {count} */)"
        self._write(f"{line:<{RESULT_COLUMN - 1}} = 0\n")
        self._kernel.events.subscribe(self)

    def __call__(self, event: Event) -> None:
        """One event."""
        if isinstance(event, SyscallEnter):
            self._enter(event)
        elif isinstance(event, SyscallExit):
            self._exit(event)
        elif isinstance(event, SeccompVerdict):
            if event.action == "LOG":
                self._line(event.task, f"--- SECCOMP_RET_LOG {event.name} ---")
        elif isinstance(event, SignalDelivered):
            if event.task.sighand.get(event.signal).flags & SA_IMMUTABLE:
                return
            name = signal_name(event.signal)
            self._line(event.task, f"--- {name} {siginfo(pack(event.info))} ---")
            if not event.handler and STOP_MASK >> event.signal - 1 & 1:
                self._line(event.task, f"--- stopped by {name} ---")
        elif isinstance(event, TaskExited):
            self._gone(event)

    # -- lines -------------------------------------------------------------------------------------------------
    def _begin(self, task: Task, text: str) -> None:
        """Start a line, leaving another task's open one to be resumed."""
        if self._open is not None:
            self._write(" <unfinished ...>\n")
        prefix = f"[pid {task.pid:>5}] " if len(self._kernel.tasks) > 1 else ""
        self._open = task
        self._column = len(prefix) + len(text)
        self._write(prefix + text)

    def _line(self, task: Task, text: str) -> None:
        self._begin(task, text + "\n")
        self._open = None

    # -- calls -------------------------------------------------------------------------------------------------
    def _enter(self, event: SyscallEnter) -> None:
        self._begin(event.task, self._decoder.enter(event))

    def _exit(self, event: SyscallExit) -> None:
        decoded = self._decoder.leave(event)
        if decoded is None:
            return
        arguments, result = decoded
        if self._open is not event.task:
            self._begin(event.task, f"<... {event.name} resumed>")
        padding = " " * (RESULT_COLUMN - 1 - self._column - len(arguments))
        self._open = None
        self._write(f"{arguments}{padding} = {result}\n")

    def _gone(self, event: TaskExited) -> None:
        self._decoder.forget(event.task)
        signal = event.code & 0x7F
        if signal:
            core = " (core dumped)" if event.code & 0x80 else ""
            self._line(event.task, f"+++ killed by {signal_name(signal)}{core} +++")
        else:
            self._line(event.task, f"+++ exited with {event.code >> 8 & 0xFF} +++")
