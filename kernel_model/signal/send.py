"""Sending: what becomes pending, what is dropped at once, and what can't be refused (kernel/signal.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.resource import RLIMIT_SIGPENDING
from kernel_model.abi.signal import (
    COREDUMP_MASK,
    IGNORE_MASK,
    SA_IMMUTABLE,
    SI_KERNEL,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    STOP_MASK,
    UNBLOCKABLE,
    sigmask,
)
from kernel_model.events import SignalSent
from kernel_model.signal.sighand import SigAction, SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import PendingSignals
    from kernel_model.task import Task

_SI_PID: Final = 16
"""offsetof(siginfo_t, si_pid)."""
KILL_BIT: Final = sigmask(SIGKILL)
_JOB_CONTROL_MASK: Final = STOP_MASK | sigmask(SIGCONT)


def is_ignored(task: Task, signal: int) -> bool:
    """Would `signal` do nothing to the task, were it not blocked? (sig_task_ignored())"""
    handler = task.sighand.get(signal).handler
    if handler == SIG_DFL:
        return bool(IGNORE_MASK >> signal - 1 & 1) or task.signal.unkillable
    return handler == SIG_IGN


def is_deadly(task: Task, signal: int) -> bool:
    """Does it kill at once, whatever its target waits for? (sig_fatal(), less what dumps core)"""
    harmless = IGNORE_MASK | STOP_MASK | COREDUMP_MASK
    if task.signal.unkillable and signal != SIGKILL:
        return False
    return task.sighand.get(signal).handler == SIG_DFL and not harmless >> signal - 1 & 1


def flush_everywhere(task: Task, mask: int) -> None:
    """The same, wherever in the thread group they are pending."""
    task.signal.shared_pending.flush(mask)
    for other in task.kernel.tasks.values():
        if other.signal is task.signal:
            other.pending.flush(mask)


def send_signal(kernel: Kernel, task: Task, info: SigInfo, *, group: bool = False) -> bool:
    """Queue a signal for `task`, or with `group` for its process, unless it is ignored or there already.

    False when a real-time signal finds the queue full (RLIMIT_SIGPENDING): the sender's EAGAIN.
    """
    signal = info.signo
    bit = 1 << signal - 1
    if task.pid_ns is not kernel.current.pid_ns:
        info = _across(kernel, task, info)
    if bit & _JOB_CONTROL_MASK:
        if bit & STOP_MASK:
            flush_everywhere(task, sigmask(SIGCONT))
        else:
            flush_everywhere(task, STOP_MASK)
            _continue(kernel, task)
    if not (task.blocked | task.real_blocked) & bit:
        action = task.sighand.action.get(signal)
        if (action is None or action.handler <= SIG_IGN) and is_ignored(task, signal):
            if not bit & UNBLOCKABLE or not _is_forced(kernel, task, info):
                return True
    pending = task.signal.shared_pending if group else task.pending
    if signal < SIGRTMIN:
        if pending.mask & bit:
            return True
    # what the kernel itself sends a standard signal for is told in any case (__send_signal_locked(): override_rlimit)
    if (signal >= SIGRTMIN or info.code < 0) and (
        pending.ucounts.sigpending >= task.signal.rlim[RLIMIT_SIGPENDING][0]
    ):
        if signal >= SIGRTMIN and info.code != SI_USER:
            return False
        if not pending.mask & bit:
            enqueue(kernel, task, info, group=group, bare=True)
        return True
    enqueue(kernel, task, info, group=group)
    return True


def _across(kernel: Kernel, task: Task, info: SigInfo) -> SigInfo:
    """A program of another pid namespace sends it: one that `task` can't see is 0 (send_signal_locked())."""
    if info.code <= 0 and info.fields[:1] and info.fields[0][0] == "pid" and not task.pid_ns.nr(kernel.current.pid):
        raw = info.raw and info.raw[:_SI_PID] + bytes(4) + info.raw[_SI_PID + 4 :]
        return info._replace(fields=(("pid", 0), *info.fields[1:]), raw=raw)
    return info


def _is_forced(kernel: Kernel, task: Task, info: SigInfo) -> bool:
    """Does SIGKILL or SIGSTOP reach the first of a pid namespace: from the kernel, or from outside?"""
    return info.code == SI_KERNEL or info.fields[:1] == (("pid", 0),) or not task.pid_ns.nr(kernel.current.pid)


def enqueue(kernel: Kernel, task: Task, info: SigInfo, *, group: bool, bare: bool = False) -> PendingSignals:
    """Make a signal pending, whether it is already or not, and see that somebody looks; where it is pending now.

    `bare`: nothing but its number.
    """
    pending = task.signal.shared_pending if group else task.pending
    if bare:
        pending.add_bare(info.signo)
    else:
        pending.add(info)
    if kernel.user_pages is not None:
        kernel.user_pages.signal_pends(task, group=group)
    if kernel.events.active:
        kernel.events.emit(SignalSent(task, info.signo, info.code))
    if task.sighand.signalfd_wqh is not None:
        task.sighand.signalfd_wqh.wake()
    bit = 1 << info.signo - 1
    if (
        task is kernel.current and bit & ~(task.blocked | KILL_BIT) and task.blocked_call is None
        and task.exit_code is None
    ):  # fmt: skip
        kernel.signal_work = True  # it will look before it goes back
    else:
        _complete(kernel, task, bit, group=group)
    return pending


def _continue(kernel: Kernel, task: Task) -> None:
    """SIGCONT: a stopped process goes on, whatever becomes of the signal itself (prepare_signal())."""
    signal = task.signal
    if signal.stopped:
        signal.stopped = False
        signal.stop_code = 0
        signal.continued = signal.tell_continued = True
        kernel.sched.unpark(signal)
        kernel.signal_work = True
        parent = kernel.tasks.get(signal.parent_tgid)
        if parent is not None:
            parent.signal.wait_chldexit.wake()


def _complete(kernel: Kernel, task: Task, bit: int, *, group: bool) -> None:
    """Choose who takes the signal, and see that it looks (complete_signal()): `task` itself, or another thread."""
    if bit & KILL_BIT:
        task.signal.stopped = False
        kernel.sched.unpark(task.signal)
    for candidate in [task, *(threads_beside(task) if group else ())]:
        if candidate.exit_code is None and (bit & ~candidate.blocked or bit & KILL_BIT):
            if candidate is kernel.current:
                kernel.signal_work = True
            kernel.sched.wake(candidate)
            return


def threads_beside(task: Task) -> Iterator[Task]:
    """The other threads of its group."""
    return (other for other in task.kernel.tasks.values() if other.signal is task.signal and other is not task)


def force_signal(kernel: Kernel, task: Task, info: SigInfo, *, fatal: bool = False, immutable: bool = False) -> None:
    """A signal that the task brought on itself: blocked, ignored or `fatal`, its disposition is the default again.

    `immutable`: with `fatal`, nobody may look at it or change that. kernel/signal.c:force_sig_info_to_task().
    """
    signal = info.signo
    bit = 1 << signal - 1
    action = task.sighand.get(signal)
    blocked = task.blocked & bit
    if blocked or fatal or action.handler == SIG_IGN:
        flags = action.flags | SA_IMMUTABLE if immutable else action.flags
        task.sighand.action[signal] = SigAction(SIG_DFL, flags, action.restorer, action.mask)
        task.blocked &= ~bit
    if fatal or action.handler <= SIG_IGN:
        task.signal.unkillable = False
    send_signal(kernel, task, info)
    kernel.signal_work = True
