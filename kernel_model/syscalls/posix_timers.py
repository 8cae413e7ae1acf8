"""timer_create(2) and its kin; the timers are in `kernel_model.signal.posix_timers`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.abi.resource import RLIMIT_SIGPENDING
from kernel_model.abi.signal import NSIG, SIGALRM
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid, find_vpid
from kernel_model.signal.posix_timers import (
    SIGEV_NONE,
    SIGEV_SIGNAL,
    SIGEV_THREAD,
    SIGEV_THREAD_ID,
    PosixTimer,
)
from kernel_model.syscalls.declare import ClockId, Int, syscall
from kernel_model.syscalls.event import read_itimerspec, write_itimerspec
from kernel_model.syscalls.kinds import Itimerspec, OutItimerspec, OutTimerId, SigEvent, SleepFlags
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

_SIGEVENT: Final = Struct("<qiii44x")
"""`struct sigevent`: value, signo, notify, thread id."""
_TIMER_ID: Final = Struct("<i")
_CLOCKS: Final = frozenset(
    (
        abi.CLOCK_REALTIME,
        abi.CLOCK_MONOTONIC,
        abi.CLOCK_BOOTTIME,
        abi.CLOCK_TAI,
        abi.CLOCK_PROCESS_CPUTIME_ID,
        abi.CLOCK_THREAD_CPUTIME_ID,
    )
)
_NO_TIMER_CLOCKS: Final = frozenset(
    (
        abi.CLOCK_MONOTONIC_RAW,
        abi.CLOCK_REALTIME_COARSE,
        abi.CLOCK_MONOTONIC_COARSE,
        # a machine without a clock that could wake it (alarm_timer_create())
        abi.CLOCK_REALTIME_ALARM,
        abi.CLOCK_BOOTTIME_ALARM,
    )
)


@syscall()
def sys_timer_create(task: Task, which_clock: ClockId, event: SigEvent, created_timer_id: OutTimerId) -> int:
    """timer_create(2), in the order of kernel/time/posix-timers.c:do_timer_create()."""
    value, signo, notify, thread_pid = 0, SIGALRM, SIGEV_SIGNAL, 0
    if event:
        value, signo, notify, thread_pid = get_user(task.mm, event, _SIGEVENT)
    if which_clock in _NO_TIMER_CLOCKS:
        raise SyscallError(errno.EOPNOTSUPP)
    if which_clock >= 0 and which_clock not in _CLOCKS:
        raise SyscallError(errno.EINVAL)
    signal = task.signal
    if task.ucounts.sigpending >= signal.rlim[RLIMIT_SIGPENDING][0]:
        raise SyscallError(errno.EAGAIN)  # each has room for its signal from the start (sigqueue_alloc())
    _check_event(task, notify, signo, thread_pid)
    number = signal.next_posix_timer_id
    if not event:
        value = number
    put_user(task.mm, created_timer_id, _TIMER_ID, number)
    if which_clock < 0:
        task.kernel.clock.cpu_clock(which_clock, task)
    signal.next_posix_timer_id = number + 1 & 0x7FFF_FFFF
    to_thread = notify & SIGEV_THREAD_ID
    signal.posix_timers[number] = PosixTimer(
        task, which_clock, number, notify, signo, value, find_vpid(task, thread_pid) if to_thread else 0
    )
    return 0


def _check_event(task: Task, notify: int, signo: int, thread_pid: int) -> None:
    """EINVAL unless it can be done (good_sigevent())."""
    if notify == SIGEV_NONE:
        return
    if notify == SIGEV_SIGNAL | SIGEV_THREAD_ID:
        thread = find_task_by_vpid(task, thread_pid)
        if thread is None or thread.signal is not task.signal:
            raise SyscallError(errno.EINVAL)
    elif notify not in (SIGEV_SIGNAL, SIGEV_THREAD):
        raise SyscallError(errno.EINVAL)
    if not 0 < signo <= NSIG:
        raise SyscallError(errno.EINVAL)


def _timer(task: Task, number: int) -> PosixTimer:
    """The process's timer of that number; EINVAL."""
    timer = task.signal.posix_timers.get(number)
    if timer is None:
        raise SyscallError(errno.EINVAL)
    return timer


@syscall()
def sys_timer_settime(
    task: Task, timer_id: Int, flags: SleepFlags, new_setting: Itimerspec, old_setting: OutItimerspec
) -> int:
    """timer_settime(2)."""
    if not new_setting:
        raise SyscallError(errno.EINVAL)
    value_ns, interval_ns = read_itimerspec(task, new_setting)
    timer = _timer(task, timer_id)
    if flags & abi.TIMER_ABSTIME and value_ns:
        value_ns = max(1, task.nsproxy.time_ns.to_host_ns(timer.user_clock_id, value_ns))
    old = timer.settime(bool(flags & abi.TIMER_ABSTIME), value_ns, interval_ns)
    if old_setting:
        write_itimerspec(task, old_setting, old)
    return 0


@syscall()
def sys_timer_gettime(task: Task, timer_id: Int, setting: OutItimerspec) -> int:
    """timer_gettime(2)."""
    write_itimerspec(task, setting, _timer(task, timer_id).gettime())
    return 0


@syscall()
def sys_timer_getoverrun(task: Task, timer_id: Int) -> int:
    """timer_getoverrun(2)."""
    return _timer(task, timer_id).overrun_last


@syscall()
def sys_timer_delete(task: Task, timer_id: Int) -> int:
    """timer_delete(2)."""
    timer = _timer(task, timer_id)
    timer.delete()
    del task.signal.posix_timers[timer_id]
    return 0
