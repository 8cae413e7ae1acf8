"""madvise(2) (mm/madvise.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.mm.fault import R, W
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.mm.vma import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_HUGEPAGE,
    VM_IO,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WIPEONFORK,
    VM_WRITE,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.mm.vma import Vma

MADV_NORMAL: Final = 0
MADV_RANDOM: Final = 1
MADV_SEQUENTIAL: Final = 2
MADV_WILLNEED: Final = 3
MADV_DONTNEED: Final = 4
MADV_FREE: Final = 8
MADV_REMOVE: Final = 9
MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11
MADV_MERGEABLE: Final = 12
MADV_UNMERGEABLE: Final = 13
MADV_HUGEPAGE: Final = 14
MADV_NOHUGEPAGE: Final = 15
MADV_DONTDUMP: Final = 16
MADV_DODUMP: Final = 17
MADV_WIPEONFORK: Final = 18
MADV_KEEPONFORK: Final = 19
MADV_COLD: Final = 20
MADV_PAGEOUT: Final = 21
MADV_POPULATE_READ: Final = 22
MADV_POPULATE_WRITE: Final = 23
MADV_DONTNEED_LOCKED: Final = 24

_SET_FLAGS: Final = {
    MADV_NORMAL: (VM_RAND_READ | VM_SEQ_READ, 0),
    MADV_SEQUENTIAL: (VM_RAND_READ, VM_SEQ_READ),
    MADV_RANDOM: (VM_SEQ_READ, VM_RAND_READ),
    MADV_DONTFORK: (0, VM_DONTCOPY),
    MADV_DOFORK: (VM_DONTCOPY, 0),
    MADV_WIPEONFORK: (0, VM_WIPEONFORK),
    MADV_KEEPONFORK: (VM_WIPEONFORK, 0),
    MADV_DONTDUMP: (0, VM_DONTDUMP),
    MADV_DODUMP: (VM_DONTDUMP, 0),
    MADV_MERGEABLE: (0, VM_MERGEABLE),
    MADV_UNMERGEABLE: (VM_MERGEABLE, 0),
    MADV_HUGEPAGE: (VM_NOHUGEPAGE, VM_HUGEPAGE),
    MADV_NOHUGEPAGE: (VM_HUGEPAGE, VM_NOHUGEPAGE),
}
"""Advice that only changes flags: (those to clear, those to set)."""
_ACTIONS: Final = frozenset(
    (MADV_WILLNEED, MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT)
)
_POPULATE: Final = {MADV_POPULATE_READ: R, MADV_POPULATE_WRITE: W}
_DISCARDS: Final = frozenset(
    (MADV_FREE, MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_REMOVE, MADV_DONTFORK, MADV_WIPEONFORK)
)
_NOT_MERGEABLE: Final = VM_SHARED | VM_MAYSHARE | VM_SPECIAL


def do_madvise(mm: MemoryMap, start: int, length: int, advice: int) -> None:
    """mm/madvise.c:do_madvise(); EINVAL, ENOMEM for holes (the rest is done), EACCES, EPERM, EAGAIN, EFAULT."""
    if advice not in _SET_FLAGS and advice not in _ACTIONS and advice not in _POPULATE:
        raise SyscallError(errno.EINVAL)
    end = start + (page_align_up(length) & U64_MASK)
    if start & ~PAGE_MASK or end > U64_MASK or (length and end == start):
        raise SyscallError(errno.EINVAL)
    if end == start:
        return
    access = _POPULATE.get(advice)
    if access is not None:
        _populate(mm, start, end, access)
        return
    touched = mm.vmas.overlapping(start, end)
    if advice in _DISCARDS and any(_is_sealed(vma) for vma in touched):
        raise SyscallError(errno.EPERM)
    mapped = 0
    for vma in touched:
        low = max(vma.vm_start, start)
        high = min(vma.vm_end, end)
        mapped += high - low
        _advise_vma(mm, vma, low, high, advice)
    if mapped != end - start:
        raise SyscallError(errno.ENOMEM)


def _is_sealed(vma: Vma) -> bool:
    """mm/mseal.c:can_modify_vma_madv(): sealed memory that can't be written can't be thrown away either."""
    return bool(vma.vm_flags & VM_SEALED) and vma.mapping is None and not vma.vm_flags & VM_WRITE


def _advise_vma(mm: MemoryMap, vma: Vma, start: int, end: int, advice: int) -> None:
    """mm/madvise.c:madvise_vma_behavior()."""
    flags = vma.vm_flags
    if advice in _SET_FLAGS:
        if advice == MADV_WIPEONFORK and (vma.vm_file is not None or flags & VM_SHARED):
            raise SyscallError(errno.EINVAL)
        if (advice == MADV_DOFORK and flags & VM_IO) or (advice == MADV_DODUMP and flags & VM_SPECIAL):
            raise SyscallError(errno.EINVAL)
        if advice == MADV_MERGEABLE and flags & _NOT_MERGEABLE:
            return
        clear, add = _SET_FLAGS[advice]
        try:
            mm.change_flags(start, end, vma, flags & ~clear | add)
        except SyscallError as error:
            raise SyscallError(errno.EAGAIN if error.errno == errno.ENOMEM else error.errno) from None
    elif advice == MADV_REMOVE:
        _remove(vma, start, end)
    elif advice == MADV_WILLNEED:
        _read_ahead(vma, start, end)
    elif flags & VM_PFNMAP or (flags & VM_LOCKED and advice != MADV_DONTNEED_LOCKED):
        raise SyscallError(errno.EINVAL)
    elif advice in (MADV_DONTNEED, MADV_DONTNEED_LOCKED):
        if mm.zap(start, end):
            mm.tlb_flush()
    elif advice == MADV_FREE and vma.mapping is not None:
        raise SyscallError(errno.EINVAL)
    # MADV_FREE, MADV_COLD, MADV_PAGEOUT: what may happen once memory is short never happens.


def _remove(vma: Vma, start: int, end: int) -> None:
    """Punch a hole into what is mapped (mm/madvise.c:madvise_remove())."""
    if vma.vm_flags & VM_LOCKED or vma.mapping is None or vma.mapping.special:
        raise SyscallError(errno.EINVAL)
    if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        raise SyscallError(errno.EACCES)
    first = vma.pgoff_at(start) << PAGE_SHIFT
    size = page_align_up(vma.mapping.host.i_size)
    last = min(first + end - start, size)
    if first < last:
        vma.mapping.punch_hole(first, last)


def _read_ahead(vma: Vma, start: int, end: int) -> None:
    """Bring in what may soon be needed, within reason."""
    mapping: AddressSpace | None = vma.mapping
    if mapping is not None:
        first = vma.pgoff_at(start)
        mapping.read_ahead(first, first + ((end - start) >> PAGE_SHIFT))


def _populate(mm: MemoryMap, start: int, end: int, access: int) -> None:
    """MADV_POPULATE_READ and _WRITE: faults now, their errors told (mm/madvise.c:madvise_populate())."""
    while start < end:
        vma = mm.vmas.lookup(start)
        if vma is None:
            raise SyscallError(errno.ENOMEM)
        if not vma.vm_flags & access or vma.vm_flags & (VM_IO | VM_PFNMAP):
            raise SyscallError(errno.EINVAL)
        stop = min(vma.vm_end, end)
        for page in range(start, stop, PAGE_SIZE):
            if not mm.access_page(page, access):
                past_end = vma.mapping is not None and vma.pgoff_at(page) << PAGE_SHIFT >= vma.mapping.host.i_size
                raise SyscallError(errno.EFAULT if past_end else errno.ENOMEM)
        start = stop
