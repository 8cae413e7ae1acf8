"""The options of prctl(2), in kernel/sys.c's words. Only imported by a program that uses one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import prctl as abi
from kernel_model.abi.seccomp import SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT
from kernel_model.cred import (
    CAP_LAST_CAP,
    CAP_SETPCAP,
    CAP_SYS_RESOURCE,
    SECURE_ALL_BITS,
    SECURE_ALL_LOCKS,
    SECURE_EXEC_BITS,
    SECURE_KEEP_CAPS,
    SECURE_KEEP_CAPS_LOCKED,
    SECURE_NO_CAP_AMBIENT_RAISE,
)
from kernel_model.mm.uaccess import copy_from_user_partial, copy_to_user, put_user, strncpy_from_user
from kernel_model.types import PAGE_SIZE, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.cred import Cred
    from kernel_model.task import Task

_INT: Final = struct.Struct("<i")
_UINT: Final = struct.Struct("<I")
_LONG: Final = struct.Struct("<Q")
_TASK_COMM_LEN: Final = 16
_MMAP_MIN_ADDR: Final = 0x10000
_ANON_VMA_NAME_MAX_LEN: Final = 80


def prctl(task: Task, option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """prctl(2). EINVAL for an option that is unknown or that this CPU has no use for."""
    handler = _OPTIONS.get(option)
    if handler is None:
        raise SyscallError(errno.EINVAL)
    return handler(task, arg2, arg3, arg4, arg5)


def _zero(*unused: int) -> None:
    """Arguments that must be 0."""
    if any(unused):
        raise SyscallError(errno.EINVAL)


# -- what a task is ---------------------------------------------------------------------------------------------------
def _set_pdeathsig(task: Task, signal: int, arg3: int, arg4: int, arg5: int) -> int:
    if not 0 <= signal <= 64:
        raise SyscallError(errno.EINVAL)
    task.pdeath_signal = signal
    return 0


def _get_pdeathsig(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    put_user(task.mm, pointer, _INT, task.pdeath_signal)
    return 0


def _get_dumpable(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    return task.ptrace_dumpable


def _set_dumpable(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    if value not in (0, 1):
        raise SyscallError(errno.EINVAL)
    task.ptrace_dumpable = value
    return 0


def _set_name(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    data = copy_from_user_partial(task.mm, pointer, _TASK_COMM_LEN - 1)
    name, nul, _ = data.partition(b"\0")
    if not nul and len(data) < _TASK_COMM_LEN - 1:
        raise SyscallError(errno.EFAULT)
    task.comm = name
    return 0


def _get_name(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    copy_to_user(task.mm, pointer, task.comm[: _TASK_COMM_LEN - 1].ljust(_TASK_COMM_LEN, b"\0"))
    return 0


def _set_child_subreaper(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    task.signal.is_child_subreaper = bool(value)
    return 0


def _get_child_subreaper(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    put_user(task.mm, pointer, _INT, int(task.signal.is_child_subreaper))
    return 0


def _get_tid_address(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    put_user(task.mm, pointer, _LONG, task.clear_child_tid)
    return 0


def _set_timerslack(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    task.timer_slack_ns = value if 0 < value < 1 << 63 else task.default_timer_slack_ns
    return 0


def _get_timerslack(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    return task.timer_slack_ns


def _nothing(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """PR_GET_TIMING (statistical), PR_TASK_PERF_EVENTS_*."""
    return 0


def _set_timing(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(value)
    return 0


def _get_auxv(task: Task, pointer: int, count: int, arg4: int, arg5: int) -> int:
    _zero(arg4, arg5)
    copy_to_user(task.mm, pointer, task.auxv[:count])
    return len(task.auxv)


def _mce_kill(task: Task, what: int, policy: int, arg4: int, arg5: int) -> int:
    _zero(arg4, arg5)
    if what == abi.PR_MCE_KILL_CLEAR:
        _zero(policy)
        task.mce_kill = abi.PR_MCE_KILL_DEFAULT
    elif what == abi.PR_MCE_KILL_SET and policy <= abi.PR_MCE_KILL_DEFAULT:
        task.mce_kill = policy
    else:
        raise SyscallError(errno.EINVAL)
    return 0


def _mce_kill_get(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg2, arg3, arg4, arg5)
    return task.mce_kill


# -- privileges -------------------------------------------------------------------------------------------------------
def _changed(task: Task) -> Cred:
    """The credentials, to be changed in place: nobody else holds these."""
    task.cred = task.cred.copy()
    return task.cred


def _get_keepcaps(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    return int(bool(task.cred.securebits & SECURE_KEEP_CAPS))


def _set_keepcaps(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    if value > 1:
        raise SyscallError(errno.EINVAL)
    if task.cred.securebits & SECURE_KEEP_CAPS_LOCKED:
        raise SyscallError(errno.EPERM)
    cred = _changed(task)
    cred.securebits = cred.securebits & ~SECURE_KEEP_CAPS | (SECURE_KEEP_CAPS if value else 0)
    return 0


def _get_securebits(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    return task.cred.securebits


def _set_securebits(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    """security/commoncap.c:cap_task_prctl(): locks stay, and what they lock."""
    old = task.cred.securebits
    locked = (old & SECURE_ALL_LOCKS) >> 1
    changed = old ^ value
    if locked & changed or old & SECURE_ALL_LOCKS & ~value or value & ~(SECURE_ALL_LOCKS | SECURE_ALL_BITS):
        raise SyscallError(errno.EPERM)
    if not task.cred.capable(CAP_SETPCAP) and (not changed or changed & ~(SECURE_EXEC_BITS | SECURE_EXEC_BITS << 1)):
        raise SyscallError(errno.EPERM)
    _changed(task).securebits = value
    return 0


def _capbset_read(task: Task, cap: int, arg3: int, arg4: int, arg5: int) -> int:
    if cap > CAP_LAST_CAP:
        raise SyscallError(errno.EINVAL)
    return task.cred.cap_bset >> cap & 1


def _capbset_drop(task: Task, cap: int, arg3: int, arg4: int, arg5: int) -> int:
    if not task.cred.capable(CAP_SETPCAP):
        raise SyscallError(errno.EPERM)
    if cap > CAP_LAST_CAP:
        raise SyscallError(errno.EINVAL)
    _changed(task).cap_bset &= ~(1 << cap)
    return 0


def _cap_ambient(task: Task, what: int, cap: int, arg4: int, arg5: int) -> int:
    if what == abi.PR_CAP_AMBIENT_CLEAR_ALL:
        _zero(cap, arg4, arg5)
        _changed(task).cap_ambient = 0
        return 0
    _zero(arg4, arg5)
    if cap > CAP_LAST_CAP:
        raise SyscallError(errno.EINVAL)
    cred = task.cred
    bit = 1 << cap
    if what == abi.PR_CAP_AMBIENT_IS_SET:
        return int(bool(cred.cap_ambient & bit))
    if what == abi.PR_CAP_AMBIENT_RAISE:
        if not cred.cap_permitted & cred.cap_inheritable & bit or cred.securebits & SECURE_NO_CAP_AMBIENT_RAISE:
            raise SyscallError(errno.EPERM)
        _changed(task).cap_ambient |= bit
    elif what == abi.PR_CAP_AMBIENT_LOWER:
        _changed(task).cap_ambient &= ~bit
    else:
        raise SyscallError(errno.EINVAL)
    return 0


def _set_no_new_privs(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    if value != 1:
        raise SyscallError(errno.EINVAL)
    _zero(arg3, arg4, arg5)
    task.no_new_privs = True
    return 0


def _get_no_new_privs(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg2, arg3, arg4, arg5)
    return int(task.no_new_privs)


def _get_seccomp(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    return 0 if task.seccomp is None else task.seccomp.mode


def _set_seccomp(task: Task, mode: int, fprog: int, arg4: int, arg5: int) -> int:
    """kernel/seccomp.c:prctl_set_seccomp(): strict mode looks at no other argument."""
    from kernel_model.seccomp import filter as seccomp

    if mode == SECCOMP_MODE_STRICT:
        return seccomp.set_mode_strict(task)
    if mode == SECCOMP_MODE_FILTER:
        return seccomp.set_mode_filter(task, 0, fprog)
    raise SyscallError(errno.EINVAL)


def _io_flusher(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER: there is no block device to flush for."""
    if not task.cred.capable(CAP_SYS_RESOURCE):
        raise SyscallError(errno.EPERM)
    _zero(arg3, arg4, arg5)
    if arg2 > 1:
        raise SyscallError(errno.EINVAL)
    return 0


