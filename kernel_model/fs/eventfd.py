"""Event counters: eventfd(2) (fs/eventfd.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_NONBLOCK, O_RDWR
from kernel_model.fs.anon import anon_inode
from kernel_model.fs.file import POLLERR, POLLIN, POLLOUT, File, noop_llseek
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.task import Task

EFD_SEMAPHORE: Final = 1
_U64: Final = Struct("<Q")
_ONE: Final = _U64.pack(1)
_ULLONG_MAX: Final = (1 << 64) - 1


class EventFile(File):
    """A counter that read(2) takes from, all or (`semaphore`) one, and write(2) adds to."""

    __slots__ = ("count", "id", "semaphore", "wqh")

    llseek = noop_llseek

    def __init__(self, task: Task, count: int, flags: int) -> None:
        kernel = task.kernel
        super().__init__(anon_inode(kernel, b"[eventfd]"), None, O_RDWR | flags & O_NONBLOCK)
        self.count = count
        self.semaphore = bool(flags & EFD_SEMAPHORE)
        self.id = kernel.last_eventfd_id = kernel.last_eventfd_id + 1
        self.wqh = WaitQueue()

    def read(self, task: Task, count: int) -> bytes:
        """The counter, or 1; waits until it is not 0 (eventfd_read())."""
        if count < _U64.size:
            raise SyscallError(errno.EINVAL)
        if not self.count:
            if self.f_flags & O_NONBLOCK:
                raise SyscallError(errno.EAGAIN)
            raise Blocked(queues=(self.wqh,))
        if self.semaphore:
            data = _ONE
            self.count -= 1
        else:
            data = _U64.pack(self.count)
            self.count = 0
        if self.wqh:
            self.wqh.wake(events=POLLOUT)
        return data

    def write(self, task: Task, data: bytes) -> int:
        """Add a number; waits until the sum is below 2**64 - 1 (eventfd_write())."""
        if len(data) != _U64.size:
            raise SyscallError(errno.EINVAL)
        (number,) = _U64.unpack(data)
        if number == _ULLONG_MAX:
            raise SyscallError(errno.EINVAL)
        if self.count + number >= _ULLONG_MAX:
            if self.f_flags & O_NONBLOCK:
                raise SyscallError(errno.EAGAIN)
            raise Blocked(queues=(self.wqh,))
        self.count += number
        if self.wqh:
            self.wqh.wake(events=POLLIN)
        return _U64.size

    def poll(self, task: Task) -> int:
        """eventfd_poll()."""
        mask = POLLIN if self.count else 0
        if self.count == _ULLONG_MAX:
            mask |= POLLERR
        if self.count < _ULLONG_MAX - 1:
            mask |= POLLOUT
        return mask

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """One for both sides."""
        return (self.wqh,)

    def show_fdinfo(self, task: Task) -> bytes:
        """eventfd_show_fdinfo()."""
        return b"eventfd-count: %16x\neventfd-id: %d\neventfd-semaphore: %d\n" % (self.count, self.id, self.semaphore)
