"""Scheduling policies, priorities and CPUs, asked for, checked and told; `kernel_model.placement` heeds them.

Order of checks as in kernel/sched/syscalls.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi.resource import MAX_NICE, MIN_NICE, RLIMIT_RTPRIO
from kernel_model.abi.time import NSEC_PER_SEC, TIMESPEC
from kernel_model.cred import CAP_SYS_NICE
from kernel_model.mm.uaccess import clear_user, copy_from_user, copy_struct_from_user, copy_to_user, get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid
from kernel_model.syscalls.declare import Pid, Ptr, UInt, syscall
from kernel_model.syscalls.kinds import (
    CpuMask,
    CpuPtr,
    OutCpuMask,
    OutSchedAttr,
    OutSchedParam,
    OutTimespec,
    SchedAttr,
    SchedParam,
    SchedPolicy,
)
from kernel_model.syscalls.resource import can_nice, set_nice
from kernel_model.types import PAGE_SIZE, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH = range(4)
SCHED_IDLE, SCHED_DEADLINE = 5, 6
_SCHED_RESET_ON_FORK = 0x4000_0000
_FLAG_RESET_ON_FORK = 1
_FLAG_KEEP_POLICY, _FLAG_KEEP_PARAMS = 8, 16
_FLAG_ALL = 0x7F
_POLICIES = frozenset((SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE))
_RT = frozenset((SCHED_FIFO, SCHED_RR))
_MAX_RT_PRIO = 99
_RR_TIMESLICE_NS = 100_000_000
_FAIR_SLICE_NS = 2_800_000

_INT = struct.Struct("<i")
_UINT = struct.Struct("<I")
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max
_ATTR = struct.Struct("<IIQiIQQQII")
_ATTR_VER0_BYTES = 48
_CPUMASK_BYTES = 8


def _find(task: Task, pid: int) -> Task:
    """The task of that pid, the caller for 0; EINVAL for a negative one, ESRCH."""
    if pid < 0:
        raise SyscallError(errno.EINVAL)
    found = find_task_by_vpid(task, pid) if pid else task
    if found is None:
        raise SyscallError(errno.ESRCH)
    return found


@syscall()
def sys_sched_yield(task: Task) -> int:
    """sched_yield(2)."""
    sched = task.kernel.sched
    sched.yield_to_others()
    if sched.runqueue:
        sched.yielded = True
        task.kernel.need_resched = task.kernel.signal_work = True
    return 0


@syscall()
def sys_getcpu(task: Task, cpu: CpuPtr, node: CpuPtr, cache: Ptr) -> int:
    """getcpu(2): the logical CPU, and its node; each is written whatever becomes of the other (kernel/sys.c)."""
    failed = None
    for pointer, value in ((cpu, task.cpu), (node, task.numa_node)):
        if pointer:
            try:
                put_user(task.mm, pointer, _UINT, value)
            except SyscallError as error:
                failed = error
    if failed is not None:
        raise failed
    return 0


@syscall()
def sys_sched_get_priority_max(task: Task, policy: SchedPolicy) -> int:
    """sched_get_priority_max(2)."""
    if policy not in _POLICIES:
        raise SyscallError(errno.EINVAL)
    return _MAX_RT_PRIO if policy in _RT else 0


@syscall()
def sys_sched_get_priority_min(task: Task, policy: SchedPolicy) -> int:
    """sched_get_priority_min(2)."""
    if policy not in _POLICIES:
        raise SyscallError(errno.EINVAL)
    return 1 if policy in _RT else 0


@syscall()
def sys_sched_rr_get_interval(task: Task, pid: Pid, interval: OutTimespec) -> int:
    """sched_rr_get_interval(2): SCHED_RR's slice, none for SCHED_FIFO, the fair class's for the others."""
    policy = _find(task, pid).sched_policy
    slice_ns = _RR_TIMESLICE_NS if policy == SCHED_RR else 0 if policy == SCHED_FIFO else _FAIR_SLICE_NS
    put_user(task.mm, interval, TIMESPEC, *divmod(slice_ns, NSEC_PER_SEC))
    return 0


# -- policies ---------------------------------------------------------------------------------------------------------
def _same_owner(task: Task, target: Task) -> bool:
    """kernel/sched/syscalls.c:check_same_owner()."""
    return task.cred.euid in (target.cred.euid, target.cred.uid)


def _set_scheduler(task: Task, target: Task, policy: int, flags: int, priority: int, nice: int | None) -> None:
    """__sched_setscheduler() with user_check_sched_setscheduler(). `nice` None: keep it."""
    if policy not in _POLICIES or flags & ~_FLAG_ALL:
        raise SyscallError(errno.EINVAL)
    if not 0 <= priority <= _MAX_RT_PRIO or (policy in _RT) != (priority != 0):
        raise SyscallError(errno.EINVAL)
    if policy == SCHED_DEADLINE:
        raise SyscallError(errno.EINVAL)
    if not task.cred.capable(CAP_SYS_NICE):
        _check_unprivileged(task, target, policy, flags, priority, nice)
    if policy in _RT or target.sched_policy in _RT:
        task.kernel.sched.real_time()
    target.sched_policy = policy
    target.rt_priority = priority
    target.sched_flags = flags & _FLAG_RESET_ON_FORK
    if nice is not None and policy not in _RT:
        set_nice(target, nice)
    if policy == SCHED_IDLE:
        task.kernel.sched.weigh()


def _check_unprivileged(task: Task, target: Task, policy: int, flags: int, priority: int, nice: int | None) -> None:
    """EPERM for what takes CAP_SYS_NICE."""
    old = target.se.nice
    refused = nice is not None and policy not in _RT and nice < old and not can_nice(target, nice)
    if policy in _RT:
        limit = target.signal.rlim[RLIMIT_RTPRIO][0]
        refused |= policy != target.sched_policy and not limit
        refused |= priority > target.rt_priority and priority > limit
    refused |= target.sched_policy == SCHED_IDLE and policy != SCHED_IDLE and not can_nice(target, old)
    refused |= not _same_owner(task, target)
    refused |= bool(target.sched_flags & _FLAG_RESET_ON_FORK) and not flags & _FLAG_RESET_ON_FORK
    if refused:
        raise SyscallError(errno.EPERM)


@syscall(partial="SCHED_BATCH is as SCHED_OTHER; SCHED_DEADLINE is refused.")
def sys_sched_setscheduler(task: Task, pid: Pid, policy: SchedPolicy, param: SchedParam) -> int:
    """sched_setscheduler(2)."""
    if policy < 0 or not param or pid < 0:
        raise SyscallError(errno.EINVAL)
    (priority,) = get_user(task.mm, param, _INT)
    target = _find(task, pid)
    flags = _FLAG_RESET_ON_FORK if policy & _SCHED_RESET_ON_FORK else 0
    _set_scheduler(task, target, policy & ~_SCHED_RESET_ON_FORK, flags, priority, None)
    return 0


@syscall()
def sys_sched_setparam(task: Task, pid: Pid, param: SchedParam) -> int:
    """sched_setparam(2)."""
    if not param or pid < 0:
        raise SyscallError(errno.EINVAL)
    (priority,) = get_user(task.mm, param, _INT)
    target = _find(task, pid)
    _set_scheduler(task, target, target.sched_policy, target.sched_flags, priority, None)
    return 0


@syscall()
def sys_sched_getscheduler(task: Task, pid: Pid) -> int:
    """sched_getscheduler(2)."""
    target = _find(task, pid)
    return target.sched_policy | (_SCHED_RESET_ON_FORK if target.sched_flags & _FLAG_RESET_ON_FORK else 0)


@syscall()
def sys_sched_getparam(task: Task, pid: Pid, param: OutSchedParam) -> int:
    """sched_getparam(2)."""
    if not param:
        raise SyscallError(errno.EINVAL)
    put_user(task.mm, param, _INT, _find(task, pid).rt_priority)
    return 0


@syscall(partial="SCHED_DEADLINE and clamps are refused.")
def sys_sched_setattr(task: Task, pid: Pid, attr: SchedAttr, flags: UInt) -> int:
    """sched_setattr(2). A size that the kernel does not know is E2BIG, and it says there which it does."""
    if not attr or pid < 0 or flags:
        raise SyscallError(errno.EINVAL)
    mm = task.mm
    (size,) = get_user(mm, attr, _UINT)
    size = size or _ATTR_VER0_BYTES
    try:
        if not _ATTR_VER0_BYTES <= size <= PAGE_SIZE:
            raise SyscallError(errno.E2BIG)
        data = copy_struct_from_user(mm, attr, size, _ATTR.size)
    except SyscallError as failure:
        if failure.errno == errno.E2BIG:
            put_user(mm, attr, _UINT, _ATTR.size)
        raise
    _, policy, attr_flags, nice, priority, _, _, _, _, _ = _ATTR.unpack(data)
    if attr_flags & 0x60 and size < _ATTR.size:
        raise SyscallError(errno.EINVAL)
    if policy >= 1 << 31:
        raise SyscallError(errno.EINVAL)
    target = _find(task, pid)
    if attr_flags & 0x60:
        raise SyscallError(errno.EOPNOTSUPP)
    if attr_flags & _FLAG_KEEP_POLICY:
        policy = target.sched_policy
    if attr_flags & _FLAG_KEEP_PARAMS:
        nice, priority = target.se.nice, target.rt_priority
    _set_scheduler(task, target, policy, attr_flags, priority, min(max(nice, MIN_NICE), MAX_NICE))
    return 0


@syscall()
def sys_sched_getattr(task: Task, pid: Pid, attr: OutSchedAttr, size: UInt, flags: UInt) -> int:
    """sched_getattr(2)."""
    if not attr or pid < 0 or not _ATTR_VER0_BYTES <= size <= PAGE_SIZE or flags:
        raise SyscallError(errno.EINVAL)
    target = _find(task, pid)
    nice = 0 if target.sched_policy in _RT else target.se.nice
    runtime_ns = 0 if target.sched_policy in _RT else _FAIR_SLICE_NS
    known = min(size, _ATTR.size)
    data = _ATTR.pack(
        known, target.sched_policy, target.sched_flags, nice, target.rt_priority, runtime_ns, 0, 0, 0, 1024
    )
    copy_to_user(task.mm, attr, data[:known])
    clear_user(task.mm, UserPtr(attr + known), size - known)
    return 0


# -- affinity ---------------------------------------------------------------------------------------------------------
def all_cpus(task: Task) -> int:
    """The mask of the machine's logical CPUs."""
    return (1 << task.kernel.cpu_count) - 1


