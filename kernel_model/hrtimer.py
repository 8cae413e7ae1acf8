"""Timers that do something when their time comes (kernel/time/hrtimer.c): what timerfd and POSIX timers are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Protocol

from kernel_model.abi import time as abi
from kernel_model.cputime import clock_ns

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.task import Task

    CpuClock = tuple[Task | SignalStruct, int]

WALL_CLOCKS: Final = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI))
_GARBAGE: Final = 64


class Timer(ABC):
    """One timer on one clock (`struct hrtimer`). A kind says what happens in `expired`."""

    __slots__ = ("clock_id", "cpu_clock", "expires_ns", "kernel", "sequence")

    def __init__(self, kernel: Kernel, clock_id: int, cpu_clock: CpuClock | None = None) -> None:
        self.kernel = kernel
        self.clock_id = clock_id
        self.cpu_clock = cpu_clock
        """Whose CPU time it counts, and which (`Timekeeper.cpu_clock`); None for real time. CPU time stands still while
        all sleep."""
        self.expires_ns = 0
        """On its clock."""
        self.sequence = 0
        """The number of its entry in the queue; 0 while it does not run."""

    @abstractmethod
    def expired(self) -> None:
        """Its time has come; it no longer runs."""

    def changes_nothing(self) -> bool:
        """Would nobody who sleeps notice that it expires?"""
        return False

    def now_ns(self) -> int:
        """What its clock shows."""
        kernel = self.kernel
        return kernel.clock.now_ns(self.clock_id) if self.cpu_clock is None else clock_ns(kernel, *self.cpu_clock)

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
    """All running timers, soonest first: those on real time by CLOCK_MONOTONIC, and those of each CPU clock.

    As Linux's tick does, it looks for expired ones of the latter only while their owner has the CPU.
    """

    __slots__ = ("_cpu", "_kernel", "_real", "_running", "_sequence", "watchers")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        # (when, sequence, timer); an entry whose sequence is no longer the timer's is garbage
        self._real: list[tuple[int, int, Timer]] = []
        self._cpu: dict[CpuClock, list[tuple[int, int, Timer]]] = {}
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
        if timer.cpu_clock is not None:
            heappush(self._cpu.setdefault(timer.cpu_clock, []), (timer.expires_ns, self._sequence, timer))
        else:
            due_ns = self._kernel.clock.to_monotonic_ns(timer.clock_id, timer.expires_ns)
            heappush(self._real, (due_ns, self._sequence, timer))

    def remove(self, timer: Timer) -> None:
        """It does not run any longer."""
        timer.sequence = 0
        self._running -= 1
        if timer.cpu_clock is not None:
            heap = self._cpu[timer.cpu_clock]
            if self._first(heap) is None:
                del self._cpu[timer.cpu_clock]
        else:
            heap = self._real
        if len(heap) > 2 * self._running + _GARBAGE:
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

    def left_ns(self, now_ns: int, running: bool) -> int:
        """How long from CLOCK_MONOTONIC's `now_ns` until one may be due; KTIME_MAX_NS for ever.

        `running`: somebody has the CPU, so that CPU clocks advance.
        """
        real = self._first(self._real)
        left_ns = abi.KTIME_MAX_NS if real is None else real[0] - now_ns
        if not self._cpu or not (running or self._kernel.sched.runqueue):
            return left_ns
        if running:
            for clock, heap in self._running_clocks():
                cpu = self._first(heap)
                if cpu is not None:
                    left_ns = min(left_ns, cpu[0] - clock_ns(self._kernel, *clock))
        return min(left_ns, abi.TICK_NSEC)  # somebody else may run by then

    def _running_clocks(self) -> list[tuple[CpuClock, list[tuple[int, int, Timer]]]]:
        """The CPU clocks that advance, and their heaps."""
        if not self._cpu:
            return []
        current = self._kernel.current
        return [
            ((owner, which), heap)
            for owner in (current, current.signal)
            for which in range(abi.CPUCLOCK_SCHED + 1)
            if (heap := self._cpu.get((owner, which))) is not None
        ]

    def run(self) -> None:
        """Let the timers expire whose time has come."""
        kernel = self._kernel
        self._expire(self._real, kernel.clock.monotonic_ns())
        for clock, heap in self._running_clocks():
            self._expire(heap, clock_ns(kernel, *clock))

    def _expire(self, heap: list[tuple[int, int, Timer]], now_ns: int) -> None:
        """Let those of one heap expire that are due."""
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
