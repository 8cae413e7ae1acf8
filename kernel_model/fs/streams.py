"""The emulator's own standard streams, as files of the guest.

What the emulator was started with as 0, 1 and 2 becomes the first task's 0, 1 and 2: whatever the host has
there (a terminal, a pipe, a socket, a file), with the same kind, numbers and position, for others share it
too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_ACCMODE, O_LARGEFILE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from kernel_model.fs.file import POLLERR, POLLHUP, POLLOUT, POLLWRBAND, POLLWRNORM, File
from kernel_model.fs.inode import Inode, Kstat, SuperBlock
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import FilesStruct
    from kernel_model.fs.tty import Terminal
    from kernel_model.host import Host
    from kernel_model.kernel import Kernel
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task

_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFIFO: Final = 0o010000
_WRITE_EVENTS: Final = POLLOUT | POLLWRNORM | POLLWRBAND
_FIONREAD: Final = 0x541B
_SEEK_CUR: Final = 1


class Streams:
    """The emulator's streams that the guest still uses, and the terminals among them (`kernel.streams`)."""

    __slots__ = ("host", "inodes", "modes", "terminals", "users")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.modes: dict[int, int] = {}
        """O_ACCMODE and O_APPEND bits by host stream."""
        self.users: dict[int, int] = {}
        """How many open descriptions still use a host stream."""
        self.inodes: list[StreamInode] = []
        self.terminals: list[Terminal] = []

    def get(self, fd: int) -> None:
        """One more user of host stream `fd`."""
        self.users[fd] = self.users.get(fd, 0) + 1

    def put(self, fd: int) -> None:
        """One user less; after the last the host's end is closed, as its reader or writer may wait for
        that.
        """
        self.users[fd] -= 1
        if not self.users[fd]:
            del self.users[fd]
            for inode in self.inodes:
                inode.host_fds = [other for other in inode.host_fds if other != fd]
            try:
                self.host.stream_close(fd)
            except OSError:
                pass  # what close(2) could report was lost with the last descriptor on Linux too


class StreamInode(Inode):
    """What is behind one or more host streams. Mode and owner change only for the guest; the rest is the
    host's.
    """

    __slots__ = ("host_fds", "streams", "terminal")

    def __init__(self, streams: Streams, fd: int) -> None:
        st = streams.host.stream_stat(fd)
        fs_type = "pipefs" if st.mode & _S_IFMT == _S_IFIFO else "host"
        super().__init__(SuperBlock(fs_type, st.dev), st.ino, st.mode, st.uid, st.gid, st.ctime_ns)
        self.i_rdev = st.rdev
        self.streams = streams
        self.host_fds = [fd]
        self.terminal: Terminal | None = None

    def getattr(self) -> Kstat:
        """As the host has it now."""
        if not self.host_fds:
            return super().getattr()
        st = self.streams.host.stream_stat(self.host_fds[0])
        self.i_size = st.size
        return Kstat(
            st.dev, st.ino, self.i_mode, st.nlink, self.i_uid, self.i_gid, st.rdev, st.size, st.blksize, st.blocks,
            st.atime_ns, st.mtime_ns, st.ctime_ns, st.ctime_ns,
        )  # fmt: skip

    def d_dname(self) -> bytes | None:
        """As the host's /proc calls it."""
        if not self.host_fds:
            return None
        try:
            return self.streams.host.stream_name(self.host_fds[0])
        except OSError:
            return None

    def open(self, path: Path, flags: int, task: Task) -> File:
        """/proc/self/fd/N, /dev/stdin: another description over the same host streams.

        EACCES where none of them was opened for what is asked: the host's file is never opened anew.
        """
        modes = self.streams.modes
        read_fd = write_fd = -1
        for fd in self.host_fds:
            mode = modes[fd] & O_ACCMODE
            if mode != O_WRONLY and read_fd < 0:
                read_fd = fd
            if mode != O_RDONLY and write_fd < 0:
                write_fd = fd
        wanted = flags & O_ACCMODE
        if (wanted != O_WRONLY and read_fd < 0) or (wanted != O_RDONLY and write_fd < 0):
            raise SyscallError(errno.EACCES)
        if wanted == O_RDONLY:
            write_fd = -1
        elif wanted == O_WRONLY:
            read_fd = -1
        if self.terminal is not None:
            from kernel_model.fs.tty import TerminalFile

            return TerminalFile(self, path, flags, self.streams, read_fd, write_fd, self.terminal)
        if self.i_mode & _S_IFMT == _S_IFREG:
            from kernel_model.fs.hostfile import ReopenedFile

            return ReopenedFile(self, path, flags, self.streams, read_fd, write_fd)
        return StreamFile(self, path, flags, self.streams, read_fd, write_fd)

    def truncate(self, size: int) -> None:
        """ftruncate(2) of a regular file that the emulator was given to write."""
        for fd in self.host_fds:
            if self.streams.modes[fd] & O_ACCMODE != O_RDONLY:
                try:
                    self.streams.host.stream_truncate(fd, size)
                except OSError as error:
                    raise SyscallError(error.errno or errno.EIO) from None
                return
        raise SyscallError(errno.EINVAL)


