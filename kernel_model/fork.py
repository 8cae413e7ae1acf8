"""Making a task: clone(2), fork(2), vfork(2) are one function (kernel/fork.c:copy_process())."""

from __future__ import annotations

import copy
from contextlib import suppress
from struct import Struct
from typing import Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_NPROC
from kernel_model.abi.signal import SS_DISABLE
from kernel_model.abi.time import CLOCK_BOOTTIME
from kernel_model.cred import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from kernel_model.mm.uaccess import put_user
from kernel_model.ns.nsproxy import ALL_KINDS, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from kernel_model.ns.pid import alloc_pid, attach_pid
from kernel_model.signal.sighand import PendingSignals, SigAltStack, SighandStruct, SignalStruct
from kernel_model.task import FsStruct, Rseq, SchedEntity, Task
from kernel_model.types import SyscallError, UserPtr
from kernel_model.ucounts import count_task
from kernel_model.wait import WaitQueue

# include/uapi/linux/sched.h
CSIGNAL: Final = 0xFF
CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_SIGHAND: Final = 0x800
CLONE_PIDFD: Final = 0x1000
CLONE_VFORK: Final = 0x4000
CLONE_PARENT: Final = 0x8000
CLONE_THREAD: Final = 0x10000
CLONE_DETACHED: Final = 0x40_0000
CLONE_SETTLS: Final = 0x80000
CLONE_PARENT_SETTID: Final = 0x100000
CLONE_CHILD_CLEARTID: Final = 0x200000
CLONE_CHILD_SETTID: Final = 0x1000000
CLONE_CLEAR_SIGHAND: Final = 0x1_0000_0000
CLONE_INTO_CGROUP: Final = 0x2_0000_0000
_TID: Final = Struct("<i")


class CloneArgs(NamedTuple):
    """What a new task is to be like (`struct kernel_clone_args`). `stack`: its stack pointer, 0 for the parent's."""

    flags: int
    exit_signal: int
    stack: int = 0
    tls: int = 0
    parent_tid: int = 0
    child_tid: int = 0
    pidfd: int = 0
    set_tid: tuple[int, ...] = ()


def copy_process(task: Task, args: CloneArgs) -> Task:
    """A child of `task`, on the run queue. Errors and their order as kernel/fork.c:copy_process()."""
    flags = args.flags
    _check(task, args)
    kernel = task.kernel
    cred = task.cred
    if task.ucounts.processes >= task.signal.rlim[RLIMIT_NPROC][0]:
        if cred.uid and not (cred.capable(CAP_SYS_RESOURCE) or cred.capable(CAP_SYS_ADMIN)):
            raise SyscallError(errno.EAGAIN)
    if len(kernel.tasks) >= kernel.max_threads:
        raise SyscallError(errno.EAGAIN)
    nsproxy = task.nsproxy
    if flags & ALL_KINDS or nsproxy.time_ns is not nsproxy.time_ns_for_children:
        from kernel_model.ns.create import copy_namespaces

        nsproxy = copy_namespaces(task, flags)
    if flags & CLONE_SETTLS and args.tls >= kernel.arch.TLS_END:
        raise SyscallError(errno.EPERM)
    if flags & CLONE_PIDFD:
        _announce_pidfd(task, args)
    task.nproc_exceeded = False
    if kernel.user_pages is not None:
        kernel.user_pages.read_back(task)
    child = copy.copy(task)
    if kernel.user_pages is not None:
        kernel.user_pages.begin(child)
    pid_ns = nsproxy.pid_ns_for_children
    numbers = alloc_pid(kernel, pid_ns, args.set_tid)
    child.pid, child.pid_vnr, child.pid_ns, child.nsproxy = numbers[0], numbers[-1], pid_ns, nsproxy
    child.cred = task.cred.copy()
    _copy_shared(task, child, flags)
    _copy_signals(task, child, args)
    child.pending = PendingSignals(child.ucounts)
    child.saved_sigmask = None
    child.restart_block = None
    child.call_state = None
    child.blocked_call = None
    child.exit_code = None
    child.stopped_call = None
    child.real_blocked = 0
    child.pdeath_signal = 0
    child.default_timer_slack_ns = task.timer_slack_ns
    if child.sched_flags:
        _reset_on_fork(child)
    child.robust_list = 0
    kernel.account.settle()
    child.se = SchedEntity(task.se.nice, task.se.vruntime_ns)
    child.start_time_ns = kernel.clock.now_ns(CLOCK_BOOTTIME)
    if child.syscall_dispatch is not None:
        from kernel_model.syscall_work import reset_user_dispatch

        reset_user_dispatch(child)
    child.clear_child_tid = args.child_tid if flags & CLONE_CHILD_CLEARTID else 0
    child.rseq = Rseq() if flags & CLONE_VM else task.rseq
    child.rseq_event = bool(child.rseq.address)
    child.pi_priority = 0
    child.vfork_done = WaitQueue() if flags & CLONE_VFORK else None
    if child.seccomp is not None:
        from kernel_model.seccomp.filter import get_seccomp_filter

        get_seccomp_filter(child)
    child.context = _copy_thread(task, args)
    if flags & CLONE_CHILD_SETTID:
        with suppress(SyscallError):
            put_user(child.mm, UserPtr(args.child_tid), _TID, child.pid_vnr)
    if flags & CLONE_PARENT_SETTID:
        with suppress(SyscallError):
            put_user(task.mm, UserPtr(args.parent_tid), _TID, numbers[task.pid_ns.level])
    if pid_ns.parent is not None:
        attach_pid(child, numbers)
    if nsproxy.time_ns is not task.nsproxy.time_ns:
        from kernel_model.ns.time import timens_commit

        timens_commit(child)
    if kernel.data_pages is not None:
        kernel.data_pages.copy_process(task, child)
    kernel.tasks[child.pid] = child
    count_task(child)
    if kernel.cpu_count > 1:
        from kernel_model.placement import place

        place(child)
    if child.pid == child.tgid:
        if child.signal.rlim[RLIMIT_CPU][0] != RLIM_INFINITY:
            from kernel_model.signal.timers import limit_cpu

            limit_cpu(kernel, child.signal)
        kernel.tasks[child.signal.parent_tgid].signal.children[child.pid] = None
    if flags & CLONE_PIDFD:
        _install_pidfd(task, child, flags)
    kernel.sched.enqueue(child)
    return child


