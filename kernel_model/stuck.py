"""When every task waits for another, for ever: on Linux it would hang; here somebody is told, and it ends.

Asked only when all sleep and neither a time, a timer nor a stream of the host's could wake anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import SIG_IGN, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2
from kernel_model.events import Stuck

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_FROM_PEOPLE: Final = (SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM)
"""What a person sends; a handler for one of these may be what ends the wait."""


def see_to_it(kernel: Kernel) -> None:
    """Tell it, once each time; end the machine unless a signal from outside could still make somebody go on."""
    sleepers = list(kernel.sched.sleepers.values())
    entries = kernel.stats.kernel_entries
    if kernel.stuck == entries or not sleepers or any(_waits_for_a_signal(task) for task in sleepers):
        return
    kernel.stuck = entries
    kernel.ended_stuck = not any(_handles_a_signal(task) for task in sleepers)
    if kernel.events.watched:
        kernel.events.emit_rare(Stuck(kernel.current, sleepers, kernel.ended_stuck))
    if kernel.ended_stuck:
        from kernel_model.signal.timers import take_in

        take_in(kernel, (SIGKILL,))


def _waits_for_a_signal(task: Task) -> bool:
    """Does its call wait for no more than a signal (pause, sigsuspend, sigwaitinfo), or perhaps on a signalfd?"""
    call = task.blocked_call
    return call is None or call.blocked.queues == () or task.sighand.signalfd_wqh is not None


def _handles_a_signal(task: Task) -> bool:
    """Would a signal that a person sends run a handler of its?"""
    return any(
        task.sighand.get(signal).handler > SIG_IGN and not task.blocked >> signal - 1 & 1 for signal in _FROM_PEOPLE
    )
