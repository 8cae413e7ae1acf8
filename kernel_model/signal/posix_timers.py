"""POSIX timers: timer_create(2) (kernel/time/posix-timers.c).

A timer has at most one signal pending. While it is, a periodic timer stands still; when the signal is taken, the ends
that have passed meanwhile are its overrun, and it runs to the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import time as abi
from kernel_model.abi.signal import SI_TIMER
from kernel_model.hrtimer import WALL_CLOCKS, Timer
from kernel_model.signal.send import enqueue, is_ignored
from kernel_model.signal.sighand import SigInfo
from kernel_model.ucounts import put_ucounts

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import PendingSignals, SignalStruct
    from kernel_model.task import Task

SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID = 0, 1, 2, 4
_INT_MAX: Final = (1 << 31) - 1


class PosixTimer(Timer):
    """One timer of a process (`struct k_itimer`)."""

    __slots__ = ("id", "ignored", "interval_ns", "notify", "overrun", "overrun_last", "queued", "signal", "signo",
                 "thread_pid", "ucounts", "user_clock_id", "value")  # fmt: skip

    def __init__(
        self, task: Task, clock_id: int, number: int, notify: int, signo: int, value: int, thread_pid: int
    ) -> None:
        counts_cpu = clock_id < 0 or clock_id in (abi.CLOCK_PROCESS_CPUTIME_ID, abi.CLOCK_THREAD_CPUTIME_ID)
        super().__init__(task.kernel, clock_id, task.kernel.clock.cpu_clock(clock_id, task) if counts_cpu else None)
        self.user_clock_id = clock_id
        self.id = number
        self.notify = notify
        self.signo = signo
        self.value = value
        """si_value, as a signed number."""
        self.thread_pid = thread_pid
        """Who gets the signal with SIGEV_THREAD_ID; 0 for the process."""
        self.signal: SignalStruct = task.signal
        self.ucounts = task.ucounts
        """Whose RLIMIT_SIGPENDING it counts for, whether its signal is pending or not."""
        self.ucounts.sigpending += 1
        self.interval_ns = 0
        self.overrun = -1
        """Ends that have passed without a signal of their own, less one."""
        self.overrun_last = 0
        """What timer_getoverrun(2) tells: the overrun of the last signal."""
        self.queued: PendingSignals | None = None
        """Where its signal is pending."""
        self.ignored = False
        """Its signal came while it was ignored: it will come once it no longer is."""

    # -- its end ------------------------------------------------------------------------------------------------------
    def _target(self) -> Task | None:
        """Who gets the signal; None when that thread has gone."""
        task = self.kernel.tasks.get(self.thread_pid or self.signal.tgid)
        return task if task is not None and task.signal is self.signal else None

    def _dropped(self, task: Task) -> bool:
        """Is the signal ignored, and not blocked?"""
        blocked = task.blocked | task.real_blocked
        return not blocked >> self.signo - 1 & 1 and is_ignored(task, self.signo)

    def changes_nothing(self) -> bool:
        """Nobody is to know, or wants to."""
        task = self._target()
        return task is None or self._dropped(task)

    def expired(self) -> None:
        """Send the signal (posixtimer_send_sigqueue())."""
        task = self._target()
        if task is None:
            return
        if self._dropped(task):
            self.ignored = bool(self.interval_ns)
            return
        fields = (("tid", self.id), ("overrun", 0), ("value", self.value))
        info = SigInfo(self.signo, SI_TIMER, fields=fields, timer=self)
        self.queued = enqueue(self.kernel, task, info, group=not self.thread_pid)

    def no_longer_ignored(self) -> None:
        """The signal's disposition was changed (posixtimer_sig_unignore())."""
        if self.ignored:
            self.ignored = False
            self.expired()

    def flushed(self) -> None:
        """Its pending signal was thrown away: it is ignored from now on, or undone by its opposite."""
        self.queued = None
        self.ignored = bool(self.interval_ns)

    def take(self, info: SigInfo) -> SigInfo:
        """Its signal is taken: what the siginfo says, and on to the next end (posixtimer_deliver_signal())."""
        self.queued = None
        if not self.interval_ns:
            return info
        self.overrun += self.forward(self.interval_ns)
        self.start(self.expires_ns)
        self.overrun_last = min(self.overrun, _INT_MAX)
        self.overrun = -1
        return info._replace(fields=(info.fields[0], ("overrun", self.overrun_last), info.fields[2]))

    # -- the calls ----------------------------------------------------------------------------------------------------
    def gettime(self) -> tuple[int, int]:
        """(left, interval) in ns. kernel/time/posix-timers.c:common_timer_get()."""
        self.catch_up()
        silent = self.notify == SIGEV_NONE
        stands = not self.sequence
        if not self.interval_ns and stands and not (silent and self.expires_ns) and self.queued is None:
            return 0, 0
        if self.interval_ns and (stands or silent):
            self.overrun += self.forward(self.interval_ns)
        left_ns = self.expires_ns - self.now_ns()
        if left_ns <= 0:
            left_ns = 0 if silent else 1
        return left_ns, self.interval_ns

    def settime(self, absolute: bool, value_ns: int, interval_ns: int) -> tuple[int, int]:
        """Set it (0 stops it); what it was before. Its signal is no longer pending. common_timer_set()."""
        old = self.gettime()
        self.stop()
        self.interval_ns = interval_ns if value_ns else 0
        self.overrun = -1
        self.overrun_last = 0
        if value_ns:
            relative_wall = not absolute and self.user_clock_id in WALL_CLOCKS
            self.clock_id = abi.CLOCK_MONOTONIC if relative_wall else self.user_clock_id
            expires_ns = min(value_ns if absolute else self.now_ns() + value_ns, abi.KTIME_MAX_NS)
            if self.notify == SIGEV_NONE:
                self.expires_ns = expires_ns
            else:
                self.start(expires_ns)
                self.catch_up()
        return old

    def stop(self) -> None:
        """Run no longer, and take its signal back."""
        self.cancel()
        self.expires_ns = 0
        self.ignored = False
        if self.queued is not None:
            self.queued.discard(self)
            self.queued = None

    def delete(self) -> None:
        """There is no such timer any more."""
        self.stop()
        self.ucounts.sigpending -= 1
        put_ucounts(self.kernel, self.ucounts)


def exit_itimers(kernel: Kernel, signal: SignalStruct) -> None:
    """The process execs or is gone: its timers are no more."""
    for timer in signal.posix_timers.values():
        timer.delete()
    signal.posix_timers.clear()
    if kernel.hrtimers is not None:
        from kernel_model.signal.timers import arm

        arm(kernel)
