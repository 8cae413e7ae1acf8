"""Timers that do something when their time comes (kernel/time/hrtimer.c): what timerfd and POSIX timers are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Protocol

from kernel_model.abi import time as abi

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel

WALL_CLOCKS: Final = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI))
_GARBAGE: Final = 64


class Timer(ABC):
    """One timer on one clock (`struct hrtimer`). A kind says what happens in `expired`."""

    __slots__ = ("clock_id", "expires_ns", "kernel", "sequence")

    def __init__(self, kernel: Kernel, clock_id: int) -> None:
        self.kernel = kernel
        self.clock_id = clock_id
        self.expires_ns = 0
        """On its clock."""
        self.sequence = 0
        """The number of its entry in the queue; 0 while it does not run."""

    @property
    def counts_cpu_time(self) -> bool:
        """Is its clock one of CPU time, that stands still while all sleep?"""
        return self.clock_id < 0 or self.clock_id in (abi.CLOCK_PROCESS_CPUTIME_ID, abi.CLOCK_THREAD_CPUTIME_ID)

    @abstractmethod
    def expired(self) -> None:
        """Its time has come; it no longer runs."""

    def changes_nothing(self) -> bool:
        """Would nobody who sleeps notice that it expires?"""
        return False

    def now_ns(self) -> int:
        """What its clock shows."""
        kernel = self.kernel
        return kernel.clock.cpu_ns() if self.counts_cpu_time else kernel.clock.now_ns(self.clock_id)

    def start(self, expires_ns: int) -> None:
        """Run until its clock shows `expires_ns`."""
        self.cancel()
        self.expires_ns = min(expires_ns, abi.KTIME_MAX_NS)
        timer_queue(self.kernel).add(self)
        from kernel_model.signal.timers import arm

        arm(self.kernel)

    def cancel(self) -> None:
        """Run no longer."""
        if self.sequence:
            timer_queue(self.kernel).remove(self)

    def catch_up(self) -> None:
        """If its time has come, and nobody has looked yet: now."""
        if self.sequence and self.now_ns() >= self.expires_ns:
            self.cancel()
            self.expired()

    def forward(self, interval_ns: int) -> int:
        """Move `expires_ns` past the present in whole intervals; how many (hrtimer_forward())."""
        behind_ns = self.now_ns() - self.expires_ns
        if behind_ns < 0:
            return 0
        count = behind_ns // interval_ns + 1
        self.expires_ns += count * interval_ns
        return count


class ClockWatcher(Protocol):
    """Somebody who wants to know of CLOCK_REALTIME's jumps."""

    def clock_was_set(self) -> None:
        """It was set."""


class TimerQueue:
    """All running timers, soonest first: those on real time by CLOCK_MONOTONIC, and those on CPU time."""

    __slots__ = ("_cpu", "_kernel", "_real", "_running", "_sequence", "watchers")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        # (when, sequence, timer); an entry whose sequence is no longer the timer's is garbage
        self._real: list[tuple[int, int, Timer]] = []
        self._cpu: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._running = 0
        self.watchers: dict[ClockWatcher, None] = {}
        """Who is told when CLOCK_REALTIME is set."""

    def __len__(self) -> int:
        return self._running

    def add(self, timer: Timer) -> None:
        """`timer` runs until `Timer.expires_ns`."""
        self._sequence += 1
        self._running += 1
        timer.sequence = self._sequence
        if timer.counts_cpu_time:
            heappush(self._cpu, (timer.expires_ns, self._sequence, timer))
        else:
            due_ns = self._kernel.clock.to_monotonic_ns(timer.clock_id, timer.expires_ns)
            heappush(self._real, (due_ns, self._sequence, timer))

    def remove(self, timer: Timer) -> None:
        """It does not run any longer."""
        timer.sequence = 0
        self._running -= 1
        if len(self._real) + len(self._cpu) > 2 * self._running + _GARBAGE:
            for heap in (self._real, self._cpu):
                heap[:] = [entry for entry in heap if entry[2].sequence == entry[1]]
                heapify(heap)

    @staticmethod
    def _first(heap: list[tuple[int, int, Timer]]) -> tuple[int, int, Timer] | None:
        """The next of one heap."""
        while heap:
            if heap[0][2].sequence == heap[0][1]:
                return heap[0]
            heappop(heap)
        return None

    def next_due_ns(self) -> int | None:
        """When a timer next does something for somebody who sleeps, on CLOCK_MONOTONIC; None for never."""
        first = self._first(self._real)
        if first is None:
            return None
        if not first[2].changes_nothing():
            return first[0]
        return min(
            (
                due_ns
                for due_ns, sequence, timer in self._real
                if timer.sequence == sequence and not timer.changes_nothing()
            ),
            default=None,
        )

    def left_ns(self) -> int:
        """How long until the next one at the earliest, while somebody computes."""
        left = []
        real, cpu = self._first(self._real), self._first(self._cpu)
        if real is not None:
            left.append(real[0] - self._kernel.clock.monotonic_ns())
        if cpu is not None:
            left.append(cpu[0] - self._kernel.clock.cpu_ns())
        return min(left, default=abi.KTIME_MAX_NS)

    def run(self) -> None:
        """Let the timers expire whose time has come."""
        clock = self._kernel.clock
        for heap, now_ns in ((self._real, clock.monotonic_ns()), (self._cpu, clock.cpu_ns())):
            due = []
            while (first := self._first(heap)) is not None and first[0] <= now_ns:
                heappop(heap)
                self.remove(first[2])
                due.append(first[2])
            for timer in due:
                timer.expired()

    def clock_was_set(self) -> None:
        """CLOCK_REALTIME jumped: timers on it are due earlier or later now."""
        for _, sequence, timer in self._real[:]:
            if timer.clock_id in WALL_CLOCKS and timer.sequence == sequence:
                self.remove(timer)
                self.add(timer)
        for watcher in list(self.watchers):
            watcher.clock_was_set()


def timer_queue(kernel: Kernel) -> TimerQueue:
    """The machine's timers."""
    if kernel.hrtimers is None:
        kernel.hrtimers = TimerQueue(kernel)
    return kernel.hrtimers
