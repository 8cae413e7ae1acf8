"""Who a task is among others, its end, and what it registers with the kernel for its thread library."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.mm.uaccess import copy_to_user, put_user
from kernel_model.ns.pid import find_task_by_vpid, find_vpid, free_pid, pid_vnr
from kernel_model.syscalls.declare import DirFd, Hex, Int, PathPtr, Pid, Ptr, Size, UInt, syscall
from kernel_model.syscalls.kinds import Argv, ExecveatFlags, RseqFlags
from kernel_model.task import Rseq
from kernel_model.types import SyscallError, TaskExit, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

_ROBUST_LIST_HEAD_BYTES = 24
_LONG = struct.Struct("<Q")
_ORIG_RSEQ_SIZE = 32
_RSEQ_END = 28
"""offsetof(struct rseq, end)."""
_RSEQ_ALIGN = 32
_RSEQ_FLAG_UNREGISTER = 1
# cpu_id_start, cpu_id, rseq_cs, flags, node_id, mm_cid
_RSEQ_HEAD = struct.Struct("<IIQIII")
_RSEQ_CPU = struct.Struct("<II")
_RSEQ_IDS = struct.Struct("<II")
_RSEQ_IDS_OFFSET = 20
_RSEQ_CPU_ID_UNINITIALIZED = 0xFFFF_FFFF


@syscall()
def sys_exit(task: Task, status: Int) -> int:
    """_exit(2) of the calling thread."""
    raise TaskExit((status & 0xFF) << 8, group=False)


@syscall()
def sys_exit_group(task: Task, status: Int) -> int:
    """exit_group(2)."""
    raise TaskExit((status & 0xFF) << 8)


@syscall()
def sys_execve(task: Task, filename: PathPtr, argv: Argv, envp: Ptr) -> int:
    """execve(2)."""
    from kernel_model import exec as exec_
    from kernel_model.abi.fcntl import AT_FDCWD

    return exec_.do_execve(task, AT_FDCWD, filename, argv, envp, 0)


@syscall()
def sys_execveat(task: Task, dirfd: DirFd, filename: PathPtr, argv: Argv, envp: Ptr, flags: ExecveatFlags) -> int:
    """execveat(2)."""
    from kernel_model import exec as exec_

    return exec_.do_execve(task, dirfd, filename, argv, envp, flags)


@syscall()
def sys_getpid(task: Task) -> int:
    """getpid(2)."""
    return task.tgid_vnr


@syscall()
def sys_gettid(task: Task) -> int:
    """gettid(2)."""
    return task.pid_vnr


@syscall()
def sys_getppid(task: Task) -> int:
    """getppid(2)."""
    return task.signal.parent_vnr


@syscall()
def sys_getpgrp(task: Task) -> int:
    """getpgrp(2)."""
    return pid_vnr(task, task.signal.pgrp)


def _find(task: Task, pid: int) -> Task:
    """The task of that pid, the caller for 0; ESRCH."""
    if not pid:
        return task
    found = find_task_by_vpid(task, pid)
    if found is None:
        raise SyscallError(errno.ESRCH)
    return found


@syscall()
def sys_getpgid(task: Task, pid: Pid) -> int:
    """getpgid(2)."""
    return pid_vnr(task, _find(task, pid).signal.pgrp)


@syscall()
def sys_getsid(task: Task, pid: Pid) -> int:
    """getsid(2)."""
    return pid_vnr(task, _find(task, pid).signal.session)


@syscall()
def sys_setpgid(task: Task, pid: Pid, pgid: Pid) -> int:
    """setpgid(2), in the order of kernel/sys.c."""
    pid = pid or task.tgid_vnr
    pgid = pgid or pid
    if pgid < 0:
        raise SyscallError(errno.EINVAL)
    target = _find(task, pid)
    if target.pid != target.tgid:
        raise SyscallError(errno.EINVAL)
    signal = target.signal
    if signal.parent_tgid == task.tgid:
        if signal.session != task.signal.session:
            raise SyscallError(errno.EPERM)
    elif signal is not task.signal:
        raise SyscallError(errno.ESRCH)
    if signal.session == signal.tgid:
        raise SyscallError(errno.EPERM)
    pgrp = find_vpid(task, pgid)
    if pgid != pid and not any(
        other.signal.pgrp == pgrp and other.signal.session == task.signal.session
        for other in task.kernel.tasks.values()
    ):
        raise SyscallError(errno.EPERM)
    left, signal.pgrp = signal.pgrp, pgrp
    if left in task.kernel.ns_of_pid:
        free_pid(task.kernel, left)
    return 0


@syscall()
def sys_setsid(task: Task) -> int:
    """setsid(2): EPERM for the leader of a process group."""
    signal = task.signal
    if any(other.signal.pgrp == signal.tgid for other in task.kernel.tasks.values()):
        raise SyscallError(errno.EPERM)
    left = {signal.session, signal.pgrp}
    signal.session = signal.pgrp = signal.tgid
    for number in left & task.kernel.ns_of_pid.keys():
        free_pid(task.kernel, number)
    return task.tgid_vnr


@syscall()
def sys_set_tid_address(task: Task, tidptr: Ptr) -> int:
    """set_tid_address(2)."""
    task.clear_child_tid = tidptr
    return task.pid_vnr


@syscall()
def sys_set_robust_list(task: Task, head: Ptr, size: Size) -> int:
    """set_robust_list(2)."""
    if size != _ROBUST_LIST_HEAD_BYTES:
        raise SyscallError(errno.EINVAL)
    task.robust_list = head
    return 0


@syscall()
def sys_get_robust_list(task: Task, pid: Pid, head_ptr: Ptr, size_ptr: Ptr) -> int:
    """get_robust_list(2). EPERM for a process whose memory the caller may not look into."""
    target = _find(task, pid)
    if target.mm is not task.mm:
        from kernel_model.syscalls.cred import may_access

        if not may_access(task, target):
            raise SyscallError(errno.EPERM)
    put_user(task.mm, size_ptr, _LONG, _ROBUST_LIST_HEAD_BYTES)
    put_user(task.mm, head_ptr, _LONG, target.robust_list)
    return 0


@syscall()
def sys_rseq(task: Task, rseq: Ptr, rseq_len: UInt, flags: RseqFlags, sig: Hex) -> int:
    """rseq(2), in the order of kernel/rseq.c."""
    sig &= 0xFFFF_FFFF
    own = task.rseq
    if flags & _RSEQ_FLAG_UNREGISTER:
        if flags != _RSEQ_FLAG_UNREGISTER or not own.address or own.address != rseq or own.length != rseq_len:
            raise SyscallError(errno.EINVAL)
        if own.signature != sig:
            raise SyscallError(errno.EPERM)
        put_user(task.mm, rseq, _RSEQ_CPU, 0, _RSEQ_CPU_ID_UNINITIALIZED)
        put_user(task.mm, UserPtr(rseq + _RSEQ_IDS_OFFSET), _RSEQ_IDS, 0, 0)
        task.rseq = Rseq()
        return 0
    if flags:
        raise SyscallError(errno.EINVAL)
    if own.address:
        if own.address != rseq or own.length != rseq_len:
            raise SyscallError(errno.EINVAL)
        raise SyscallError(errno.EBUSY if own.signature == sig else errno.EPERM)
    if rseq_len < _ORIG_RSEQ_SIZE or rseq % _RSEQ_ALIGN:
        raise SyscallError(errno.EINVAL)
    if rseq + rseq_len > task.kernel.arch.TASK_SIZE:
        raise SyscallError(errno.EFAULT)
    copy_to_user(task.mm, rseq, _RSEQ_HEAD.pack(0, 0, 0, 0, 0, 0))
    task.rseq = Rseq(rseq, rseq_len, sig)
    if task.cpu or task.mm.users > 1:
        from kernel_model.signal.rseq import write_ids

        write_ids(task)
    return 0
