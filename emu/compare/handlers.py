"""The part of a vDSO image that runs in bounces only, and what must be known of its instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from emu import disasm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.mm.mm import MemoryMap
    from vdso_image.image import VdsoImage

_PREFIX: Final = "__kernel_bounce"


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

    start: int
    end: int
    jumps: frozenset[int]
    """Where there is a jump: what comes next begins a basic block."""
    stack_returns: frozenset[int]
    """Where there is an instruction that goes back to the program by itself."""
    taken: Mapping[int, int]
    """See `_Style.taken`."""

    def hold(self, mm: MemoryMap, pc: int) -> bool:
        """Is `pc` in one of them?"""
        return mm.vdso != 0 and self.start <= pc - mm.vdso < self.end


def of_image(image: VdsoImage) -> Handlers:
    """Those of `image`: the functions whose names begin with __kernel_bounce stand together."""
    ours = [offset for name, offset in image.symbols.items() if name.startswith(_PREFIX)]
    start = min(ours)
    end = min((offset for offset in image.symbols.values() if offset > max(ours)), default=image.text[1])
    style = _STYLES[image.arch]
    code = disasm.decode(image.arch, image.elf[start:end], start)
    return Handlers(
        start,
        end,
        frozenset(one.address for one in code if one.text.startswith(style.jumps)),
        frozenset(one.address for one in code if one.text == style.stack_return),
        style.taken,
    )
