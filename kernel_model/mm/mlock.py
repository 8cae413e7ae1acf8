"""mlock(2) and its kin (mm/mlock.c). What shows is VM_LOCKED, limits, and pages faulted in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.mm.fault import RLIMIT_MEMLOCK
from kernel_model.mm.vma import VM_LOCKED, VM_LOCKED_MASK, VM_LOCKONFAULT, VM_SPECIAL
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.mm.vma import Vma

MLOCK_ONFAULT: Final = 1
MCL_CURRENT: Final = 1
MCL_FUTURE: Final = 2
MCL_ONFAULT: Final = 4


def do_mlock(mm: MemoryMap, start: int, length: int, flags: int, *, ipc_lock: bool) -> None:
    """mm/mlock.c:do_mlock(): lock the pages of a range and fault them in; EPERM, ENOMEM, EINVAL, EAGAIN."""
    if not ipc_lock and not mm.rlimit(RLIMIT_MEMLOCK):
        raise SyscallError(errno.EPERM)
    length = page_align_up(length + (start & ~PAGE_MASK)) & U64_MASK
    start &= PAGE_MASK
    if not ipc_lock:
        wanted = (mm.locked_vm << PAGE_SHIFT) + length
        limit = mm.rlimit(RLIMIT_MEMLOCK)
        if wanted > limit and wanted - mm.mapped_bytes(start, start + length, VM_LOCKED) > limit:
            raise SyscallError(errno.ENOMEM)
    _apply(mm, start, length, flags)
    reached = mm.populate(start, start + length)
    if reached < start + length:
        vma = mm.vmas.lookup(reached)
        # mm/mlock.c:__mlock_posix_error_return(): a page that can't be there is ENOMEM, one that finds no room EAGAIN.
        beyond = vma is None or not vma.page_prot or _past_end(vma, reached)
        raise SyscallError(errno.ENOMEM if beyond else errno.EAGAIN)


def _past_end(vma: Vma, address: int) -> bool:
    """Does `address` show what lies past the file's end?"""
    return vma.mapping is not None and vma.pgoff_at(address) << PAGE_SHIFT >= vma.mapping.host.i_size


def do_munlock(mm: MemoryMap, start: int, length: int) -> None:
    """mm/mlock.c:munlock(): EINVAL, ENOMEM."""
    length = page_align_up(length + (start & ~PAGE_MASK)) & U64_MASK
    _apply(mm, start & PAGE_MASK, length, 0)


def _apply(mm: MemoryMap, start: int, length: int, flags: int) -> None:
    """mm/mlock.c:apply_vma_lock_flags(): give every mapping in the range these lock flags; ENOMEM at the first hole."""
    end = start + length
    if end > U64_MASK:
        raise SyscallError(errno.EINVAL)
    while start < end:
        vma = mm.vmas.lookup(start)
        if vma is None:
            raise SyscallError(errno.ENOMEM)
        stop = min(vma.vm_end, end)
        _fixup(mm, vma, start, stop, flags)
        start = stop


def _fixup(mm: MemoryMap, vma: Vma, start: int, end: int, flags: int) -> None:
    """mm/mlock.c:mlock_fixup(): what the kernel itself mapped is left alone."""
    if not vma.vm_flags & VM_SPECIAL:
        mm.change_flags(start, end, vma, vma.vm_flags & ~VM_LOCKED_MASK | flags)


def do_mlockall(mm: MemoryMap, flags: int, *, ipc_lock: bool) -> None:
    """mm/mlock.c:mlockall(); EINVAL, EPERM, ENOMEM."""
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        raise SyscallError(errno.EINVAL)
    limit = mm.rlimit(RLIMIT_MEMLOCK)
    if not ipc_lock and not limit:
        raise SyscallError(errno.EPERM)
    if flags & MCL_CURRENT and mm.total_vm << PAGE_SHIFT > limit and not ipc_lock:
        raise SyscallError(errno.ENOMEM)
    lock = VM_LOCKED | (VM_LOCKONFAULT if flags & MCL_ONFAULT else 0)
    mm.def_flags = lock if flags & MCL_FUTURE else 0
    if flags & MCL_CURRENT:
        _apply_all(mm, lock)
        for vma in list(mm.vmas):
            mm.populate(vma.vm_start, vma.vm_end)


def do_munlockall(mm: MemoryMap) -> None:
    """mm/mlock.c:munlockall()."""
    mm.def_flags = 0
    _apply_all(mm, 0)


def _apply_all(mm: MemoryMap, flags: int) -> None:
    """mm/mlock.c:apply_mlockall_flags(): errors are of no interest."""
    for vma in list(mm.vmas):
        try:
            _fixup(mm, vma, vma.vm_start, vma.vm_end, flags)
        except SyscallError:
            pass
