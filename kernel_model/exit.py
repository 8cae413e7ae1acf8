"""The end of a task, and who is told (kernel/exit.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import SIG_IGN, SIGCHLD, SIGKILL
from kernel_model.events import TaskExited
from kernel_model.futex import FutexWaiter, futex_key
from kernel_model.mm.uaccess import put_user
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

CLD_EXITED, CLD_KILLED, CLD_DUMPED, _CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = range(1, 7)
SA_NOCLDWAIT: Final = 2
_TID: Final = Struct("<I")


def do_exit(task: Task, code: int) -> None:
    """`task` is gone, with wait status `code` if it is the last of its thread group (kernel/exit.c:do_exit())."""
    kernel = task.kernel
    kernel.sched.forget(task)
    if isinstance(task.call_state, FutexWaiter):
        kernel.futexes.remove(task.call_state)
    task.blocked_call = None
    task.call_state = None
    _mm_release(task)
    task.mm.users -= 1
    if not task.mm.users:
        task.mm.exit_mmap()
    task.files.users -= 1
    if not task.files.users:
        task.files.close_all(task)
    if task.context is not None:
        kernel.cpu.free_context(task.context)
        task.context = None
    signal = task.signal
    task.exit_code = code if signal.group_exit_code is None else signal.group_exit_code
    signal.threads -= 1
    if kernel.events.active:
        kernel.events.emit(TaskExited(task, task.exit_code))
    if task.pid != task.tgid:
        del kernel.tasks[task.pid]
    if not signal.threads:
        _group_is_gone(task)


def exit_group(task: Task, code: int) -> None:
    """The whole thread group is gone (kernel/exit.c:do_group_exit())."""
    signal = task.signal
    if signal.group_exit_code is None:
        signal.group_exit_code = code
    for other in threads_of(task):
        if other is not task:
            do_exit(other, code)
    do_exit(task, code)


def kill_other_threads(task: Task) -> None:
    """execve(2): only the calling thread goes on, as the leader of its group (fs/exec.c:de_thread())."""
    for other in threads_of(task):
        if other is not task:
            do_exit(other, 0)
    if task.pid != task.tgid:
        kernel = task.kernel
        kernel.tasks.pop(task.pid, None)
        task.pid = task.tgid
        kernel.tasks[task.pid] = task


def threads_of(task: Task) -> list[Task]:
    """The living tasks of its thread group."""
    return [other for other in task.kernel.tasks.values() if other.signal is task.signal and other.exit_code is None]


def _mm_release(task: Task) -> None:
    """kernel/fork.c:mm_release(): the thread's id word is cleared and its joiner woken; a vfork parent goes on."""
    if task.vfork_done is not None:
        task.vfork_done.wake()
        task.vfork_done = None
    address = task.clear_child_tid
    if address and task.mm.users > 1:
        try:
            put_user(task.mm, UserPtr(address), _TID, 0)
        except SyscallError:
            return
        task.kernel.futexes.wake(futex_key(task.mm, address, False), 1)


def _group_is_gone(task: Task) -> None:
    """The last thread has gone: children get another parent, and the parent is told."""
    kernel = task.kernel
    tgid = task.tgid
    if kernel.timers:
        from kernel_model.signal.timers import forget

        forget(kernel, tgid)
    leader = kernel.tasks.get(tgid)
    code = task.exit_code or 0
    if leader is not None and leader.exit_code is not None and task.signal.group_exit_code is not None:
        leader.exit_code = task.signal.group_exit_code
    if tgid == kernel.init_tgid:
        _end_machine(task)
        return
    pgrps = {task.signal.pgrp}
    for other in list(kernel.tasks.values()):
        if other.signal.parent_tgid == tgid and other.pid == other.tgid:
            other.signal.parent_tgid = kernel.init_tgid
            pgrps.add(other.signal.pgrp)
            if other.pdeath_signal and other.exit_code is None:
                send_signal(kernel, other, SigInfo(other.pdeath_signal), group=True)
            if other.exit_code is not None:
                _tell_parent(other, other.exit_code)
    if len(kernel.tasks) > 1:
        from kernel_model.signal.stop import hang_up_orphans

        hang_up_orphans(kernel, pgrps)
    if leader is not None:
        _tell_parent(leader, leader.exit_code if leader.exit_code is not None else code)


def _end_machine(task: Task) -> None:
    """The first process has gone, and all others with it, as in a pid namespace (kernel/pid_namespace.c:
    zap_pid_ns_processes()).
    """
    # QUIRK: When the first process ends the machine ends: what it left in the background is killed.
    kernel = task.kernel
    for other in list(kernel.tasks.values()):
        if other.exit_code is None:
            other.signal.group_exit_code = SIGKILL
            do_exit(other, SIGKILL)
    kernel.tasks.clear()


def _tell_parent(leader: Task, code: int) -> None:
    """SIGCHLD and whoever waits; a parent that does not want to know reaps at once. do_notify_parent()."""
    kernel = leader.kernel
    parent = kernel.tasks.get(leader.signal.parent_tgid)
    if parent is None:
        kernel.tasks.pop(leader.pid, None)
        return
    signal = leader.signal.exit_signal
    action = parent.sighand.get(SIGCHLD)
    if signal == SIGCHLD and (action.handler == SIG_IGN or action.flags & SA_NOCLDWAIT):
        kernel.tasks.pop(leader.pid, None)
    if signal:
        send_signal(kernel, parent, child_info(leader, code), group=True)
    parent.signal.wait_chldexit.wake()


def child_info(leader: Task, code: int) -> SigInfo:
    """The siginfo of a child's end: exit status or signal number in `status`."""
    died = code & 0x7F
    cld = (CLD_DUMPED if code & 0x80 else CLD_KILLED) if died else CLD_EXITED
    fields = (("pid", leader.tgid), ("uid", leader.cred.uid), ("status", died or code >> 8), ("utime", 0), ("stime", 0))
    return SigInfo(leader.signal.exit_signal or SIGCHLD, cld, 0, fields)
