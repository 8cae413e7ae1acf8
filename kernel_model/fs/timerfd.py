"""Timers that are read: timerfd_create(2) (fs/timerfd.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.abi.fcntl import O_NONBLOCK, O_RDWR
from kernel_model.fs.anon import anon_inode
from kernel_model.fs.file import POLLIN, File, noop_llseek
from kernel_model.hrtimer import WALL_CLOCKS, Timer, timer_queue
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.task import Task

TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2
_CANCELLABLE: Final = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM))
_U64: Final = Struct("<Q")
_NEVER: Final = 1 << 63


class _FileTimer(Timer):
    """The timer within: it runs to its next end, and again when that has been read."""

    __slots__ = ("file",)

    def __init__(self, file: TimerFile, clock_id: int, task: Task) -> None:
        super().__init__(task.kernel, clock_id)
        self.file = file

    def expired(self) -> None:
        """timerfd_triggered()."""
        self.file.has_expired = True
        self.file.ticks += 1
        self.file.wqh.wake(events=POLLIN)

    def changes_nothing(self) -> bool:
        """Nobody waits for it."""
        return not self.file.wqh


class TimerFile(File):
    """An open timer (`struct timerfd_ctx`). `ticks`: how often it has expired since it was read."""

    __slots__ = ("clock_id", "has_expired", "interval_ns", "might_cancel", "moffs_ns", "settime_flags", "ticks",
                 "timer", "wqh")  # fmt: skip

    llseek = noop_llseek

    def __init__(self, task: Task, clock_id: int, flags: int) -> None:
        super().__init__(anon_inode(task.kernel, b"[timerfd]"), None, O_RDWR | flags & O_NONBLOCK)
        self.clock_id = clock_id
        self.timer = _FileTimer(self, clock_id, task)
        self.interval_ns = 0
        self.ticks = 0
        self.has_expired = False
        """The timer has stopped at its end, and starts again (if it is periodic) when somebody asks."""
        self.settime_flags = 0
        self.might_cancel = False
        self.moffs_ns = task.kernel.clock.realtime_offset_ns
        """How CLOCK_REALTIME was set when it was last looked at."""
        self.wqh = WaitQueue()

    def _start_again(self) -> None:
        """Count the ends of a periodic timer that nobody asked about, and run to the next."""
        if self.has_expired and self.interval_ns:
            self.has_expired = False
            self.ticks += self.timer.forward(self.interval_ns) - 1
            self.timer.start(self.timer.expires_ns)

    def _canceled(self) -> bool:
        """Has the clock been set, for one that is to know (timerfd_canceled())?"""
        offset_ns = self.timer.kernel.clock.realtime_offset_ns
        if not self.might_cancel or self.moffs_ns == offset_ns:
            return False
        self.moffs_ns = offset_ns
        return True

    def remaining_ns(self) -> int:
        """What is left to its next end."""
        return max(0, self.timer.expires_ns - self.timer.now_ns()) if self.timer.sequence else 0

    def gettime(self) -> tuple[int, int]:
        """(left, interval) in ns. fs/timerfd.c:do_timerfd_gettime()."""
        self.timer.catch_up()
        self._start_again()
        return self.remaining_ns(), self.interval_ns

    def settime(self, flags: int, value_ns: int, interval_ns: int) -> tuple[int, int]:
        """Set it: `value_ns` from now or, with TFD_TIMER_ABSTIME, on its clock; 0 stops it. What it was before.

        ECANCELED, with the timer set all the same, when CLOCK_REALTIME was set before and it is to know.
        """
        self.timer.catch_up()
        absolute = bool(flags & TFD_TIMER_ABSTIME)
        self.might_cancel = absolute and bool(flags & TFD_TIMER_CANCEL_ON_SET) and self.clock_id in _CANCELLABLE
        watchers = timer_queue(self.timer.kernel).watchers
        if self.might_cancel:
            watchers[self] = None
        else:
            watchers.pop(self, None)
        if self.has_expired and self.interval_ns:
            self.timer.forward(self.interval_ns)
            old = max(0, self.timer.expires_ns - self.timer.now_ns()), self.interval_ns
        else:
            old = self.remaining_ns(), self.interval_ns
        self.timer.cancel()
        self.has_expired = False
        self.ticks = 0
        self.interval_ns = interval_ns
        self.settime_flags = flags
        if value_ns:
            timer = self.timer
            relative_wall = not absolute and self.clock_id in WALL_CLOCKS
            timer.clock_id = abi.CLOCK_MONOTONIC if relative_wall else self.clock_id
            timer.start(value_ns if absolute else timer.now_ns() + value_ns)
            timer.catch_up()
            if self._canceled():
                raise SyscallError(errno.ECANCELED)
        return old

    def clock_was_set(self) -> None:
        """CLOCK_REALTIME was set: whoever waits is told (timerfd_clock_was_set())."""
        self.moffs_ns = _NEVER
        self.ticks += 1
        self.wqh.wake(events=POLLIN)

    def read(self, task: Task, count: int) -> bytes:
        """How often it has expired; waits until it has. ECANCELED when the clock was set."""
        if count < _U64.size:
            raise SyscallError(errno.EINVAL)
        self.timer.catch_up()
        if not self.ticks:
            if self.f_flags & O_NONBLOCK:
                raise SyscallError(errno.EAGAIN)
            raise Blocked(queues=(self.wqh,))
        if self._canceled():
            self.ticks = 0
            self.has_expired = False
            raise SyscallError(errno.ECANCELED)
        self._start_again()
        ticks = self.ticks
        self.has_expired = False
        self.ticks = 0
        return _U64.pack(ticks)

    def poll(self, task: Task) -> int:
        """timerfd_poll()."""
        self.timer.catch_up()
        return POLLIN if self.ticks else 0

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """Its own."""
        return (self.wqh,)

    def show_fdinfo(self, task: Task) -> bytes:
        """timerfd_show()."""
        self.timer.catch_up()
        return (
            b"clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n"
            % (self.clock_id, self.ticks, self.settime_flags, *divmod(self.remaining_ns(), abi.NSEC_PER_SEC),
               *divmod(self.interval_ns, abi.NSEC_PER_SEC))
        )  # fmt: skip

    def release(self) -> None:
        """timerfd_release()."""
        self.timer.cancel()
        timer_queue(self.timer.kernel).watchers.pop(self, None)
