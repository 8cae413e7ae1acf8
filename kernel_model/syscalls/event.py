"""Descriptors that stand for events: eventfd(2), timerfd_create(2), signalfd(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from kernel_model.abi.signal import SIGSET, SIGSET_BYTES, UNBLOCKABLE
from kernel_model.cred import CAP_WAKE_ALARM
from kernel_model.fs import timerfd
from kernel_model.fs.anon import install
from kernel_model.fs.eventfd import EFD_SEMAPHORE, EventFile
from kernel_model.fs.signalfd import SignalFile, signalfd_wqh
from kernel_model.fs.timerfd import TimerFile
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.syscalls.declare import ClockId, Fd, Int, Size, UInt, syscall
from kernel_model.syscalls.kinds import (
    EventfdFlags,
    Itimerspec,
    OutItimerspec,
    SignalfdFlags,
    SigSet,
    TimerfdFlags,
    TimerfdSetFlags,
)
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

_CREATE_FLAGS: Final = O_CLOEXEC | O_NONBLOCK
_ALARMS: Final = frozenset((abi.CLOCK_REALTIME_ALARM, abi.CLOCK_BOOTTIME_ALARM))
_TIMERFD_CLOCKS: Final = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_MONOTONIC, abi.CLOCK_BOOTTIME, *_ALARMS))


# -- eventfd ----------------------------------------------------------------------------------------------------------
def _eventfd(task: Task, count: int, flags: int) -> int:
    """fs/eventfd.c:do_eventfd()."""
    if flags & ~(_CREATE_FLAGS | EFD_SEMAPHORE):
        raise SyscallError(errno.EINVAL)
    return install(task, EventFile(task, count, flags), flags)


@syscall(returns="fd")
def sys_eventfd(task: Task, count: UInt) -> int:
    """eventfd(2) without flags."""
    return _eventfd(task, count, 0)


@syscall(returns="fd")
def sys_eventfd2(task: Task, count: UInt, flags: EventfdFlags) -> int:
    """eventfd(2)."""
    return _eventfd(task, count, flags)


# -- timerfd ----------------------------------------------------------------------------------------------------------
@syscall(returns="fd")
def sys_timerfd_create(task: Task, clockid: ClockId, flags: TimerfdFlags) -> int:
    """timerfd_create(2)."""
    if flags & ~_CREATE_FLAGS or clockid not in _TIMERFD_CLOCKS:
        raise SyscallError(errno.EINVAL)
    if clockid in _ALARMS and not task.cred.capable(CAP_WAKE_ALARM):
        raise SyscallError(errno.EPERM)
    return install(task, TimerFile(task, clockid, flags), flags)


def _timer_file(task: Task, fd: int) -> TimerFile:
    """The timer behind `fd`; EBADF, EINVAL."""
    file = fdget(task, fd)
    if not isinstance(file, TimerFile):
        raise SyscallError(errno.EINVAL)
    return file


def read_itimerspec(task: Task, pointer: UserPtr) -> tuple[int, int]:
    """(value, interval) in ns; EFAULT, EINVAL (itimerspec64_valid())."""
    interval_s, interval_ns, value_s, value_ns = get_user(task.mm, pointer, abi.ITIMERSPEC)
    if min(interval_s, value_s) < 0 or not (
        0 <= interval_ns < abi.NSEC_PER_SEC and 0 <= value_ns < abi.NSEC_PER_SEC
    ):
        raise SyscallError(errno.EINVAL)
    value = min(value_s * abi.NSEC_PER_SEC + value_ns, abi.KTIME_MAX_NS)
    return value, min(interval_s * abi.NSEC_PER_SEC + interval_ns, abi.KTIME_MAX_NS)


def write_itimerspec(task: Task, pointer: UserPtr, times: tuple[int, int]) -> None:
    """The reverse."""
    left_ns, interval_ns = times
    put_user(
        task.mm,
        pointer,
        abi.ITIMERSPEC,
        *divmod(interval_ns, abi.NSEC_PER_SEC),
        *divmod(left_ns, abi.NSEC_PER_SEC),
    )


@syscall()
def sys_timerfd_settime(task: Task, ufd: Fd, flags: TimerfdSetFlags, utmr: Itimerspec, otmr: OutItimerspec) -> int:
    """timerfd_settime(2)."""
    value_ns, interval_ns = read_itimerspec(task, utmr)
    if flags & ~(timerfd.TFD_TIMER_ABSTIME | timerfd.TFD_TIMER_CANCEL_ON_SET):
        raise SyscallError(errno.EINVAL)
    file = _timer_file(task, ufd)
    if file.clock_id in _ALARMS and not task.cred.capable(CAP_WAKE_ALARM):
        raise SyscallError(errno.EPERM)
    if flags & timerfd.TFD_TIMER_ABSTIME and value_ns:
        value_ns = max(1, task.nsproxy.time_ns.to_host_ns(file.clock_id, value_ns))
    old = file.settime(flags, value_ns, interval_ns)
    if otmr:
        write_itimerspec(task, otmr, old)
    return 0


@syscall()
def sys_timerfd_gettime(task: Task, ufd: Fd, otmr: OutItimerspec) -> int:
    """timerfd_gettime(2)."""
    write_itimerspec(task, otmr, _timer_file(task, ufd).gettime())
    return 0


# -- signalfd ---------------------------------------------------------------------------------------------------------
def _signalfd(task: Task, ufd: int, user_mask: UserPtr, sizemask: int, flags: int) -> int:
    """fs/signalfd.c:do_signalfd4()."""
    if sizemask != SIGSET_BYTES:
        raise SyscallError(errno.EINVAL)
    (mask,) = get_user(task.mm, user_mask, SIGSET)
    if flags & ~_CREATE_FLAGS:
        raise SyscallError(errno.EINVAL)
    mask &= ~UNBLOCKABLE
    if ufd == -1:
        return install(task, SignalFile(task, mask, flags), flags)
    file = fdget(task, ufd)
    if not isinstance(file, SignalFile):
        raise SyscallError(errno.EINVAL)
    file.mask = mask
    signalfd_wqh(task).wake()
    return ufd


@syscall(returns="fd")
def sys_signalfd(task: Task, ufd: Int, user_mask: SigSet, sizemask: Size) -> int:
    """signalfd(2) without flags."""
    return _signalfd(task, ufd, user_mask, sizemask, 0)


@syscall(returns="fd")
def sys_signalfd4(task: Task, ufd: Int, user_mask: SigSet, sizemask: Size, flags: SignalfdFlags) -> int:
    """signalfd(2)."""
    return _signalfd(task, ufd, user_mask, sizemask, flags)
