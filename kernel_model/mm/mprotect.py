"""mprotect(2) (mm/mprotect.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.mm.vma import VM_ACCESS_FLAGS, VM_GROWSDOWN, VM_SEALED
from kernel_model.types import PAGE_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap

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
