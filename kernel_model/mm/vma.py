"""Virtual memory areas (`struct vm_area_struct`) and the ordered set of them that an address space has."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kernel_model.types import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.mm.fault import PageTables
    from kernel_model.mm.pagecache import AddressSpace

# include/linux/mm.h
VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_SHARED: Final = 0x8
VM_MAYREAD: Final = 0x10
VM_MAYWRITE: Final = 0x20
VM_MAYEXEC: Final = 0x40
VM_MAYSHARE: Final = 0x80
VM_GROWSDOWN: Final = 0x100
VM_PFNMAP: Final = 0x400
VM_LOCKED: Final = 0x2000
VM_IO: Final = 0x4000
VM_SEQ_READ: Final = 0x8000
VM_RAND_READ: Final = 0x10000
VM_DONTCOPY: Final = 0x20000
VM_DONTEXPAND: Final = 0x40000
VM_LOCKONFAULT: Final = 0x80000
VM_ACCOUNT: Final = 0x100000
VM_NORESERVE: Final = 0x200000
VM_WIPEONFORK: Final = 0x2000000
VM_DONTDUMP: Final = 0x4000000
VM_HUGEPAGE: Final = 0x20000000
VM_NOHUGEPAGE: Final = 0x40000000
VM_MERGEABLE: Final = 0x80000000
VM_SEALED: Final = 1 << 42

VM_ACCESS_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC
VM_MAY_FLAGS: Final = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
VM_LOCKED_MASK: Final = VM_LOCKED | VM_LOCKONFAULT
VM_SPECIAL: Final = VM_IO | VM_DONTEXPAND | VM_PFNMAP

STACK_GUARD_GAP: Final = 256 * PAGE_SIZE
"""mm/mmap.c: kept free below a stack, so that it can't run into its neighbour unseen (bytes)."""


class Vma:
    """A mapping: the half-open range [vm_start, vm_end) with one set of flags over one stretch of one object.

    `vm_pgoff` counts pages into `mapping`; for private anonymous memory it is the address it was made at, in pages.
    """

    __slots__ = ("mapping", "name", "page_prot", "vm_end", "vm_file", "vm_flags", "vm_mm", "vm_pgoff", "vm_start")

    def __init__(
        self,
        mm: PageTables,
        start: int,
        end: int,
        flags: int,
        pgoff: int,
        file: File | None = None,
        mapping: AddressSpace | None = None,
        name: str = "",
    ) -> None:
        self.vm_mm = mm
        self.vm_start = start
        self.vm_end = end
        self.vm_pgoff = pgoff
        self.vm_file = file
        self.mapping = mapping
        """Where pages come from; None for private anonymous memory."""
        self.name = name
        """What /proc/maps calls it when it has no file: `[vdso]` ..."""
        self.set_flags(flags)

    def set_flags(self, flags: int) -> None:
        """Set `vm_flags`, and `page_prot` that follows from them.

        Pages of a mapping that allows anything can be read: neither x86 nor arm64 without EPAN can say "write only" or
        "execute only" (arch/x86/mm/pgprot.c:protection_map, arch/arm64/mm/mmap.c:protection_map).
        """
        self.vm_flags = flags
        access = flags & VM_ACCESS_FLAGS
        self.page_prot = access | VM_READ if access else 0

    @property
    def pages(self) -> int:
        """How many pages it spans."""
        return (self.vm_end - self.vm_start) >> PAGE_SHIFT

    @property
    def start_gap(self) -> int:
        """mm.h:vm_start_gap(): the start, less the guard below a stack."""
        if self.vm_flags & VM_GROWSDOWN:
            return max(0, self.vm_start - STACK_GUARD_GAP)
        return self.vm_start

    def pgoff_at(self, address: int) -> int:
        """The page index in `mapping` that shows at `address`."""
        return self.vm_pgoff + ((address - self.vm_start) >> PAGE_SHIFT)

    def joins(self, following: Vma) -> bool:
        """May this one and `following`, which begins where it ends, be one? (mm/vma.c:can_vma_merge_after())"""
        return (
            self.vm_flags == following.vm_flags
            and self.vm_file is following.vm_file
            and self.mapping is following.mapping
            and self.vm_pgoff + self.pages == following.vm_pgoff
            and self.name == following.name
            and not self.vm_flags & VM_SPECIAL
        )


class VmaTree:
    """The mappings of an address space in order of address; they never overlap."""

    __slots__ = ("_starts", "_vmas")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._vmas: list[Vma] = []

    def __len__(self) -> int:
        return len(self._vmas)

    def __iter__(self) -> Iterator[Vma]:
        return iter(self._vmas)

    def find(self, address: int) -> Vma | None:
        """The first mapping that ends after `address` (mm/mmap.c:find_vma()): it need not contain it."""
        i = bisect_right(self._starts, address)
        vmas = self._vmas
        if i and vmas[i - 1].vm_end > address:
            return vmas[i - 1]
        return vmas[i] if i < len(vmas) else None

    def lookup(self, address: int) -> Vma | None:
        """The mapping that contains `address`."""
        i = bisect_right(self._starts, address)
        if i:
            vma = self._vmas[i - 1]
            if vma.vm_end > address:
                return vma
        return None

    def before(self, address: int) -> Vma | None:
        """The last mapping that starts before `address`."""
        i = bisect_left(self._starts, address)
        return self._vmas[i - 1] if i else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Every mapping with a byte in [start, end), in order."""
        if start >= end:
            return []
        first = bisect_right(self._starts, start)
        if first and self._vmas[first - 1].vm_end > start:
            first -= 1
        return self._vmas[first : bisect_left(self._starts, end, first)]

    def downward(self, address: int) -> Iterator[Vma]:
        """The mappings that start below `address`, highest first."""
        vmas = self._vmas
        for i in range(bisect_left(self._starts, address) - 1, -1, -1):
            yield vmas[i]

    def upward(self, address: int) -> Iterator[Vma]:
        """The mappings that end above `address`, lowest first."""
        i = bisect_right(self._starts, address)
        vmas = self._vmas
        if i and vmas[i - 1].vm_end > address:
            i -= 1
        for k in range(i, len(vmas)):
            yield vmas[k]

    def insert(self, vma: Vma) -> None:
        """Add `vma`, whose place is free."""
        i = bisect_left(self._starts, vma.vm_start)
        self._starts.insert(i, vma.vm_start)
        self._vmas.insert(i, vma)

    def remove(self, vma: Vma) -> None:
        """Take `vma` out."""
        i = bisect_left(self._starts, vma.vm_start)
        del self._starts[i]
        del self._vmas[i]

    def move_start(self, vma: Vma, start: int) -> None:
        """Change where `vma` starts; its order among its neighbours stays."""
        self._starts[bisect_left(self._starts, vma.vm_start)] = start
        vma.vm_start = start

    def clear(self) -> None:
        """Forget them all."""
        self._starts.clear()
        self._vmas.clear()
