"""What the entry path asks of signals. Cheap while none is pending; the work is in modules beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.errno import ERESTART_RESTARTBLOCK, ERESTARTSYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SigInfo
    from kernel_model.task import Task


def has_deliverable(task: Task) -> bool:
    """Is a signal pending that the task does not block?"""
    return bool((task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked)


def ends_wait(task: Task, *, uninterruptible: bool) -> bool:
    """Does a signal end the wait of the task? Only one that kills it ends one that is `uninterruptible`."""
    if not has_deliverable(task):
        return False
    if not uninterruptible:
        return True
    from kernel_model.signal.send import is_deadly

    pending = (task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked
    return any(is_deadly(task, number) for number in range(1, 65) if pending >> number - 1 & 1)


def next_timer(kernel: Kernel) -> int | None:
    """When the next timer ends a sleep of whatever process, on CLOCK_MONOTONIC (ns); None for never."""
    if not kernel.timers and not kernel.hrtimers:
        return None
    from kernel_model.signal.timers import next_due_ns

    return next_due_ns(kernel)


def collect_host_signals(kernel: Kernel) -> None:
    """Send what came in from outside, and what timers have come to."""
    came_in = kernel.host.take_signals()
    if came_in or kernel.timers or kernel.hrtimers:
        from kernel_model.signal.timers import expire, take_in

        take_in(kernel, came_in)
        if kernel.timers or kernel.hrtimers:
            expire(kernel)


def clocks_run_again(kernel: Kernel) -> None:
    """All tasks slept, and some no longer do: timers on CPU time count on."""
    from kernel_model.signal.timers import arm

    arm(kernel)


def send_signal(kernel: Kernel, task: Task, info: SigInfo, *, group: bool = False) -> bool:
    """See `kernel_model.signal.send.send_signal`."""
    from kernel_model.signal import send

    return send.send_signal(kernel, task, info, group=group)


def force_memory_fault(kernel: Kernel, task: Task, page: int, access: int) -> None:
    """The signal, with address and cause, of an access that failed (`page`: page address, `access`: a PROT_* bit)."""
    from kernel_model.signal import faults

    faults.force_memory_fault(kernel, task, page, access)


def force_bad_address(kernel: Kernel, task: Task, address: int, access: int) -> None:
    """SIGSEGV at the exact `address` of an access that the kernel made for the task (arm64_notify_segfault())."""
    from kernel_model.signal import faults

    faults.force_bad_address(kernel, task, address, access)


def force_exception(kernel: Kernel, task: Task, kind: str) -> None:
    """The signal that Linux makes of a synchronous exception (`kind`: see `kernel_model.cpu.TrapHandler`)."""
    from kernel_model.signal import faults

    faults.force_exception(kernel, task, kind)


_deliver_pending: Callable[[Kernel, Task, tuple[int, int, int] | None, int], None] | None = None
"""`kernel_model.signal.action`'s, imported when the first signal is delivered."""


def do_signal(kernel: Kernel, task: Task, call: tuple[int, int, int] | None) -> None:
    """Before going back to the program: deliver what is pending, and see to a call that a signal interrupted.

    `call`: (number, first argument, result) of the call that just ended. Raises TaskExit when the task is killed.
    """
    restart = 0
    if (kernel.timers or kernel.hrtimers) and kernel.clock.virtual:
        # Nothing outside tells when a virtual timer is due: every entry looks.
        collect_host_signals(kernel)
    if task.signal.tell_continued:
        from kernel_model.signal.stop import tell_continued

        tell_continued(kernel, task)
    if call is None and task.stopped_call is not None:
        call, task.stopped_call = task.stopped_call, None
    if call is not None and -ERESTART_RESTARTBLOCK <= call[2] <= -ERESTARTSYS:
        restart = -call[2]
    elif not (task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked and task.saved_sigmask is None:
        if task.held_signal is None:
            return
    global _deliver_pending
    if _deliver_pending is None:
        from kernel_model.signal import action

        _deliver_pending = action.deliver_pending
    _deliver_pending(kernel, task, call if restart else None, restart)
