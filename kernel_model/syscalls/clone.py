"""clone(2) and its kin; waiting for children (kernel/fork.c, kernel/exit.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_NONBLOCK
from kernel_model.abi.signal import NSIG, SIGCHLD, SIGCONT
from kernel_model.cputime import both_usage, children_usage
from kernel_model.exit import CLD_CONTINUED, CLD_STOPPED, child_code, release_task
from kernel_model.fork import (
    CLONE_CLEAR_SIGHAND,
    CLONE_DETACHED,
    CLONE_INTO_CGROUP,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SIGHAND,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    CloneArgs,
    copy_process,
)
from kernel_model.mm.uaccess import copy_from_user, copy_struct_from_user, copy_to_user, put_user
from kernel_model.ns.nsproxy import CLONE_NEWTIME
from kernel_model.ns.pid import find_vpid, pid_vnr
from kernel_model.syscalls.declare import Hex, Pid, Ptr, Size, syscall
from kernel_model.syscalls.kinds import CloneArgs as CloneArgsPtr
from kernel_model.syscalls.kinds import CloneFlags, IdType, OutSigInfo, Rusage, WaitOptions, WaitStatus
from kernel_model.types import PAGE_SIZE, SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x0100_0000
_WNOTHREAD, _WALL, _WCLONE = 0x2000_0000, 0x4000_0000, 0x8000_0000
_WAIT_OPTIONS: Final = WNOHANG | WUNTRACED | WCONTINUED | _WNOTHREAD | _WALL | _WCLONE
_P_ALL, _P_PID, _P_PGID, _P_PIDFD = 0, 1, 2, 3
_STATUS: Final = Struct("<I")
_TID: Final = Struct("<i")
_INFO_HEAD: Final = Struct("<iii")
_INFO_CHILD: Final = Struct("<iIi")
_INFO_CHILD_AT: Final = 16
# struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
# cgroup
_CLONE_ARGS: Final = Struct("<11Q")
_CLONE_ARGS_SIZE_VER0: Final = 64
_CLONE_FLAGS_MAX: Final = 0x3_FFFF_FFFF
_MAX_PID_NS_LEVEL: Final = 32


class _VforkWait:
    """What a parent that sleeps in vfork remembers."""

    __slots__ = ("child", "pid")

    def __init__(self, task: Task, child: Task) -> None:
        self.child = child
        self.pid = pid_vnr(task, child.pid)


def _clone(task: Task, args: CloneArgs) -> int:
    """kernel/fork.c:kernel_clone(). After a vfork the parent sleeps until the child has execed or gone."""
    waiting = task.call_state
    if not isinstance(waiting, _VforkWait):
        both = CLONE_PIDFD | CLONE_PARENT_SETTID
        if args.flags & both == both and args.pidfd == args.parent_tid:
            raise SyscallError(errno.EINVAL)
        child = copy_process(task, args)
        if not args.flags & CLONE_VFORK:
            return pid_vnr(task, child.pid)
        waiting = task.call_state = _VforkWait(task, child)
    return _wait_for_vfork(waiting)


def _wait_for_vfork(waiting: _VforkWait) -> int:
    """kernel/fork.c:wait_for_vfork_done(): only what kills the parent ends it."""
    done = waiting.child.vfork_done
    if done is not None:
        raise Blocked(queues=(done,), uninterruptible=True)
    return waiting.pid


@syscall(partial="Of namespaces there are those of pids, of clocks and of host names.")
def sys_clone(task: Task, flags: CloneFlags, stack: Ptr, parent_tid: Ptr, fourth: Hex, fifth: Hex) -> int:
    """clone(2); the order of the last two arguments is the architecture's."""
    child_tid, tls = task.kernel.arch.clone_tail(fourth, fifth)
    # The upper half is no part of the old call's flags (kernel/fork.c: lower_32_bits).
    args = CloneArgs(flags & 0xFFFF_FF00, flags & CSIGNAL, stack, tls, parent_tid, child_tid, parent_tid)
    return _clone(task, args)


