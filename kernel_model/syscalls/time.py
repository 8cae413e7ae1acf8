"""Clocks and sleeping (kernel/time/posix-timers.c, hrtimer.c, time.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.cred import CAP_SYS_TIME, CAP_WAKE_ALARM
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.syscalls.declare import ClockId, syscall
from kernel_model.syscalls.kinds import (
    OutTimespec,
    OutTimeT,
    OutTimeval,
    OutTimezone,
    SleepFlags,
    Timespec,
    Timeval,
    Timex,
    Timezone,
)
from kernel_model.task import RestartBlock
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

_REALTIME_CLOCKS = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI))
_SLEEPING_CLOCKS = frozenset(
    (
        abi.CLOCK_REALTIME,
        abi.CLOCK_MONOTONIC,
        abi.CLOCK_BOOTTIME,
        abi.CLOCK_REALTIME_ALARM,
        abi.CLOCK_BOOTTIME_ALARM,
        abi.CLOCK_TAI,
        abi.CLOCK_PROCESS_CPUTIME_ID,
    )
)
_ALARM_CLOCKS = frozenset((abi.CLOCK_REALTIME_ALARM, abi.CLOCK_BOOTTIME_ALARM))
_NO_SLEEP_CLOCKS = frozenset(
    (
        abi.CLOCK_THREAD_CPUTIME_ID,
        abi.CLOCK_MONOTONIC_RAW,
        abi.CLOCK_REALTIME_COARSE,
        abi.CLOCK_MONOTONIC_COARSE,
    )
)


@syscall()
def sys_clock_gettime(task: Task, clock: ClockId, tp: OutTimespec) -> int:
    """clock_gettime(2)."""
    now_ns = task.kernel.clock.now_ns(clock, task) + task.nsproxy.time_ns.offset_ns(clock)
    put_user(task.mm, tp, abi.TIMESPEC, *divmod(now_ns, abi.NSEC_PER_SEC))
    return 0


@syscall()
def sys_clock_getres(task: Task, clock: ClockId, tp: OutTimespec) -> int:
    """clock_getres(2)."""
    resolution_ns = task.kernel.clock.resolution_ns(clock, task)
    if tp:
        put_user(task.mm, tp, abi.TIMESPEC, 0, resolution_ns)
    return 0


def _set_realtime(task: Task, seconds: int, nanoseconds: int) -> None:
    """kernel/time/time.c:do_sys_settimeofday64()."""
    if not 0 <= seconds < abi.TIME_SETTOD_SEC_MAX or not 0 <= nanoseconds < abi.NSEC_PER_SEC:
        raise SyscallError(errno.EINVAL)
    if not task.cred.capable(CAP_SYS_TIME):
        raise SyscallError(errno.EPERM)
    kernel = task.kernel
    kernel.clock.set_realtime(seconds * abi.NSEC_PER_SEC + nanoseconds)
    for sleeper in list(kernel.sched.timed.values()):
        kernel.sched.wake(sleeper)  # one that sleeps until a time of day looks again
    if kernel.hrtimers is not None:
        from kernel_model.signal.timers import arm

        kernel.hrtimers.clock_was_set()
        arm(kernel)


@syscall()
def sys_clock_settime(task: Task, clock: ClockId, tp: Timespec) -> int:
    """clock_settime(2): only CLOCK_REALTIME can be set, and only as the guest sees it."""
    timekeeper = task.kernel.clock
    if clock != abi.CLOCK_REALTIME:
        if clock < 0 or clock in (abi.CLOCK_PROCESS_CPUTIME_ID, abi.CLOCK_THREAD_CPUTIME_ID):
            if clock >= 0:
                raise SyscallError(errno.EINVAL)
            get_user(task.mm, tp, abi.TIMESPEC)
            timekeeper.cpu_clock(clock, task)
            raise SyscallError(errno.EPERM)
        raise SyscallError(errno.EINVAL)
    _set_realtime(task, *get_user(task.mm, tp, abi.TIMESPEC))
    return 0


@syscall()
def sys_gettimeofday(task: Task, tv: OutTimeval, tz: OutTimezone) -> int:
    """gettimeofday(2)."""
    timekeeper = task.kernel.clock
    if tv:
        seconds, nanoseconds = divmod(timekeeper.realtime_ns(), abi.NSEC_PER_SEC)
        put_user(task.mm, tv, abi.TIMEVAL, seconds, nanoseconds // abi.NSEC_PER_USEC)
    if tz:
        put_user(task.mm, tz, abi.TIMEZONE, *timekeeper.timezone)
    return 0


@syscall()
def sys_settimeofday(task: Task, tv: Timeval, tz: Timezone) -> int:
    """settimeofday(2): moves CLOCK_REALTIME as the guest sees it."""
    time = None
    if tv:
        seconds, microseconds = get_user(task.mm, tv, abi.TIMEVAL)
        if not 0 <= microseconds <= abi.USEC_PER_SEC:
            raise SyscallError(errno.EINVAL)
        time = seconds, microseconds * abi.NSEC_PER_USEC
    zone = get_user(task.mm, tz, abi.TIMEZONE) if tz else None
    if time is not None and not (0 <= time[0] < abi.TIME_SETTOD_SEC_MAX and 0 <= time[1] < abi.NSEC_PER_SEC):
        raise SyscallError(errno.EINVAL)
    if not task.cred.capable(CAP_SYS_TIME):
        raise SyscallError(errno.EPERM)
    if zone is not None:
        if not -15 * 60 <= zone[0] <= 15 * 60:
            raise SyscallError(errno.EINVAL)
        task.kernel.clock.set_timezone(zone[0], zone[1])
    if time is not None:
        _set_realtime(task, *time)
    return 0


@syscall()
def sys_time(task: Task, tloc: OutTimeT) -> int:
    """time(2)."""
    now = task.kernel.clock.realtime_ns() // abi.NSEC_PER_SEC
    if tloc:
        put_user(task.mm, tloc, abi.TIME_T, now)
    return now


# -- adjtimex ---------------------------------------------------------------------------------------------------------
_ADJ_OFFSET_SINGLESHOT = 0x8001
_ADJ_ADJTIME = 0x8000
_ADJ_OFFSET_READONLY = 0x2000
_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000
_TIME_ERROR = 5
_MAXERROR_US = 16_000_000
_FREQ_TOLERANCE = 500 << 16
_TICK_US = 10_000


def _adjtimex(task: Task, buf: UserPtr) -> int:
    """kernel/time/ntp.c:__do_adjtimex() for a clock that nobody disciplines."""
    (modes, *_) = get_user(task.mm, buf, abi.TIMEX)
    if modes & _ADJ_ADJTIME:
        if not modes & 1:
            raise SyscallError(errno.EINVAL)
        changes = not modes & _ADJ_OFFSET_READONLY
    else:
        changes = bool(modes)
    if changes:
        # A privileged guest may ask, and is told the clock as it is.
        if not task.cred.capable(CAP_SYS_TIME):
            raise SyscallError(errno.EPERM)
    seconds, nanoseconds = divmod(task.kernel.clock.realtime_ns(), abi.NSEC_PER_SEC)
    put_user(
        task.mm, buf, abi.TIMEX,
        modes, 0, 0, _MAXERROR_US, _MAXERROR_US, _STA_UNSYNC, 2, 1, _FREQ_TOLERANCE,
        seconds, nanoseconds // abi.NSEC_PER_USEC, _TICK_US, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    return _TIME_ERROR


@syscall(partial="Reads the state of an undisciplined clock; adjustments are checked and not made.")
def sys_adjtimex(task: Task, buf: Timex) -> int:
    """adjtimex(2)."""
    return _adjtimex(task, buf)


@syscall(partial="Reads the state of an undisciplined clock; adjustments are checked and not made.")
def sys_clock_adjtime(task: Task, clock: ClockId, buf: Timex) -> int:
    """clock_adjtime(2): EOPNOTSUPP for a clock that can't be adjusted."""
    if clock != abi.CLOCK_REALTIME:
        task.kernel.clock.now_ns(clock, task)
        raise SyscallError(errno.EOPNOTSUPP)
    return _adjtimex(task, buf)


