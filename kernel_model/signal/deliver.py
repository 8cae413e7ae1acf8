"""What the entry path asks of signals. Cheap while none is pending; the work is in modules beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.errno import ERESTART_RESTARTBLOCK, ERESTARTSYS
from kernel_model.abi.signal import ITIMER_REAL

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SigInfo
    from kernel_model.task import Task


def has_deliverable(task: Task) -> bool:
    """Is a signal pending that the task does not block?"""
    return bool((task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked)


def next_deadline(task: Task, deadline_ns: int | None) -> int | None:
    """The sooner of `deadline_ns` and the task's next timer, both on CLOCK_MONOTONIC; None for neither."""
    timer = task.signal.itimers.get(ITIMER_REAL)
    if timer is None:
        return deadline_ns
    return timer[0] if deadline_ns is None else min(timer[0], deadline_ns)


def collect_host_signals(kernel: Kernel, task: Task) -> None:
    """Queue for the task what came in from outside, and what its timers have come to."""
    came_in = kernel.host.take_signals()
    if came_in or task.signal.itimers:
        from kernel_model.signal.timers import expire, take_in

        take_in(kernel, task, came_in)
        if task.signal.itimers:
            expire(kernel, task)


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


def do_signal(kernel: Kernel, task: Task, call: tuple[int, int, int] | None) -> None:
    """Before going back to the program: deliver what is pending, and see to a call that a signal interrupted.

    `call`: (number, first argument, result) of the call that just ended. Raises TaskExit when the task is killed.
    """
    restart = 0
    if task.signal.itimers and kernel.clock.virtual:
        # Nothing outside tells when a virtual timer is due: every entry looks.
        collect_host_signals(kernel, task)
    if call is not None and -ERESTART_RESTARTBLOCK <= call[2] <= -ERESTARTSYS:
        restart = -call[2]
    elif task.saved_sigmask is None and not has_deliverable(task):
        return
    from kernel_model.signal import action

    action.do_signal(kernel, task, call if restart else None, restart)