@syscall(partial="CLONE_INTO_CGROUP is refused; of namespaces there are those of pids, of clocks and of host names.")
def sys_clone3(task: Task, uargs: CloneArgsPtr, size: Size) -> int:
    """clone3(2): kernel/fork.c:copy_clone_args_from_user(), clone3_args_valid()."""
    waiting = task.call_state
    if isinstance(waiting, _VforkWait):
        return _wait_for_vfork(waiting)  # the child may have used the memory that `uargs` points to
    if size > PAGE_SIZE:
        raise SyscallError(errno.E2BIG)
    if size < _CLONE_ARGS_SIZE_VER0:
        raise SyscallError(errno.EINVAL)
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _cgroup = (
        _CLONE_ARGS.unpack(copy_struct_from_user(task.mm, uargs, size, _CLONE_ARGS.size))
    )
    if (
        set_tid_size > _MAX_PID_NS_LEVEL
        or bool(set_tid) != bool(set_tid_size)
        or exit_signal > NSIG
    ):
        raise SyscallError(errno.EINVAL)
    wanted = copy_from_user(task.mm, UserPtr(set_tid), _TID.size * set_tid_size) if set_tid else b""
    if (
        flags & ~_CLONE_FLAGS_MAX
        or flags & (CLONE_DETACHED | CSIGNAL & ~CLONE_NEWTIME)
        or flags & (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND) == CLONE_SIGHAND | CLONE_CLEAR_SIGHAND
        or (flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal)
        or bool(stack) != bool(stack_size)
        or stack + stack_size > task.mm.task_size
    ):
        raise SyscallError(errno.EINVAL)
    if flags & CLONE_INTO_CGROUP:
        # QUIRK: There are no control groups: clone3 with CLONE_INTO_CGROUP fails with EBADF.
        raise SyscallError(errno.EBADF)
    numbers = tuple(number for (number,) in _TID.iter_unpack(wanted))
    return _clone(task, CloneArgs(flags, exit_signal, stack + stack_size, tls, parent_tid, child_tid, pidfd, numbers))


@syscall()
def sys_fork(task: Task) -> int:
    """fork(2)."""
    return _clone(task, CloneArgs(0, SIGCHLD))


@syscall()
def sys_vfork(task: Task) -> int:
    """vfork(2)."""
    return _clone(task, CloneArgs(CLONE_VFORK | CLONE_VM, SIGCHLD))


# -- waiting -----------------------------------------------------------------------------------------------------------
class _News(NamedTuple):
    """What there is to tell of a child: its wait status, and si_code and si_status of waitid(2)."""

    child: Task
    status: int
    code: int
    value: int


def _news_of(child: Task, options: int) -> _News | None:
    """What `options` ask to hear and nobody has heard yet (kernel/exit.c:wait_consider_task())."""
    signal = child.signal
    if child.exit_code is not None:
        if signal.threads or not options & WEXITED:
            return None
        return _News(child, child.exit_code, *child_code(child.exit_code))
    if signal.stop_code and options & WUNTRACED:
        return _News(child, signal.stop_code << 8 | 0x7F, CLD_STOPPED, signal.stop_code)
    if signal.continued and options & WCONTINUED:
        return _News(child, 0xFFFF, CLD_CONTINUED, SIGCONT)
    return None


def _wait(task: Task, kind: int, which: int, options: int) -> _News | None:
    """News of a child, None when WNOHANG finds none; ECHILD without such a child at all."""
    # QUIRK: __WNOTHREAD is accepted and ignored: a wait finds the children of all threads of the process.
    found = False
    clones = bool(options & _WCLONE)
    tasks = task.kernel.tasks
    for pid in task.signal.children:
        child = tasks[pid]
        if not options & _WALL and (child.signal.exit_signal != SIGCHLD) != clones:
            continue
        if (kind == _P_PID and child.pid != which) or (kind == _P_PGID and child.signal.pgrp != which):
            continue
        found = True
        news = _news_of(child, options)
        if news is not None:
            return news
    if not found:
        raise SyscallError(errno.ECHILD)
    if options & WNOHANG:
        return None
    raise Blocked(queues=(task.signal.wait_chldexit,))


def _wait_by_pidfd(task: Task, fd: int, options: int) -> _News | None:
    """waitid(P_PIDFD): EAGAIN instead of a wait where the descriptor says PIDFD_NONBLOCK."""
    from kernel_model.syscalls.pidfd import pid_file

    file = pid_file(task, fd)
    target = file.target()
    if target is None:
        raise SyscallError(errno.ECHILD)
    if not file.f_flags & O_NONBLOCK or options & WNOHANG:
        return _wait(task, _P_PID, target.pid, options)
    news = _wait(task, _P_PID, target.pid, options | WNOHANG)
    if news is None:
        raise SyscallError(errno.EAGAIN)
    return news


