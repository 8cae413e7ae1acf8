"""A regular host file that came as a standard stream: opened again by the guest, and mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_ACCMODE, O_APPEND, O_RDONLY
from kernel_model.fs.streams import SeekableStreamFile, StreamInode
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.streams import Streams
    from kernel_model.task import Task

_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_SEEK_SET, _SEEK_CUR, _SEEK_END, _SEEK_DATA, _SEEK_HOLE = range(5)
_LLONG_MAX: Final = (1 << 63) - 1


class ReopenedFile(SeekableStreamFile):
    """A description with a position of its own over a host stream, as opening /proc/self/fd/N makes it."""

    __slots__ = ()

    def read(self, task: Task, count: int) -> bytes:
        """At its own position."""
        data = self.pread(task, count, self.f_pos)
        self.f_pos += len(data)
        return data

    def write(self, task: Task, data: bytes) -> int:
        """At its own position, or at the end."""
        if self.f_flags & O_APPEND:
            self.f_pos = self.inode.getattr().size
        written = self.pwrite(task, data, self.f_pos)
        self.f_pos += written
        return written

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Its own position; data and holes are not told apart (fs/read_write.c:generic_file_llseek_size())."""
        size = self.inode.getattr().size
        if whence == _SEEK_CUR:
            offset += self.f_pos
        elif whence == _SEEK_END:
            offset += size
        elif whence in (_SEEK_DATA, _SEEK_HOLE):
            if not 0 <= offset < size:
                raise SyscallError(errno.ENXIO)
            if whence == _SEEK_HOLE:
                offset = size
        elif whence != _SEEK_SET:
            raise SyscallError(errno.EINVAL)
        if not 0 <= offset <= _LLONG_MAX:
            raise SyscallError(errno.EINVAL)
        self.f_pos = offset
        return offset


# QUIRK: A mapping of a standard stream keeps what its pages held when first touched, whatever the host writes.
def stream_mapping(file: SeekableStreamFile, task: Task) -> AddressSpace:
    """The page cache of the regular file behind `file`; ENODEV for anything else."""
    inode = file.inode
    if not isinstance(inode, StreamInode) or inode.i_mode & _S_IFMT != _S_IFREG:
        raise SyscallError(errno.ENODEV)
    size = inode.getattr().size
    if inode.mapping is None:
        inode.mapping = _make_mapping(inode, file.streams, task, size)
    inode.mapping.backed_size = max(inode.mapping.backed_size, size)
    return inode.mapping


def _make_mapping(inode: StreamInode, streams: Streams, task: Task, size: int) -> AddressSpace:
    """Pages come from, and changed ones go to, whichever of the inode's host streams can do that."""

    def readpages(pos: int, buffer: memoryview) -> int:
        try:
            data = streams.host.stream_pread(inode.host_fds[0], len(buffer), pos)
        except (OSError, IndexError):
            return 0
        buffer[: len(data)] = data
        return len(data)

    def writepages(pos: int, data: memoryview) -> None:
        for fd in inode.host_fds:
            if streams.modes[fd] & O_ACCMODE != O_RDONLY:
                streams.host.stream_pwrite(fd, bytes(data), pos)
                return

    return AddressSpace(task.kernel.frames, inode, readpages, size, writepages=writepages)