# -- sleeping ---------------------------------------------------------------------------------------------------------
def _valid_timespec(seconds: int, nanoseconds: int) -> bool:
    """include/linux/time64.h:timespec64_valid()."""
    return seconds >= 0 and 0 <= nanoseconds < abi.NSEC_PER_SEC


def sleep_until(task: Task, clock: int, end_ns: int, rmtp: UserPtr | None) -> int:
    """Sleep until `clock` shows `end_ns`, or raise `Blocked`.

    `rmtp`: where a signal leaves the rest of a relative sleep (0 for nowhere), which restart_syscall(2) then goes on
    with; None for an absolute sleep, which is simply made again.
    """
    timekeeper = task.kernel.clock
    left_ns = end_ns - timekeeper.now_ns(clock, task)
    if left_ns <= 0:
        return 0
    if clock < 0 or clock == abi.CLOCK_PROCESS_CPUTIME_ID:
        # CPU time stands still while the only task sleeps.
        deadline_ns = None
    else:
        deadline_ns = timekeeper.monotonic_ns() + left_ns
    if rmtp is None:
        raise Blocked(deadline_ns=deadline_ns, interrupted=errno.ERESTARTNOHAND)

    def tell_the_rest() -> int:
        rest_ns = end_ns - timekeeper.now_ns(clock, task)
        if rest_ns <= 0:
            return 0
        if rmtp:
            put_user(task.mm, rmtp, abi.TIMESPEC, *divmod(rest_ns, abi.NSEC_PER_SEC))
        task.restart_block = RestartBlock("sleep", (clock, end_ns, rmtp))
        raise SyscallError(errno.ERESTART_RESTARTBLOCK)

    raise Blocked(deadline_ns=deadline_ns, on_signal=tell_the_rest)