def _heard(task: Task, news: _News) -> None:
    """It is told once; of a child that has ended the last trace goes, and what it has used is counted for its parent.

    kernel/exit.c:wait_task_zombie(). Of children that nobody waits for, for SIGCHLD is ignored, nothing is counted.
    """
    child = news.child
    if child.exit_code is not None:
        children_usage(task.signal).add(both_usage(task.kernel, child.signal))
        release_task(child)
    elif news.code == CLD_STOPPED:
        child.signal.stop_code = 0
    else:
        child.signal.continued = False


def _tell_usage(task: Task, rusage: UserPtr, child: Task) -> None:
    """The last argument of wait4(2) and waitid(2)."""
    task.kernel.account.ask()
    copy_to_user(task.mm, rusage, both_usage(task.kernel, child.signal).pack())


@syscall()
def sys_wait4(task: Task, pid: Pid, status: WaitStatus, options: WaitOptions, rusage: Rusage) -> int:
    """wait4(2)."""
    if options & 0xFFFF_FFFF & ~_WAIT_OPTIONS:
        raise SyscallError(errno.EINVAL)
    if pid == -(1 << 31):
        raise SyscallError(errno.ESRCH)
    kind = _P_ALL if pid == -1 else _P_PID if pid > 0 else _P_PGID
    news = _wait(task, kind, find_vpid(task, abs(pid)) if pid else task.signal.pgrp, options | WEXITED)
    if news is None:
        return 0
    told = pid_vnr(task, news.child.pid)
    _heard(task, news)
    if status:
        put_user(task.mm, status, _STATUS, news.status)
    if rusage:
        _tell_usage(task, rusage, news.child)
    return told


@syscall()
def sys_waitid(task: Task, which: IdType, pid: Pid, info: OutSigInfo, options: WaitOptions, rusage: Rusage) -> int:
    """waitid(2). `info` is written whatever comes of the call, with zeros where there is nothing to tell."""

    def nothing_to_tell(error: int) -> int:
        if info:
            _tell_info(task, info, (0, 0, 0), (0, 0, 0))
        if error:
            raise SyscallError(error)
        return 0

    try:
        news = _kernel_waitid(task, which, pid, options)
    except SyscallError as failure:
        return nothing_to_tell(failure.errno)
    except Blocked as blocked:
        blocked.on_signal = lambda: nothing_to_tell(errno.ERESTARTSYS)
        raise
    if news is None:
        return nothing_to_tell(0)
    child = news.child
    told = pid_vnr(task, child.tgid)
    if not options & WNOWAIT:
        _heard(task, news)
    if rusage:
        _tell_usage(task, rusage, child)
    if info:
        _tell_info(task, info, (SIGCHLD, 0, news.code), (told, child.cred.uid, news.value))
    return 0


def _tell_info(task: Task, info: UserPtr, head: tuple[int, int, int], child: tuple[int, int, int]) -> None:
    """Write si_signo, si_errno and si_code, and si_pid, si_uid and si_status; the rest of the structure stays."""
    put_user(task.mm, info, _INFO_HEAD, *head)
    put_user(task.mm, info + _INFO_CHILD_AT, _INFO_CHILD, *child)


def _kernel_waitid(task: Task, which: int, pid: int, options: int) -> _News | None:
    """kernel/exit.c:kernel_waitid_prepare()."""
    allowed = _WAIT_OPTIONS | WEXITED | WNOWAIT
    if options & 0xFFFF_FFFF & ~allowed or not options & (WEXITED | WUNTRACED | WCONTINUED):
        raise SyscallError(errno.EINVAL)
    if (
        which not in (_P_ALL, _P_PID, _P_PGID, _P_PIDFD)
        or (which == _P_PID and pid <= 0)
        or (which in (_P_PGID, _P_PIDFD) and pid < 0)
    ):
        raise SyscallError(errno.EINVAL)
    if which == _P_PIDFD:
        return _wait_by_pidfd(task, pid, options)
    return _wait(task, which, find_vpid(task, pid) if pid else task.signal.pgrp, options)
