"""What limits count for all processes of a user together (`struct ucounts`, kernel/ucount.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.errno import EAGAIN
from kernel_model.abi.resource import RLIMIT_NPROC
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task


class UserCounts:
    """Of one real user id. `processes`: tasks, until they are waited for; `sigpending`: queued signals and timers;
    `epoll_watches`: files in epoll sets.
    """

    __slots__ = ("epoll_watches", "processes", "sigpending", "uid")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.processes = 0
        self.sigpending = 0
        self.epoll_watches = 0


def alloc_ucounts(kernel: Kernel, uid: int) -> UserCounts:
    """The counts of a user; `put_ucounts` when something counted there goes."""
    counts = kernel.ucounts.get(uid)
    if counts is None:
        counts = kernel.ucounts[uid] = UserCounts(uid)
    return counts


def put_ucounts(kernel: Kernel, counts: UserCounts) -> None:
    """Forget a user who has nothing any more: a program may have been any of four thousand million."""
    if not counts.processes and not counts.sigpending and not counts.epoll_watches:
        kernel.ucounts.pop(counts.uid, None)


def count_task(task: Task) -> None:
    """There is another task of its user."""
    task.ucounts.processes += 1


def uncount_task(task: Task) -> None:
    """The last trace of a task goes, and with it the signals that are pending for it."""
    counts = task.ucounts
    counts.processes -= 1
    counts.sigpending -= task.pending.charged()
    if task.pid == task.tgid:
        counts.sigpending -= task.signal.shared_pending.charged()
    put_ucounts(task.kernel, counts)


def check_execve(task: Task) -> None:
    """EAGAIN for a task that became a user who had too many, as long as there are (fs/exec.c:do_execveat_common())."""
    if task.nproc_exceeded:
        if task.ucounts.processes > task.signal.rlim[RLIMIT_NPROC][0]:
            raise SyscallError(EAGAIN)
        task.nproc_exceeded = False


def change_user(task: Task, uid: int) -> None:
    """The task is another user's from now on, and with it what is pending for it (kernel/cred.c:commit_creds()).

    One who has too many already gets it nevertheless; it is execve(2) that fails (kernel/sys.c:flag_nproc_exceeded()).
    """
    # QUIRK: Signals that are pending while a process changes its user count for the new one, not for the old one.
    uncount_task(task)
    counts = task.ucounts = alloc_ucounts(task.kernel, uid)
    task.nproc_exceeded = bool(uid) and counts.processes > task.signal.rlim[RLIMIT_NPROC][0]
    counts.processes += 1
    task.pending.charge(counts)
    if task.pid == task.tgid:
        task.signal.shared_pending.charge(counts)