def _sleep_for(task: Task, clock: int, seconds: int, nanoseconds: int, rmtp: UserPtr) -> int:
    """A relative sleep; when it ends is decided at the first call and kept."""
    end_ns = task.call_state
    if not isinstance(end_ns, int):
        end_ns = task.kernel.clock.now_ns(clock, task) + seconds * abi.NSEC_PER_SEC + nanoseconds
        end_ns = min(end_ns, abi.KTIME_MAX_NS)
    try:
        return sleep_until(task, clock, end_ns, rmtp)
    except Blocked:
        task.call_state = end_ns  # not before: a sleep that is over at once leaves nothing behind
        raise


@syscall()
def sys_nanosleep(task: Task, rqtp: Timespec, rmtp: OutTimespec) -> int:
    """nanosleep(2)."""
    seconds, nanoseconds = get_user(task.mm, rqtp, abi.TIMESPEC)
    if not _valid_timespec(seconds, nanoseconds):
        raise SyscallError(errno.EINVAL)
    return _sleep_for(task, abi.CLOCK_MONOTONIC, seconds, nanoseconds, rmtp)


@syscall()
def sys_clock_nanosleep(task: Task, clock: ClockId, flags: SleepFlags, rqtp: Timespec, rmtp: OutTimespec) -> int:
    """clock_nanosleep(2). A relative sleep is not moved by a change of CLOCK_REALTIME."""
    timekeeper = task.kernel.clock
    if clock in _NO_SLEEP_CLOCKS:
        raise SyscallError(errno.EOPNOTSUPP)
    if clock >= 0 and clock not in _SLEEPING_CLOCKS:
        raise SyscallError(errno.EINVAL)
    seconds, nanoseconds = get_user(task.mm, rqtp, abi.TIMESPEC)
    if not _valid_timespec(seconds, nanoseconds):
        raise SyscallError(errno.EINVAL)
    if clock < 0:
        timekeeper.cpu_clock(clock, task)
        if clock & abi.CPUCLOCK_PERTHREAD_MASK and ~(clock >> 3) in (0, task.pid_vnr):
            raise SyscallError(errno.EINVAL)
    if clock in _ALARM_CLOCKS:
        if flags & ~abi.TIMER_ABSTIME:
            raise SyscallError(errno.EINVAL)
        if not task.cred.capable(CAP_WAKE_ALARM):
            raise SyscallError(errno.EPERM)
    if flags & abi.TIMER_ABSTIME:
        end_ns = task.nsproxy.time_ns.to_host_ns(clock, seconds * abi.NSEC_PER_SEC + nanoseconds)
        return sleep_until(task, clock, end_ns, None)
    if clock in _REALTIME_CLOCKS:
        clock = abi.CLOCK_MONOTONIC
    return _sleep_for(task, clock, seconds, nanoseconds, rmtp)
