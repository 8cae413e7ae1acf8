"""A program whose calls a handler serves in user space (docs/hack3.md), looked at as if the kernel did.

What the handler does for a call is its own: no call at all, or another one with other arguments. The program is told of
as it sees itself: each call once, as it made it, with the result that it has when the handler has gone back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.compare.handlers import ARGUMENTS
from kernel_model.abi.errno import EINTR, ERESTART_RESTARTBLOCK, ERESTARTSYS
from kernel_model.events import (
    Bounced,
    Event,
    OomKilled,
    RedirectedReturn,
    Rewound,
    SeccompVerdict,
    SignalDelivered,
    Stuck,
    SyscallEnter,
    SyscallExit,
    TaskExited,
)
from kernel_model.timekeeping import VIRTUAL_ENTRY_NS
from kernel_model.types import U64_MASK

if TYPE_CHECKING:
    from emu.compare.handlers import Handlers
    from emu.compare.record import Recorder
    from emu.machine import Machine
    from kernel_model.task import Task

    _Six = tuple[int, int, int, int, int, int]


class _Open:
    """A call that has bounced and is not over."""

    __slots__ = ("args", "flagged", "made", "name", "number", "result", "sp", "told")

    def __init__(self, event: Bounced, name: str, args: _Six) -> None:
        self.number = event.number
        self.name = name
        self.args = args
        self.sp = event.words[1]
        self.flagged = False
        """The bounce has ended, and a call follows: the program's own, or another one that returns to the program."""
        self.made = False
        """Another call has been made for it."""
        self.result: int | None = None
        """What that has come to."""
        self.told = False
        """The program's reader has been told that it is to be restarted."""


class Served:
    """A listener to all events of a machine's kernel, that tells `program` of what the program did."""

    def __init__(self, machine: Machine, handlers: Handlers, program: Recorder) -> None:
        self._kernel = machine.kernel
        self._cpu = machine.cpu
        self._arch = machine.kernel.arch
        self._handlers = handlers
        self._arguments = ARGUMENTS[self._arch.NAME]
        self._program = program
        self._open: dict[int, _Open] = {}
        machine.kernel.events.subscribe(self)

    def __call__(self, event: Event) -> None:
        """One event."""
        if isinstance(event, Bounced):
            gregs = self._cpu.read_gregs()
            a0, a1, a2, a3, a4, a5 = (gregs[index] for index in self._arguments)
            name = self._kernel.table.name(event.number)
            self._open[event.task.pid] = _Open(event, name, (a0, a1, a2, a3, a4, a5))
        elif isinstance(event, Stuck | OomKilled) or (call := self._open.get(event.task.pid)) is None:
            self._program(event)
        elif call.flagged and not call.made and not isinstance(event, SyscallEnter | SyscallExit | SeccompVerdict):
            del self._open[event.task.pid]  # it was no call after all, but a signal, or a filter's word
            self._program(event)
        elif isinstance(event, RedirectedReturn):
            if self._handlers.end_without_call(event):
                self._is_over(event.task, call, self._cpu.read_gregs(), entered=True)
            else:
                call.flagged = True
        elif isinstance(event, SyscallEnter):
            self._makes(call, event)
        elif isinstance(event, SyscallExit):
            self._made(call, event)
        else:
            self._other(event, call)

    def _other(self, event: Event, call: _Open) -> None:
        if isinstance(event, Rewound):
            if event.finished:
                self._is_over(event.task, call, self._cpu.read_gregs())
            else:
                del self._open[event.task.pid]
        elif isinstance(event, SignalDelivered):
            if call.result is not None and not event.handler:
                self._tell(event.task, call, call.result)  # it kills the task
                del self._open[event.task.pid]
            self._program(event)
        else:
            if isinstance(event, TaskExited):
                del self._open[event.task.pid]
            self._program(event)

    def _makes(self, call: _Open, event: SyscallEnter) -> None:
        """The handler makes a call."""
        task = event.task
        if call.flagged and event.number == call.number:
            del self._open[task.pid]  # the program's own
            self._program(event)
            return
        if call.result is not None:
            self._kernel.clock.tick(-VIRTUAL_ENTRY_NS)  # one more than the program's
        call.made = True
        self._program.call_begins(event._replace(number=call.number, name=call.name, args=call.args), call.sp)

    def _made(self, call: _Open, event: SyscallExit) -> None:
        """The handler has made a call."""
        result = event.result
        if call.flagged and event.number == call.number:
            del self._open[event.task.pid]
            self._program(event)  # it was killed for it
            return
        told = event._replace(number=call.number, name=call.name, args=call.args)
        if call.flagged:
            del self._open[event.task.pid]
            self._program.call_is_over(told, call.args)
        elif result is not None and -ERESTART_RESTARTBLOCK <= result <= -ERESTARTSYS:
            self._program.call_is_over(told, call.args, settled=False)
            call.told = True
        else:
            call.result = result

    def _tell(self, task: Task, call: _Open, result: int, registers: list[int] | None = None) -> None:
        """The call of the program's is over; `registers`: the program's, where they are known."""
        event = SyscallExit(task, call.number, call.name, call.args, result)
        self._program.call_is_over(event, call.args, settled=registers is not None, registers=registers)

    def _is_over(self, task: Task, call: _Open, registers: list[int], *, entered: bool = False) -> None:
        """The handler has left the program with `registers`; `entered`: by the kernel, which took time for it."""
        del self._open[task.pid]
        value = registers[self._arch.RESULT_INDEX]
        result = (value & U64_MASK ^ 1 << 63) - (1 << 63)
        if call.told and result == -EINTR:
            return  # it was to be restarted, and is not
        if not call.made:
            self._program.call_begins(SyscallEnter(task, call.number, call.name, call.args, 0), call.sp)
            if not entered:
                self._kernel.clock.tick(VIRTUAL_ENTRY_NS)  # the time that the call would have taken
        self._tell(task, call, result, registers)

    def before(self, pc: int) -> None:
        """An instruction of the handlers is about to be executed: is it one that ends a bounce?"""
        task = self._kernel.current
        call = self._open.get(task.pid)
        if call is None or pc - task.mm.vdso not in self._handlers.stack_returns:
            return
        gregs = self._cpu.read_gregs()
        self._is_over(task, call, self._handlers.registers_after(gregs, gregs[self._arch.SP_INDEX], task.mm))