# -- the CPU ----------------------------------------------------------------------------------------------------------
def _get_tsc(task: Task, pointer: int, arg3: int, arg4: int, arg5: int) -> int:
    if not task.kernel.arch.HAS_TSC:
        raise SyscallError(errno.EINVAL)
    put_user(task.mm, pointer, _UINT, abi.PR_TSC_ENABLE)
    return 0


def _set_tsc(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    if not task.kernel.arch.HAS_TSC or value != abi.PR_TSC_ENABLE:
        # QUIRK: PR_SET_TSC can't make rdtsc trap: the engine executes it by itself.
        raise SyscallError(errno.EINVAL)
    return 0


def _get_speculation(task: Task, which: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg3, arg4, arg5)
    if which > abi.PR_SPEC_L1D_FLUSH:
        raise SyscallError(errno.ENODEV)
    return abi.PR_SPEC_NOT_AFFECTED


def _set_speculation(task: Task, which: int, control: int, arg4: int, arg5: int) -> int:
    _zero(arg4, arg5)
    if which > abi.PR_SPEC_L1D_FLUSH:
        raise SyscallError(errno.ENODEV)
    raise SyscallError(errno.ENXIO)


def _set_tagged_addr(task: Task, control: int, arg3: int, arg4: int, arg5: int) -> int:
    """arch/arm64/kernel/process.c:set_tagged_addr_ctrl() without MTE."""
    if not task.kernel.arch.HAS_TAGGED_ADDR:
        raise SyscallError(errno.EINVAL)
    _zero(arg3, arg4, arg5, control & ~abi.PR_TAGGED_ADDR_ENABLE)
    task.mm.tagged_addr = bool(control)
    return 0


def _get_tagged_addr(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    if not task.kernel.arch.HAS_TAGGED_ADDR:
        raise SyscallError(errno.EINVAL)
    _zero(arg2, arg3, arg4, arg5)
    return abi.PR_TAGGED_ADDR_ENABLE if task.mm.tagged_addr else 0


# -- memory -----------------------------------------------------------------------------------------------------------
def _set_thp_disable(task: Task, value: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg3, arg4, arg5)
    task.thp_disable = bool(value)
    return 0


def _get_thp_disable(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg2, arg3, arg4, arg5)
    return int(task.thp_disable)


def _set_mdwe(task: Task, bits: int, arg3: int, arg4: int, arg5: int) -> int:
    """PR_SET_MDWE asks for a promise that mprotect(2) does not keep here: refused as by a kernel without it."""
    raise SyscallError(errno.EINVAL)


def _get_mdwe(task: Task, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    _zero(arg2, arg3, arg4, arg5)
    return 0


def _set_vma(task: Task, what: int, start: int, length: int, name_pointer: int) -> int:
    """PR_SET_VMA_ANON_NAME: what /proc/self/maps calls anonymous memory (mm/madvise.c:set_anon_vma_name())."""
    if what != abi.PR_SET_VMA_ANON_NAME:
        raise SyscallError(errno.EINVAL)
    name = b""
    if name_pointer:
        try:
            name = strncpy_from_user(task.mm, name_pointer, _ANON_VMA_NAME_MAX_LEN)
        except SyscallError as error:
            raise SyscallError(errno.EINVAL if error.errno == errno.ENAMETOOLONG else error.errno) from None
        if any(byte < 0x20 or byte > 0x7E or byte in b"\\`$[]" for byte in name):
            raise SyscallError(errno.EINVAL)
    if start % PAGE_SIZE:
        raise SyscallError(errno.EINVAL)
    end = start + page_align_up(length)
    if end > U64_MASK or (length and end == start):
        raise SyscallError(errno.EINVAL)
    if end == start:
        return 0
    mm = task.mm
    found = mm.vmas.overlapping(start, end)
    covered = start
    for vma in found:
        if vma.vm_file is not None:
            raise SyscallError(errno.EBADF)
        if vma.vm_start < start:
            vma = mm.split(vma, start)
        if vma.vm_end > end:
            mm.split(vma, end)
        if vma.mapping is None or not vma.mapping.special:  # which keeps its own name (fs/proc/task_mmu.c)
            kind = "anon" if vma.mapping is None else "anon_shmem"
            vma.name = f"[{kind}:{name.decode()}]" if name_pointer else ""
        if vma.vm_start == covered:
            covered = vma.vm_end
    if covered < end:
        raise SyscallError(errno.ENOMEM)
    return 0


def _set_syscall_user_dispatch(task: Task, mode: int, offset: int, length: int, selector: int) -> int:
    from kernel_model.syscall_work import set_user_dispatch

    return set_user_dispatch(task, mode, offset, length, selector)


_MM_ORDER: Final = (
    ("start_code", "end_code"), ("start_data", "end_data"), ("start_brk", "brk"), ("arg_start", "arg_end"),
    ("env_start", "env_end"),
)  # fmt: skip


def _set_mm(task: Task, what: int, value: int, arg4: int, arg5: int) -> int:
    """PR_SET_MM: where the kernel believes the parts of the program to be (prctl_set_mm())."""
    if arg5 or (arg4 and what not in (abi.PR_SET_MM_AUXV, abi.PR_SET_MM_MAP, abi.PR_SET_MM_MAP_SIZE)):
        raise SyscallError(errno.EINVAL)
    if not task.cred.capable(CAP_SYS_RESOURCE):
        raise SyscallError(errno.EPERM)
    if what == abi.PR_SET_MM_AUXV:
        if not value or arg4 > len(task.auxv):
            raise SyscallError(errno.EINVAL)
        data = copy_from_user_partial(task.mm, value, arg4)
        if len(data) != arg4:
            raise SyscallError(errno.EFAULT)
        task.auxv = data.ljust(len(task.auxv), b"\0")[:-16] + bytes(16)
        return 0
    field = abi.PR_SET_MM_FIELDS.get(what)
    if field is None or not _MMAP_MIN_ADDR <= value < task.kernel.arch.TASK_SIZE:
        raise SyscallError(errno.EINVAL)
    if field.startswith(("arg", "env", "start_stack")) and task.mm.vmas.find(value) is None:
        raise SyscallError(errno.EFAULT)
    old = getattr(task.mm, field)
    setattr(task.mm, field, value)
    if any(getattr(task.mm, low) > getattr(task.mm, high) for low, high in _MM_ORDER):
        setattr(task.mm, field, old)
        raise SyscallError(errno.EINVAL)
    return 0


_OPTIONS: Final[dict[int, Callable[[Task, int, int, int, int], int]]] = {
    abi.PR_SET_PDEATHSIG: _set_pdeathsig,
    abi.PR_GET_PDEATHSIG: _get_pdeathsig,
    abi.PR_GET_DUMPABLE: _get_dumpable,
    abi.PR_SET_DUMPABLE: _set_dumpable,
    abi.PR_GET_KEEPCAPS: _get_keepcaps,
    abi.PR_SET_KEEPCAPS: _set_keepcaps,
    abi.PR_GET_TIMING: _nothing,
    abi.PR_SET_TIMING: _set_timing,
    abi.PR_SET_NAME: _set_name,
    abi.PR_GET_NAME: _get_name,
    abi.PR_GET_SECCOMP: _get_seccomp,
    abi.PR_SET_SECCOMP: _set_seccomp,
    abi.PR_CAPBSET_READ: _capbset_read,
    abi.PR_CAPBSET_DROP: _capbset_drop,
    abi.PR_GET_TSC: _get_tsc,
    abi.PR_SET_TSC: _set_tsc,
    abi.PR_GET_SECUREBITS: _get_securebits,
    abi.PR_SET_SECUREBITS: _set_securebits,
    abi.PR_SET_TIMERSLACK: _set_timerslack,
    abi.PR_GET_TIMERSLACK: _get_timerslack,
    abi.PR_TASK_PERF_EVENTS_DISABLE: _nothing,
    abi.PR_TASK_PERF_EVENTS_ENABLE: _nothing,
    abi.PR_MCE_KILL: _mce_kill,
    abi.PR_MCE_KILL_GET: _mce_kill_get,
    abi.PR_SET_MM: _set_mm,
    abi.PR_SET_CHILD_SUBREAPER: _set_child_subreaper,
    abi.PR_GET_CHILD_SUBREAPER: _get_child_subreaper,
    abi.PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
    abi.PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    abi.PR_GET_TID_ADDRESS: _get_tid_address,
    abi.PR_SET_THP_DISABLE: _set_thp_disable,
    abi.PR_GET_THP_DISABLE: _get_thp_disable,
    abi.PR_CAP_AMBIENT: _cap_ambient,
    abi.PR_GET_SPECULATION_CTRL: _get_speculation,
    abi.PR_SET_SPECULATION_CTRL: _set_speculation,
    abi.PR_SET_TAGGED_ADDR_CTRL: _set_tagged_addr,
    abi.PR_GET_TAGGED_ADDR_CTRL: _get_tagged_addr,
    abi.PR_SET_IO_FLUSHER: _io_flusher,
    abi.PR_GET_IO_FLUSHER: _io_flusher,
    abi.PR_SET_SYSCALL_USER_DISPATCH: _set_syscall_user_dispatch,
    abi.PR_SET_MDWE: _set_mdwe,
    abi.PR_GET_MDWE: _get_mdwe,
    abi.PR_SET_VMA: _set_vma,
    abi.PR_GET_AUXV: _get_auxv,
}
