"""Page tables and page faults: the part of an address space that the CPU's TLB is filled from.

`pt` maps a page's address to an entry: frame | flags. R, W, X are exactly what the TLB may be told; COW and PINNED
say what the frame is. An entry that allows nothing keeps its frame (PROT_NONE). Pages that are owned through their
entry are in `own` too, so that fork and exit need not look at the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kernel_model.mm.vma import STACK_GUARD_GAP, VM_GROWSDOWN, VM_LOCKED, VM_SHARED, Vma, VmaTree
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.mm.frames import FrameAllocator

R: Final = 1
W: Final = 2
X: Final = 4
COW: Final = 8
"""Copy before the first write: the frame has, or may have, other users."""
PINNED: Final = 16
"""The frame belongs to the page cache, or is the page of zeros: this entry holds no reference to it."""
_RWX: Final = 7

SIGBUS: Final = 7
SIGSEGV: Final = 11
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
BUS_ADRERR: Final = 2

RLIMIT_DATA: Final = 2
RLIMIT_STACK: Final = 3
RLIMIT_MEMLOCK: Final = 8
RLIMIT_AS: Final = 9
RLIM_INFINITY: Final = (1 << 64) - 1
MMAP_MIN_ADDR: Final = 65536
_FAULT_AROUND: Final = 16 * PAGE_SIZE
_MIN_PT_LIMIT: Final = 1 << 16


class PageTables:
    """Entries, and how faults make them."""

    __slots__ = (
        "_hiwater_rss", "_last", "_pt_limit", "code_flush", "code_frames", "frames", "locked_vm", "min_flt", "own",
        "pt", "ram", "rlim",
        "tlb_flush", "total_vm", "vmas",
    )  # fmt: skip

    def __init__(self, frames: FrameAllocator, tlb_flush: Callable[[], None], code_flush: Callable[[], None]) -> None:
        self.frames = frames
        self.ram = frames.ram
        self.code_frames = frames.code_frames
        self.tlb_flush = tlb_flush
        self.code_flush = code_flush
        self.pt: dict[int, int] = {}
        self.own: set[int] = set()
        self.vmas = VmaTree()
        self.rlim: dict[int, tuple[int, int]] = {}
        """The resource limits of whoever runs here (`SignalStruct.rlim`)."""
        self.total_vm = 0
        """Pages mapped."""
        self.locked_vm = 0
        self.min_flt = 0
        """Page faults so far."""
        self._hiwater_rss = 0
        """Pages of VM_LOCKED mappings."""
        self._pt_limit = max(_MIN_PT_LIMIT, 2 * frames.total_frames)
        self._last: Vma | None = None
        """The mapping that faulted last: the next fault is mostly there too."""

    def rlimit(self, resource: int) -> int:
        """The soft limit of `resource`; RLIM_INFINITY for none."""
        limit = self.rlim.get(resource)
        return RLIM_INFINITY if limit is None else limit[0]

    # -- faults -------------------------------------------------------------------------------------------------------
    def handle_fault(self, page: int, access: int) -> int:
        """Make page address `page` accessible for `access` (R, W or X); its entry, or 0 when the program may not.

        Afterwards no TLB flush is needed by a TLB fill of that page; others use `access_page`.
        """
        self.frames.faults += 1
        self.min_flt += 1
        vma = self._last
        if vma is None or not vma.vm_start <= page < vma.vm_end:
            vma = self.vmas.lookup(page) or self._expand_stack(page)
            if vma is None:
                return 0
            self._last = vma
        prot = vma.page_prot
        if not prot & access:
            return 0
        pt = self.pt
        entry = pt.get(page)
        try:
            if entry is None:
                mapping = vma.mapping
                if mapping is None:
                    if access == W:
                        entry = pt[page] = self.frames.alloc_zeroed() | prot
                        self.own.add(page)
                        return entry
                    if len(pt) >= self._pt_limit:
                        self._forget_zero_pages()
                    entry = pt[page] = self.frames.zero_frame | prot & ~W | COW | PINNED
                    return entry
                return self._fault_file(vma, page, access)
            if entry & access:
                return entry
            return self._fault_present(vma, page, entry, access)
        except SyscallError:
            return 0

    def _forget_zero_pages(self) -> None:
        """A program reads through a vast emptiness: entries must not cost the host more than RAM itself."""
        zero = self.frames.zero_frame
        pt = self.pt
        self._hiwater_rss = self.hiwater_rss_pages()
        for page in [page for page, entry in pt.items() if entry & PAGE_MASK == zero]:
            del pt[page]
        self._pt_limit = max(self._pt_limit, 2 * len(pt))
        self.tlb_flush()

    def _fault_file(self, vma: Vma, page: int, access: int) -> int:
        """The first access to a page of a mapped file (mm/memory.c:do_fault())."""
        mapping = vma.mapping
        assert mapping is not None
        index = vma.vm_pgoff + ((page - vma.vm_start) >> PAGE_SHIFT)
        if index << PAGE_SHIFT >= mapping.host.i_size:
            return 0
        frame = mapping.get_frame(index)
        prot = vma.page_prot
        pt = self.pt
        shared = vma.vm_flags & VM_SHARED
        if access == W:
            if not shared:
                return self._copy(page, frame, prot)
            mapping.page_mkwrite(index)
            entry = pt[page] = frame | prot | PINNED
            return entry
        flags = prot & ~W | PINNED if shared else prot & ~W | COW | PINNED
        entry = pt[page] = frame | flags
        # mm/memory.c:do_fault_around(): its neighbours that are there already
        start = max(vma.vm_start, page & -_FAULT_AROUND)
        pages = mapping.pages
        index += (start - page) >> PAGE_SHIFT
        limit = (mapping.host.i_size + PAGE_SIZE - 1) >> PAGE_SHIFT
        for near in range(start, min(vma.vm_end, (page & -_FAULT_AROUND) + _FAULT_AROUND), PAGE_SIZE):
            if near not in pt and index in pages and index < limit:
                pt[near] = pages[index] | flags
            index += 1
        return entry

    def _fault_present(self, vma: Vma, page: int, entry: int, access: int) -> int:
        """A page that is there does not allow `access` yet, though its mapping does."""
        prot = vma.page_prot
        if access != W:
            entry |= prot & ~W
            self.pt[page] = entry
            return entry
        frame = entry & PAGE_MASK
        if entry & PINNED:
            if vma.vm_flags & VM_SHARED:
                assert vma.mapping is not None
                vma.mapping.page_mkwrite(vma.pgoff_at(page))
                entry = self.pt[page] = frame | prot | PINNED
                return entry
            return self._copy(page, frame, prot)
        frames = self.frames
        if frames.refs[frame >> PAGE_SHIFT] == 1:
            entry = self.pt[page] = frame | prot
            return entry
        entry = self._copy(page, frame, prot)
        frames.put(frame)
        return entry

    def _copy(self, page: int, frame: int, prot: int) -> int:
        """A private copy of `frame` at `page`."""
        frames = self.frames
        if frame == frames.zero_frame:
            new = frames.alloc_zeroed()
        else:
            new = frames.alloc()
            ram = self.ram
            ram[new : new + PAGE_SIZE] = ram[frame : frame + PAGE_SIZE]
        self.own.add(page)
        entry = self.pt[page] = new | prot
        if prot & X:
            # The CPU finds code that it has translated by its address, not by its frame, until then.
            self.tlb_flush()
        return entry

    def access_page(self, page: int, access: int) -> int:
        """The entry of `page` for an access by the kernel; 0 when the program may not. Flushes the TLB if need be."""
        old = self.pt.get(page, 0)
        if old & access:
            return old
        entry = self.handle_fault(page, access)
        if old and entry and (old ^ entry) & PAGE_MASK:
            self.tlb_flush()
        return entry

    def fault_cause(self, page: int, access: int) -> tuple[int, int]:
        """(signal, si_code) of an access that `handle_fault` refused.

        SIGBUS too when guest memory has run out, which `kernel_model.oom` sees to.
        """
        vma = self.vmas.lookup(page)
        if vma is None:
            return SIGSEGV, SEGV_MAPERR
        if not vma.page_prot & access:
            return SIGSEGV, SEGV_ACCERR
        return SIGBUS, BUS_ADRERR

    def _expand_stack(self, page: int) -> Vma | None:
        """Grow the stack above `page` down to it, if there is one and it may (mm/mmap.c:expand_downwards())."""
        vma = self.vmas.find(page)
        if vma is None or not vma.vm_flags & VM_GROWSDOWN or page < MMAP_MIN_ADDR:
            return None
        previous = self.vmas.before(vma.vm_start)
        if previous is not None and not previous.vm_flags & VM_GROWSDOWN and previous.page_prot:
            if page - previous.vm_end < STACK_GUARD_GAP:
                return None
        grow = (vma.vm_start - page) >> PAGE_SHIFT
        if vma.vm_end - page > self.rlimit(RLIMIT_STACK):
            return None
        if (self.total_vm + grow) << PAGE_SHIFT > self.rlimit(RLIMIT_AS):
            return None
        self.vmas.move_start(vma, page)
        vma.vm_pgoff -= grow
        self.total_vm += grow
        if vma.vm_flags & VM_LOCKED:
            self.locked_vm += grow
        return vma

    # -- taking entries away, and changing them -----------------------------------------------------------------------
    def pages_in(self, start: int, end: int) -> list[int]:
        """The addresses in [start, end) that have an entry; never slower than the smaller of both."""
        pt = self.pt
        if (end - start) >> PAGE_SHIFT <= len(pt):
            return [page for page in range(start, end, PAGE_SIZE) if page in pt]
        return [page for page in pt if start <= page < end]

    def hiwater_rss_pages(self) -> int:
        """The most pages it has held (mm/mmap.c: get_mm_hiwater_rss()). Every place where many go notes it first."""
        return max(self._hiwater_rss, len(self.pt))

    def zap(self, start: int, end: int) -> bool:
        """Remove every entry in [start, end); did any go? The caller flushes the TLB."""
        pt = self.pt
        gone = self.pages_in(start, end)
        if not gone:
            return False
        self._hiwater_rss = self.hiwater_rss_pages()
        owned = []
        for page in gone:
            entry = pt.pop(page)
            if not entry & PINNED:
                owned.append(entry & PAGE_MASK)
        if owned:
            self.own.difference_update(gone)
            self.frames.put_many(owned)
        return True

    def zap_cached(self, start: int, end: int) -> bool:
        """Remove the entries in [start, end) that show a page cache; did any go? The caller flushes the TLB."""
        pt = self.pt
        self._hiwater_rss = self.hiwater_rss_pages()
        gone = [page for page in self.pages_in(start, end) if pt[page] & PINNED]
        for page in gone:
            del pt[page]
        return bool(gone)

    def protect(self, start: int, end: int, prot: int) -> bool:
        """Entries in [start, end) allow what `prot` says from now on. The caller flushes the TLB if that is so:

        did any lose what it allowed?
        """
        pt = self.pt
        lost = 0
        for page in self.pages_in(start, end):
            old = pt[page]
            pt[page] = new = old & ~_RWX | (prot & ~W if old & (COW | PINNED) else prot)
            lost |= old & ~new
        return bool(lost)
