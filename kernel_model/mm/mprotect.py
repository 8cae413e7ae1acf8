"""mprotect(2) (mm/mprotect.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.mm.vma import (
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_NORESERVE,
    VM_SEALED,
    VM_SHARED,
    VM_WRITE,
)
from kernel_model.types import PAGE_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.mm.vma import Vma

PROT_SEM: Final = 8
PROT_GROWSDOWN: Final = 0x0100_0000
PROT_GROWSUP: Final = 0x0200_0000


def do_mprotect(mm: MemoryMap, start: int, length: int, prot: int) -> None:
    """mm/mprotect.c:do_mprotect_pkey(): parts before the one that can't are changed."""
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start & ~PAGE_MASK:
        raise SyscallError(errno.EINVAL)
    if not length:
        return
    end = start + page_align_up(length)
    if end >= 1 << 64 or end <= start:
        raise SyscallError(errno.ENOMEM)
    if prot & ~(VM_ACCESS_FLAGS | PROT_SEM):
        raise SyscallError(errno.EINVAL)
    vma = mm.vmas.find(start)
    if vma is None:
        raise SyscallError(errno.ENOMEM)
    if grows & PROT_GROWSDOWN:
        if vma.vm_start >= end:
            raise SyscallError(errno.ENOMEM)
        start = vma.vm_start
        if not vma.vm_flags & VM_GROWSDOWN:
            raise SyscallError(errno.EINVAL)
    else:
        if vma.vm_start > start:
            raise SyscallError(errno.ENOMEM)
        if grows:
            raise SyscallError(errno.EINVAL)
    flush = False
    try:
        while True:
            stop = min(vma.vm_end, end)
            flags = vma.vm_flags & ~VM_ACCESS_FLAGS | prot & VM_ACCESS_FLAGS
            if flags & ~(flags >> 4) & VM_ACCESS_FLAGS:
                raise SyscallError(errno.EACCES)
            if vma.vm_flags & VM_SEALED:
                raise SyscallError(errno.EPERM)
            if flags != vma.vm_flags:
                flags = _accounted(mm, vma, flags)
                mm.check_protect_limits(vma.vm_flags, flags, stop - start)
                vma = mm.change_flags(start, stop, vma, flags)
                flush |= mm.protect(start, stop, vma.page_prot)
            start = stop
            if start >= end:
                return
            following = mm.vmas.lookup(start)
            if following is None:
                raise SyscallError(errno.ENOMEM)
            vma = following
    finally:
        if flush:
            mm.tlb_flush()


def _accounted(mm: MemoryMap, vma: Vma, flags: int) -> int:
    """mm/mprotect.c:mprotect_fixup(): memory counts as committed once it could be written, until it can't have been."""
    if flags & VM_WRITE:
        if not vma.vm_flags & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE):
            return flags | VM_ACCOUNT
    elif vma.mapping is None and mm.own.isdisjoint(mm.pages_in(vma.vm_start, vma.vm_end)):
        return flags & ~VM_ACCOUNT
    return flags
