"""What the handler that serves calls does, as far as a story tells of it: its parts, and what programs asked for.

The parts have their names in the source (`vdso_image/src/*/userspace.S`). A call that is served never comes to the
kernel, or comes as another one: what the program asked for is taken from its registers at the bounce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.strace.decode import ARGUMENT_REGISTERS, CallDecoder
from kernel_model.events import SyscallEnter, SyscallExit

if TYPE_CHECKING:
    from emu.places import Places
    from emu.trace.story import Story
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task



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
