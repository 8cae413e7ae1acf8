"""Stopping and continuing a process, and what its parent is told of it (kernel/signal.c:do_signal_stop())."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.signal import SA_NOCLDSTOP, SIG_IGN, SIGCHLD, SIGCONT, SIGHUP
from kernel_model.abi.time import NS_PER_TICK
from kernel_model.cputime import process_usage
from kernel_model.exit import CLD_CONTINUED, CLD_STOPPED
from kernel_model.ns.pid import pid_vnr
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task


def stop_group(kernel: Kernel, task: Task, number: int) -> None:
    """All threads of `task` stop until SIGCONT or SIGKILL: whose turn comes is put aside by the scheduler."""
    signal = task.signal
    signal.stopped = kernel.any_stopped = True
    signal.stop_code = number
    signal.continued = False
    kernel.need_resched = True
    _tell_parent(kernel, task, CLD_STOPPED, number)


def tell_continued(kernel: Kernel, task: Task) -> None:
    """The first thread that goes on after SIGCONT tells the parent."""
    task.signal.tell_continued = False
    _tell_parent(kernel, task, CLD_CONTINUED, SIGCONT)


def _tell_parent(kernel: Kernel, task: Task, code: int, status: int) -> None:
    """SIGCHLD, unless the parent does not want it, and whoever waits (do_notify_parent_cldstop())."""
    parent = kernel.tasks.get(task.signal.parent_tgid)
    if parent is None:
        return
    action = parent.sighand.get(SIGCHLD)
    if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        usage = process_usage(kernel, task.signal)
        fields = (
            ("pid", pid_vnr(parent, task.tgid)), ("uid", task.cred.uid), ("status", status),
            ("utime", usage.utime_ns // NS_PER_TICK), ("stime", usage.stime_ns // NS_PER_TICK),
        )  # fmt: skip
        send_signal(kernel, parent, SigInfo(SIGCHLD, code, fields=fields), group=True)
    parent.signal.wait_chldexit.wake()


def is_orphaned(kernel: Kernel, pgrp: int) -> bool:
    """Has nobody of the session, outside the process group, a child in it? (will_become_orphaned_pgrp())

    The job control stops of such a group are ignored: nobody would continue it.
    """
    tasks = kernel.tasks
    for member in tasks.values():
        if member.signal.pgrp != pgrp or member.exit_code is not None:
            continue
        parent = tasks.get(member.signal.parent_tgid)
        if parent is not None and parent.signal.pgrp != pgrp and parent.signal.session == member.signal.session:
            return False
    return True


def hang_up_orphans(kernel: Kernel, pgrps: set[int]) -> None:
    """Process groups that an exit left orphaned with a stopped member get SIGHUP and SIGCONT."""
    for pgrp in pgrps:
        members = [task for task in kernel.tasks.values() if task.signal.pgrp == pgrp and task.pid == task.tgid]
        if any(member.signal.stopped for member in members) and is_orphaned(kernel, pgrp):
            for number in (SIGHUP, SIGCONT):
                for member in members:
                    send_signal(kernel, member, SigInfo(number), group=True)
