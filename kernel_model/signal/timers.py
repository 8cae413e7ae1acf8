"""Signals that nobody in the guest sends: from outside the machine, and from interval timers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.signal import SI_KERNEL, SI_USER, SIGALRM, SIGCONT, SIGINT, SIGQUIT, SIGTSTP, SIGWINCH
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_FROM_TERMINAL = frozenset((SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGCONT))


def take_in(kernel: Kernel, task: Task, signals: Iterable[int]) -> None:
    """Send the task `signals` that the emulator itself was sent."""
    for signal in signals:
        if signal in _FROM_TERMINAL:
            info = SigInfo(signal, SI_KERNEL)
        else:
            info = SigInfo(signal, SI_USER, fields=(("pid", 0), ("uid", kernel.identity.uid)))
        send_signal(kernel, task, info, group=True)


def expire(kernel: Kernel, task: Task) -> None:
    """SIGALRM when ITIMER_REAL is due; an interval timer is set to its next time, missed ones are not made up for."""
    signal = task.signal
    if not signal.it_real_deadline_ns:
        return
    now_ns = kernel.clock.monotonic_ns()
    if now_ns < signal.it_real_deadline_ns:
        return
    interval_ns = signal.it_real_interval_ns
    if interval_ns:
        missed = (now_ns - signal.it_real_deadline_ns) // interval_ns
        signal.it_real_deadline_ns += (missed + 1) * interval_ns
        arm(kernel, task)
    else:
        signal.it_real_deadline_ns = 0
    send_signal(kernel, task, SigInfo(SIGALRM, SI_KERNEL), group=True)


def arm(kernel: Kernel, task: Task) -> None:
    """Have the task interrupted when its timer is due, even if it does nothing but compute."""
    deadline_ns = task.signal.it_real_deadline_ns
    if kernel.clock.virtual:
        # QUIRK: Under virtual time a timer is due only when the program enters the kernel: computing takes no time.
        return
    kernel.host.interrupt_after(max(deadline_ns - kernel.clock.monotonic_ns(), 1) if deadline_ns else None)
