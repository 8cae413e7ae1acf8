"""What the handler that serves calls does, as far as a story tells of it: its parts, and what programs asked for.

The parts have their names in the source (`vdso_image/src/*/userspace.S`). A call that is served never comes to the
kernel, or comes as another one: what the program asked for is taken from its registers at the bounce.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from emu.strace.decode import CallDecoder
from kernel_model.events import SyscallEnter, SyscallExit
from vdso_image.image import VdsoImage

if TYPE_CHECKING:
    from emu.trace.story import Story
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

CallArguments = tuple[int, int, int, int, int, int]
_ARGUMENTS: Final = {
    "aarch64": ("x0", "x1", "x2", "x3", "x4", "x5"),
    "x86_64": ("rdi", "rsi", "rdx", "r10", "r8", "r9"),
}


class ServedCalls:
    """The calls of one kernel's programs that bounced, while the handler may serve them."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._decoder = CallDecoder(kernel)
        arch = kernel.arch
        self._arguments = tuple(arch.GREG_NAMES.index(name) for name in _ARGUMENTS[arch.NAME])
        self._served = kernel.bounce is not None and kernel.bounce.serves
        image: object = kernel.vdso.image if kernel.vdso is not None and self._served else None
        parts = sorted((at, name) for name, at in image.labels.items()) if isinstance(image, VdsoImage) else []
        self._starts, self._names = [at for at, _ in parts], [name for _, name in parts]

    def part(self, offset: int) -> str:
        """The part of the handler that is `offset` bytes behind the vDSO's start; empty where parts have no names."""
        position = bisect_right(self._starts, offset)
        return self._names[position - 1] if position else ""

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
