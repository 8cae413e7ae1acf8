"""What the vDSO does for programs, as far as a story tells of it: the parts of the handler that serves calls, what
programs asked it for, and which function of the vDSO makes a call.

The parts have their names in the source (`vdso_image/src/*/userspace.S`). A call that is served never comes to the
kernel, or comes as another one: what the program asked for is taken from its registers at the bounce.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from emu.strace.decode import ARGUMENT_REGISTERS, CallDecoder
from kernel_model.events import SyscallEnter, SyscallExit

if TYPE_CHECKING:
    from emu.places import Places
    from emu.step.unwind import Unwinder
    from emu.trace.story import Story
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task
    from vdso_image.listing import Function



class ServedCalls:
    """The calls of one kernel's programs that bounced, while the handler may serve them."""

    def __init__(self, kernel: Kernel, places: Places) -> None:
        self._kernel = kernel
        self._decoder = CallDecoder(kernel)
        arch = kernel.arch
        self._arguments = tuple(arch.GREG_NAMES.index(name) for name in ARGUMENT_REGISTERS[arch.NAME])
        self._served = kernel.bounce is not None and kernel.bounce.serves
        self._places = places

    def part(self, mm: MemoryMap, pc: int) -> str:
        """The part of the handler that `pc` is in; empty where parts have no names."""
        symbol = self._places.part(mm, pc) if self._served else None
        return symbol.name if symbol is not None else ""

    def function(self, story: Story, task: Task, pc: int) -> None:
        """The call of `story` is made by a function of the vDSO: which, and who called that. `pc`: behind the call."""
        mm = task.mm
        offset = pc - mm.vdso
        found = next((f for f in self._functions if f.start < offset <= f.start + f.size), None)
        if found is None:
            return
        story.function = f"{found.plain_name}@{found.version}"
        registers = dict(zip(self._kernel.arch.GREG_NAMES, self._kernel.cpu.read_gregs(), strict=True))
        for frame in self._unwinder.walk(mm, registers)[1:2]:
            place = self._places.at(mm, frame.place)  # the call, which is not always followed by more of its function
            after = frame.pc - frame.place
            symbol = place.symbol
            if symbol is not None:
                symbol = symbol._replace(offset=symbol.offset + after)
            story.caller = place._replace(address=frame.pc, symbol=symbol, file_offset=place.file_offset + after)

    @cached_property
    def _functions(self) -> list[Function]:
        """Those of the vDSO, with their versions."""
        from vdso_image.listing import functions

        return functions(self._kernel.vdso.image.elf) if self._kernel.vdso is not None else []

    @cached_property
    def _unwinder(self) -> Unwinder:
        from emu.step.unwind import Unwinder

        return Unwinder(self._kernel, self._places)

    def bounced(self, story: Story, task: Task) -> None:
        """The call of `story` is at the handler's first instruction."""
        if self._served:
            registers = self._kernel.cpu.read_gregs()
            a0, a1, a2, a3, a4, a5 = (registers[index] for index in self._arguments)
            story.asked = (a0, a1, a2, a3, a4, a5)
            story.served = self._decoder.enter(SyscallEnter(task, story.number, story.name, story.asked, 0))

    def over(self, story: Story, *, served: bool) -> None:
        """The bounce of `story` is over; `served`: by the handler, and its result is the program's."""
        task = self._kernel.tasks.get(story.task)
        begun, story.served = story.served, ""
        if not begun or task is None:
            return
        decoded = self._decoder.leave(SyscallExit(task, story.number, story.name, story.asked, story.result))
        if served and decoded is not None:
            story.served, story.served_result = begun + decoded[0], decoded[1]
