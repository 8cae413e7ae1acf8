"""What system calls cost on the way into the kernel: entries, instructions of the handlers, user stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emu.compare.costs import Costs
from emu.cpu.watch import InstructionWatch
from kernel_model.events import (
    Bounced,
    Event,
    Execve,
    MappingChanged,
    RedirectedReturn,
    Rewound,
    SignalDelivered,
    SyscallEnter,
    SyscallExit,
)
from kernel_model.types import U64_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.compare.costs import CallCost
    from emu.compare.handlers import Handlers
    from emu.machine import Machine
    from kernel_model.task import Task

_STACK_MAX_BYTES: Final = 4096
"""Further from SP than any handler reaches: what is there is no stack of the bounce."""


class Meter:
    """A listener to all events of a machine's kernel, that watches the handlers' instructions too."""

    def __init__(self, machine: Machine, handlers: Handlers, before: Callable[[int], None]) -> None:
        """`before`: told of the address of each of their instructions before it is executed."""
        self._machine = machine
        self._kernel = machine.kernel
        self._handlers = handlers
        self._before = before
        self.costs = Costs()
        self.signals = 0
        """How many signals reached a task."""
        self._bounced: dict[int, Bounced] = {}
        self._popped: Bounced | None = None
        """The bounce that a flagged number has just ended; a call follows, or there was none."""
        self._silent: set[int] = set()
        """Tasks in a bounce out of which no call has been made so far."""
        self._watches: dict[int, list[InstructionWatch]] = {}
        self._watching = machine.kernel.bounce is not None
        machine.kernel.events.subscribe(self)
        self._watch_handlers()

    def __call__(self, event: Event) -> None:
        """One event."""
        popped, self._popped = self._popped, None
        if isinstance(event, SyscallEnter):
            self._call(event, popped)
            return
        if popped is not None:
            self.costs[self._kernel.table.name(popped.number)].entries += 1
        if isinstance(event, Bounced):
            self._bounced[event.task.pid] = event
            self._silent.add(event.task.pid)
            cost = self.costs[self._kernel.table.name(event.number)]
            cost.old_style += 1
            cost.entries += 1
            self._reaches(cost, event.task, event.frame)
            self._lengthen_slice()
        elif isinstance(event, RedirectedReturn):
            if not self._handlers.end_without_call(event):
                self._popped = self._bounced.get(event.task.pid)
            elif event.task.pid in self._bounced:
                self.costs[self._kernel.table.name(self._bounced[event.task.pid].number)].entries += 1
                self._served(event.task)
        elif isinstance(event, Rewound):
            if event.finished:
                self._served(event.task)
        elif isinstance(event, SyscallExit):
            if self._handlers.hold(event.task.mm, self._machine.cpu.read_gregs()[self._kernel.arch.PC_INDEX]):
                self._lengthen_slice()
        elif isinstance(event, SignalDelivered):
            self.signals += 1
        elif isinstance(event, Execve | MappingChanged):
            self._watch_handlers()

    def _call(self, event: SyscallEnter, popped: Bounced | None) -> None:
        """A real call, which a flagged number has ended the bounce `popped` for; None if it was made otherwise."""
        pid = event.task.pid
        self._silent.discard(pid)
        bounced = popped
        if popped is None and self._handlers.hold(event.task.mm, event.pc - 1):
            bounced = self._bounced.get(pid)
        name = event.name
        if bounced is None:
            self.costs[name].direct += 1
        elif event.number != bounced.number:
            name = self._kernel.table.name(bounced.number)
            self.costs[name].glue += 1
        self.costs[name].calls += 1
        self.costs[name].entries += 1

    def _served(self, task: Task) -> None:
        """A handler goes back to the program: if it has called nothing it has served the call by itself."""
        if task.pid in self._silent:
            self._silent.discard(task.pid)
            cost = self.costs[self._kernel.table.name(self._bounced[task.pid].number)]
            cost.calls += 1
            cost.served += 1

    def _lengthen_slice(self) -> None:
        """Another basic block of a handler comes: it takes no part of the program's time slice."""
        self._machine.cpu.lengthen_slice(1)

    def _reaches(self, cost: CallCost, task: Task, lowest: int) -> None:
        """A bounce of `task` needs memory from `lowest` on, if that is on its stack."""
        taken = self._bounced[task.pid].words[1] - lowest & U64_MASK
        if cost.stack_bytes_max < taken < _STACK_MAX_BYTES:
            cost.stack_bytes_max = taken

    def _watch_handlers(self) -> None:
        """See that the handlers are watched wherever they are mapped now."""
        if not self._watching:
            return
        wanted = {task.mm.vdso for task in self._kernel.tasks.values() if task.mm.vdso}
        for place in self._watches.keys() - wanted:
            for watch in self._watches.pop(place):
                watch.remove()
        for place in wanted - self._watches.keys():
            self._watches[place] = [
                InstructionWatch(self._machine.cpu, self._on_instruction, place + start, place + end)
                for start, end in self._handlers.ranges
            ]

    def _on_instruction(self, pc: int, _size_bytes: int) -> None:
        task = self._kernel.current
        bounced = self._bounced.get(task.pid)
        if bounced is not None:
            cost = self.costs[self._kernel.table.name(bounced.number)]
            cost.instructions += 1
            self._reaches(cost, task, self._machine.cpu.read_gregs()[self._kernel.arch.SP_INDEX])
        offset = pc - task.mm.vdso
        if offset in self._handlers.jumps:
            self._lengthen_slice()
        elif offset in self._handlers.stack_returns:
            self._served(task)
        self._before(pc)
