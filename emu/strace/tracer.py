"""From events to lines: what strace(1) prints, in the same columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emu.strace.call import Argument, Call
from emu.strace.calls import reshape
from emu.strace.formats import FORMATS, save_inouts, show_argument
from emu.strace.results import show_result
from emu.strace.structs_task import siginfo, signal_name, signal_set
from emu.strace.text import STRING_LIMIT, pointer, quote
from kernel_model.abi.signal import STOP_MASK
from kernel_model.events import Event, SignalDelivered, SyscallEnter, SyscallExit, TaskExited
from kernel_model.signal.siginfo import pack
from kernel_model.syscalls.declare import Param, Syscall
from kernel_model.syscalls.table import declared, names

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

RESULT_COLUMN: Final = 40
"""Where `= result` begins at least."""
MAX_ARGUMENTS: Final = 6

Write = Callable[[str], object]


class Tracer:
    """A listener that prints one line for each call, signal and exit.

    A call's line is begun when it is made and ended when it returns, so that one that never returns is seen.
    """

    def __init__(self, kernel: Kernel, write: Write) -> None:
        self._kernel = kernel
        self._write = write
        self._arch = kernel.arch
        self._rows = names(kernel.arch.NAME)
        self._declarations: dict[int, tuple[list[Argument], str]] = {}
        self._calls: dict[int, Call] = {}
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
        elif isinstance(event, SignalDelivered):
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

    def _add(self, text: str) -> None:
        self._column += len(text)
        self._write(text)

    def _line(self, task: Task, text: str) -> None:
        self._begin(task, text + "\n")
        self._open = None

    # -- calls -------------------------------------------------------------------------------------------------
    def _known(self, number: int, name: str) -> tuple[list[Argument], str]:
        """(declared arguments, kind of result) of a call; plain registers where nothing is declared."""
        known = self._declarations.get(number)
        if known is None:
            row = self._rows.get(number)
            call = declared(row) if row else None
            known = (arguments_of(call), call.returns) if call else (plain_registers(name), "int")
            self._declarations[number] = known
        return known

    def _enter(self, event: SyscallEnter) -> None:
        arguments, _ = self._known(event.number, event.name)
        call = Call(event.task, event.name, reshape(event.name, arguments, event.args, self._arch), event.args)
        self._calls[event.task.pid] = call
        self._begin(event.task, f"{event.name}(")
        while call.shown < len(call.arguments) and not FORMATS[call.arguments[call.shown].kind.show].at_exit:
            self._next_argument(call)
        save_inouts(call)
        if call.shown == len(call.arguments) and event.name != "rt_sigreturn":
            self._add(")")

    def _next_argument(self, call: Call) -> None:
        text = call.arguments[call.shown].label + show_argument(call, call.shown)
        call.shown += 1
        self._add(f"{text}, " if call.shown < len(call.arguments) else text)

    def _exit(self, event: SyscallExit) -> None:
        task = event.task
        call = self._calls.pop(task.pid, None)
        if call is None:
            return
        if self._open is not task:
            self._begin(task, f"<... {event.name} resumed>")
        call.result = event.result
        if call.name == "rt_sigreturn":
            # What it took from the frame: the mask that holds now, and the result register of back then.
            self._add(f"{{mask={signal_set(task.blocked)}}})")
            call.result = _signed(task.kernel.cpu.read_gregs()[task.kernel.arch.RESULT_INDEX])
        elif call.shown < len(call.arguments):
            while call.shown < len(call.arguments):
                self._next_argument(call)
            self._add(")")
        if call.result is None and call.name.startswith("execve"):
            call.result = 0  # the registers are the new program's
        _, returns = self._known(event.number, event.name)
        padding = " " * (RESULT_COLUMN - 1 - self._column)
        self._open = None
        self._write(f"{padding} = {show_result(call, returns)}\n")

    def _gone(self, event: TaskExited) -> None:
        self._calls.pop(event.task.pid, None)
        signal = event.code & 0x7F
        if signal:
            core = " (core dumped)" if event.code & 0x80 else ""
            self._line(event.task, f"+++ killed by {signal_name(signal)}{core} +++")
        else:
            self._line(event.task, f"+++ exited with {event.code >> 8 & 0xFF} +++")


@cache
def argument_counts() -> dict[str, int]:
    """Call to number of arguments, from the data file."""
    text = (Path(__file__).parent / "argument_counts.tbl").read_text()
    return {name: int(count) for name, count in (line.split() for line in text.splitlines() if line[:1] not in "#")}


def plain_registers(name: str) -> list[Argument]:
    """The arguments of a call that the kernel model does not have: registers, as many as Linux takes."""
    count = argument_counts().get(name, MAX_ARGUMENTS)
    return [Argument(f"arg{i}", Param("ulong", "hex"), i) for i in range(count)]


def arguments_of(call: Syscall) -> list[Argument]:
    """The arguments that a call is declared with."""
    return [Argument(name, kind, register) for register, (name, kind) in enumerate(call.params())]


def _signed(value: int) -> int:
    return (value ^ 1 << 63) - (1 << 63)
