"""Taking a pending signal and doing what the program asked for, or the default (kernel/signal.c:get_signal(),
arch/*/kernel/signal.c:do_signal())."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi.resource import RLIMIT_CORE
from kernel_model.abi.signal import (
    COREDUMP_MASK,
    IGNORE_MASK,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SI_KERNEL,
    SIG_DFL,
    SIG_IGN,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SS_AUTODISARM,
    SS_DISABLE,
    STOP_MASK,
    SYNCHRONOUS_MASK,
    UNBLOCKABLE,
)
from kernel_model.events import SignalDelivered, SignalFrameRefused
from kernel_model.signal.rewind import hold_back, is_synchronous, rewind_bounce, take_held
from kernel_model.signal.rseq import abort_critical_section
from kernel_model.signal.send import KILL_BIT, force_signal
from kernel_model.signal.sighand import SigAction, SigAltStack, SigInfo
from kernel_model.signal.stop import is_orphaned, stop_group
from kernel_model.types import U64_MASK, SyscallError, TaskExit

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_WCOREFLAG = 0x80


def deliver_pending(kernel: Kernel, task: Task, call: tuple[int, int, int] | None, restart: int) -> None:
    """Deliver every pending signal; each handler's frame goes on top of the last.

    `call`: (number, first argument, result) of a call that a signal interrupted, `restart` the code it ended with.
    """
    pending, shared = task.pending, task.signal.shared_pending
    while True:
        if task.held_signal is not None:
            held = take_held(kernel, task)
            if held is None:
                return
            _enter_handler(kernel, task, held.info, held.action)
        taken = None
        if (pending.mask | shared.mask) & ~task.blocked:
            taken = get_signal(kernel, task)
            if taken is not None and not restart:
                _handle_signal(kernel, task, taken[0], taken[1])
                continue
        if taken is None and task.signal.stopped:
            # What the call that was interrupted comes to is decided when the task goes on.
            task.stopped_call = call if restart else None
            return
        if restart and call is not None:
            # The call is set up to be made again before a frame is built, so that the handler returns to it.
            regs = kernel.cpu.read_gregs()
            if taken is not None and (
                restart in (errno.ERESTARTNOHAND, errno.ERESTART_RESTARTBLOCK)
                or (restart == errno.ERESTARTSYS and not taken[1].flags & SA_RESTART)
            ):
                regs[kernel.arch.RESULT_INDEX] = -errno.EINTR & U64_MASK
            else:
                kernel.signal_ops.rewind(regs, call[0], call[1], restart == errno.ERESTART_RESTARTBLOCK)
            kernel.cpu.write_gregs(regs)
            restart = 0
        if taken is not None:
            _handle_signal(kernel, task, *taken)
        elif task.saved_sigmask is not None:
            # What the mask held back before a sigsuspend, ppoll ... may now be delivered as well.
            task.blocked = task.saved_sigmask
            task.saved_sigmask = None
        else:
            return


def set_blocked(task: Task, mask: int) -> None:
    """Change the signal mask; what it no longer holds back is delivered before the program goes on."""
    task.blocked = blocked = mask & ~UNBLOCKABLE
    if (task.pending.mask | task.signal.shared_pending.mask) & ~blocked:
        task.kernel.signal_work = True


def dequeue_signal(task: Task, blocked: int) -> SigInfo | None:
    """Take the next signal that `blocked` does not hold back: the task's own before its process's.

    Among those synchronous ones first, then by number, then by age (next_signal()).
    """
    pending = task.pending
    ready = pending.mask & ~blocked
    if not ready:
        pending = task.signal.shared_pending
        ready = pending.mask & ~blocked
        if not ready:
            return None
    ready = ready & SYNCHRONOUS_MASK or ready
    return pending.take((ready & -ready).bit_length())


def _dequeue_synchronous(task: Task) -> SigInfo | None:
    """A fault of the task's own goes before everything (dequeue_synchronous_signal())."""
    for info in task.pending:
        bit = 1 << info.signo - 1
        if info.code > 0 and bit & SYNCHRONOUS_MASK and not bit & task.blocked:
            return task.pending.take(info.signo)
    return None


