"""CPU time, task by task (kernel/sched/cputime.c), and what else tasks have used, as getrusage(2) tells it.

A task is charged when it leaves the CPU, by one look at a clock: under virtual time the machine's CPU time, else the
host's CLOCK_MONOTONIC, a tenth of what it costs to read the host's CPU clock. But that counts what the host gave to
others meanwhile, so the CPU clock corrects it after a long turn, and whenever somebody asks.

Even that makes a switch a twentieth slower. So on the host's time it is not done before somebody asks for CPU time, or
limits it. Until then whoever runs is charged at the end of a time slice, when it forks, ends or is no longer alone, and
before all sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import time as abi
from kernel_model.abi.resource import RUSAGE
from kernel_model.task import Task
from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.signal.sighand import SignalStruct

_LONG_TURN_NS: Final = 2_000_000
"""After a turn that was longer the host is asked what of it was CPU time."""


class CpuAccount:
    """Since when the running task (`kernel.current`) has the CPU. One for each machine."""

    __slots__ = ("_charge_turns", "_kernel", "_settled_cpu_ns", "_settled_ns", "asked", "read", "since_ns")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.read: Callable[[], int] = kernel.clock.cpu_ns if kernel.clock.virtual else kernel.host.monotonic_ns
        """The clock that turns are measured by, in ns."""
        self.since_ns = self._settled_ns = self.read()
        self._settled_cpu_ns = self._cpu_ns()
        self._charge_turns: Callable[[], None] | None = None
        # QUIRK: Until CPU time is first asked for, turns shorter than a time slice may be charged to another task.
        self.asked = kernel.clock.virtual
        """Somebody cares for CPU time: each turn is charged for."""

    def ask_for_turns(self, charge_turns: Callable[[], None]) -> None:
        """Have `charge_turns` called, once, when `turn_is_over` shall be told of each turn's end."""
        self._charge_turns = charge_turns
        if self.asked:
            charge_turns()

    def ask(self) -> None:
        """Somebody cares for CPU time."""
        if not self.asked:
            self.asked = True
            if self._charge_turns is not None:
                self._charge_turns()

    def turn_is_over(self) -> None:
        """The running task (`kernel.current`) is about to leave the CPU."""
        now_ns = self.read()
        turn_ns = now_ns - self.since_ns
        self.since_ns = now_ns
        self._kernel.current.se.sum_exec_runtime_ns += (
            turn_ns if turn_ns < _LONG_TURN_NS else self._corrected(turn_ns, now_ns)
        )

    def _cpu_ns(self) -> int:
        """What the host says of CPU time, or virtual time."""
        return self._kernel.clock.cpu_ns()

    def settle(self) -> int:
        """Charge the running task for its turn until now: what it has used in all (ns)."""
        now_ns = self.read()
        task = self._kernel.current
        task.se.sum_exec_runtime_ns += self._corrected(now_ns - self.since_ns, now_ns)
        self.since_ns = now_ns
        return task.se.sum_exec_runtime_ns

    def _corrected(self, turn_ns: int, now_ns: int) -> int:
        """What of a turn that ends at `now_ns` was CPU time."""
        cpu_ns = self._cpu_ns()
        period_ns = now_ns - self._settled_ns
        used_ns = min(cpu_ns - self._settled_cpu_ns, period_ns)
        self._settled_ns, self._settled_cpu_ns = now_ns, cpu_ns
        return turn_ns * used_ns // period_ns if period_ns else 0

    def resume(self) -> None:
        """Everybody slept until now: nobody is charged for it."""
        self.since_ns = self._settled_ns = self.read()
        self._settled_cpu_ns = self._cpu_ns()


def threads_of(kernel: Kernel, signal: SignalStruct) -> list[Task]:
    """The living tasks of a process."""
    if signal.threads == 1:
        for task in (kernel.current, kernel.tasks.get(signal.tgid)):
            if task is not None and task.signal is signal and task.exit_code is None:
                return [task]
    return [task for task in kernel.tasks.values() if task.signal is signal and task.exit_code is None]


def runtime_ns(kernel: Kernel, owner: Task | SignalStruct) -> int:
    """CPU time of a task, or of a process with the threads that it has had (thread_group_cputime())."""
    current = kernel.current
    if owner is current or owner is current.signal:
        kernel.account.settle()
    if isinstance(owner, Task):
        return owner.se.sum_exec_runtime_ns
    return owner.sum_sched_runtime_ns + sum(task.se.sum_exec_runtime_ns for task in threads_of(kernel, owner))


def split(total_ns: int) -> tuple[int, int]:
    """(user, system) CPU time."""
    # QUIRK: How CPU time divides is not measured: a sixteenth is taken to be system time, whatever a program does.
    system_ns = total_ns // 16
    return total_ns - system_ns, system_ns


