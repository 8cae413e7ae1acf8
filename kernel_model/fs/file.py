"""An open file description (`struct file`), shared by all descriptors that dup or fork made of it; and the fd table."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from kernel_model.abi import errno
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.eventpoll import EpollItem
    from kernel_model.fs.inode import Inode
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task
    from kernel_model.wait import WaitQueue

POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 1, 2, 4, 8, 16, 32
POLLRDNORM, POLLRDBAND, POLLWRNORM, POLLWRBAND, POLLRDHUP = 0x40, 0x80, 0x100, 0x200, 0x2000


class FileOwner(NamedTuple):
    """Who F_SETOWN says is told of input (`struct fown_struct`). `type`: F_OWNER_*; pid 0: nobody; signum 0: SIGIO."""

    type: int
    pid: int
    signum: int
    uid: int
    euid: int


NO_OWNER = FileOwner(1, 0, 0, 0, 0)


class File:
    """An open file description. A kind overrides what it can do; the rest fails as on Linux.

    A call that can't go on yet raises `kernel_model.wait.Blocked` unless O_NONBLOCK is set (then EAGAIN); it must have
    changed nothing, for it is made again from the start when what it waits for has happened.
    """

    DISCARDS: ClassVar = False
    """What is written is thrown away unread: even a bad buffer will do (drivers/char/mem.c:write_null())."""

    __slots__ = ("f_count", "f_ep", "f_flags", "f_owner", "f_path", "f_pos", "inode")

    def __init__(self, inode: Inode, path: Path | None, flags: int) -> None:
        self.inode = inode
        self.f_path = path
        self.f_flags = flags
        """O_* in asm-generic's numbers, without the creation flags and O_CLOEXEC."""
        self.f_pos = 0
        self.f_count = 1
        self.f_owner: FileOwner | None = None
        self.f_ep: list[EpollItem] | None = None
        """Where epoll sets watch it; None as long as none does."""

    @property
    def readable(self) -> bool:
        """Opened for reading? Access mode 3 is neither (OPEN_FMODE of include/linux/fs.h)."""
        return bool(self.f_flags + 1 & 1)

    @property
    def writable(self) -> bool:
        """Opened for writing?"""
        return bool(self.f_flags + 1 & 2)

    # The caller has checked that the description is open for reading or writing.
    def read(self, task: Task, count: int) -> bytes:
        """Up to `count` bytes at the file's position, which moves."""
        raise SyscallError(errno.EINVAL)

    def write(self, task: Task, data: bytes) -> int:
        """Write at the position (at the end with O_APPEND), which moves; the number of bytes written."""
        raise SyscallError(errno.EINVAL)

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """Up to `count` bytes at `pos`."""
        raise SyscallError(errno.ESPIPE)

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """Write at `pos`."""
        raise SyscallError(errno.ESPIPE)

    keeps_boundaries = False
    """What is written at once is one message, however large, and so is what is read."""

    def check_message(self, count: int) -> None:
        """A message of so many bytes is to be written: an error if none can ever be so long."""

    def unread(self, data: bytes, stored: int) -> int:
        """Only `stored` bytes of what `read` returned last reached the reader: take the rest back, if the kind can.

        How many count as read: a kind that gives pieces takes back the whole of one that was stored in part.
        """
        return stored

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Move the position (SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE)."""
        raise SyscallError(errno.ESPIPE)

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """A request of the file's own kind; ENOTTY for one it does not know."""
        raise SyscallError(errno.ENOTTY)

    def poll(self, task: Task) -> int:
        """POLL* bits that hold now."""
        return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM

    def poll_sources(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Host streams (to read, to write) whose readiness may change what `poll` says."""
        return (), ()

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """Wait queues that are woken when what `poll` says may have changed, of a kind that other tasks change."""
        return ()

    def show_fdinfo(self, task: Task) -> bytes:
        """What /proc/<pid>/fdinfo says of it beyond position and flags."""
        return b""

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """The page cache that mmap(2) maps; ENODEV for a kind that can't be mapped."""
        raise SyscallError(errno.ENODEV)

    def fsync(self, task: Task) -> None:
        """fsync(2)."""
        raise SyscallError(errno.EINVAL)

    def flush(self, task: Task) -> None:
        """A descriptor of it was closed."""

    def release(self) -> None:
        """The last reference is gone."""


def noop_llseek(self: File, task: Task, offset: int, whence: int) -> int:
    """For a kind without positions that does not say so: lseek(2) is 0 and pread(2) ESPIPE (fs/libfs.c)."""
    return self.f_pos


class FilesStruct:
    """A table of descriptors (`struct files_struct`), shared by the tasks that CLONE_FILES made."""

    __slots__ = ("cloexec", "fd", "next_fd", "users")

    def __init__(self) -> None:
        self.fd: dict[int, File] = {}
        self.cloexec: set[int] = set()
        self.next_fd = 0
        """No descriptor below this one is free."""
        self.users = 1

    @property
    def max_fds(self) -> int:
        """How many descriptors the table has room for (fs/file.c:alloc_fdtable())."""
        highest = max(self.fd, default=0)
        return 64 if highest < 64 else highest + 256 & -256

    def get(self, fd: int) -> File:
        """The description behind `fd`; EBADF."""
        try:
            return self.fd[fd]
        except KeyError:
            raise SyscallError(errno.EBADF) from None

    def lowest_free(self, minimum: int, limit: int) -> int:
        """The lowest free descriptor not below `minimum`; EMFILE at `limit`."""
        fd = minimum
        while fd in self.fd:
            fd += 1
        if fd >= limit:
            raise SyscallError(errno.EMFILE)
        return fd

    def install(self, file: File, limit: int, *, cloexec: bool = False, minimum: int = 0) -> int:
        """Give `file` the lowest free descriptor not below `minimum`; EMFILE at `limit` (RLIMIT_NOFILE)."""
        table = self.fd
        fd = self.next_fd if minimum < self.next_fd else minimum
        while fd in table:
            fd += 1
        if fd >= limit:
            raise SyscallError(errno.EMFILE)
        table[fd] = file
        if minimum <= self.next_fd:
            self.next_fd = fd + 1
        if cloexec:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)
        return fd

    def replace(self, fd: int, file: File, task: Task, *, cloexec: bool = False) -> None:
        """Put `file` at exactly `fd`, closing what was there (dup2)."""
        old = self.fd.get(fd)
        if old is not None and self.users > 1:
            self._leave_to_sleepers(fd, old, task)
        self.fd[fd] = file
        if cloexec:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)
        if old is not None:
            put_file(old, task)

    def close(self, fd: int, task: Task) -> None:
        """Free `fd`; EBADF."""
        file = self.fd.get(fd)
        if file is None:
            raise SyscallError(errno.EBADF)
        if self.users > 1:
            self._leave_to_sleepers(fd, file, task)
        del self.fd[fd]
        self.next_fd = min(self.next_fd, fd)
        self.cloexec.discard(fd)
        put_file(file, task)

    @staticmethod
    def _leave_to_sleepers(fd: int, file: File, task: Task) -> None:
        """Calls of other tasks that wait for a file keep it until they are over."""
        from kernel_model.fs.held import hold_for_sleepers

        hold_for_sleepers(task.kernel, task, fd, file)

    def copy(self) -> FilesStruct:
        """A table of its own with the same descriptions (dup_fd())."""
        new = FilesStruct()
        new.fd = {fd: get_file(file) for fd, file in self.fd.items()}
        new.cloexec = set(self.cloexec)
        new.next_fd = self.next_fd
        return new

    def close_on_exec(self, task: Task) -> None:
        """execve(2): close what is marked FD_CLOEXEC."""
        for fd in sorted(self.cloexec):
            self.close(fd, task)

    def close_all(self, task: Task) -> None:
        """The last task that used the table is gone."""
        for fd in sorted(self.fd):
            self.close(fd, task)


def get_file(file: File) -> File:
    """One more reference."""
    file.f_count += 1
    return file


def put_file(file: File, task: Task | None) -> None:
    """One reference less; the last releases the description. With `task`, a descriptor was closed: POSIX locks go."""
    if task is not None:
        file.flush(task)
        if file.inode.locks is not None:
            from kernel_model.fs.locks import locks_remove_posix

            locks_remove_posix(file.inode, task.files)
    file.f_count -= 1
    if not file.f_count:
        if file.f_ep is not None:
            from kernel_model.fs.eventpoll import eventpoll_release

            eventpoll_release(file)
        if file.inode.locks is not None:
            from kernel_model.fs.locks import locks_remove_file

            locks_remove_file(file)
        file.release()