def get_signal(kernel: Kernel, task: Task) -> tuple[SigInfo, SigAction] | None:
    """The next signal with a handler to run; default actions are taken on the way.

    None when there is no more, or when one has stopped the process.
    """
    pending, shared = task.pending, task.signal.shared_pending
    if (pending.mask | shared.mask) & KILL_BIT:
        killed = dequeue_signal(task, ~KILL_BIT)
        if kernel.events.watched and killed is not None:
            kernel.events.emit_rare(SignalDelivered(task, SIGKILL, SIG_DFL, killed))
        raise TaskExit(SIGKILL)
    while True:
        blocked = task.blocked
        info = None
        synchronous = pending.mask & ~blocked & SYNCHRONOUS_MASK
        if synchronous & synchronous - 1:  # with one alone there is no choice
            info = _dequeue_synchronous(task)
        if info is None:
            info = dequeue_signal(task, blocked)
            if info is None:
                return None
        signal = info.signo
        action = task.sighand.get(signal)
        handler = action.handler
        if handler > SIG_IGN:
            if action.flags & SA_RESETHAND:
                task.sighand.action[signal] = SigAction(SIG_DFL, action.flags, action.restorer, action.mask)
            return info, action
        bit = 1 << signal - 1
        if handler == SIG_IGN or bit & IGNORE_MASK or (task.signal.unkillable and signal != SIGSTOP):
            continue
        if kernel.events.watched:
            kernel.events.emit_rare(SignalDelivered(task, signal, SIG_DFL, info))
        if bit & STOP_MASK:
            if signal == SIGSTOP or not is_orphaned(kernel, task.signal.pgrp):
                stop_group(kernel, task, signal)
                return None
            continue
        status = signal
        if bit & COREDUMP_MASK and task.signal.rlim[RLIMIT_CORE][0]:
            # QUIRK: No core file is written; with RLIMIT_CORE above 0 the wait status still says that one was.
            status |= _WCOREFLAG
        raise TaskExit(status)


def enter_at_once(kernel: Kernel, task: Task, info: SigInfo) -> bool:
    """Enter the handler of a signal that a call brought on the running task, as if it had been queued and taken again.

    False, and nothing done, when anything else is to be looked at as well. What the handler finds in the registers must
    be there.
    """
    bit = 1 << info.signo - 1
    pending, shared = task.pending.mask, task.signal.shared_pending.mask
    if (
        pending & bit or (pending | shared | bit) & ~task.blocked != bit or task.saved_sigmask is not None
        or kernel.signal_work or kernel.need_resched or kernel.events.active or task.rseq_event
        or task.stopped_call is not None or task.signal.tell_continued or task.sighand.signalfd_wqh is not None
        or kernel.clock.virtual
    ):  # fmt: skip
        return False
    action = task.sighand.get(info.signo)
    if action.handler <= SIG_IGN or action.flags & SA_RESETHAND:
        return False
    _handle_signal(kernel, task, info, action)
    return True


def _handle_signal(kernel: Kernel, task: Task, info: SigInfo, action: SigAction) -> None:
    """Enter the handler, or let it wait for the end of what the task is in the middle of."""
    bounce = kernel.bounce
    if bounce is None or not bounce.serves or not hold_back(kernel, task, info, action):
        _enter_handler(kernel, task, info, action)


def _enter_handler(kernel: Kernel, task: Task, info: SigInfo, action: SigAction) -> None:
    """Build the handler's frame and block what it asks for (handle_signal(), signal_setup_done())."""
    bounce_frame = b"" if kernel.bounce is None else rewind_bounce(kernel, task, info)
    if kernel.data_pages is not None and not is_synchronous(info):
        kernel.data_pages.signal_comes(task)
    mask = task.blocked if task.saved_sigmask is None else task.saved_sigmask
    if task.rseq.address:
        if not abort_critical_section(kernel, task):
            force_signal(kernel, task, SigInfo(SIGSEGV, SI_KERNEL))
    try:
        kernel.signal_ops.setup_rt_frame(task, info, action, mask, bounce_frame)
    except SyscallError:
        # kernel/signal.c:force_sigsegv(): a handler for SIGSEGV itself can't run either.
        if kernel.events.watched:
            regs, arch = kernel.cpu.read_gregs(), kernel.arch
            event = SignalFrameRefused(task, info.signo, regs[arch.SP_INDEX], regs[arch.PC_INDEX])
            kernel.events.emit_rare(event)
        force_signal(kernel, task, SigInfo(SIGSEGV, SI_KERNEL), fatal=info.signo == SIGSEGV)
        return
    task.saved_sigmask = None
    if action.flags & SA_NODEFER:
        task.blocked |= action.mask & ~UNBLOCKABLE
    else:
        task.blocked |= (action.mask | 1 << info.signo - 1) & ~UNBLOCKABLE
    if task.sas.flags & SS_AUTODISARM:
        task.sas = SigAltStack(flags=SS_DISABLE)
    if kernel.events.active:
        kernel.events.emit(SignalDelivered(task, info.signo, action.handler, info))
