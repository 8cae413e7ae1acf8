"""Signals that nobody in the guest sends: from outside the machine, and from interval timers (kernel/time/itimer.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_CPU
from kernel_model.abi.signal import (
    ITIMER_PROF,
    ITIMER_REAL,
    ITIMER_VIRTUAL,
    SI_KERNEL,
    SI_USER,
    SIGALRM,
    SIGCONT,
    SIGINT,
    SIGKILL,
    SIGPROF,
    SIGQUIT,
    SIGTSTP,
    SIGVTALRM,
    SIGWINCH,
    SIGXCPU,
    sigmask,
)
from kernel_model.abi.time import CPUCLOCK_PROF, CPUCLOCK_VIRT, KTIME_MAX_NS, NSEC_PER_SEC, TICK_NSEC
from kernel_model.cputime import clock_ns
from kernel_model.signal.send import is_ignored, send_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.task import Task

_FROM_TERMINAL: Final = frozenset((SIGINT, SIGQUIT, SIGTSTP, SIGWINCH))
CPU_LIMIT: Final = 3
"""Beside ITIMER_*: what notices that RLIMIT_CPU is reached."""
_SOON_NS: Final = 50_000
"""Somebody who is to interrupt so soon may have done so by now."""
_SIGNALS: Final = {ITIMER_REAL: SIGALRM, ITIMER_VIRTUAL: SIGVTALRM, ITIMER_PROF: SIGPROF}


def take_in(kernel: Kernel, signals: Iterable[int]) -> None:
    """Hand on `signals` that the emulator itself was sent."""
    for signal in signals:
        if signal in _FROM_TERMINAL:
            info = SigInfo(signal, SI_KERNEL)
        else:
            info = SigInfo(signal, SI_USER, fields=(("pid", 0), ("uid", kernel.identity.uid)))
        for target in targets(kernel, signal):
            send_signal(kernel, target, info, group=True)
            if target.signal is not kernel.current.signal:
                # Who computes meanwhile lets the other have a turn.
                kernel.need_resched = True


def targets(kernel: Kernel, signal: int) -> list[Task]:
    """Who gets a signal from outside: all processes in the terminal's foreground what the terminal sends, else the
    first process; once that is gone, all.
    """
    first = kernel.tasks.get(kernel.init_tgid)
    if first is None or first.exit_code is not None:
        return [task for task in kernel.tasks.values() if task.pid == task.tgid and task.exit_code is None]
    if signal in _FROM_TERMINAL:
        return foreground(kernel) or [first]
    if signal == SIGCONT:
        return [first, *(task for task in foreground(kernel) if task is not first)]
    return [first]


def foreground(kernel: Kernel) -> list[Task]:
    """The leaders of the terminal's foreground process group; without a terminal of the first process's group."""
    first = kernel.tasks.get(kernel.init_tgid)
    if first is None:
        return []
    pgrp = first.signal.pgrp
    if kernel.streams is not None:
        for terminal in kernel.streams.terminals:
            if terminal.session == first.signal.session:
                pgrp = terminal.pgrp
    return [task for task in kernel.tasks.values() if task.pid == task.tgid and task.signal.pgrp == pgrp]


def itimer_clock_ns(kernel: Kernel, signal: SignalStruct, which: int) -> int:
    """What the timer `which` of a process counts: real time, its user time, or all of its CPU time."""
    if which == ITIMER_REAL:
        return kernel.clock.monotonic_ns()
    return clock_ns(kernel, signal, CPUCLOCK_VIRT if which == ITIMER_VIRTUAL else CPUCLOCK_PROF)


def limit_cpu(kernel: Kernel, signal: SignalStruct) -> None:
    """The process has another RLIMIT_CPU: have it noticed when its soft limit is reached."""
    soft = signal.rlim[RLIMIT_CPU][0]
    itimers = kernel.timers.setdefault(signal.tgid, {})
    if soft == RLIM_INFINITY:
        itimers.pop(CPU_LIMIT, None)
        if not itimers:
            del kernel.timers[signal.tgid]
    else:
        itimers[CPU_LIMIT] = min(soft * NSEC_PER_SEC, KTIME_MAX_NS), 0
    arm(kernel)


def _limit_is_reached(kernel: Kernel, signal: SignalStruct, now_ns: int) -> None:
    """SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one
    (kernel/time/posix-cpu-timers.c:check_process_timers()).
    """
    soft, hard = signal.rlim[RLIMIT_CPU]
    number = SIGKILL if hard != RLIM_INFINITY and now_ns >= hard * NSEC_PER_SEC else SIGXCPU
    if number == SIGXCPU:
        signal.rlim[RLIMIT_CPU] = soft + 1, hard
        limit_cpu(kernel, signal)
    else:
        del kernel.timers[signal.tgid][CPU_LIMIT]
    send_signal(kernel, kernel.tasks[signal.tgid], SigInfo(number, SI_KERNEL), group=True)


def next_due_ns(kernel: Kernel) -> int | None:
    """When a timer on real time next does something to somebody, on CLOCK_MONOTONIC; None for never.

    One whose signal is ignored, or already pending, does nothing while all tasks sleep.
    """
    due = []
    for tgid, itimers in kernel.timers.items():
        if ITIMER_REAL in itimers and itimers[ITIMER_REAL][0] < KTIME_MAX_NS:
            task = kernel.tasks[tgid]
            pending = task.signal.shared_pending.mask & sigmask(SIGALRM)
            if not pending and (task.blocked & sigmask(SIGALRM) or not is_ignored(task, SIGALRM)):
                due.append(itimers[ITIMER_REAL][0])
    if kernel.hrtimers:
        timer_ns = kernel.hrtimers.next_due_ns()
        if timer_ns is not None:
            due.append(timer_ns)
    return min(due, default=None)


def expire(kernel: Kernel) -> None:
    """Send the signals of timers that are due. A periodic one is set to its next time, missed ones are not made up."""
    for tgid, itimers in list(kernel.timers.items()):
        signal = kernel.tasks[tgid].signal
        for which, (due_ns, interval_ns) in list(itimers.items()):
            if which != ITIMER_REAL and signal is not kernel.current.signal:
                continue  # its clock stands still; as on Linux its own tick will see to it
            now_ns = itimer_clock_ns(kernel, signal, which)
            if now_ns < due_ns:
                continue
            if which == CPU_LIMIT:
                _limit_is_reached(kernel, signal, now_ns)
                continue
            if interval_ns:
                due_ns += ((now_ns - due_ns) // interval_ns + 1) * interval_ns
                itimers[which] = min(due_ns, KTIME_MAX_NS), interval_ns
            else:
                del itimers[which]
            send_signal(kernel, kernel.tasks[tgid], SigInfo(_SIGNALS[which], SI_KERNEL), group=True)
        if not itimers:
            del kernel.timers[tgid]
    if kernel.hrtimers:
        kernel.hrtimers.run()
    arm(kernel)


def arm(kernel: Kernel) -> None:
    """Have the running task interrupted when the next timer is due, even if it does nothing but compute."""
    running = bool(kernel.timers or kernel.hrtimers)
    if running:
        kernel.keep_preemptible()
    if kernel.clock.virtual:
        kernel.signal_work |= running
        return
    if not running:
        kernel.armed_ns = 0
        kernel.host.interrupt_after(None)
        return
    now_ns = kernel.clock.monotonic_ns()
    left_ns = _left_ns(kernel, now_ns)
    if left_ns == KTIME_MAX_NS:
        kernel.armed_ns = 0
        kernel.host.interrupt_after(None)
    elif not now_ns + _SOON_NS < kernel.armed_ns <= now_ns + left_ns:  # to ask anew costs a thread
        kernel.armed_ns = now_ns + left_ns
        kernel.host.interrupt_after(max(left_ns, 1))


def _left_ns(kernel: Kernel, now_ns: int) -> int:
    """How long until some timer may be due; KTIME_MAX_NS for ever. CPU clocks stand still while all sleep."""
    current = kernel.current
    running = current.blocked_call is None and current.exit_code is None
    left = [KTIME_MAX_NS]
    for tgid, itimers in kernel.timers.items():
        for which, (due_ns, _) in itimers.items():
            if which == ITIMER_REAL:
                left.append(due_ns - now_ns)
            elif running and tgid == current.tgid:
                left.append(due_ns - itimer_clock_ns(kernel, current.signal, which))
            elif running or kernel.sched.runqueue:
                left.append(TICK_NSEC)  # that process may run by then
    if kernel.hrtimers:
        left.append(kernel.hrtimers.left_ns(now_ns, running))
    return min(left)


def forget(kernel: Kernel, tgid: int) -> None:
    """That process is gone, and its timers with it."""
    if kernel.timers.pop(tgid, None) is not None:
        arm(kernel)
