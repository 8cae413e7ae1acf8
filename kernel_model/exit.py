"""The end of a task, and who is told (kernel/exit.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import NSIG, SIG_IGN, SIGCHLD, SIGKILL
from kernel_model.abi.time import NS_PER_TICK
from kernel_model.cputime import exit_task, leave_mm, process_usage
from kernel_model.events import TaskExited
from kernel_model.futex import exit_robust_list, futex_key
from kernel_model.mm.uaccess import put_user
from kernel_model.ns.pid import free_pid, pid_vnr, release_pids
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigAction, SigInfo
from kernel_model.types import SyscallError, UserPtr
from kernel_model.ucounts import uncount_task

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

CLD_EXITED, CLD_KILLED, CLD_DUMPED, _CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = range(1, 7)
SA_NOCLDWAIT: Final = 2
_TID: Final = Struct("<I")


def do_exit(task: Task, code: int) -> None:
    """`task` is gone, with wait status `code` if it is the last of its thread group (kernel/exit.c:do_exit())."""
    kernel = task.kernel
    kernel.sched.forget(task)
    kernel.futexes.task_exits(task)
    if task.blocked_call is not None and task.blocked_call.held is not None:
        task.blocked_call.held.release()
    task.blocked_call = None
    mm_release(task)
    task.call_state = None
    if task.signal.threads == 1:
        leave_mm(task.signal, task.mm)
    task.mm.users -= 1
    if not task.mm.users:
        task.mm.exit_mmap()
    task.fs.users -= 1
    task.sighand.users -= 1
    task.files.users -= 1
    if not task.files.users:
        task.files.close_all(task)
    if task.context is not None:
        kernel.cpu.free_context(task.context)
        task.context = None
    signal = task.signal
    exit_task(task)
    signal.threads -= 1
    if signal.group_exit_code is None and not signal.threads:
        signal.group_exit_code = code  # synchronize_group_exit(): the status of the last thread is the process's
    task.exit_code = code if signal.group_exit_code is None else signal.group_exit_code
    if kernel.events.active:
        kernel.events.emit(TaskExited(task, task.exit_code))
    if task.pid != task.tgid:
        del kernel.tasks[task.pid]
        uncount_task(task)
        if kernel.ns_of_pid:
            release_pids(task)
    if task.seccomp is not None:
        from kernel_model.seccomp.filter import seccomp_filter_release

        seccomp_filter_release(task)
    if kernel.pidfds:
        _wake_pidfds(task)
    if not signal.threads:
        _group_is_gone(task)


def exit_group(task: Task, code: int) -> None:
    """The whole thread group is gone (kernel/exit.c:do_group_exit())."""
    signal = task.signal
    if signal.group_exit_code is None:
        signal.group_exit_code = code
    if signal.threads > 1:
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
        uncount_task(kernel.tasks[task.tgid])  # the old leader; what is pending for the process is the new one's
        task.signal.shared_pending.charge(task.ucounts)
        kernel.tasks.pop(task.pid, None)
        number, task.pid, task.pid_vnr = task.pid, task.tgid, task.tgid_vnr
        kernel.tasks[task.pid] = task
        if number in kernel.ns_of_pid:
            free_pid(kernel, number)


def threads_of(task: Task) -> list[Task]:
    """The living tasks of its thread group."""
    return [other for other in task.kernel.tasks.values() if other.signal is task.signal and other.exit_code is None]


def mm_release(task: Task) -> None:
    """The task stops using its memory: locks that it holds are marked, the thread's id word is cleared and its joiner
    woken, and a vfork parent goes on. kernel/fork.c:exit_mm_release(), exec_mm_release().
    """
    if task.robust_list:
        exit_robust_list(task)
    if task.kernel.futexes.pi is not None:
        task.kernel.futexes.pi.task_exits(task)
    address, task.clear_child_tid = task.clear_child_tid, 0
    if address and task.mm.users > 1:
        try:
            put_user(task.mm, UserPtr(address), _TID, 0)
        except SyscallError:
            pass
        else:
            task.kernel.futexes.wake_one(futex_key(task.mm, address, False))
    if task.task_page:
        from kernel_model.task_page import free_task_page

        free_task_page(task)
    if task.kernel.data_pages is not None:
        task.kernel.data_pages.release(task)
    if task.kernel.user_pages is not None:
        task.kernel.user_pages.detach(task)
    if task.vfork_done is not None:
        task.vfork_done.wake()
        task.vfork_done = None


def _group_is_gone(task: Task) -> None:
    """The last thread has gone: children get another parent, and the parent is told."""
    kernel = task.kernel
    tgid = task.tgid
    if kernel.timers:
        from kernel_model.signal.timers import forget

        forget(kernel, tgid)
    if task.signal.posix_timers:
        from kernel_model.signal.posix_timers import exit_itimers

        exit_itimers(kernel, task.signal)
    leader = kernel.tasks[tgid]
    leader.exit_code = task.signal.group_exit_code
    if tgid == kernel.init_tgid:
        _end_machine(kernel)
        return
    if tgid == task.pid_ns.child_reaper:
        _zap_pid_ns_processes(leader)
    pgrps = set()  # those to which the task, or its being a parent, was a connection (kill_orphaned_pgrp())
    parent = kernel.tasks.get(task.signal.parent_tgid)
    if parent is not None and _connects(task, parent):
        pgrps.add(task.signal.pgrp)
    reaper = kernel.tasks[_find_new_reaper(task)]
    for pid in list(task.signal.children):
        child = kernel.tasks[pid]
        child.signal.parent_tgid = reaper.tgid
        child.signal.parent_vnr = child.pid_ns.nr(reaper.tgid)
        if kernel.data_pages is not None:
            for thread in threads_of(child):
                kernel.data_pages.changed(thread)
        reaper.signal.children[pid] = None
        if _connects(child, task):
            pgrps.add(child.signal.pgrp)
        # QUIRK: PR_SET_PDEATHSIG's signal comes when the parent's process ends, not when the thread does that forked.
        if child.pdeath_signal and child.exit_code is None:
            sender = (("pid", pid_vnr(child, tgid)), ("uid", task.cred.uid))
            send_signal(kernel, child, SigInfo(child.pdeath_signal, fields=sender), group=True)
        if child.exit_code is not None and not child.signal.threads:
            _tell_parent(child, child.exit_code)
    task.signal.children.clear()
    if kernel.any_stopped:
        from kernel_model.signal.stop import hang_up_orphans

        hang_up_orphans(kernel, pgrps)
    _tell_parent(leader, leader.exit_code or 0)


def _connects(child: Task, parent: Task) -> bool:
    """Is its parent what makes the child's process group no orphan?"""
    return child.signal.pgrp != parent.signal.pgrp and child.signal.session == parent.signal.session


