"""The vDSO as the kernel has it: its image, where each address space shows it, and the data page beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from kernel_model.mm.vma import VM_EXEC, VM_READ
from kernel_model.types import PAGE_SIZE, page_align_up

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap

VDSO_NAME: Final = "[vdso]"
VVAR_NAME: Final = "[vvar]"


class VdsoImage(Protocol):
    """What the kernel must know of a built image (`vdso_image.image.VdsoImage`). Offsets are from the image's start."""

    @property
    def elf(self) -> bytes: ...
    @property
    def handlers(self) -> Mapping[str, int]: ...
    @property
    def sigreturn(self) -> int: ...


class Vdso:
    """One kernel's vDSO: the frames that every address space shows, and the data page that the kernel writes."""

    def __init__(self, kernel: Kernel, image: VdsoImage) -> None:
        self._kernel = kernel
        self.image = image
        self.size_bytes = page_align_up(len(image.elf))
        self._frames: list[int] = []
        self._vvar = 0

    def map_into(self, mm: MemoryMap) -> None:
        """Show the data page and, right behind it, the image, at a place of chance's choice."""
        if not self._frames:
            self._load()
        total = PAGE_SIZE + self.size_bytes
        start = mm.get_unmapped_area(0, total, 0)
        mm.install_special_mapping(start, VM_READ, [self._vvar], VVAR_NAME)
        mm.install_special_mapping(start + PAGE_SIZE, VM_READ | VM_EXEC, self._frames, VDSO_NAME, may_write=True)
        mm.vdso = start + PAGE_SIZE
        mm.vdso_end = mm.vdso + self.size_bytes
        bounce = self._kernel.bounce
        if bounce is not None:
            mm.vdso_handler = mm.vdso + self.image.handlers[bounce.handler]
        if self.image.sigreturn:
            mm.sigtramp = mm.vdso + self.image.sigreturn

    def _load(self) -> None:
        frames = self._kernel.frames
        elf = self.image.elf
        for offset in range(0, self.size_bytes, PAGE_SIZE):
            frame = frames.alloc_zeroed()
            part = elf[offset : offset + PAGE_SIZE]
            frames.ram[frame : frame + len(part)] = part
            self._frames.append(frame)
        self._vvar = frames.alloc_zeroed()
        self.update()

    def update(self) -> None:
        """Bring the data page up to date with the kernel's clocks."""
