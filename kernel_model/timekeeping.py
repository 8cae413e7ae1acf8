"""Every clock of the machine, in nanoseconds; none of them is asked anywhere else.

Host time: the clocks are the host's. The guest may set CLOCK_REALTIME: that moves an offset kept here.

Virtual time depends on nothing but what the guest does:

- CLOCK_MONOTONIC starts at one second and CLOCK_REALTIME at 2025-01-01 00:00:01 UTC;
- every entry into the kernel takes one microsecond (`VIRTUAL_ENTRY_NS`), which is also the CPU time it is charged for;
  a bounce takes none, so that a program sees the same time under each ABI;
- computing between two entries takes no time, but while other tasks wait for the CPU or for a time to come, or timers
  run, every half million basic blocks take half a millisecond;
- a sleep takes exactly as long as it asks for and is over at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.ns.pid import find_task_by_vpid
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.host import Host
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.task import Task

KTIME_MAX_NS: Final = (1 << 63) - 1
"""No clock goes further (include/linux/ktime.h): three hundred years after boot."""
VIRTUAL_ENTRY_NS: Final = 1_000
VIRTUAL_EPOCH_NS: Final = 1_735_689_600 * abi.NSEC_PER_SEC
"""What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC under virtual time, until the guest sets it."""
VIRTUAL_BOOT_NS: Final = abi.NSEC_PER_SEC

_COARSE: Final = {
    abi.CLOCK_REALTIME_COARSE: abi.CLOCK_REALTIME,
    abi.CLOCK_MONOTONIC_COARSE: abi.CLOCK_MONOTONIC,
}
_WALL: Final = frozenset((abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI))
_MONOTONIC: Final = frozenset(
    (abi.CLOCK_MONOTONIC, abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_BOOTTIME, abi.CLOCK_BOOTTIME_ALARM)
)
# The machine's own counter runs with the host's CLOCK_MONOTONIC; nobody slews it here, so the raw clock is the same.
_HOST_CLOCK: Final = {
    abi.CLOCK_MONOTONIC_RAW: abi.CLOCK_MONOTONIC,
    abi.CLOCK_REALTIME_ALARM: abi.CLOCK_REALTIME,
    abi.CLOCK_BOOTTIME_ALARM: abi.CLOCK_BOOTTIME,
}


class _EntryCounter(Protocol):
    """What virtual time counts (`kernel_model.kernel.Statistics`)."""

    kernel_entries: int


class Timekeeper:
    """The machine's clocks, from the host or virtual."""

    def __init__(self, host: Host, virtual: bool) -> None:
        self._host = host
        self.virtual = virtual
        self._entries: _EntryCounter | None = None
        self._slept_ns = 0
        self._computed_ns = 0
        self.realtime_offset_ns = VIRTUAL_EPOCH_NS if virtual else 0
        """Added to the host's CLOCK_REALTIME, or to the virtual CLOCK_MONOTONIC."""
        self._cpu_start_ns = 0 if virtual else host.clock_ns(abi.CLOCK_PROCESS_CPUTIME_ID)
        self.timezone = (0, 0)
        """`struct timezone` of settimeofday(2): minutes west, DST kind. Changed by `set_timezone`."""
        self.on_set: Callable[[], None] | None = None
        """Called when a clock or the time zone has been set: what user space reads without a call is out of date."""

    def count_entries(self, counter: _EntryCounter) -> None:
        """Let virtual time advance with `counter.kernel_entries`."""
        self._entries = counter

    def tick(self, length_ns: int = VIRTUAL_ENTRY_NS) -> None:
        """Something that `counter` does not count has taken `length_ns` of virtual CPU time."""
        self._computed_ns += length_ns

    def cpu_ns(self) -> int:
        """CPU time of the whole machine since it was switched on; of its tasks: `kernel_model.cputime`."""
        if self.virtual:
            entries = 0 if self._entries is None else self._entries.kernel_entries
            return self._computed_ns + entries * VIRTUAL_ENTRY_NS
        return self._host.clock_ns(abi.CLOCK_PROCESS_CPUTIME_ID) - self._cpu_start_ns

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC, which deadlines are on."""
        if self.virtual:
            return VIRTUAL_BOOT_NS + self._slept_ns + self.cpu_ns()
        return self._host.clock_ns(abi.CLOCK_MONOTONIC)

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME: what uptime is told from."""
        return self.monotonic_ns() if self.virtual else self._host.clock_ns(abi.CLOCK_BOOTTIME)

    def realtime_ns(self) -> int:
        """CLOCK_REALTIME."""
        if self.virtual:
            return self.monotonic_ns() + self.realtime_offset_ns
        return self._host.clock_ns(abi.CLOCK_REALTIME) + self.realtime_offset_ns

    def file_time_ns(self) -> int:
        """The time stamp of a change to a file: CLOCK_REALTIME at the tick, as fs/inode.c:current_time()."""
        now = self.realtime_ns()
        return now - now % abi.TICK_NSEC

    def set_realtime(self, now_ns: int) -> None:
        """clock_settime(CLOCK_REALTIME): only the guest's idea of it moves. EINVAL for a time before the boot."""
        if now_ns < self.monotonic_ns():
            raise SyscallError(errno.EINVAL)
        self.realtime_offset_ns += now_ns - self.realtime_ns()
        if self.on_set is not None:
            self.on_set()

    def set_timezone(self, minutes_west: int, dst: int) -> None:
        """settimeofday(2)'s second argument."""
        self.timezone = (minutes_west, dst)
        if self.on_set is not None:
            self.on_set()

    def now_ns(self, clock_id: int, task: Task | None = None) -> int:
        """What clock_gettime(2) says of `clock_id`; EINVAL for one that is not there. `task`: for ids of CPU clocks."""
        if clock_id == abi.CLOCK_REALTIME:
            return self.realtime_ns()
        if clock_id == abi.CLOCK_MONOTONIC:
            return self.monotonic_ns()
        if clock_id in _COARSE:
            now = self.now_ns(_COARSE[clock_id])
            return now - now % abi.TICK_NSEC
        if clock_id in _MONOTONIC:
            if self.virtual:
                return self.monotonic_ns()
            return self._host.clock_ns(_HOST_CLOCK.get(clock_id, clock_id))
        if clock_id in _WALL:
            if self.virtual:
                return self.realtime_ns()
            return self._host.clock_ns(_HOST_CLOCK.get(clock_id, clock_id)) + self.realtime_offset_ns
        owner, which = self.cpu_clock(clock_id, task)
        assert task is not None
        from kernel_model.cputime import clock_ns

        return clock_ns(task.kernel, owner, which)

    def resolution_ns(self, clock_id: int, task: Task | None = None) -> int:
        """What clock_getres(2) says of `clock_id` (high-resolution timers, CONFIG_HZ=250)."""
        if clock_id in _COARSE:
            return abi.TICK_NSEC
        if clock_id not in _MONOTONIC and clock_id not in _WALL:
            which = self.cpu_clock(clock_id, task)[1]
            return 1 if which == abi.CPUCLOCK_SCHED else abi.TICK_NSEC
        return 1

    def cpu_clock(self, clock_id: int, task: Task | None) -> tuple[Task | SignalStruct, int]:
        """Whose time the CPU clock `clock_id` counts, for `task`, and which (CPUCLOCK_*); EINVAL when there is none.

        kernel/time/posix-cpu-timers.c:pid_for_clock(): a thread's clock is for its own process only.
        """
        if task is None:
            raise SyscallError(errno.EINVAL)
        if clock_id == abi.CLOCK_PROCESS_CPUTIME_ID:
            return task.signal, abi.CPUCLOCK_SCHED
        if clock_id == abi.CLOCK_THREAD_CPUTIME_ID:
            return task, abi.CPUCLOCK_SCHED
        which = clock_id & abi.CPUCLOCK_WHICH_MASK
        if clock_id >= 0 or which > abi.CPUCLOCK_SCHED:
            raise SyscallError(errno.EINVAL)
        pid = ~(clock_id >> 3)
        target = find_task_by_vpid(task, pid) if pid else task
        if target is None:
            raise SyscallError(errno.EINVAL)
        if clock_id & abi.CPUCLOCK_PERTHREAD_MASK:
            if target.tgid != task.tgid:
                raise SyscallError(errno.EINVAL)
            return target, which
        if target is not task and target.pid != target.tgid:
            raise SyscallError(errno.EINVAL)
        return target.signal, which

    def to_monotonic_ns(self, clock_id: int, time_ns: int, task: Task | None = None) -> int:
        """The CLOCK_MONOTONIC time at which `clock_id` will show `time_ns`, if nobody sets it meanwhile."""
        if clock_id == abi.CLOCK_MONOTONIC:
            return time_ns
        return self.monotonic_ns() + time_ns - self.now_ns(clock_id, task)

    def sleep_towards(self, deadline_ns: int) -> int | None:
        """How long (ns) the host must still sleep until CLOCK_MONOTONIC `deadline_ns`; 0 when it is over.

        Virtual time jumps there instead, and it is over.
        """
        left_ns = min(deadline_ns, KTIME_MAX_NS) - self.monotonic_ns()
        if left_ns <= 0:
            return 0
        if self.virtual:
            self._slept_ns += left_ns
            return 0
        return left_ns

    def cpu_times_ns(self) -> tuple[int, int]:
        """(user, system) CPU time of the whole machine so far, as /proc/stat tells it."""
        from kernel_model.cputime import split

        return split(self.cpu_ns())
