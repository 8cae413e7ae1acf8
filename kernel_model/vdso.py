"""The vDSO as the kernel has it: its image, where each address space shows it, and the data page beside it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from kernel_model.abi import time as abi
from kernel_model.mm.pagecache import AddressSpace, AnonymousHost, SpecialMapping
from kernel_model.mm.vma import VM_DONTDUMP, VM_DONTEXPAND, VM_EXEC, VM_IO, VM_MAY_FLAGS, VM_MAYREAD, VM_PFNMAP, VM_READ
from kernel_model.types import PAGE_SIZE, U32_MASK, page_align_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.ns.nsproxy import TimeNamespace

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
    def glue_returns(self) -> frozenset[int]: ...
    @property
    def tails(self) -> Sequence[tuple[int, int]]:
        """(start, end): what a signal waits for (`kernel_model.signal.rewind`)."""
        ...

    @property
    def fault_exits(self) -> Sequence[tuple[int, int, int]]:
        """(start, end, target): where a routine goes on that meets a bad pointer; elsewhere at `plain`."""
        ...

    @property
    def untimed(self) -> frozenset[int]:
        """Behind number-less returns that take no virtual time."""
        ...

    @property
    def restores(self) -> Mapping[int, Sequence[tuple[str, int]]]:
        """Behind a flagged call: registers that it puts back besides the frame's."""
        ...

    @property
    def carried(self) -> frozenset[int]: ...
    @property
    def sigreturn(self) -> int: ...
    @property
    def table(self) -> int:
        """The table of entry points that AT_UABI leads to; 0 where there is none."""
        ...


class TimeNamespaceVvar(AddressSpace):
    """The `[vvar]` of one time namespace: the frame is there while something shows it.

    Linux has one data page for all and, in a time namespace, a page with offsets in front of it, since it writes the
    data at every tick. Here it is written when a clock is set, so a page for each namespace costs its readers nothing.
    """

    __slots__ = ("_fill", "time_ns")
    special: ClassVar = True

    def __init__(
        self, frames: FrameAllocator, time_ns: TimeNamespace, fill: Callable[[int, TimeNamespace], None]
    ) -> None:
        """`fill`: writes the page into a frame."""
        super().__init__(frames, AnonymousHost(PAGE_SIZE), anonymous=True)
        self.time_ns = time_ns
        self._fill = fill

    def get_frame(self, index: int) -> int:
        """See `AddressSpace`."""
        fresh = index not in self.pages
        frame = super().get_frame(index)
        if fresh:
            self._fill(frame, self.time_ns)
        return frame


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
        self.data_room_bytes = 0
        """What is kept free for data pages at least: runs that are compared have the same addresses with or without."""
        self._frames: list[int] = []
        self._vvar = 0
        self._of_time_ns: list[TimeNamespaceVvar] = []

    def map_into(self, mm: MemoryMap, time_ns: TimeNamespace) -> None:
        """Show the data pages and, right behind them, the image, at a place of chance's choice."""
        if not self._frames:
            self._load()
        pages = self._kernel.data_pages
        data_bytes = 0 if pages is None else pages.size_bytes
        spare_bytes = max(0, self.data_room_bytes - data_bytes)
        start = mm.get_unmapped_area(0, spare_bytes + data_bytes + PAGE_SIZE + self.size_bytes, 0)
        if spare_bytes:
            mm.mmap_base = start
            start += spare_bytes
        if pages is not None:
            pages.map_into(mm, start)
            start += data_bytes
        mm.map_region(start, PAGE_SIZE, _VVAR_FLAGS | VM_DONTEXPAND, 0, None, self._vvar_of(mm, time_ns), VVAR_NAME)
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
        self._seq = self._seq + 2 & U32_MASK
        self._write(self._vvar, self._kernel.init_nsproxy.time_ns)
        if self._of_time_ns:
            self._of_time_ns = [space for space in self._of_time_ns if space.pages]
            for space in self._of_time_ns:
                self._write(space.pages[0], space.time_ns)

    def _write(self, frame: int, time_ns: TimeNamespace) -> None:
        """Write the data page of one time namespace."""
        kernel = self._kernel
        ram = kernel.frames.ram
        _SEQ.pack_into(ram, frame, self._seq - 1 & U32_MASK)  # odd: whoever reads meanwhile reads again
        if kernel.clock.virtual:
            page = self._pack_vvar(seq=self._seq, clock_mode=_MODE_REAL_CALL, base=[(0, 0)] * _CLOCKS, cpu=self._cpu)
        else:
            page = self._counting_page(time_ns)
        ram[frame : frame + len(page)] = page

    # -- time namespaces ----------------------------------------------------------------------------------------------
    def _vvar_of(self, mm: MemoryMap, time_ns: TimeNamespace) -> AddressSpace:
        """What `mm` shows as `[vvar]` in that namespace."""
        if time_ns is self._kernel.init_nsproxy.time_ns:
            return SpecialMapping(mm.frames, [self._vvar])
        if time_ns.vvar is None:
            time_ns.vvar = TimeNamespaceVvar(mm.frames, time_ns, self._fill)
        return time_ns.vvar

    def _fill(self, frame: int, time_ns: TimeNamespace) -> None:
        """Somebody looks at a page that was not there."""
        assert isinstance(time_ns.vvar, TimeNamespaceVvar)
        self._of_time_ns = [space for space in self._of_time_ns if space.pages and space is not time_ns.vvar]
        self._of_time_ns.append(time_ns.vvar)
        self._write(frame, time_ns)

    def join_timens(self, mm: MemoryMap, time_ns: TimeNamespace) -> None:
        """All that `mm` shows of `[vvar]` is that namespace's from now on (arch/*/vdso.c:vdso_join_timens())."""
        for vma in mm.vmas:
            old = vma.mapping
            if vma.name == VVAR_NAME and old is not None and old.special:
                mm.zap(vma.vm_start, vma.vm_end)
                old.remove_vma(vma)
                vma.mapping = self._vvar_of(mm, time_ns)
                vma.mapping.i_mmap[vma] = None
        mm.tlb_flush()

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

    def _counting_page(self, time_ns: TimeNamespace) -> bytes:
        """The page for a counter that runs with the machine's CLOCK_MONOTONIC."""
        kernel = self._kernel
        clock = kernel.clock
        cycle_ns = kernel.cpu.COUNTER_CYCLE_NS
        base = [(0, 0)] * _CLOCKS
        now_ns = clock.monotonic_ns()
        cycles = now_ns // cycle_ns
        for number, source in _BASES.items():
            ahead_ns = clock.now_ns(source) - clock.monotonic_ns() + time_ns.offset_ns(source)
            seconds, nanoseconds = divmod(cycles * cycle_ns + ahead_ns, abi.NSEC_PER_SEC)
            base[number] = (seconds, nanoseconds << _SHIFT)
        return self._pack_vvar(
            seq=self._seq, clock_mode=_MODE_COUNTER, base=base, cycle_last=cycles, mult=cycle_ns << _SHIFT,
            shift=_SHIFT, timezone=clock.timezone, cpu=self._cpu,
        )  # fmt: skip
