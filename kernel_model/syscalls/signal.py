"""Signals: dispositions, the mask, sending, waiting, and interval timers (kernel/signal.c, kernel/time/itimer.c)."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi import signal as abi
from kernel_model.abi.resource import RLIMIT_SIGPENDING
from kernel_model.abi.time import KTIME_MAX_NS, NSEC_PER_SEC, NSEC_PER_USEC, TIMESPEC, USEC_PER_SEC
from kernel_model.cred import CAP_KILL
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid, find_vpid, pid_vnr
from kernel_model.signal.send import force_signal, send_signal
from kernel_model.signal.sighand import SigAction, SigInfo
from kernel_model.syscalls import kinds
from kernel_model.syscalls.declare import Pid, Signal, Size, UInt, syscall
from kernel_model.types import KEEP_REGISTERS, SyscallError
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task
    from kernel_model.types import UserPtr

_AT_ONCE = abi.sigmask(abi.SIGHUP, abi.SIGINT, abi.SIGQUIT, abi.SIGUSR1, abi.SIGUSR2, abi.SIGTERM)
"""What comes from outside and must reach its handler even if the program only computes."""
_JOB_CONTROL = frozenset((abi.SIGCONT, abi.SIGSTOP, abi.SIGTSTP, abi.SIGTTIN, abi.SIGTTOU))


# -- dispositions and the mask ----------------------------------------------------------------------------------------
@syscall()
def sys_rt_sigaction(task: Task, sig: Signal, act: kinds.SigAction, oact: kinds.OutSigAction, sigsetsize: Size) -> int:
    """rt_sigaction(2)."""
    if sigsetsize != abi.SIGSET_BYTES:
        raise SyscallError(errno.EINVAL)
    new = get_user(task.mm, act, abi.SIGACTION) if act else None
    if not 1 <= sig <= abi.NSIG or (new is not None and abi.UNBLOCKABLE >> sig - 1 & 1):
        raise SyscallError(errno.EINVAL)
    old = task.sighand.get(sig)
    if new is not None:
        handler, flags, restorer, mask = new
        task.sighand.action[sig] = SigAction(handler, flags & abi.UAPI_SA_FLAGS, restorer, mask & ~abi.UNBLOCKABLE)
        if handler > abi.SIG_IGN:
            if _AT_ONCE >> sig - 1 & 1:
                task.kernel.keep_preemptible()
        else:
            from kernel_model.signal.send import flush_everywhere, is_ignored

            if is_ignored(task, sig):
                flush_everywhere(task, abi.sigmask(sig))
        for timer in task.signal.posix_timers.values():
            if timer.signo == sig:
                timer.no_longer_ignored()
    if oact:
        put_user(task.mm, oact, abi.SIGACTION, old.handler, old.flags, old.restorer, old.mask)
    return 0


@syscall()
def sys_rt_sigprocmask(
    task: Task, how: kinds.SigProcMaskHow, nset: kinds.SigSet, oset: kinds.OutSigSet, sigsetsize: Size
) -> int:
    """rt_sigprocmask(2)."""
    if sigsetsize != abi.SIGSET_BYTES:
        raise SyscallError(errno.EINVAL)
    old = task.blocked
    if nset:
        (mask,) = get_user(task.mm, nset, abi.SIGSET)
        if how == abi.SIG_BLOCK:
            mask |= old
        elif how == abi.SIG_UNBLOCK:
            mask = old & ~mask
        elif how != abi.SIG_SETMASK:
            raise SyscallError(errno.EINVAL)
        task.blocked = mask & ~abi.UNBLOCKABLE
        if (task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked:
            task.kernel.signal_work = True
    if oset:
        put_user(task.mm, oset, abi.SIGSET, old)
    return 0


@syscall()
def sys_rt_sigpending(task: Task, uset: kinds.OutSigSet, sigsetsize: Size) -> int:
    """rt_sigpending(2)."""
    if sigsetsize > abi.SIGSET_BYTES:
        raise SyscallError(errno.EINVAL)
    mask = (task.pending.mask | task.signal.shared_pending.mask) & task.blocked
    copy_to_user(task.mm, uset, abi.SIGSET.pack(mask)[:sigsetsize])
    return 0


@syscall()
def sys_sigaltstack(task: Task, uss: kinds.StackT, uoss: kinds.OutStackT) -> int:
    """sigaltstack(2)."""
    from kernel_model.signal.altstack import sas_ss_flags, set_altstack

    kernel = task.kernel
    sp = kernel.cpu.read_gregs()[kernel.arch.SP_INDEX]
    old = task.sas
    new = get_user(task.mm, uss, abi.STACK_T) if uss else None
    old_flags = sas_ss_flags(old, sp) | (old.flags & abi.SS_AUTODISARM)
    if new is not None:
        address, flags, size = new
        set_altstack(task, address, flags, size, sp, kernel.signal_ops.MIN_SS_SIZE)
    if uoss:
        signed = old_flags - (1 << 32) if old_flags >> 31 else old_flags
        put_user(task.mm, uoss, abi.STACK_T, old.sp, signed, old.size)
    return 0


@syscall()
def sys_rt_sigreturn(task: Task) -> int:
    """rt_sigreturn(2): back from a handler. A frame that is not sound is SIGSEGV, and the call has returned 0."""
    task.restart_block = None
    ops = task.kernel.signal_ops
    try:
        ops.restore_frame(task)
    except SyscallError:
        signal, code, address = ops.bad_frame(task)
        force_signal(task.kernel, task, SigInfo(signal, code, fields=(("addr", address),)))
        return 0
    return KEEP_REGISTERS


# -- sending ----------------------------------------------------------------------------------------------------------
def _may_kill(task: Task, target: Task, sig: int) -> bool:
    """May it signal a task of another process? (kernel/signal.c:kill_ok_by_cred(), and SIGCONT within a session)"""
    own, other = task.cred, target.cred
    return (
        own.euid in (other.suid, other.uid)
        or own.uid in (other.suid, other.uid)
        or own.capable(CAP_KILL)
        or (sig == abi.SIGCONT and target.signal.session == task.signal.session)
    )


def send_checked(task: Task, target: Task, info: SigInfo, *, group: bool) -> None:
    """Check and send; signal 0 only checks. EINVAL, EPERM, EAGAIN."""

    if not 0 <= info.signo <= abi.NSIG:
        raise SyscallError(errno.EINVAL)
    if target.signal is not task.signal and not _may_kill(task, target, info.signo):
        raise SyscallError(errno.EPERM)
    if info.signo and not send_signal(task.kernel, target, info, group=group):
        raise SyscallError(errno.EAGAIN)


def info_of_kill(task: Task, sig: int, code: int) -> SigInfo:
    """The siginfo of kill(2) and tgkill(2)."""
    return _info_from(sig, code, task.tgid_vnr, task.cred.uid)


@lru_cache(maxsize=64)
def _info_from(sig: int, code: int, pid: int, uid: int) -> SigInfo:
    """A siginfo that says who sent it."""
    return SigInfo(sig, code, fields=(("pid", pid), ("uid", uid)))


def _leaders(task: Task) -> Iterable[Task]:
    """One task of each process."""
    return (other for other in task.kernel.tasks.values() if other.pid == other.tgid)


@syscall()
def sys_kill(task: Task, pid: Pid, sig: Signal) -> int:
    """kill(2)."""
    info = info_of_kill(task, sig, abi.SI_USER)
    if pid > 0:
        target = find_task_by_vpid(task, pid)
        if target is None:
            raise SyscallError(errno.ESRCH)
        send_checked(task, target, info, group=True)
        return 0
    if pid == -1:
        targets = [
            other for other in _leaders(task) if pid_vnr(task, other.pid) > 1 and other.signal is not task.signal
        ]
    else:
        pgrp = task.signal.pgrp if pid == 0 else find_vpid(task, -pid)
        targets = in_pgrp(task, pgrp)
    send_to_all(task, targets, info)
    return 0


def in_pgrp(task: Task, pgrp: int) -> list[Task]:
    """The leaders of the processes of that group."""
    return [other for other in _leaders(task) if other.signal.pgrp == pgrp]


def send_to_all(task: Task, targets: list[Task], info: SigInfo) -> None:
    """Send to every process; an error only when none could be sent to, ESRCH where there is none."""
    error = errno.ESRCH
    for target in targets:
        try:
            send_checked(task, target, info, group=True)
            error = 0
        except SyscallError as failure:
            error = failure.errno if error else 0
    if error:
        raise SyscallError(error)


def _thread(task: Task, tgid: int, pid: int) -> Task:
    """The thread `pid` of process `tgid` (0 or less: of any); ESRCH."""
    target = find_task_by_vpid(task, pid)
    if target is None or (tgid > 0 and target.tgid != find_vpid(task, tgid)):
        raise SyscallError(errno.ESRCH)
    return target


@syscall()
def sys_tgkill(task: Task, tgid: Pid, pid: Pid, sig: Signal) -> int:
    """tgkill(2)."""
    if pid <= 0 or tgid <= 0:
        raise SyscallError(errno.EINVAL)
    target = find_task_by_vpid(task, pid)
    if target is None or target.tgid != find_vpid(task, tgid):
        raise SyscallError(errno.ESRCH)
    info = _info_from(sig, abi.SI_TKILL, task.tgid_vnr, task.cred.uid)
    if target is task and 0 < sig <= abi.NSIG and _enter_own_handler(task, info):
        return KEEP_REGISTERS
    send_checked(task, target, info, group=False)
    return 0


def _enter_own_handler(task: Task, info: SigInfo) -> bool:
    """A task signals itself: is it in the handler, with nothing else to be looked at on the way there?"""
    if info.signo in _JOB_CONTROL or task.ucounts.sigpending >= task.signal.rlim[RLIMIT_SIGPENDING][0]:
        return False
    kernel = task.kernel
    kernel.cpu.write_result(0)
    return _enter_at_once()(kernel, task, info)


@cache
def _enter_at_once() -> Callable[[Kernel, Task, SigInfo], bool]:
    """What delivers signals is imported with the first of them."""
    from kernel_model.signal.action import enter_at_once

    return enter_at_once


@syscall()
def sys_tkill(task: Task, pid: Pid, sig: Signal) -> int:
    """tkill(2)."""
    if pid <= 0:
        raise SyscallError(errno.EINVAL)
    send_checked(task, _thread(task, 0, pid), info_of_kill(task, sig, abi.SI_TKILL), group=False)
    return 0


def siginfo_from_user(task: Task, sig: int, uinfo: UserPtr) -> SigInfo:
    """What rt_sigqueueinfo(2) is given, its number replaced. E2BIG for more than Linux knows how to copy."""
    from kernel_model.signal.siginfo import has_known_layout, unpack

    data = copy_from_user(task.mm, uinfo, abi.KERNEL_SIGINFO_BYTES)
    info = unpack(sig, data)
    if not has_known_layout(sig, info.code):
        rest = copy_from_user(task.mm, uinfo + len(data), abi.SIGINFO_BYTES - len(data))
        if any(rest):
            raise SyscallError(errno.E2BIG)
    return info


def _check_forged(task: Task, pid: int, info: SigInfo) -> None:
    """Nobody may pretend to be the kernel or kill(2), but to themselves."""
    if (info.code >= 0 or info.code == abi.SI_TKILL) and task.tgid_vnr != pid:
        raise SyscallError(errno.EPERM)


@syscall()
def sys_rt_sigqueueinfo(task: Task, pid: Pid, sig: Signal, uinfo: kinds.SigInfo) -> int:
    """rt_sigqueueinfo(2)."""
    info = siginfo_from_user(task, sig, uinfo)
    _check_forged(task, pid, info)
    target = find_task_by_vpid(task, pid)
    if target is None:
        raise SyscallError(errno.ESRCH)
    send_checked(task, target, info, group=True)
    return 0


@syscall()
def sys_rt_tgsigqueueinfo(task: Task, tgid: Pid, pid: Pid, sig: Signal, uinfo: kinds.SigInfo) -> int:
    """rt_tgsigqueueinfo(2)."""
    info = siginfo_from_user(task, sig, uinfo)
    if pid <= 0 or tgid <= 0:
        raise SyscallError(errno.EINVAL)
    _check_forged(task, pid, info)
    send_checked(task, _thread(task, tgid, pid), info, group=False)
    return 0


# -- waiting ----------------------------------------------------------------------------------------------------------
@syscall()
def sys_pause(task: Task) -> int:
    """pause(2)."""
    raise Blocked(queues=(), interrupted=errno.ERESTARTNOHAND)


@syscall()
def sys_rt_sigsuspend(task: Task, unewset: kinds.SigSet, sigsetsize: Size) -> int:
    """rt_sigsuspend(2). The old mask comes back when the signal has been dealt with."""
    if task.call_state is None:
        if sigsetsize != abi.SIGSET_BYTES:
            raise SyscallError(errno.EINVAL)
        (mask,) = get_user(task.mm, unewset, abi.SIGSET)
        task.saved_sigmask = task.blocked
        task.blocked = mask & ~abi.UNBLOCKABLE
        task.call_state = True
    raise Blocked(queues=(), interrupted=errno.ERESTARTNOHAND)


class _SigWait:
    """What rt_sigtimedwait(2) remembers while it sleeps."""

    __slots__ = ("deadline_ns",)

    def __init__(self, deadline_ns: int | None) -> None:
        self.deadline_ns = deadline_ns


@syscall(returns="signal")
def sys_rt_sigtimedwait(
    task: Task, uthese: kinds.SigSet, uinfo: kinds.OutSigInfo, uts: kinds.Timespec, sigsetsize: Size
) -> int:
    """rt_sigtimedwait(2): EAGAIN when the time is up, EINTR for another signal (do_sigtimedwait())."""
    if sigsetsize != abi.SIGSET_BYTES:
        raise SyscallError(errno.EINVAL)
    (these,) = get_user(task.mm, uthese, abi.SIGSET)
    these &= ~abi.UNBLOCKABLE
    clock = task.kernel.clock
    state = task.call_state
    if not isinstance(state, _SigWait):
        deadline_ns = None
        if uts:
            seconds, nanoseconds = get_user(task.mm, uts, TIMESPEC)
            if seconds < 0 or not 0 <= nanoseconds < NSEC_PER_SEC:
                raise SyscallError(errno.EINVAL)
            deadline_ns = min(clock.monotonic_ns() + seconds * NSEC_PER_SEC + nanoseconds, KTIME_MAX_NS)
        state = _SigWait(deadline_ns)
        blocked = task.blocked
    else:
        blocked, task.real_blocked = task.real_blocked, 0
        task.blocked = blocked

    def take(*, on_empty: int) -> int:
        from kernel_model.signal.action import dequeue_signal
        from kernel_model.signal.siginfo import pack

        info = dequeue_signal(task, ~these)
        if info is None:
            raise SyscallError(on_empty)
        if uinfo:
            copy_to_user(task.mm, uinfo, pack(info))
        return info.signo

    if (task.pending.mask | task.signal.shared_pending.mask) & these:
        return take(on_empty=errno.EAGAIN)
    if state.deadline_ns is not None and clock.monotonic_ns() >= state.deadline_ns:
        raise SyscallError(errno.EAGAIN)

    def interrupted() -> int:
        task.blocked, task.real_blocked = blocked, 0
        return take(on_empty=errno.EINTR)

    task.call_state = state
    task.real_blocked = blocked
    task.blocked = blocked & ~these
    raise Blocked(queues=(), deadline_ns=state.deadline_ns, on_signal=interrupted)


def _restart_sleep(task: Task, clock: int, end_ns: int, rmtp: UserPtr) -> int:
    from kernel_model.syscalls.time import sleep_until

    return sleep_until(task, clock, end_ns, rmtp)


def _restart_poll(task: Task, ufds: UserPtr, nfds: int, deadline_ns: int) -> int:
    from kernel_model.syscalls.poll import do_restart_poll

    return do_restart_poll(task, ufds, nfds, None if deadline_ns < 0 else deadline_ns)


_RESTART: dict[str, Callable[..., int]] = {"sleep": _restart_sleep, "poll": _restart_poll}


@syscall()
def sys_restart_syscall(task: Task) -> int:
    """restart_syscall(2): go on with the call that a stop interrupted."""
    block = task.restart_block
    if block is None:
        raise SyscallError(errno.EINTR)
    return _RESTART[block.function](task, *block.data)


# -- timers -----------------------------------------------------------------------------------------------------------
def _set_itimer(task: Task, which: int, value_ns: int, interval_ns: int) -> tuple[int, int]:
    """Start (or with 0 stop) an interval timer; what was left of it, and its old interval (ns)."""
    from kernel_model.signal.timers import arm, itimer_clock_ns

    kernel = task.kernel
    itimers = kernel.timers.setdefault(task.tgid, {})
    now_ns = itimer_clock_ns(kernel, task.signal, which)
    old = _left(itimers.get(which), now_ns)
    if value_ns:
        itimers[which] = min(now_ns + value_ns, KTIME_MAX_NS), interval_ns
    else:
        itimers.pop(which, None)
        if not itimers:
            del kernel.timers[task.tgid]
    arm(kernel)
    return old


def _left(timer: tuple[int, int] | None, now_ns: int) -> tuple[int, int]:
    """(left, interval) of a running timer; one that is due but not yet seen to has a microsecond left."""
    if timer is None:
        return 0, 0
    return max(timer[0] - now_ns, NSEC_PER_USEC), timer[1]


@syscall()
def sys_alarm(task: Task, seconds: UInt) -> int:
    """alarm(2)."""
    left_ns, _ = _set_itimer(task, abi.ITIMER_REAL, seconds * NSEC_PER_SEC, 0)
    # Rounded to the nearest second, but never to 0 (kernel/time/itimer.c:alarm_setitimer()).
    whole, rest = divmod(left_ns, NSEC_PER_SEC)
    return whole + 1 if rest >= NSEC_PER_SEC // 2 or (rest and not whole) else whole


def _itimerval(left_ns: int, interval_ns: int) -> tuple[int, int, int, int]:
    """The fields of `struct itimerval`."""
    seconds, rest_ns = divmod(interval_ns, NSEC_PER_SEC)
    left_seconds, left_rest_ns = divmod(left_ns, NSEC_PER_SEC)
    return seconds, rest_ns // NSEC_PER_USEC, left_seconds, left_rest_ns // NSEC_PER_USEC


@syscall()
def sys_setitimer(task: Task, which: kinds.ItimerWhich, value: kinds.Itimerval, ovalue: kinds.OutItimerval) -> int:
    """setitimer(2). A NULL `value` stops the timer."""
    interval_s = interval_us = value_s = value_us = 0
    if value:
        interval_s, interval_us, value_s, value_us = get_user(task.mm, value, abi.ITIMERVAL)
        if min(interval_s, value_s) < 0 or not (0 <= interval_us < USEC_PER_SEC and 0 <= value_us < USEC_PER_SEC):
            raise SyscallError(errno.EINVAL)
    if not abi.ITIMER_REAL <= which <= abi.ITIMER_PROF:
        raise SyscallError(errno.EINVAL)
    old = _set_itimer(
        task,
        which,
        value_s * NSEC_PER_SEC + value_us * NSEC_PER_USEC,
        interval_s * NSEC_PER_SEC + interval_us * NSEC_PER_USEC,
    )
    if ovalue:
        put_user(task.mm, ovalue, abi.ITIMERVAL, *_itimerval(*old))
    return 0


@syscall()
def sys_getitimer(task: Task, which: kinds.ItimerWhich, value: kinds.OutItimerval) -> int:
    """getitimer(2)."""
    from kernel_model.signal.timers import itimer_clock_ns

    if not abi.ITIMER_REAL <= which <= abi.ITIMER_PROF:
        raise SyscallError(errno.EINVAL)
    timer = task.kernel.timers.get(task.tgid, {}).get(which)
    left = _left(timer, itimer_clock_ns(task.kernel, task.signal, which))
    put_user(task.mm, value, abi.ITIMERVAL, *_itimerval(*left))
    return 0