def _reset_on_fork(child: Task) -> None:
    """SCHED_FLAG_RESET_ON_FORK: the child has no priority of its parent's (kernel/sched/core.c:sched_fork())."""
    if child.sched_policy in (1, 2):  # SCHED_FIFO, SCHED_RR
        child.sched_policy = child.rt_priority = 0
    child.sched_flags = 0


def _check(task: Task, args: CloneArgs) -> None:
    """The combinations that Linux refuses, in copy_process()'s order."""
    flags = args.flags
    if (
        (flags & CLONE_FS and flags & (CLONE_NEWNS | CLONE_NEWUSER))
        or (flags & CLONE_THREAD and not flags & CLONE_SIGHAND)
        or (flags & CLONE_SIGHAND and not flags & CLONE_VM)
        or (flags & CLONE_PARENT and (not task.signal.parent_tgid or task.signal.unkillable))
        or (
            flags & CLONE_THREAD
            and (flags & (CLONE_NEWUSER | CLONE_NEWPID) or task.pid_ns is not task.nsproxy.pid_ns_for_children)
        )
        or (flags & CLONE_PIDFD and flags & CLONE_DETACHED)
    ):
        raise SyscallError(errno.EINVAL)


def _announce_pidfd(task: Task, args: CloneArgs) -> None:
    """Tell the number that the pidfd will have, before there is a child; EMFILE, EFAULT (pidfd_prepare())."""
    fd = task.files.lowest_free(task.files.next_fd, task.signal.rlim[RLIMIT_NOFILE][0])
    put_user(task.mm, UserPtr(args.pidfd), _TID, fd)


def _install_pidfd(task: Task, child: Task, flags: int) -> None:
    """It is the parent's: the child's table, if it has its own, was copied before."""
    from kernel_model.fs.anon import install
    from kernel_model.fs.pidfs import PIDFD_THREAD, PidFile

    install(task, PidFile(child, PIDFD_THREAD if flags & CLONE_THREAD else 0), O_CLOEXEC)


def _copy_shared(task: Task, child: Task, flags: int) -> None:
    """What CLONE_VM, CLONE_FILES and CLONE_FS share, or else a copy."""
    if flags & CLONE_VM:
        if task.task_page:
            from kernel_model.task_page import map_task_page

            child.task_page = map_task_page(task.mm)
        child.mm.users += 1
    else:
        child.mm = task.mm.dup_mmap()
        if task.task_page:
            from kernel_model.task_page import drop_siblings

            drop_siblings(task, child.mm)
    if flags & CLONE_FILES:
        child.files.users += 1
    else:
        child.files = task.files.copy()
    if flags & CLONE_FS:
        child.fs.users += 1
    else:
        child.fs = FsStruct(task.fs.root, task.fs.pwd, task.fs.umask)


def _copy_signals(task: Task, child: Task, args: CloneArgs) -> None:
    """Dispositions, the thread group, and the alternate stack."""
    flags = args.flags
    if flags & CLONE_SIGHAND:
        child.sighand.users += 1
    elif flags & CLONE_CLEAR_SIGHAND:
        ignored = {number: action for number, action in task.sighand.action.items() if action.handler == 1}
        child.sighand = SighandStruct(ignored)
    else:
        child.sighand = SighandStruct(dict(task.sighand.action))
    if flags & CLONE_THREAD:
        child.tgid = task.tgid
        child.signal.threads += 1
    else:
        old = task.signal
        child.tgid, child.tgid_vnr = child.pid, child.pid_vnr
        sibling = flags & CLONE_PARENT
        child.signal = SignalStruct(
            child.ucounts, child.pid, old.pgrp, old.session, old.parent_tgid if sibling else task.tgid,
            rlim=dict(old.rlim), oom_score_adj=old.oom_score_adj,
            exit_signal=old.exit_signal if sibling else args.exit_signal,
        )  # fmt: skip
        child.signal.parent_vnr = child.pid_ns.nr(child.signal.parent_tgid)
        child.signal.mm_min_flt = child.mm.min_flt
        if not flags & CLONE_VM:
            child.mm.rlim = child.signal.rlim
    if flags & (CLONE_VM | CLONE_VFORK) == CLONE_VM:
        child.sas = SigAltStack(flags=SS_DISABLE)
    else:
        child.sas = task.sas


def _copy_thread(task: Task, args: CloneArgs) -> object:
    """The child's registers: the parent's at the call, but for result, stack and TLS (copy_thread())."""
    cpu = task.kernel.cpu
    mine = cpu.save_context(None)
    cpu.write_result(0)
    if args.stack:
        gregs = cpu.read_gregs()
        gregs[task.kernel.arch.SP_INDEX] = args.stack
        cpu.write_gregs(gregs)
    if args.flags & CLONE_SETTLS:
        cpu.set_tls(args.tls)
    theirs = cpu.save_context(None)
    cpu.restore_context(mine)
    cpu.free_context(mine)
    return theirs
