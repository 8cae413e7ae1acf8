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
)
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_FROM_TERMINAL: Final = frozenset((SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGCONT))
_SIGNALS: Final = {ITIMER_REAL: SIGALRM, ITIMER_VIRTUAL: SIGVTALRM, ITIMER_PROF: SIGPROF}


def take_in(kernel: Kernel, task: Task, signals: Iterable[int]) -> None:
    """Send the task `signals` that the emulator itself was sent."""
    for signal in signals:
        if signal in _FROM_TERMINAL:
            info = SigInfo(signal, SI_KERNEL)
        else:
            info = SigInfo(signal, SI_USER, fields=(("pid", 0), ("uid", kernel.identity.uid)))
        send_signal(kernel, task, info, group=True)


def itimer_clock_ns(kernel: Kernel, which: int) -> int:
    """What the timer `which` counts: real time, the process's user time, or all of its CPU time."""
    if which == ITIMER_REAL:
        return kernel.clock.monotonic_ns()
    return kernel.clock.cpu_times_ns()[0] if which == ITIMER_VIRTUAL else kernel.clock.cpu_ns()


def expire(kernel: Kernel, task: Task) -> None:
    """Send the signals of timers that are due. A periodic one is set to its next time, missed ones are not made up."""
    itimers = task.signal.itimers
    for which, (due_ns, interval_ns) in list(itimers.items()):
        now_ns = itimer_clock_ns(kernel, which)
        if now_ns < due_ns:
            continue
        if interval_ns:
            itimers[which] = due_ns + ((now_ns - due_ns) // interval_ns + 1) * interval_ns, interval_ns
        else:
            del itimers[which]
        send_signal(kernel, task, SigInfo(_SIGNALS[which], SI_KERNEL), group=True)
    arm(kernel, task)


def arm(kernel: Kernel, task: Task) -> None:
    """Have the task interrupted when its next timer is due, even if it does nothing but compute."""
    itimers = task.signal.itimers
    if kernel.clock.virtual:
        # QUIRK: Under virtual time a timer is only due at an entry into the kernel: computing takes no time.
        kernel.signal_work |= bool(itimers)
        return
    if itimers:
        kernel.cpu.set_preemptible(True)
        left_ns = min(due_ns - itimer_clock_ns(kernel, which) for which, (due_ns, _) in itimers.items())
        kernel.host.interrupt_after(max(left_ns, 1))
    else:
        kernel.host.interrupt_after(None)
