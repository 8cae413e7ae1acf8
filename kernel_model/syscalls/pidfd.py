"""Descriptors of processes: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.abi.signal import SI_TKILL, SI_USER
from kernel_model.fs.anon import install
from kernel_model.fs.file import get_file
from kernel_model.fs.pidfs import PIDFD_NONBLOCK, PIDFD_THREAD, PidFile
from kernel_model.mm.uaccess import get_user
from kernel_model.ns.pid import find_task_by_vpid
from kernel_model.syscalls.cred import may_access
from kernel_model.syscalls.declare import Fd, Pid, Signal, UInt, syscall
from kernel_model.syscalls.kinds import PidfdFlags, PidfdSignalFlags, SigInfo
from kernel_model.syscalls.read_write import fdget
from kernel_model.syscalls.signal import in_pgrp, info_of_kill, send_checked, send_to_all, siginfo_from_user
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

PIDFD_SELF_THREAD: Final = -10000
PIDFD_SELF_THREAD_GROUP: Final = -10001
_SIGNO: Final = Struct("<i")
_SIGNAL_THREAD, _SIGNAL_THREAD_GROUP, _SIGNAL_PROCESS_GROUP = 1, 2, 4


# QUIRK: Of a pidfd's ioctls there are those for namespaces: PIDFD_GET_INFO fails with ENOTTY.
@syscall(returns="fd")
def sys_pidfd_open(task: Task, pid: Pid, flags: PidfdFlags) -> int:
    """pidfd_open(2); ENOENT for a thread that leads no process unless PIDFD_THREAD is given."""
    if flags & ~(PIDFD_NONBLOCK | PIDFD_THREAD) or pid <= 0:
        raise SyscallError(errno.EINVAL)
    target = find_task_by_vpid(task, pid)
    if target is None:
        raise SyscallError(errno.ESRCH)
    if not flags & PIDFD_THREAD and target.pid != target.tgid:
        raise SyscallError(errno.ENOENT)
    return install(task, PidFile(target, flags), O_CLOEXEC)


def pid_file(task: Task, fd: int) -> PidFile:
    """The pidfd behind `fd`; EBADF for anything else."""
    file = fdget(task, fd)
    if not isinstance(file, PidFile):
        raise SyscallError(errno.EBADF)
    return file


def _addressed(task: Task, pidfd: int) -> tuple[Task | None, bool]:
    """(who, is it one thread) that `pidfd` stands for; a directory /proc/<pid> will do too. EBADF."""
    if pidfd == PIDFD_SELF_THREAD:
        return task, True
    if pidfd == PIDFD_SELF_THREAD_GROUP:
        return task.kernel.tasks[task.tgid], False
    file = fdget(task, pidfd)
    if isinstance(file, PidFile):
        return file.target(), file.thread
    from kernel_model.fs.procfs_task import TaskDir

    if isinstance(file.inode, TaskDir) and not file.inode.thread:
        target = file.inode.target
        return (target if task.kernel.tasks.get(target.pid) is target else None), False
    raise SyscallError(errno.EBADF)


@syscall()
def sys_pidfd_send_signal(task: Task, pidfd: Fd, sig: Signal, info: SigInfo, flags: PidfdSignalFlags) -> int:
    """pidfd_send_signal(2), in the order of kernel/signal.c."""
    if flags not in (0, _SIGNAL_THREAD, _SIGNAL_THREAD_GROUP, _SIGNAL_PROCESS_GROUP):
        raise SyscallError(errno.EINVAL)
    target, thread = _addressed(task, pidfd)
    if target is not None and not target.pid_ns.is_within(task.pid_ns):
        raise SyscallError(errno.EINVAL)  # access_pidfd_pidns()
    if flags:
        thread = flags == _SIGNAL_THREAD
    to_group = flags == _SIGNAL_PROCESS_GROUP
    if info:
        siginfo = siginfo_from_user(task, sig, info)
        if get_user(task.mm, info, _SIGNO)[0] != sig:
            raise SyscallError(errno.EINVAL)
        if (target is not task or to_group) and (siginfo.code >= 0 or siginfo.code == SI_TKILL):
            raise SyscallError(errno.EPERM)
    else:
        siginfo = info_of_kill(task, sig, SI_TKILL if thread else SI_USER)
    if to_group:
        # the descriptor's own number is the group's
        send_to_all(task, [] if target is None else in_pgrp(task, target.tgid), siginfo)
        return 0
    if target is None:
        raise SyscallError(errno.ESRCH)
    send_checked(task, target, siginfo, group=not thread)
    return 0


@syscall(returns="fd")
def sys_pidfd_getfd(task: Task, pidfd: Fd, fd: Fd, flags: UInt) -> int:
    """pidfd_getfd(2): the description behind a descriptor of another process."""
    if flags:
        raise SyscallError(errno.EINVAL)
    target = pid_file(task, pidfd).target()
    if target is None:
        raise SyscallError(errno.ESRCH)
    if not may_access(task, target):
        raise SyscallError(errno.EPERM)
    if target.exit_code is not None:
        raise SyscallError(errno.ESRCH)
    return install(task, get_file(target.files.get(fd)), O_CLOEXEC)
