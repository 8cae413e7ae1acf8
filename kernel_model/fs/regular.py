"""Open regular files, over the page cache of their inode (mm/filemap.c, fs/read_write.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_APPEND, O_NOATIME
from kernel_model.abi.fs import LLONG_MAX, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET
from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_FSIZE
from kernel_model.fs.file import File
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.tmpfs import MemoryFile
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task

FIONREAD: Final = 0x541B
_NO_LIMIT: Final = (RLIM_INFINITY, RLIM_INFINITY)


class RegularFile(File):
    """An open regular file."""

    __slots__ = ("_atime_seen",)

    inode: MemoryFile

    def __init__(self, inode: MemoryFile, path: Path | None, flags: int) -> None:
        super().__init__(inode, path, flags)
        inode.i_opens += 1
        self._atime_seen = bool(flags & O_NOATIME)

    def read(self, task: Task, count: int) -> bytes:
        """See `File`."""
        pos = self.f_pos
        data = self.pread(task, count, pos)
        self.f_pos = pos + len(data)
        return data

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """See `File`."""
        inode = self.inode
        data = (inode.mapping or inode.page_cache()).read(pos, count, inode.i_size)
        if not data and count:
            return self._read_at_end(count, pos)
        if not self._atime_seen:
            # Once an open file is enough: what is read later was open all the time.
            self._atime_seen = True
            inode.touch_atime()
        return data

    def _read_at_end(self, count: int, pos: int) -> bytes:
        """Nothing there, unless a host file has grown meanwhile."""
        inode = self.inode
        if not inode.volatile:
            return b""
        inode.refresh()
        return inode.page_cache().read(pos, count, inode.i_size)

    def write(self, task: Task, data: bytes) -> int:
        """See `File`."""
        inode = self.inode
        pos = inode.i_size if self.f_flags & O_APPEND else self.f_pos
        count = self._write_at(task, data, pos)
        self.f_pos = pos + count
        return count

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """See `File`. O_APPEND wins over `pos` (pwrite(2), BUGS)."""
        if self.f_flags & O_APPEND:
            pos = self.inode.i_size
        return self._write_at(task, data, pos)

    def _write_at(self, task: Task, data: bytes, pos: int) -> int:
        """Write within the limits of the file's size. mm/filemap.c:generic_write_checks()."""
        count = len(data)
        if not count:
            return 0
        limit = task.signal.rlim.get(RLIMIT_FSIZE, _NO_LIMIT)[0]
        if pos + count > limit or pos + count > LLONG_MAX:
            data = data[: self._room(task, min(limit, LLONG_MAX), pos)]
            count = len(data)
        inode = self.inode
        if inode.i_mode & 0o6000:
            from kernel_model.fs.vfs import drop_privileges

            drop_privileges(task, inode)
        inode.write_at(pos, data)
        return count

    def _room(self, task: Task, limit: int, pos: int) -> int:
        """How much may be written at `pos` (bytes, at least 1); EFBIG (and SIGXFSZ) when that is nothing."""
        if pos >= limit:
            if limit == LLONG_MAX:
                raise SyscallError(errno.EFBIG)
            from kernel_model.fs.vfs import file_too_big

            raise file_too_big(task)
        return limit - pos

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """See `File`. fs/read_write.c:generic_file_llseek_size()."""
        inode = self.inode
        if whence == SEEK_CUR:
            offset += self.f_pos
        elif whence == SEEK_END:
            offset += inode.i_size
        elif whence in (SEEK_DATA, SEEK_HOLE):
            size = inode.i_size
            if not 0 <= offset < size:
                raise SyscallError(errno.ENXIO)
            mapping = inode.page_cache()
            offset = mapping.seek_data(offset, size) if whence == SEEK_DATA else mapping.seek_hole(offset, size)
        elif whence != SEEK_SET:
            raise SyscallError(errno.EINVAL)
        if not 0 <= offset <= LLONG_MAX:
            raise SyscallError(errno.EINVAL)
        self.f_pos = offset
        return offset

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """FIONREAD (fs/ioctl.c:file_ioctl())."""
        if cmd != FIONREAD:
            raise SyscallError(errno.ENOTTY)
        from kernel_model.mm.uaccess import copy_to_user

        copy_to_user(task.mm, arg, (self.inode.i_size - self.f_pos & 0xFFFF_FFFF).to_bytes(4, "little"))
        return 0

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """See `File`."""
        if not self._atime_seen:
            self._atime_seen = True
            self.inode.touch_atime()
        return self.inode.page_cache()

    def fsync(self, task: Task) -> None:
        """See `File`."""
        self.inode.write_back()

    def release(self) -> None:
        """See `File`."""
        self.inode.closed_at(None if self.f_path is None else self.f_path.dentry)
