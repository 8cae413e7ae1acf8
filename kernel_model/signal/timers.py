"""Signals that nobody in the guest sends: from outside the machine, and from interval timers (kernel/time/itimer.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import (
    ITIMER_PROF,
    ITIMER_REAL,
    ITIMER_VIRTUAL,
    SI_KERNEL,
    SI_USER,
    SIGALRM,
    SIGCONT,
    SIGINT,
    SIGPROF,
    SIGQUIT,
    SIGTSTP,
    SIGVTALRM,
    SIGWINCH,
    sigmask,
)
from kernel_model.abi.time import KTIME_MAX_NS
from kernel_model.signal.send import is_ignored, send_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_FROM_TERMINAL: Final = frozenset((SIGINT, SIGQUIT, SIGTSTP, SIGWINCH))
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


def itimer_clock_ns(kernel: Kernel, which: int) -> int:
    """What the timer `which` counts: real time, the process's user time, or all of its CPU time."""
    if which == ITIMER_REAL:
        return kernel.clock.monotonic_ns()
    return kernel.clock.cpu_times_ns()[0] if which == ITIMER_VIRTUAL else kernel.clock.cpu_ns()


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
        for which, (due_ns, interval_ns) in list(itimers.items()):
            now_ns = itimer_clock_ns(kernel, which)
            if now_ns < due_ns:
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
        kernel.host.interrupt_after(None)
        return
    left = [
        due_ns - itimer_clock_ns(kernel, which)
        for itimers in kernel.timers.values()
        for which, (due_ns, _) in itimers.items()
    ]
    if kernel.hrtimers:
        left.append(kernel.hrtimers.left_ns())
    kernel.host.interrupt_after(max(min(left), 1))


def forget(kernel: Kernel, tgid: int) -> None:
    """That process is gone, and its timers with it."""
    if kernel.timers.pop(tgid, None) is not None:
        arm(kernel)
