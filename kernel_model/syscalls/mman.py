"""The calls that shape an address space (mm/mmap.c, mm/madvise.c, mm/mlock.c, mm/memfd.c ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_SEAL_EXEC, F_SEAL_SEAL, O_LARGEFILE, O_PATH, O_RDWR
from kernel_model.abi.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_POPULATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_READ,
)
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.cred import CAP_IPC_LOCK, CAP_SYS_RAWIO
from kernel_model.events import MappingChanged
from kernel_model.syscalls.declare import Fd, Hex, Int, Ptr, Size, StringPtr, ULong, syscall
from kernel_model.syscalls.kinds import (
    MadviseAdvice,
    MembarrierCmd,
    MembarrierFlags,
    MemfdFlags,
    MlockallFlags,
    MlockFlags,
    MmapFlags,
    MmapProt,
    MremapFlags,
    MsyncFlags,
    PkeyAccess,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.task import Task

READ_IMPLIES_EXEC: Final = 0x0400000
MS_ASYNC: Final = 1
MS_INVALIDATE: Final = 2
MS_SYNC: Final = 4
_HUGE_SHIFT: Final = 26
_HUGE_SIZES: Final = (0, 21, 30)


def _changed(task: Task, what: str, start: int, length: int) -> None:
    """Tell who listens that the address space is another one now."""
    if task.kernel.events.active:
        task.kernel.events.emit(MappingChanged(task, what, start, start + page_align_up(length)))


# -- mmap, munmap, brk ------------------------------------------------------------------------------------------------
@syscall(returns="ptr")
def sys_mmap(task: Task, addr: Ptr, length: Size, prot: MmapProt, flags: MmapFlags, fd: Fd, offset: Hex) -> int:
    """mmap(2). mm/mmap.c:ksys_mmap_pgoff()."""
    if offset & ~PAGE_MASK:
        raise SyscallError(errno.EINVAL)
    file: File | None = None
    if not flags & MAP_ANONYMOUS:
        file = task.files.fd.get(fd)
        if file is None or file.f_flags & O_PATH:
            raise SyscallError(errno.EBADF)
        if flags & MAP_HUGETLB:
            raise SyscallError(errno.EINVAL)
    elif flags & MAP_HUGETLB:
        # There are no huge pages: as with nr_hugepages at 0.
        known = flags >> _HUGE_SHIFT & 0x3F in _HUGE_SIZES
        raise SyscallError(errno.ENOMEM if known else errno.EINVAL)
    if task.personality & READ_IMPLIES_EXEC and prot & PROT_READ:
        prot |= PROT_EXEC
    cred = task.cred
    start = task.mm.mmap(
        addr,
        length,
        prot,
        flags,
        file,
        offset,
        task=task,
        rawio=cred.capable(CAP_SYS_RAWIO),
        ipc_lock=cred.capable(CAP_IPC_LOCK),
    )
    _changed(task, "mmap", start, length)
    return start


@syscall()
def sys_munmap(task: Task, addr: Ptr, length: Size) -> int:
    """munmap(2)."""
    mm = task.mm
    addr = mm.arch.untag(addr)
    mm.munmap(addr, length)
    _changed(task, "munmap", addr, length)
    return 0


@syscall(returns="ptr")
def sys_brk(task: Task, brk: Ptr) -> int:
    """brk(2), "C library/kernel differences": the new break, or the old one."""
    mm = task.mm
    old = mm.brk
    new = mm.set_brk(brk)
    if new != old:
        _changed(task, "brk", mm.start_brk, new - mm.start_brk)
    return new


@syscall(returns="ptr")
def sys_mremap(task: Task, addr: Ptr, old_length: Size, new_length: Size, flags: MremapFlags, new_addr: Ptr) -> int:
    """mremap(2)."""
    mm = task.mm
    addr = mm.arch.untag(addr)
    ipc_lock = task.cred.capable(CAP_IPC_LOCK)
    start = mm.mremap(addr, old_length, new_length, flags, new_addr, ipc_lock=ipc_lock)
    _changed(task, "mremap", start, new_length)
    return start


@syscall()
def sys_remap_file_pages(task: Task, start: Ptr, size: Size, prot: MmapProt, pgoff: ULong, flags: MmapFlags) -> int:
    """remap_file_pages(2), done by mapping anew as Linux does since 4.0 (mm/mmap.c)."""
    from kernel_model.mm.vma import VM_ACCESS_FLAGS, VM_LOCKED, VM_SHARED

    mm = task.mm
    begin = start & PAGE_MASK
    size &= PAGE_MASK
    end = begin + size
    if prot or not size or end > U64_MASK or pgoff + (size >> PAGE_SHIFT) > U64_MASK:
        raise SyscallError(errno.EINVAL)
    vma = mm.vmas.lookup(begin)
    if vma is None or not vma.vm_flags & VM_SHARED:
        raise SyscallError(errno.EINVAL)
    for other in mm.vmas.overlapping(begin, end):
        if other.mapping is not vma.mapping or other.vm_flags != vma.vm_flags:
            raise SyscallError(errno.EINVAL)
    if mm.mapped_bytes(begin, end) != size:
        raise SyscallError(errno.EINVAL)
    if vma.vm_file is None:
        assert vma.mapping is not None
        mm.map_region(begin, size, vma.vm_flags, pgoff, None, vma.mapping)
        if not flags & MAP_NONBLOCK:
            mm.populate(begin, end)
        return 0
    kind = flags & MAP_NONBLOCK | MAP_SHARED | MAP_FIXED | MAP_POPULATE
    if vma.vm_flags & VM_LOCKED:
        kind |= MAP_LOCKED
    mm.mmap(begin, size, vma.vm_flags & VM_ACCESS_FLAGS, kind, vma.vm_file, pgoff << PAGE_SHIFT, task=task)
    _changed(task, "mmap", begin, size)
    return 0


# -- protection -------------------------------------------------------------------------------------------------------
@syscall()
def sys_mprotect(task: Task, addr: Ptr, length: Size, prot: MmapProt) -> int:
    """mprotect(2)."""
    mm = task.mm
    addr = mm.arch.untag(addr)
    if task.personality & READ_IMPLIES_EXEC and prot & PROT_READ:
        prot |= PROT_EXEC
    mm.mprotect(addr, length, prot)
    _changed(task, "mprotect", addr, length)
    return 0


@syscall(partial="Neither CPU has protection keys: only key -1, which is none, is accepted.")
def sys_pkey_mprotect(task: Task, addr: Ptr, length: Size, prot: MmapProt, pkey: Int) -> int:
    """pkey_mprotect(2) on a CPU without protection keys."""
    if pkey != -1:
        raise SyscallError(errno.EINVAL)
    return sys_mprotect(task, addr, length, prot)


@syscall(partial="Neither CPU has protection keys: ENOSPC, as on Linux then.")
def sys_pkey_alloc(task: Task, flags: ULong, access_rights: PkeyAccess) -> int:
    """pkey_alloc(2) on a CPU without protection keys (mm/mprotect.c)."""
    if flags or access_rights & ~3:
        raise SyscallError(errno.EINVAL)
    raise SyscallError(errno.ENOSPC)


@syscall(partial="Neither CPU has protection keys: EINVAL, as on Linux then.")
def sys_pkey_free(task: Task, pkey: Int) -> int:
    """pkey_free(2) on a CPU without protection keys."""
    raise SyscallError(errno.EINVAL)


@syscall()
def sys_mseal(task: Task, start: Ptr, length: Size, flags: ULong) -> int:
    """mseal(2). mm/mseal.c:do_mseal()."""
    from kernel_model.mm.vma import VM_SEALED

    mm = task.mm
    if flags:
        raise SyscallError(errno.EINVAL)
    begin = mm.arch.untag(start)
    size = page_align_up(length) & U64_MASK
    if begin & ~PAGE_MASK or (length and not size) or begin + size > U64_MASK:
        raise SyscallError(errno.EINVAL)
    end = begin + size
    if mm.mapped_bytes(begin, end) != size:
        raise SyscallError(errno.ENOMEM)
    for vma in mm.vmas.overlapping(begin, end):
        mm.change_flags(max(begin, vma.vm_start), min(end, vma.vm_end), vma, vma.vm_flags | VM_SEALED)
    return 0


# -- advice, synchronisation, residency -------------------------------------------------------------------------------
@syscall(partial="Pages are never merged, made huge, reclaimed or poisoned: such advice is checked and noted, no more.")
def sys_madvise(task: Task, addr: Ptr, length: Size, advice: MadviseAdvice) -> int:
    """madvise(2)."""
    from kernel_model.mm.madvise import do_madvise

    mm = task.mm
    do_madvise(mm, mm.arch.untag(addr), length, advice)
    return 0


@syscall()
def sys_msync(task: Task, addr: Ptr, length: Size, flags: MsyncFlags) -> int:
    """msync(2). mm/msync.c."""
    from kernel_model.mm.vma import VM_LOCKED, VM_SHARED

    mm = task.mm
    start = mm.arch.untag(addr)
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start & ~PAGE_MASK or (flags & MS_ASYNC and flags & MS_SYNC):
        raise SyscallError(errno.EINVAL)
    size = page_align_up(length) & U64_MASK
    end = start + size
    if end > U64_MASK:
        raise SyscallError(errno.ENOMEM)
    for vma in mm.vmas.overlapping(start, end):
        if flags & MS_INVALIDATE and vma.vm_flags & VM_LOCKED:
            raise SyscallError(errno.EBUSY)
        if flags & MS_SYNC and vma.vm_file is not None and vma.vm_flags & VM_SHARED:
            vma.vm_file.fsync(task)
    if mm.mapped_bytes(start, end) != size:
        raise SyscallError(errno.ENOMEM)
    return 0


@syscall()
def sys_mincore(task: Task, addr: Ptr, length: Size, vec: Ptr) -> int:
    """mincore(2). mm/mincore.c."""
    from kernel_model.mm.uaccess import copy_to_user

    mm = task.mm
    start: int = mm.arch.untag(addr)
    if start & ~PAGE_MASK:
        raise SyscallError(errno.EINVAL)
    if start + length > mm.task_size:
        raise SyscallError(errno.ENOMEM)
    if vec + (page_align_up(length) >> PAGE_SHIFT) > mm.task_size:
        raise SyscallError(errno.EFAULT)
    end = start + page_align_up(length)
    out: int = vec
    while start < end:
        vma = mm.vmas.lookup(start)
        if vma is None:
            raise SyscallError(errno.ENOMEM)
        stop = min(vma.vm_end, end, start + (PAGE_SIZE << PAGE_SHIFT))
        pages = (stop - start) >> PAGE_SHIFT
        if vma.vm_file is None or _may_see_residency(task, vma.vm_file):
            present = bytearray(pages)
            for page in mm.pages_in(start, stop):
                present[(page - start) >> PAGE_SHIFT] = 1
            if vma.mapping is not None:
                first = vma.pgoff_at(start)
                for i in range(pages):
                    if first + i in vma.mapping.pages:
                        present[i] = 1
        else:
            present = bytearray(b"\1" * pages)
        copy_to_user(mm, out, present)
        out += pages
        start = stop
    return 0


def _may_see_residency(task: Task, file: File) -> bool:
    """mm/mincore.c:can_do_mincore(): the owner, or who may write the file; others are told that all of it is there."""
    from kernel_model.fs.permission import MAY_WRITE, generic_permission, owner_or_capable

    cred = task.cred
    return owner_or_capable(cred, file.inode) or generic_permission(cred, file.inode, MAY_WRITE)


# -- locking ----------------------------------------------------------------------------------------------------------
def _lock(task: Task, addr: int, length: int, flags: int) -> int:
    """What mlock and mlock2 have in common."""
    from kernel_model.mm.mlock import do_mlock

    mm = task.mm
    do_mlock(mm, mm.arch.untag(addr), length, flags, ipc_lock=task.cred.capable(CAP_IPC_LOCK))
    return 0


@syscall()
def sys_mlock(task: Task, addr: Ptr, length: Size) -> int:
    """mlock(2)."""
    from kernel_model.mm.vma import VM_LOCKED

    return _lock(task, addr, length, VM_LOCKED)


@syscall()
def sys_mlock2(task: Task, addr: Ptr, length: Size, flags: MlockFlags) -> int:
    """mlock2(2)."""
    from kernel_model.mm.mlock import MLOCK_ONFAULT
    from kernel_model.mm.vma import VM_LOCKED, VM_LOCKONFAULT

    if flags & ~MLOCK_ONFAULT:
        raise SyscallError(errno.EINVAL)
    return _lock(task, addr, length, VM_LOCKED | (VM_LOCKONFAULT if flags else 0))


@syscall()
def sys_munlock(task: Task, addr: Ptr, length: Size) -> int:
    """munlock(2)."""
    from kernel_model.mm.mlock import do_munlock

    mm = task.mm
    do_munlock(mm, mm.arch.untag(addr), length)
    return 0


@syscall()
def sys_mlockall(task: Task, flags: MlockallFlags) -> int:
    """mlockall(2)."""
    from kernel_model.mm.mlock import do_mlockall

    do_mlockall(task.mm, flags, ipc_lock=task.cred.capable(CAP_IPC_LOCK))
    return 0


@syscall()
def sys_munlockall(task: Task) -> int:
    """munlockall(2)."""
    from kernel_model.mm.mlock import do_munlockall

    do_munlockall(task.mm)
    return 0


# -- memfd_create -----------------------------------------------------------------------------------------------------
MFD_CLOEXEC: Final = 1
MFD_ALLOW_SEALING: Final = 2
MFD_HUGETLB: Final = 4
MFD_NOEXEC_SEAL: Final = 8
MFD_EXEC: Final = 0x10
_MFD_NAME_MAX_LEN: Final = 255 - len("memfd:")


@syscall(returns="fd", partial="MFD_HUGETLB fails: there are no huge pages.")
def sys_memfd_create(task: Task, name: StringPtr, flags: MemfdFlags) -> int:
    """memfd_create(2). mm/memfd.c."""
    from kernel_model.fs.memfd import memfd_file
    from kernel_model.mm.uaccess import strncpy_from_user

    allowed = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC | MFD_HUGETLB
    if flags & MFD_HUGETLB:
        allowed |= 0x3F << _HUGE_SHIFT
    if flags & ~allowed or flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL:
        raise SyscallError(errno.EINVAL)
    try:
        text = strncpy_from_user(task.mm, name, _MFD_NAME_MAX_LEN + 1)
    except SyscallError as error:
        raise SyscallError(errno.EINVAL if error.errno == errno.ENAMETOOLONG else error.errno) from None
    if flags & MFD_HUGETLB:
        known = flags >> _HUGE_SHIFT & 0x3F in _HUGE_SIZES
        raise SyscallError(errno.ENOMEM if known else errno.EINVAL)
    noexec = bool(flags & MFD_NOEXEC_SEAL)
    seals = 0 if flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) else F_SEAL_SEAL
    if noexec:
        seals |= F_SEAL_EXEC
    file = memfd_file(task, b"memfd:" + text, 0o666 if noexec else 0o777, seals, O_RDWR | O_LARGEFILE)
    return task.files.install(file, task.signal.rlim[RLIMIT_NOFILE][0], cloexec=bool(flags & MFD_CLOEXEC))


# -- membarrier -------------------------------------------------------------------------------------------------------
_GLOBAL: Final = 1
_GLOBAL_EXPEDITED: Final = 2
_REGISTER_GLOBAL_EXPEDITED: Final = 4
_PRIVATE_EXPEDITED: Final = 8
_PRIVATE_EXPEDITED_SYNC_CORE: Final = 32
_PRIVATE_EXPEDITED_RSEQ: Final = 128
_GET_REGISTRATIONS: Final = 512
_PRIVATE: Final = _PRIVATE_EXPEDITED | _PRIVATE_EXPEDITED_SYNC_CORE | _PRIVATE_EXPEDITED_RSEQ
_REGISTER: Final = _REGISTER_GLOBAL_EXPEDITED | _PRIVATE << 1
_CMD_BITMASK: Final = _GLOBAL | _GLOBAL_EXPEDITED | _PRIVATE | _REGISTER | _GET_REGISTRATIONS
_FLAG_CPU: Final = 1


@syscall()
def sys_membarrier(task: Task, cmd: MembarrierCmd, flags: MembarrierFlags, cpu_id: Int) -> int:
    """membarrier(2). One CPU runs every task in turn, so that each barrier has already happened.

    kernel/sched/membarrier.c: a private command without its registration is EPERM.
    """
    mm = task.mm
    if flags and not (cmd == _PRIVATE_EXPEDITED_RSEQ and flags == _FLAG_CPU):
        raise SyscallError(errno.EINVAL)
    if cmd == 0:
        return _CMD_BITMASK
    if cmd in (_GLOBAL, _GLOBAL_EXPEDITED):
        return 0
    if cmd == _GET_REGISTRATIONS:
        return mm.membarrier_state
    if cmd & -cmd != cmd or not cmd & (_PRIVATE | _REGISTER):
        raise SyscallError(errno.EINVAL)
    if cmd & _REGISTER:
        mm.membarrier_state |= cmd
    elif not mm.membarrier_state & cmd << 1:
        raise SyscallError(errno.EPERM)
    return 0
