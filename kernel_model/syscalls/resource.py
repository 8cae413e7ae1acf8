"""Limits, priorities, and what a task has used (kernel/sys.c, block/ioprio.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi import resource as abi
from kernel_model.abi.time import NS_PER_TICK, NSEC_PER_SEC
from kernel_model.cputime import children_usage, process_usage, thread_usage
from kernel_model.cred import CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE
from kernel_model.mm.uaccess import copy_to_user, get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid, find_vpid
from kernel_model.syscalls.declare import Int, Pid, syscall
from kernel_model.syscalls.kinds import (
    IoprioWhich,
    OutRlimit,
    PriorityWhich,
    Rlimit,
    RlimitResource,
    RusagePtr,
    RusageWho,
    SysinfoPtr,
    TmsPtr,
)
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task


# -- limits -----------------------------------------------------------------------------------------------------------
def _set_limit(task: Task, target: Task, resource: int, soft: int, hard: int) -> None:
    """kernel/sys.c:do_prlimit() that sets."""
    if soft > hard:
        raise SyscallError(errno.EINVAL)
    if resource == abi.RLIMIT_NOFILE and hard > abi.NR_OPEN:
        raise SyscallError(errno.EPERM)
    if hard > target.signal.rlim[resource][1] and not task.cred.capable(CAP_SYS_RESOURCE):
        raise SyscallError(errno.EPERM)
    target.signal.rlim[resource] = (soft, hard)
    if resource == abi.RLIMIT_CPU:
        from kernel_model.signal.timers import limit_cpu

        limit_cpu(task.kernel, target.signal)


def _may_limit(task: Task, target: Task) -> bool:
    """May `task` see and change the limits of `target`? (check_prlimit_permission())"""
    own, other = task.cred, target.cred
    return (
        task is target
        or own.capable(CAP_SYS_RESOURCE)
        or (own.uid == other.euid == other.suid == other.uid and own.gid == other.egid == other.sgid == other.gid)
    )


@syscall()
def sys_prlimit64(task: Task, pid: Pid, resource: RlimitResource, new_rlim: Rlimit, old_rlim: OutRlimit) -> int:
    """prlimit(2)."""
    new = get_user(task.mm, new_rlim, abi.RLIMIT) if new_rlim else None
    target = task if pid == 0 else find_task_by_vpid(task, pid)
    if target is None:
        raise SyscallError(errno.ESRCH)
    if not _may_limit(task, target):
        raise SyscallError(errno.EPERM)
    if resource >= abi.RLIM_NLIMITS:
        raise SyscallError(errno.EINVAL)
    old = target.signal.rlim[resource]
    if new is not None:
        _set_limit(task, target, resource, new[0], new[1])
    if old_rlim:
        put_user(task.mm, old_rlim, abi.RLIMIT, *old)
    return 0


@syscall()
def sys_getrlimit(task: Task, resource: RlimitResource, rlim: OutRlimit) -> int:
    """getrlimit(2)."""
    if resource >= abi.RLIM_NLIMITS:
        raise SyscallError(errno.EINVAL)
    put_user(task.mm, rlim, abi.RLIMIT, *task.signal.rlim[resource])
    return 0


@syscall()
def sys_setrlimit(task: Task, resource: RlimitResource, rlim: Rlimit) -> int:
    """setrlimit(2)."""
    soft, hard = get_user(task.mm, rlim, abi.RLIMIT)
    if resource >= abi.RLIM_NLIMITS:
        raise SyscallError(errno.EINVAL)
    _set_limit(task, task, resource, soft, hard)
    return 0


# -- what was used ----------------------------------------------------------------------------------------------------
@syscall(partial="Of faults the minor ones are told; major ones, I/O and signals are 0.")
def sys_getrusage(task: Task, who: RusageWho, usage: RusagePtr) -> int:
    """getrusage(2)."""
    task.kernel.account.ask()
    if who == abi.RUSAGE_SELF:
        used = process_usage(task.kernel, task.signal)
    elif who == abi.RUSAGE_THREAD:
        used = thread_usage(task)
    elif who == abi.RUSAGE_CHILDREN:
        used = children_usage(task.signal)
    else:
        raise SyscallError(errno.EINVAL)
    copy_to_user(task.mm, usage, used.pack())
    return 0


@syscall()
def sys_times(task: Task, buf: TmsPtr) -> int:
    """times(2), in hundredths of a second; what it returns counts from the boot."""
    kernel = task.kernel
    if buf:
        kernel.account.ask()
        own, children = process_usage(kernel, task.signal), children_usage(task.signal)
        times_ns = (own.utime_ns, own.stime_ns, children.utime_ns, children.stime_ns)
        put_user(task.mm, buf, abi.TMS, *(time_ns // NS_PER_TICK for time_ns in times_ns))
    return kernel.clock.monotonic_ns() // NS_PER_TICK


@syscall(partial="Load averages and swap are always 0.")
def sys_sysinfo(task: Task, info: SysinfoPtr) -> int:
    """sysinfo(2)."""
    kernel = task.kernel
    frames = kernel.frames
    uptime = -(-(kernel.clock.boottime_ns() + task.nsproxy.time_ns.boottime_ns) // NSEC_PER_SEC)
    put_user(
        task.mm, info, abi.SYSINFO,
        uptime, 0, 0, 0, frames.total_frames * PAGE_SIZE, frames.free_frames * PAGE_SIZE, 0, 0, 0, 0,
        len(kernel.tasks), 0, 0, 0, 1,
    )  # fmt: skip
    return 0


# -- priorities -------------------------------------------------------------------------------------------------------
def _chosen(task: Task, which: int, who: int) -> list[Task]:
    """Whom getpriority(2) and its kin speak of; `which`: PRIO_*."""
    tasks = task.kernel.tasks
    if which == abi.PRIO_PROCESS:
        found = task if who == 0 else find_task_by_vpid(task, who)
        return [] if found is None else [found]
    if which == abi.PRIO_PGRP:
        pgrp = find_vpid(task, who) if who else task.signal.pgrp
        return [other for other in tasks.values() if other.signal.pgrp == pgrp]
    uid = who or task.cred.uid
    return [other for other in tasks.values() if other.cred.uid == uid]


@syscall()
def sys_getpriority(task: Task, which: PriorityWhich, who: Int) -> int:
    """getpriority(2): 20 less the nice value, so that no result looks like an error."""
    if not abi.PRIO_PROCESS <= which <= abi.PRIO_USER:
        raise SyscallError(errno.EINVAL)
    found = _chosen(task, which, who)
    if not found:
        raise SyscallError(errno.ESRCH)
    return max(20 - target.se.nice for target in found)


def can_nice(task: Task, nice: int) -> bool:
    """May `task` have so low a nice value? (kernel/sched/syscalls.c:can_nice())"""
    return 20 - nice <= task.signal.rlim[abi.RLIMIT_NICE][0] or task.cred.capable(CAP_SYS_NICE)


def set_nice(task: Task, nice: int) -> None:
    """kernel/sched/core.c:set_user_nice()."""
    task.se.nice = nice
    if nice:
        task.kernel.sched.weigh()


@syscall()
def sys_setpriority(task: Task, which: PriorityWhich, who: Int, prio: Int) -> int:
    """setpriority(2)."""
    if not abi.PRIO_PROCESS <= which <= abi.PRIO_USER:
        raise SyscallError(errno.EINVAL)
    nice = min(max(prio, abi.MIN_NICE), abi.MAX_NICE)
    error = errno.ESRCH
    for target in _chosen(task, which, who):
        if task.cred.euid not in (target.cred.uid, target.cred.euid):
            if not task.cred.capable(CAP_SYS_NICE):
                error = errno.EPERM
                continue
        if nice < target.se.nice and not can_nice(task, nice):
            error = errno.EACCES
            continue
        set_nice(target, nice)
        if error == errno.ESRCH:
            error = 0
    if error:
        raise SyscallError(error)
    return 0


_IOPRIO_WHO = {1: abi.PRIO_PROCESS, 2: abi.PRIO_PGRP, 3: abi.PRIO_USER}
_IOPRIO_CLASS_SHIFT = 13
_IOPRIO_NONE, _IOPRIO_RT, _IOPRIO_BE, _IOPRIO_IDLE = range(4)
_IOPRIO_NR_LEVELS = 8


@syscall()
def sys_ioprio_get(task: Task, which: IoprioWhich, who: Int) -> int:
    """ioprio_get(2)."""
    if which not in _IOPRIO_WHO:
        raise SyscallError(errno.EINVAL)
    found = _chosen(task, _IOPRIO_WHO[which], who)
    if not found:
        raise SyscallError(errno.ESRCH)
    return min(target.ioprio for target in found)


@syscall(partial="The priority is kept and told; there is no I/O that it could order.")
def sys_ioprio_set(task: Task, which: IoprioWhich, who: Int, ioprio: Int) -> int:
    """ioprio_set(2), in the order of block/ioprio.c:ioprio_check_cap()."""
    kind = ioprio >> _IOPRIO_CLASS_SHIFT & 7
    level = ioprio & _IOPRIO_NR_LEVELS - 1
    if kind == _IOPRIO_RT and not (task.cred.capable(CAP_SYS_ADMIN) or task.cred.capable(CAP_SYS_NICE)):
        raise SyscallError(errno.EPERM)
    if kind > _IOPRIO_IDLE or (kind == _IOPRIO_NONE and level):
        raise SyscallError(errno.EINVAL)
    if which not in _IOPRIO_WHO:
        raise SyscallError(errno.EINVAL)
    found = _chosen(task, _IOPRIO_WHO[which], who)
    if not found:
        raise SyscallError(errno.ESRCH)
    for target in found:
        if target.cred.uid not in (task.cred.euid, task.cred.uid) and not task.cred.capable(CAP_SYS_NICE):
            raise SyscallError(errno.EPERM)
        target.ioprio = ioprio & 0xFFFF
    return 0
