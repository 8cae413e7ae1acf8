"""Descriptors of processes and threads: pidfd_open(2) (kernel/pid.c, fs/pidfs.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.fcntl import O_EXCL, O_NONBLOCK, O_RDWR
from kernel_model.fs.anon import AnonInode, anon_inode
from kernel_model.fs.file import POLLHUP, POLLIN, POLLRDNORM, File
from kernel_model.ns.pid import all_numbers
from kernel_model.wait import WaitQueue

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.task import Task

PIDFD_NONBLOCK: Final = O_NONBLOCK
PIDFD_THREAD: Final = O_EXCL
_PIDFS_IOCTL_MAGIC: Final = 0xFF


class PidStruct:
    """What all descriptors of one process, or of one thread, share. It is there while there is one of them."""

    __slots__ = ("inode", "users", "wait_pidfd")

    def __init__(self, kernel: Kernel) -> None:
        kernel.last_ino += 1
        self.inode = AnonInode(anon_inode(kernel, b"[pidfd]").i_sb, kernel.last_ino, b"[pidfd]")
        self.users = 0
        self.wait_pidfd = WaitQueue()


class PidFile(File):
    """A descriptor of a process, whichever of its tasks leads it, or with PIDFD_THREAD of one task."""

    __slots__ = ("kernel", "key", "pid_struct", "thread")

    def __init__(self, target: Task, flags: int) -> None:
        kernel = target.kernel
        self.kernel = kernel
        self.thread = bool(flags & PIDFD_THREAD)
        self.key: SignalStruct | Task = target if self.thread else target.signal
        self.pid_struct = kernel.pidfds.get(self.key) or PidStruct(kernel)
        kernel.pidfds[self.key] = self.pid_struct
        self.pid_struct.users += 1
        super().__init__(self.pid_struct.inode, None, O_RDWR | flags & (PIDFD_NONBLOCK | PIDFD_THREAD))

    def target(self) -> Task | None:
        """The task, or the process's leader; None once it has been waited for."""
        key = self.key
        pid = key.pid if self.thread else key.tgid  # type: ignore[union-attr]
        task = self.kernel.tasks.get(pid)
        return task if task is not None and key in (task, task.signal) else None

    def poll(self, task: Task) -> int:
        """Readable once it has ended (pidfd_poll())."""
        target = self.target()
        if target is None:
            return POLLIN | POLLRDNORM | POLLHUP
        if target.exit_code is not None and (self.thread or not target.signal.threads):
            return POLLIN | POLLRDNORM
        return 0

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """Woken at its end, and when it has been waited for."""
        return (self.pid_struct.wait_pidfd,)

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """PIDFD_GET_*_NAMESPACE: a descriptor of a namespace of the process's (fs/pidfs.c:pidfd_ioctl())."""
        if cmd >> 8 != _PIDFS_IOCTL_MAGIC:
            return super().ioctl(task, cmd, arg)
        from kernel_model.fs.nsfs import open_of_pidfd

        return open_of_pidfd(task, self.target(), cmd, arg)

    def show_fdinfo(self, task: Task) -> bytes:
        """pidfd_show_fdinfo()."""
        target = self.target()
        numbers = [-1] if target is None else all_numbers(target.pid_ns, target.pid)
        return b"Pid:\t%d\nNSpid:%s\n" % (numbers[0], b"".join(b"\t%d" % number for number in numbers))

    def release(self) -> None:
        """The last of them takes what they shared along."""
        self.pid_struct.users -= 1
        if not self.pid_struct.users:
            self.kernel.pidfds.pop(self.key, None)


def wake_pidfds(kernel: Kernel, key: SignalStruct | Task) -> None:
    """It has ended, or was waited for."""
    pid_struct = kernel.pidfds.get(key)
    if pid_struct is not None:
        pid_struct.wait_pidfd.wake(events=POLLIN)
