"""mremap(2) (mm/mremap.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.fs.file import get_file
from kernel_model.mm.fault import PINNED, RLIMIT_MEMLOCK
from kernel_model.mm.vma import (
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SEALED,
    VM_SHARED,
    Vma,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4
_MAP_FIXED: Final = 0x10
_MAX_MAP_COUNT: Final = 65530


def do_mremap(
    mm: MemoryMap, addr: int, old_length: int, new_length: int, flags: int, new_addr: int, *, ipc_lock: bool
) -> int:
    """Resize or move the mapping at `addr`; where it is now. The checks come in the order of Linux since 6.17."""
    # PAGE_ALIGN wraps round at 64 bits.
    old_length = page_align_up(old_length) & U64_MASK
    new_length = page_align_up(new_length) & U64_MASK
    elsewhere = bool(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
    _check_params(mm, addr, old_length, new_length, flags, new_addr)
    if flags & MREMAP_FIXED and old_length == new_length:
        return _move_all(mm, addr, old_length, flags, new_addr, ipc_lock)
    vma = _check_vma(mm, mm.vmas.lookup(addr), addr, old_length, new_length, flags, ipc_lock)
    if elsewhere:
        return _mremap_to(mm, addr, old_length, new_length, flags, new_addr)
    if old_length >= new_length:
        if old_length > new_length:
            mm.munmap(addr + new_length, old_length - new_length)
        return addr
    grow = new_length - old_length
    if old_length == vma.vm_end - addr and _expandable(mm, vma, grow):
        end = vma.vm_end
        mm.expand_vma(vma, grow)
        if vma.vm_flags & VM_LOCKED:
            mm.populate(end, end + grow)
        return addr
    if not flags & MREMAP_MAYMOVE:
        raise SyscallError(errno.ENOMEM)
    target = mm.get_unmapped_area(0, new_length, 0)
    return _move_vma(mm, vma, addr, old_length, new_length, target, flags)


def _check_params(mm: MemoryMap, addr: int, old_length: int, new_length: int, flags: int, new_addr: int) -> None:
    """mm/mremap.c:check_mremap_params(): what can be said without looking at the mapping."""
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or addr & ~PAGE_MASK:
        raise SyscallError(errno.EINVAL)
    if not new_length or new_length > mm.task_size:
        raise SyscallError(errno.EINVAL)
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return
    if new_addr > mm.task_size - new_length or new_addr & ~PAGE_MASK or not flags & MREMAP_MAYMOVE:
        raise SyscallError(errno.EINVAL)
    if flags & MREMAP_DONTUNMAP and old_length != new_length:
        raise SyscallError(errno.EINVAL)
    if addr + old_length > new_addr and new_addr + new_length > addr:
        raise SyscallError(errno.EINVAL)
    if len(mm.vmas) + 2 >= _MAX_MAP_COUNT - 3:
        raise SyscallError(errno.ENOMEM)


def _check_vma(
    mm: MemoryMap, vma: Vma | None, addr: int, old_length: int, new_length: int, flags: int, ipc_lock: bool
) -> Vma:
    """mm/mremap.c:check_prep_vma(): the mapping, if it may be resized or moved so."""
    if vma is None:
        raise SyscallError(errno.EFAULT)
    if vma.vm_flags & VM_SEALED:
        raise SyscallError(errno.EPERM)
    if new_length <= old_length and not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return vma
    if not old_length and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        raise SyscallError(errno.EINVAL)
    if flags & MREMAP_DONTUNMAP and vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        raise SyscallError(errno.EINVAL)
    if min(old_length, new_length) > vma.vm_end - addr:
        raise SyscallError(errno.EFAULT)
    if new_length <= old_length:
        return vma
    if vma.pgoff_at(addr) + (new_length >> PAGE_SHIFT) > U64_MASK:
        raise SyscallError(errno.EINVAL)
    if vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        raise SyscallError(errno.EFAULT)
    grow = new_length - old_length
    if vma.vm_flags & VM_LOCKED and not ipc_lock:
        if (mm.locked_vm << PAGE_SHIFT) + grow > mm.rlimit(RLIMIT_MEMLOCK):
            raise SyscallError(errno.EAGAIN)
    mm.check_limits(vma.vm_flags, grow >> PAGE_SHIFT)
    return vma


def _move_all(mm: MemoryMap, start: int, length: int, flags: int, new_addr: int, ipc_lock: bool) -> int:
    """mm/mremap.c:remap_move(): every mapping in a range, each with its size, goes to a fixed place.

    A gap between them stays a gap, in which what the target had is left alone; there may be none at the start.
    """
    touched = mm.vmas.overlapping(start, start + length)
    if not touched or touched[0].vm_start > start:
        raise SyscallError(errno.EFAULT)
    for low, high in [(max(vma.vm_start, start), min(vma.vm_end, start + length)) for vma in touched]:
        _check_vma(mm, mm.vmas.lookup(low), low, high - low, high - low, flags, ipc_lock)
        _mremap_to(mm, low, high - low, high - low, flags, new_addr + low - start)
    return new_addr


def _mremap_to(mm: MemoryMap, addr: int, old_length: int, new_length: int, flags: int, new_addr: int) -> int:
    """mm/mremap.c:mremap_to(): to a place that the caller chose, or with the old place kept."""
    if flags & MREMAP_FIXED:
        mm.munmap(new_addr, new_length)
    if old_length > new_length:
        mm.munmap(addr + new_length, old_length - new_length)
        old_length = new_length
    vma = mm.vmas.lookup(addr)
    if vma is None:
        raise SyscallError(errno.EFAULT)
    if flags & MREMAP_DONTUNMAP:
        mm.check_limits(vma.vm_flags, old_length >> PAGE_SHIFT)
    target = mm.get_unmapped_area(new_addr, new_length, _MAP_FIXED if flags & MREMAP_FIXED else 0)
    return _move_vma(mm, vma, addr, old_length, new_length, target, flags)


def _expandable(mm: MemoryMap, vma: Vma, grow: int) -> bool:
    """mm/mremap.c:vma_expandable(): is the place after it free?"""
    end = vma.vm_end + grow
    return end <= mm.task_size and not mm.vmas.overlapping(vma.vm_end, end)


def _move_vma(mm: MemoryMap, vma: Vma, addr: int, old_length: int, new_length: int, new_addr: int, flags: int) -> int:
    """mm/mremap.c:move_vma(): a mapping of the same at `new_addr`, which is free, and the pages moved over to it."""
    if len(mm.vmas) >= _MAX_MAP_COUNT - 3:
        raise SyscallError(errno.ENOMEM)
    if vma.mapping is not None and vma.mapping.special and (vma.vm_start, vma.vm_end) != (addr, addr + old_length):
        raise SyscallError(errno.EINVAL)
    old_flags = vma.vm_flags
    pgoff = vma.pgoff_at(addr)
    moved, owned = _move_page_tables(mm, addr, addr + old_length, new_addr - addr) if old_length else (False, False)
    if vma.mapping is None and not owned:
        # mm/vma.c:copy_vma(): nothing was ever written, so it may become one with its new neighbours.
        pgoff = new_addr >> PAGE_SHIFT
    copy = Vma(mm, new_addr, new_addr + new_length, old_flags, pgoff, vma.vm_file, vma.mapping, vma.name)
    if copy.vm_file is not None:
        get_file(copy.vm_file)
    mm.insert_vma(copy)
    if addr == mm.vdso != 0:
        mm.move_vdso(new_addr)
    if mm.data is not None and addr == mm.data.start != 0:
        mm.data.moved(new_addr)
    if flags & MREMAP_DONTUNMAP:
        _unlock_old(mm, addr)
    elif old_length:
        mm.remove_range(addr, addr + old_length)
    if moved:
        mm.tlb_flush()
    if old_flags & VM_LOCKED:
        mm.populate(new_addr + old_length, new_addr + new_length)
    return new_addr


def _unlock_old(mm: MemoryMap, addr: int) -> None:
    """mm/mremap.c:dontunmap_complete(): what stays behind is not locked; that goes for the whole mapping."""
    vma = mm.vmas.lookup(addr)
    assert vma is not None
    mm.change_flags(vma.vm_start, vma.vm_end, vma, vma.vm_flags & ~VM_LOCKED_MASK)


def _move_page_tables(mm: MemoryMap, start: int, end: int, distance: int) -> tuple[bool, bool]:
    """Entries of [start, end) go `distance` bytes further; were there any, and any that own their frame?"""
    pt = mm.pt
    own = mm.own
    pages = mm.pages_in(start, end)
    owned = [page for page in pages if not pt[page] & PINNED]
    for page in pages:
        pt[page + distance] = pt.pop(page)
    own.difference_update(owned)
    own.update([page + distance for page in owned])
    return bool(pages), bool(owned)
