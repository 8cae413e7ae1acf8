"""The vDSO as the kernel has it: its image, where each address space shows it, and the data page beside it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from kernel_model.abi import time as abi
from kernel_model.mm.vma import VM_DONTDUMP, VM_EXEC, VM_IO, VM_MAY_FLAGS, VM_MAYREAD, VM_PFNMAP, VM_READ
from kernel_model.types import PAGE_SIZE, U32_MASK, page_align_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap

VDSO_NAME: Final = "[vdso]"
VVAR_NAME: Final = "[vvar]"
_VDSO_FLAGS: Final = VM_READ | VM_EXEC | VM_MAY_FLAGS
_VVAR_FLAGS: Final = VM_READ | VM_MAYREAD | VM_IO | VM_DONTDUMP | VM_PFNMAP
_CLOCKS: Final = 12
_MODE_REAL_CALL: Final = 0
_MODE_COUNTER: Final = 1
_SHIFT: Final = 24
_SEQ: Final = Struct("<I")
"""The page begins with its sequence count."""
# What the page has a base for; the coarse clocks are the fine ones rounded down, which the code does itself
_BASES: Final = {
    abi.CLOCK_REALTIME: abi.CLOCK_REALTIME,
    abi.CLOCK_MONOTONIC: abi.CLOCK_MONOTONIC,
    abi.CLOCK_MONOTONIC_RAW: abi.CLOCK_MONOTONIC,
    abi.CLOCK_REALTIME_COARSE: abi.CLOCK_REALTIME,
    abi.CLOCK_MONOTONIC_COARSE: abi.CLOCK_MONOTONIC,
    abi.CLOCK_BOOTTIME: abi.CLOCK_BOOTTIME,
    abi.CLOCK_TAI: abi.CLOCK_TAI,
}


class VdsoImage(Protocol):
    """What the kernel must know of a built image (`vdso_image.image.VdsoImage`). Offsets are from the image's start."""

    @property
    def elf(self) -> bytes: ...
    @property
    def handlers(self) -> Mapping[str, int]: ...
    @property
    def restart_ranges(self) -> Sequence[tuple[int, int, str]]:
        """(start, commit, handler): where a handler has not changed anything yet."""
        ...

    @property
    def data_ranges(self) -> Sequence[tuple[int, int]]:
        """(start, done): where a task must begin again that loses its CPU (`kernel_model.data_pages`)."""
        ...

    @property
    def undo_ranges(self) -> Sequence[tuple[int, int, bool, int, Sequence[tuple[str, int]]]]:
        """(start, end, finished, frame, saved): what a signal does in there (`kernel_model.signal.rewind`)."""
        ...

    @property
    def plain(self) -> int: ...
    @property
    def glue_returns(self) -> int: ...
    @property
    def sigreturn(self) -> int: ...


class Vdso:
    """One kernel's vDSO: the frames that every address space shows, and the data page that the kernel writes."""

    def __init__(self, kernel: Kernel, image: VdsoImage, pack_vvar: Callable[..., bytes]) -> None:
        """`pack_vvar`: builds the data page from the values of `vdso_image.vvar`."""
        self._kernel = kernel
        self.image = image
        self._pack_vvar = pack_vvar
        self._seq = 0
        self._cpu = 0
        self.size_bytes = page_align_up(len(image.elf))
        self._frames: list[int] = []
        self._vvar = 0

    def map_into(self, mm: MemoryMap) -> None:
        """Show the data pages and, right behind them, the image, at a place of chance's choice."""
        if not self._frames:
            self._load()
        pages = self._kernel.data_pages
        data_bytes = 0 if pages is None else pages.size_bytes
        start = mm.get_unmapped_area(0, data_bytes + PAGE_SIZE + self.size_bytes, 0)
        if pages is not None:
            pages.map_into(mm, start)
            start += data_bytes
        mm.install_special_mapping(start, _VVAR_FLAGS, [self._vvar], VVAR_NAME)
        mm.install_special_mapping(start + PAGE_SIZE, _VDSO_FLAGS, self._frames, VDSO_NAME)
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
        self._kernel.clock.on_set = self.update
        self.update()

    def update(self) -> None:
        """Bring the data page up to date with the kernel's clocks, whenever these were set.

        Under virtual time every look at the clock must be a kernel entry, which is what makes that time go on.
        """
        kernel = self._kernel
        clock = kernel.clock
        ram = kernel.frames.ram
        self._seq = self._seq + 1 & U32_MASK
        _SEQ.pack_into(ram, self._vvar, self._seq)  # odd: whoever reads meanwhile reads again
        self._seq = self._seq + 1 & U32_MASK
        if clock.virtual:
            page = self._pack_vvar(seq=self._seq, clock_mode=_MODE_REAL_CALL, base=[(0, 0)] * _CLOCKS, cpu=self._cpu)
        else:
            page = self._counting_page()
        ram[self._vvar : self._vvar + len(page)] = page

    def all_frames(self) -> list[int]:
        """The frames of the image and of the data pages."""
        pages = self._kernel.data_pages
        shared = [] if pages is None else pages.all_frames()
        return [*self._frames, self._vvar, *shared] if self._frames else []

    def set_cpu(self, cpu: int) -> None:
        """Tell which logical CPU the running task is on: one page will do, for no other task runs meanwhile."""
        self._cpu = cpu
        if self._frames:
            self.update()

    def _counting_page(self) -> bytes:
        """The page for a counter that runs with CLOCK_MONOTONIC."""
        kernel = self._kernel
        clock = kernel.clock
        cycle_ns = kernel.cpu.COUNTER_CYCLE_NS
        base = [(0, 0)] * _CLOCKS
        now_ns = clock.monotonic_ns()
        cycles = now_ns // cycle_ns
        for number, source in _BASES.items():
            ahead_ns = clock.now_ns(source) - clock.monotonic_ns()
            seconds, nanoseconds = divmod(cycles * cycle_ns + ahead_ns, abi.NSEC_PER_SEC)
            base[number] = (seconds, nanoseconds << _SHIFT)
        return self._pack_vvar(
            seq=self._seq, clock_mode=_MODE_COUNTER, base=base, cycle_last=cycles, mult=cycle_ns << _SHIFT,
            shift=_SHIFT, timezone=clock.timezone, cpu=self._cpu,
        )  # fmt: skip
