"""What /proc/<pid> tells of a task's turns on the CPU, of its timers, and of a thread's children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.time import CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
from kernel_model.cputime import runtime_ns
from kernel_model.placement import NICE_0_WEIGHT, priority, weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.task import Task

_NS_PER_MS: Final = 1_000_000
_MAX_RT_PRIO: Final = 100
_DEFAULT_PRIO: Final = 120
_LOAD_SCALE: Final = 1024
_SIGEV_THREAD_ID: Final = 4
# As kernel/time/posix-cpu-timers.c keeps them: ~0 << 3 | per-thread << 2 | which
_CPU_CLOCKS: Final = {CLOCK_PROCESS_CPUTIME_ID: -6, CLOCK_THREAD_CPUTIME_ID: -2}
_NOTIFY: Final = (b"signal", b"none", b"thread")


def _runtime_ns(task: Task) -> int:
    """Its CPU time."""
    task.kernel.account.ask()
    return runtime_ns(task.kernel, task)


def _prio(task: Task) -> int:
    """The kernel's own priority: real-time ones below 100, nice 0 is 120 (kernel/sched/core.c:effective_prio())."""
    real_time = priority(task)
    return _MAX_RT_PRIO - 1 - real_time if real_time else _DEFAULT_PRIO + task.se.nice


def sched(target: Task) -> bytes:
    """/proc/<pid>/sched (kernel/sched/debug.c:proc_sched_show_task()): what is known of it."""
    head = b"%s (%d, #threads: %d)\n" % (target.comm, target.pid, target.signal.threads)
    runtime = _runtime_ns(target)
    times = (
        (b"se.exec_start", target.kernel.clock.monotonic_ns()),
        (b"se.vruntime", target.se.vruntime_ns or runtime * NICE_0_WEIGHT // weight(target)),
        (b"se.sum_exec_runtime", runtime),
    )
    counts = (
        (b"nr_switches", target.se.nvcsw + target.se.nivcsw),
        (b"nr_voluntary_switches", target.se.nvcsw),
        (b"nr_involuntary_switches", target.se.nivcsw),
        (b"se.load.weight", weight(target) * _LOAD_SCALE),
        (b"policy", target.sched_policy),
        (b"prio", _prio(target)),
    )
    lines = [b"%-45s:%21s\n" % (name, b"%d.%06d" % divmod(ns, _NS_PER_MS)) for name, ns in times]
    lines += [b"%-45s:%21d\n" % pair for pair in counts]
    return head + b"-" * 67 + b"\n" + b"".join(lines)


def schedstat(target: Task) -> bytes:
    """/proc/<pid>/schedstat: CPU time, time in the run queue (not known), how many turns."""
    # QUIRK: How long a task waited for its turn is not measured: the second number of /proc/<pid>/schedstat is 0.
    return b"%d 0 %d\n" % (_runtime_ns(target), target.se.nvcsw + target.se.nivcsw + 1)


def timers(target: Task) -> bytes:
    """/proc/<pid>/timers: those of timer_create(2), the newest first (fs/proc/base.c:show_timer())."""
    out = []
    for number, timer in reversed(target.signal.posix_timers.items()):
        to_thread = timer.notify & _SIGEV_THREAD_ID
        who = b"tid.%d" % timer.thread_pid if to_thread else b"pid.%d" % target.tgid
        out.append(
            b"ID: %d\nsignal: %d/%016x\nnotify: %s/%s\nClockID: %d\n"
            % (number, timer.signo, timer.value & 0xFFFF_FFFF_FFFF_FFFF, _NOTIFY[timer.notify & ~_SIGEV_THREAD_ID],
               who, _CPU_CLOCKS.get(timer.user_clock_id, timer.user_clock_id))
        )  # fmt: skip
    return b"".join(out)


def children(target: Task) -> bytes:
    """/proc/<pid>/task/<tid>/children."""
    # QUIRK: All children of a process are told to be its first thread's, in /proc/<pid>/task/<tid>/children.
    if target.pid != target.tgid:
        return b""
    return b"".join(b"%d " % pid for pid in target.signal.children)


TEXTS: Final[dict[str, Callable[[Task], bytes]]] = {
    "children": children,
    "sched": sched,
    "schedstat": schedstat,
    "timers": timers,
}
