"""Calls as text: what was asked for when it is made, what it gave and returned when it is over."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emu.strace.call import Argument, Call
from emu.strace.calls import reshape
from emu.strace.formats import FORMATS, save_inouts, show_argument
from emu.strace.results import show_result
from emu.strace.structs_task import signal_set
from kernel_model.syscalls.declare import Param, Syscall
from kernel_model.syscalls.table import declared, names

if TYPE_CHECKING:
    from kernel_model.events import SyscallEnter, SyscallExit
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

MAX_ARGUMENTS: Final = 6
ARGUMENT_REGISTERS: Final = {
    "aarch64": ("x0", "x1", "x2", "x3", "x4", "x5"),
    "x86_64": ("rdi", "rsi", "rdx", "r10", "r8", "r9"),
}
"""Where a program puts them (syscall(2))."""


class CallDecoder:
    """The text of each task's call, in two parts: `enter` and, when it is over, `leave`."""

    def __init__(self, kernel: Kernel) -> None:
        self._arch = kernel.arch
        self._rows = names(kernel.arch.NAME)
        self._declarations: dict[int, tuple[list[Argument], str]] = {}
        self._calls: dict[int, Call] = {}

    def enter(self, event: SyscallEnter) -> str:
        """`read(3, `: the name and all arguments up to the first that only the call's end can tell."""
        arguments, _ = self._known(event.number, event.name)
        call = Call(event.task, event.name, reshape(event.name, arguments, event.args, self._arch), event.args)
        self._calls[event.task.pid] = call
        parts = [f"{event.name}("]
        while call.shown < len(call.arguments) and not FORMATS[call.arguments[call.shown].kind.show].at_exit:
            parts.append(self._next_argument(call))
        save_inouts(call)
        if call.shown == len(call.arguments) and event.name != "rt_sigreturn":
            parts.append(")")
        return "".join(parts)

    def leave(self, event: SyscallExit) -> tuple[str, str] | None:
        """(the arguments that were missing, the result) of the call that `event` ends; None for one never begun."""
        task = event.task
        call = self._calls.pop(task.pid, None)
        if call is None:
            return None
        parts = []
        call.result = event.result
        if call.name == "rt_sigreturn":
            # What it took from the frame: the mask that holds now, and the result register of back then.
            parts.append(f"{{mask={signal_set(task.blocked)}}})")
            call.result = _signed(task.kernel.cpu.read_gregs()[task.kernel.arch.RESULT_INDEX])
        elif call.shown < len(call.arguments):
            while call.shown < len(call.arguments):
                parts.append(self._next_argument(call))
            parts.append(")")
        if call.result is None and call.name.startswith("execve"):
            call.result = 0  # the registers are the new program's
        _, returns = self._known(event.number, event.name)
        return "".join(parts), show_result(call, returns)

    def forget(self, task: Task) -> None:
        """The call that `task` is in will never be over."""
        self._calls.pop(task.pid, None)

    def _known(self, number: int, name: str) -> tuple[list[Argument], str]:
        """(declared arguments, kind of result) of a call; plain registers where nothing is declared."""
        known = self._declarations.get(number)
        if known is None:
            row = self._rows.get(number)
            call = declared(row) if row else None
            known = (arguments_of(call), call.returns) if call else (plain_registers(name), "int")
            self._declarations[number] = known
        return known

    @staticmethod
    def _next_argument(call: Call) -> str:
        text = call.arguments[call.shown].label + show_argument(call, call.shown)
        call.shown += 1
        return f"{text}, " if call.shown < len(call.arguments) else text


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