class StreamFile(File):
    """A description over host streams that can't be seeked: a pipe, a socket, a terminal.

    `read_fd` and `write_fd` are the host's descriptors, -1 for none; they are the same for standard stream
    opened for both.
    """

    __slots__ = ("host", "read_fd", "streams", "write_fd")

    def __init__(
        self, inode: Inode, path: Path | None, flags: int, streams: Streams, read_fd: int, write_fd: int
    ) -> None:
        super().__init__(inode, path, flags)
        self.streams = streams
        self.host = streams.host
        self.read_fd = read_fd
        self.write_fd = write_fd
        if read_fd >= 0:
            streams.get(read_fd)
        if write_fd >= 0:
            streams.get(write_fd)

    def read(self, task: Task, count: int) -> bytes:
        """What is there; waits for the first byte."""
        if self.f_ep is not None:
            forget_edges(self)
        try:
            return self.host.stream_read(self.read_fd, count)
        except BlockingIOError:
            return self.nothing_yet(task)
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def nothing_yet(self, task: Task) -> bytes:
        """A read found nothing: EAGAIN, or wait."""
        if self.f_flags & O_NONBLOCK:
            raise SyscallError(errno.EAGAIN)
        raise Blocked(read_fds=(self.read_fd,))

    def write(self, task: Task, data: bytes) -> int:
        """As much as the stream takes now; waits until it takes any."""
        if self.f_ep is not None:
            forget_edges(self)
        try:
            return self.host.stream_write(self.write_fd, data)
        except BlockingIOError:
            if self.f_flags & O_NONBLOCK:
                raise SyscallError(errno.EAGAIN) from None
            raise Blocked(write_fds=(self.write_fd,)) from None
        except BrokenPipeError:
            from kernel_model.fs.pipe import broken_pipe

            raise broken_pipe(task) from None
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """FIONREAD of a pipe or socket."""
        if cmd != _FIONREAD:
            raise SyscallError(errno.ENOTTY)
        from kernel_model.abi.termios import INT
        from kernel_model.mm.uaccess import put_user

        put_user(task.mm, arg, INT, self.host_ioctl(cmd, 0))
        return 0

    def host_ioctl(self, cmd: int, arg: int) -> int:
        """One of the requests that the host boundary passes on."""
        try:
            return self.host.stream_ioctl(max(self.read_fd, self.write_fd), cmd, arg)
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def poll(self, task: Task) -> int:
        """As the host's poll(2) says."""
        try:
            if self.write_fd < 0 or self.read_fd == self.write_fd:
                return self.host.stream_poll(self.read_fd)
            if self.read_fd < 0:
                return self.host.stream_poll(self.write_fd)
            reading = self.host.stream_poll(self.read_fd) & ~_WRITE_EVENTS
            return reading | self.host.stream_poll(self.write_fd) & _WRITE_EVENTS
        except OSError:
            return POLLERR | POLLHUP

    def poll_sources(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The host streams themselves."""
        return (
            (self.read_fd,) if self.read_fd >= 0 else (),
            (self.write_fd,) if self.write_fd >= 0 else (),
        )

    def release(self) -> None:
        """Give the host streams back."""
        if self.read_fd >= 0:
            self.streams.put(self.read_fd)
        if self.write_fd >= 0:
            self.streams.put(self.write_fd)


def forget_edges(file: File) -> None:
    """For edge-triggered epoll: the guest has used the stream."""
    from kernel_model.fs import eventpoll

    eventpoll.forget_edges(file)


class SeekableStreamFile(StreamFile):
    """A description over a host stream with a position, which stays the host's: a regular file, /dev/null."""

    poll = File.poll
    poll_sources = File.poll_sources

    __slots__ = ()

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """lseek(2), on the host's position."""
        try:
            return self.host.stream_seek(max(self.read_fd, self.write_fd), offset, whence)
        except (OSError, OverflowError) as error:
            raise SyscallError(getattr(error, "errno", None) or errno.EINVAL) from None

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """pread(2)."""
        try:
            return self.host.stream_pread(self.read_fd, count, pos)
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """pwrite(2)."""
        try:
            return self.host.stream_pwrite(self.write_fd, data, pos)
        except OSError as error:
            raise SyscallError(error.errno or errno.EIO) from None

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """The contents of a regular file."""
        from kernel_model.fs.hostfile import stream_mapping

        return stream_mapping(self, task)

    def fsync(self, task: Task) -> None:
        """Nothing is kept back from the host; EINVAL for what is not a file."""
        if self.inode.i_mode & _S_IFMT != _S_IFREG:
            raise SyscallError(errno.EINVAL)


def open_streams(kernel: Kernel, task: Task, files: FilesStruct) -> None:
    """Put the emulator's streams into `files` as 0, 1 and 2; one that it was started without stays closed."""
    # QUIRK: Standard streams that share a description on the host have one each here: O_NONBLOCK is not shared.
    streams = kernel.streams = Streams(kernel.host)
    host = kernel.host
    for fd in range(3):
        try:
            mode = host.stream_flags(fd)
        except OSError:
            continue
        streams.modes[fd] = mode
        files.fd[fd] = _open_stream(streams, task, fd, mode)
    while files.next_fd in files.fd:
        files.next_fd += 1


def _open_stream(streams: Streams, task: Task, fd: int, flags: int) -> File:
    """The description of host stream `fd`."""
    host = streams.host
    inode = StreamInode(streams, fd)
    for other in streams.inodes:
        if (other.i_sb.dev, other.i_ino, other.i_rdev) == (inode.i_sb.dev, inode.i_ino, inode.i_rdev):
            other.host_fds.append(fd)
            inode = other
            break
    else:
        streams.inodes.append(inode)
    if inode.i_mode & _S_IFMT != _S_IFIFO:
        flags |= O_LARGEFILE
    access = flags & O_ACCMODE
    read_fd = fd if access in (O_RDONLY, O_RDWR) else -1
    write_fd = fd if access in (O_WRONLY, O_RDWR) else -1
    if host.stream_isatty(fd):
        from kernel_model.fs.tty import Terminal, TerminalFile

        if inode.terminal is None:
            inode.terminal = Terminal(task.signal.session, task.signal.pgrp)
            streams.terminals.append(inode.terminal)
        return TerminalFile(inode, None, flags, streams, read_fd, write_fd, inode.terminal)
    try:
        host.stream_seek(fd, 0, _SEEK_CUR)
    except OSError:
        return StreamFile(inode, None, flags, streams, read_fd, write_fd)
    return SeekableStreamFile(inode, None, flags, streams, read_fd, write_fd)