def clock_ns(kernel: Kernel, owner: Task | SignalStruct, which: int) -> int:
    """What a CPU clock of `owner` shows; `which`: CPUCLOCK_* (kernel/time/posix-cpu-timers.c:cpu_clock_sample())."""
    kernel.account.ask()
    total_ns = runtime_ns(kernel, owner)
    return split(total_ns)[0] if which == abi.CPUCLOCK_VIRT else total_ns


class Usage:
    """What tasks have used, as far as it is known: of `struct rusage` the rest is always 0."""

    __slots__ = ("maxrss_pages", "min_flt", "nivcsw", "nvcsw", "stime_ns", "utime_ns")

    def __init__(self, total_ns: int = 0, nvcsw: int = 0, nivcsw: int = 0, min_flt: int = 0) -> None:
        self.utime_ns, self.stime_ns = split(total_ns)
        self.nvcsw = nvcsw
        self.nivcsw = nivcsw
        self.min_flt = min_flt
        self.maxrss_pages = 0

    def add(self, other: Usage) -> None:
        """Count what `other` says, too."""
        self.utime_ns += other.utime_ns
        self.stime_ns += other.stime_ns
        self.nvcsw += other.nvcsw
        self.nivcsw += other.nivcsw
        self.min_flt += other.min_flt
        self.maxrss_pages = max(self.maxrss_pages, other.maxrss_pages)

    def pack(self) -> bytes:
        """`struct rusage`."""
        fields = [0] * 18
        fields[0], rest_ns = divmod(self.utime_ns, abi.NSEC_PER_SEC)
        fields[1] = rest_ns // abi.NSEC_PER_USEC
        fields[2], rest_ns = divmod(self.stime_ns, abi.NSEC_PER_SEC)
        fields[3] = rest_ns // abi.NSEC_PER_USEC
        fields[4] = self.maxrss_pages * PAGE_SIZE // 1024
        fields[8] = self.min_flt
        fields[16] = self.nvcsw
        fields[17] = self.nivcsw
        return RUSAGE.pack(*fields)


def thread_usage(task: Task) -> Usage:
    """getrusage(RUSAGE_THREAD)."""
    # QUIRK: Page faults are counted by process: each thread of it is told those of all.
    kernel = task.kernel
    usage = Usage(runtime_ns(kernel, task), task.se.nvcsw, task.se.nivcsw, _min_flt(task.signal, task.mm))
    usage.maxrss_pages = _maxrss_pages(task.signal, task.mm)
    return usage


def process_usage(kernel: Kernel, signal: SignalStruct) -> Usage:
    """getrusage(RUSAGE_SELF) of a process, which may have ended but not be forgotten."""
    nvcsw, nivcsw = signal.nvcsw, signal.nivcsw
    threads = threads_of(kernel, signal)
    for task in threads:
        nvcsw += task.se.nvcsw
        nivcsw += task.se.nivcsw
    mm = threads[0].mm if threads else None
    usage = Usage(runtime_ns(kernel, signal), nvcsw, nivcsw, _min_flt(signal, mm))
    usage.maxrss_pages = _maxrss_pages(signal, mm)
    return usage


def children_usage(signal: SignalStruct) -> Usage:
    """getrusage(RUSAGE_CHILDREN): of children that were waited for, and of theirs."""
    if signal.children_usage is None:
        signal.children_usage = Usage()
    return signal.children_usage


def both_usage(kernel: Kernel, signal: SignalStruct) -> Usage:
    """What wait4(2) tells of a child: its own and its children's (RUSAGE_BOTH)."""
    usage = process_usage(kernel, signal)
    if signal.children_usage is not None:
        usage.add(signal.children_usage)
    return usage


def _min_flt(signal: SignalStruct, mm: MemoryMap | None) -> int:
    return signal.min_flt if mm is None else signal.min_flt + mm.min_flt - signal.mm_min_flt


def _maxrss_pages(signal: SignalStruct, mm: MemoryMap | None) -> int:
    """The most pages that the process has held."""
    return signal.maxrss_pages if mm is None else max(signal.maxrss_pages, mm.hiwater_rss_pages())


def leave_mm(signal: SignalStruct, mm: MemoryMap) -> None:
    """The process, with `mm` its memory, ends or executes another program: remember what it had used."""
    signal.maxrss_pages = _maxrss_pages(signal, mm)
    signal.min_flt = _min_flt(signal, mm)
    signal.mm_min_flt = 0


def exit_task(task: Task) -> None:
    """A thread is gone: its process keeps what it has used (kernel/exit.c:__exit_signal())."""
    signal = task.signal
    if task is task.kernel.current:
        task.kernel.account.settle()
    signal.sum_sched_runtime_ns += task.se.sum_exec_runtime_ns
    signal.nvcsw += task.se.nvcsw
    signal.nivcsw += task.se.nivcsw
