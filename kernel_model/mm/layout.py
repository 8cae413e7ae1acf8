"""The list of an address space's mappings, and where there is room: what mmap, munmap and the others are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_32BIT, MAP_FIXED
from kernel_model.fs.file import get_file, put_file
from kernel_model.mm.fault import MMAP_MIN_ADDR, RLIMIT_AS, RLIMIT_DATA, PageTables
from kernel_model.mm.vma import VM_GROWSDOWN, VM_LOCKED, VM_SEALED, VM_SHARED, VM_WRITE, Vma
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.arch import Arch
    from kernel_model.mm.frames import FrameAllocator

MAX_MAP_COUNT: Final = 65530
_LOW_START: Final = 0x4000_0000
_LOW_END: Final = 0x8000_0000
"""Where MAP_32BIT maps (arch/x86/kernel/sys_x86_64.c:find_start_end())."""


def is_data(vm_flags: int) -> bool:
    """mm/internal.h:is_data_mapping(): private, writable, no stack."""
    return vm_flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


class Layout(PageTables):
    """Mappings in their order. Nobody but `MemoryMap` derives from it."""

    __slots__ = ("_largest_hole", "_searched_to", "arch", "data_vm", "mmap_base", "mmap_legacy", "task_size")

    def __init__(
        self, frames: FrameAllocator, arch: Arch, tlb_flush: Callable[[], None], code_flush: Callable[[], None]
    ) -> None:
        super().__init__(frames, tlb_flush, code_flush)
        self.arch = arch
        self.task_size = arch.TASK_SIZE
        self.mmap_base = arch.TASK_SIZE - (128 << 20)
        """Mappings are placed downwards from here; execve chooses it."""
        self.mmap_legacy = False
        """Place them upwards from `mmap_base` instead (an unlimited stack)."""
        self._searched_to = arch.TASK_SIZE
        self._largest_hole = 0
        """From `_searched_to` up to `mmap_base` no free place is larger than this (bytes)."""
        self.data_vm = 0
        """Private writable pages that are no stack, for RLIMIT_DATA."""

    # -- limits -------------------------------------------------------------------------------------------------------
    def check_limits(self, vm_flags: int, pages: int) -> None:
        """mm/mmap.c:may_expand_vm(): ENOMEM beyond RLIMIT_AS or RLIMIT_DATA."""
        if (self.total_vm + pages) << PAGE_SHIFT > self.rlimit(RLIMIT_AS):
            raise SyscallError(errno.ENOMEM)
        if is_data(vm_flags) and (self.data_vm + pages) << PAGE_SHIFT > self.rlimit(RLIMIT_DATA):
            raise SyscallError(errno.ENOMEM)

    def check_protect_limits(self, old_flags: int, new_flags: int, length: int) -> None:
        """ENOMEM when private memory becomes writable beyond RLIMIT_DATA (mm/mprotect.c:mprotect_fixup())."""
        if is_data(new_flags) and not is_data(old_flags):
            if (self.data_vm << PAGE_SHIFT) + length > self.rlimit(RLIMIT_DATA):
                raise SyscallError(errno.ENOMEM)

    # -- where --------------------------------------------------------------------------------------------------------
    def get_unmapped_area(self, addr: int, length: int, flags: int) -> int:
        """Where a mapping of `length` bytes goes (mm/mmap.c:arch_get_unmapped_area_topdown()); ENOMEM, EINVAL."""
        top = self.task_size
        if length > top - (0 if flags & MAP_FIXED else MMAP_MIN_ADDR):
            raise SyscallError(errno.ENOMEM)
        if flags & MAP_FIXED:
            if addr > top - length:
                raise SyscallError(errno.ENOMEM)
            if addr & ~PAGE_MASK:
                raise SyscallError(errno.EINVAL)
            return addr
        low32 = bool(flags & MAP_32BIT & self.arch.MAP_32BIT)
        if addr and not low32:
            addr = page_align_up(addr)
            if MMAP_MIN_ADDR <= addr <= top - length and self.is_free(addr, length):
                return addr
        if low32:
            found = self._lowest_gap(length, _LOW_START, _LOW_END)
        elif self.mmap_legacy:
            found = self._lowest_gap(length, self.mmap_base, top)
        else:
            found = self._highest_gap(length, self.mmap_base)
            if found is None:
                found = self._lowest_gap(length, self.arch.TASK_UNMAPPED_BASE, top)
        if found is None:
            raise SyscallError(errno.ENOMEM)
        return found

    def lowest_free(self, length: int) -> int:
        """The lowest place for `length` bytes where mappings go when there is no room below `mmap_base`; ENOMEM."""
        found = self._lowest_gap(length, self.arch.TASK_UNMAPPED_BASE, self.task_size)
        if found is None:
            raise SyscallError(errno.ENOMEM)
        return found

    def is_free(self, addr: int, length: int) -> bool:
        """Is [addr, addr + length) free, and no stack's guard?"""
        following = self.vmas.find(addr)
        return following is None or addr + length <= following.start_gap

    def _highest_gap(self, length: int, ceiling: int) -> int | None:
        """The highest free place of `length` bytes that ends at or below `ceiling`."""
        largest = 0
        if length > self._largest_hole:
            ceiling = min(ceiling, self._searched_to)
            largest = self._largest_hole
        following = self.vmas.find(ceiling)
        high = ceiling if following is None else min(ceiling, following.start_gap)
        for vma in self.vmas.downward(ceiling):
            gap = high - vma.vm_end
            if gap >= length:
                break
            largest = max(largest, gap)
            high = min(high, vma.start_gap)
        if high - length < MMAP_MIN_ADDR:
            return None
        self._searched_to = high - length
        self._largest_hole = largest
        return high - length

    def _lowest_gap(self, length: int, floor: int, ceiling: int) -> int | None:
        """The lowest free place of `length` bytes within [floor, ceiling)."""
        low = floor
        for vma in self.vmas.upward(floor):
            if low + length <= min(vma.start_gap, ceiling):
                break
            low = max(low, vma.vm_end)
            if low + length > ceiling:
                return None
        return low if low + length <= ceiling else None

    # -- the list of mappings -----------------------------------------------------------------------------------------
    def insert_vma(self, vma: Vma) -> Vma:
        """Add a mapping to its free place, joined with its neighbours where that makes no difference."""
        pages = vma.pages
        self.account(vma.vm_flags, pages)
        previous = self.vmas.before(vma.vm_start)
        if previous is not None and previous.vm_end == vma.vm_start and previous.joins(vma):
            if vma.vm_file is not None:
                put_file(vma.vm_file, None)
            previous.vm_end = vma.vm_end
            vma = previous
        else:
            self.vmas.insert(vma)
            if vma.mapping is not None:
                vma.mapping.i_mmap[vma] = None
        self._join_next(vma)
        return vma

    def _join_next(self, vma: Vma) -> None:
        """Take the mapping that begins where `vma` ends into it, if they are alike."""
        following = self.vmas.lookup(vma.vm_end)
        if following is not None and following.vm_start == vma.vm_end and vma.joins(following):
            self._forget(following)
            vma.vm_end = following.vm_end

    def _forget(self, vma: Vma) -> None:
        """Take `vma` out of the list and drop what it holds."""
        self.vmas.remove(vma)
        if self._last is vma:
            self._last = None
        if vma.mapping is not None:
            vma.mapping.remove_vma(vma)
        if vma.vm_file is not None:
            put_file(vma.vm_file, None)

    def account(self, vm_flags: int, pages: int) -> None:
        """`pages` (negative: fewer) of that kind are mapped."""
        self.total_vm += pages
        if vm_flags & VM_LOCKED:
            self.locked_vm += pages
        if is_data(vm_flags):
            self.data_vm += pages

    def split(self, vma: Vma, address: int) -> Vma:
        """Cut `vma` in two at `address`; the upper part (mm/mmap.c:split_vma()).

        ENOMEM at the limit of mappings, EINVAL where one shows the kernel's own.
        """
        if len(self.vmas) >= MAX_MAP_COUNT:
            raise SyscallError(errno.ENOMEM)
        if vma.mapping is not None and vma.mapping.special:
            raise SyscallError(errno.EINVAL)
        upper = Vma(
            self,
            address,
            vma.vm_end,
            vma.vm_flags,
            vma.pgoff_at(address),
            vma.vm_file,
            vma.mapping,
            vma.name,
        )
        vma.vm_end = address
        self.vmas.insert(upper)
        if upper.vm_file is not None:
            get_file(upper.vm_file)
        if upper.mapping is not None:
            upper.mapping.i_mmap[upper] = None
        return upper

    def expand_vma(self, vma: Vma, grow: int) -> None:
        """`vma` gets `grow` bytes more at its end, where there is room."""
        self.account(vma.vm_flags, grow >> PAGE_SHIFT)
        vma.vm_end += grow
        self._join_next(vma)

    def change_flags(self, start: int, end: int, vma: Vma, vm_flags: int) -> Vma:
        """Give [start, end) of `vma` new flags, splitting and joining as needed; the mapping it is in then."""
        if vm_flags == vma.vm_flags:
            return vma
        if start > vma.vm_start:
            vma = self.split(vma, start)
        if end < vma.vm_end:
            self.split(vma, end)
        pages = vma.pages
        self.account(vma.vm_flags, -pages)
        vma.set_flags(vm_flags)
        self.account(vm_flags, pages)
        previous = self.vmas.before(vma.vm_start)
        if previous is not None and previous.vm_end == vma.vm_start and previous.joins(vma):
            vma = previous
            self._join_next(vma)
        self._join_next(vma)
        return vma

    def mapped_bytes(self, start: int, end: int, vm_flags: int = 0) -> int:
        """How much of [start, end) is mapped with all of `vm_flags`."""
        return sum(
            min(vma.vm_end, end) - max(vma.vm_start, start)
            for vma in self.vmas.overlapping(start, end)
            if vma.vm_flags & vm_flags == vm_flags
        )

    # -- taking mappings away -----------------------------------------------------------------------------------------
    def remove_range(self, start: int, end: int) -> None:
        """Unmap [start, end), page-aligned; ENOMEM, EPERM when sealed."""
        touched = self.vmas.overlapping(start, end)
        if not touched:
            return
        if any(vma.vm_flags & VM_SEALED for vma in touched):
            raise SyscallError(errno.EPERM)
        first = touched[0]
        if start > first.vm_start:
            if end < first.vm_end and len(self.vmas) >= MAX_MAP_COUNT:
                raise SyscallError(errno.ENOMEM)
            touched[0] = self.split(first, start)
        if end < touched[-1].vm_end:
            self.split(touched[-1], end)
        flush = self.zap(touched[0].vm_start, touched[-1].vm_end)
        for vma in touched:
            self.account(vma.vm_flags, -vma.pages)
            self._forget(vma)
        if end > self._searched_to:
            below = self.vmas.before(start)
            above = self.vmas.find(end)
            low = 0 if below is None else below.vm_end
            high = self.task_size if above is None else above.vm_start
            if low < self._searched_to:
                self._searched_to = high
            else:
                self._largest_hole = max(self._largest_hole, high - low)
        if flush:
            self.tlb_flush()