def _find_new_reaper(task: Task) -> int:
    """Whose children those of a process become that is gone: its nearest ancestor's in its pid namespace that wants
    them (PR_SET_CHILD_SUBREAPER), or the first process's.
    """
    kernel = task.kernel
    first = task.pid_ns.child_reaper or kernel.init_tgid
    ancestor = kernel.tasks.get(task.signal.parent_tgid)
    while ancestor is not None and ancestor.tgid != kernel.init_tgid and ancestor.pid_ns.level == task.pid_ns.level:
        if ancestor.signal.is_child_subreaper and ancestor.signal.threads:
            return ancestor.tgid
        ancestor = kernel.tasks.get(ancestor.signal.parent_tgid)
    return first


def _zap_pid_ns_processes(leader: Task) -> None:
    """The first process of a pid namespace has gone, and all others of it with it; it reaps those that are its own.

    kernel/pid_namespace.c:zap_pid_ns_processes().
    """
    # QUIRK: The first process of a pid namespace ends without waiting until others outside have reaped what was theirs.
    ns, tasks = leader.pid_ns, leader.kernel.tasks
    ns.adding = False
    leader.sighand.action[SIGCHLD] = SigAction(SIG_IGN)
    for number in list(ns.local_of):
        task = tasks.get(number)
        if task is not None and task.exit_code is None and task.signal is not leader.signal:
            exit_group(task, SIGKILL)
    for pid in list(leader.signal.children):
        release_task(tasks[pid])


def _end_machine(kernel: Kernel) -> None:
    """The first process has gone, and all others with it, as in a pid namespace (kernel/pid_namespace.c:
    zap_pid_ns_processes()).
    """
    # QUIRK: When the first process ends the machine ends: what it left in the background is killed.
    for task in kernel.tasks.values():
        if task.exit_code is not None and task.pid != kernel.init_tgid and not task.signal.threads:
            parent = kernel.tasks.get(task.signal.parent_tgid)
            if parent is None or task.pid not in parent.signal.children:
                kernel.lost_pids.append(task.pid)
    for task in list(kernel.tasks.values()):
        if task.exit_code is None:
            exit_group(task, SIGKILL)
    kernel.tasks.clear()


def _tell_parent(leader: Task, code: int) -> None:
    """SIGCHLD and whoever waits; a parent that does not want to know reaps at once. do_notify_parent()."""
    kernel = leader.kernel
    parent = kernel.tasks.get(leader.signal.parent_tgid)
    if parent is None:
        release_task(leader)
        return
    signal = leader.signal.exit_signal
    info = _child_info(leader, parent, code)
    if signal == SIGCHLD:
        action = parent.sighand.get(SIGCHLD)
        if action.handler == SIG_IGN or action.flags & SA_NOCLDWAIT:
            release_task(leader)
        if action.handler == SIG_IGN:
            signal = 0  # not even pending where it is blocked
    if 1 <= signal <= NSIG:
        send_signal(kernel, parent, info, group=True)
    parent.signal.wait_chldexit.wake()


def _wake_pidfds(task: Task) -> None:
    """Whoever polls a descriptor of the task or its process looks again."""
    from kernel_model.fs.pidfs import wake_pidfds

    wake_pidfds(task.kernel, task)
    if not task.signal.threads:
        wake_pidfds(task.kernel, task.signal)


def release_task(leader: Task) -> None:
    """The last trace of a process goes."""
    tasks = leader.kernel.tasks
    if tasks.pop(leader.pid, None) is not None:
        uncount_task(leader)
        if leader.kernel.ns_of_pid:
            release_pids(leader)
    if leader.kernel.pidfds:
        _wake_pidfds(leader)
    parent = tasks.get(leader.signal.parent_tgid)
    if parent is not None:
        parent.signal.children.pop(leader.pid, None)


def child_code(code: int) -> tuple[int, int]:
    """(si_code, si_status) of a child's end: how it ended, and its exit status or signal number."""
    died = code & 0x7F
    if died:
        return CLD_DUMPED if code & 0x80 else CLD_KILLED, died
    return CLD_EXITED, code >> 8


def _child_info(leader: Task, parent: Task, code: int) -> SigInfo:
    """The siginfo of a child's end, with numbers as its parent sees them."""
    cld, status = child_code(code)
    usage = process_usage(leader.kernel, leader.signal)
    fields = (
        ("pid", pid_vnr(parent, leader.tgid)), ("uid", leader.cred.uid), ("status", status),
        ("utime", usage.utime_ns // NS_PER_TICK), ("stime", usage.stime_ns // NS_PER_TICK),
    )  # fmt: skip
    return SigInfo(leader.signal.exit_signal or SIGCHLD, cld, 0, fields)