@syscall()
def sys_sched_getaffinity(task: Task, pid: Pid, length: UInt, mask: OutCpuMask) -> int:
    """sched_getaffinity(2): the bytes written, not 0."""
    if length * 8 < task.kernel.cpu_count or length % 8:
        raise SyscallError(errno.EINVAL)
    target = _find(task, pid)
    cpus = all_cpus(task) if target.cpus_mask is None else target.cpus_mask
    count = min(length, max(_CPUMASK_BYTES, -(-task.kernel.cpu_count // 64) * 8))
    copy_to_user(task.mm, mask, cpus.to_bytes(count, "little"))
    return count


@syscall()
def sys_sched_setaffinity(task: Task, pid: Pid, length: UInt, mask: CpuMask) -> int:
    """sched_setaffinity(2)."""
    count = min(length, max(_CPUMASK_BYTES, -(-task.kernel.cpu_count // 64) * 8))
    wanted = int.from_bytes(copy_from_user(task.mm, mask, count), "little")
    target = _find(task, pid)
    if not _same_owner(task, target) and not task.cred.capable(CAP_SYS_NICE):
        raise SyscallError(errno.EPERM)
    allowed = wanted & all_cpus(task)
    if not allowed:
        raise SyscallError(errno.EINVAL)
    target.cpus_mask = allowed
    if not allowed >> target.cpu & 1:
        from kernel_model.placement import place

        place(target)
        if target is task and task.rseq_event:
            task.kernel.signal_work = True
    return 0
