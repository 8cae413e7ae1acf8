"""The part of a vDSO image that runs in bounces only, and what must be known of its instructions."""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from emu import disasm
from emu.compare.record import read_memory
from kernel_model.bounce import NO_CALL, REDIRECT
from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.events import RedirectedReturn
    from kernel_model.mm.mm import MemoryMap
    from vdso_image.image import VdsoImage

_PREFIX: Final = "__kernel_bounce"
_NO_CALL: Final = f"{NO_CALL | REDIRECT:#x}"
"""As an instruction has it that loads this number."""

ARGUMENTS: Final = {"aarch64": (0, 1, 2, 3, 4, 5), "x86_64": (8, 9, 12, 2, 0, 1)}
"""Where a call's are in `Cpu.read_gregs`."""
_FIVE_WORDS: Final = Struct("<5Q")


class _Style(NamedTuple):
    """What differs between architectures."""

    jumps: tuple[str, ...]
    """How the names of jumps begin."""
    stack_return: str
    """The instruction that goes back to the program, where there is one; the kernel does it otherwise."""
    taken: Mapping[int, int]
    """Which registers that one takes off the stack: index in `Cpu.read_gregs` to word."""


_STYLES: Final = {
    "aarch64": _Style(("b ", "b.", "br ", "cbz", "cbnz", "tbz", "tbnz"), "", {}),
    "x86_64": _Style(("j",), "iretq", {16: 0, 17: 2, 15: 3}),
}


class Handlers(NamedTuple):
    """All handlers of an image. Offsets are from its start."""

    ranges: tuple[tuple[int, int], ...]
    jumps: frozenset[int]
    """Where there is a jump, or a page ends: what comes next begins a basic block."""
    stack_returns: frozenset[int]
    """Where there is an instruction that goes back to the program by itself."""
    taken: Mapping[int, int]
    """See `_Style.taken`."""
    no_calls: frozenset[int]
    """Where there is a system call instruction that ends a bounce and calls nothing."""

    def hold(self, mm: MemoryMap, pc: int) -> bool:
        """Is `pc` in one of them?"""
        offset = pc - mm.vdso
        return mm.vdso != 0 and any(start <= offset < end for start, end in self.ranges)

    def registers_after(self, gregs: list[int], sp: int, mm: MemoryMap) -> list[int]:
        """`gregs` as one of `stack_returns` leaves them, which takes some off the stack at `sp`."""
        words = _FIVE_WORDS.unpack(read_memory(mm, sp, _FIVE_WORDS.size))
        for register, word in self.taken.items():
            gregs[register] = words[word]
        return gregs

    def end_without_call(self, event: RedirectedReturn) -> bool:
        """Does `event` end a bounce whose call was served without one?"""
        return event.site - event.task.mm.vdso in self.no_calls


def _ends_page(one: disasm.Instruction) -> bool:
    return one.address // PAGE_SIZE != (one.address + len(one.data)) // PAGE_SIZE


def of_image(image: VdsoImage) -> Handlers:
    """Those of `image`: the functions whose names begin with __kernel_bounce."""
    starts = sorted({*image.symbols.values(), image.text[1]})
    ends = dict(pairwise(starts))
    ranges: list[tuple[int, int]] = []
    for place in sorted(offset for name, offset in image.symbols.items() if name.startswith(_PREFIX)):
        start = ranges.pop()[0] if ranges and ranges[-1][1] == place else place  # they stand together as a rule
        ranges.append((start, ends[place]))
    style = _STYLES[image.arch]
    code = [one for start, end in ranges for one in disasm.decode(image.arch, image.elf[start:end], start)]
    return Handlers(
        tuple(ranges),
        frozenset(one.address for one in code if one.text.startswith(style.jumps) or _ends_page(one)),
        frozenset(one.address for one in code if one.text == style.stack_return),
        style.taken,
        frozenset(call.address for number, call in pairwise(code) if number.text.endswith(_NO_CALL)),
    )
