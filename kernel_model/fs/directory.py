"""Open directories, and descriptions that only stand for a place (O_PATH)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.fs.file import File
from kernel_model.fs.inode import DirEntry
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.inode import Inode
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task

_DT_DIR = 4
_OFFSET_MAX = 0x7FFF_FFFF_FFFF_FFFF


class DirectoryFile(File):
    """An open directory. Its position is a number of entries: `.` is 0, `..` is 1, then what the directory lists.

    The listing is taken when reading starts (again) at position 0, as rewinddir(3) promises no more than that.
    """

    __slots__ = ("_listing",)

    def __init__(self, inode: Inode, path: Path | None, flags: int) -> None:
        super().__init__(inode, path, flags)
        self._listing: list[DirEntry] | None = None

    def iterate_from(self, pos: int) -> list[DirEntry]:
        """The entries from position `pos` on; the one at index i is followed by position pos + i + 1 (its d_off).

        ENOENT once the directory has been removed (fs/readdir.c:iterate_dir()).
        """
        inode = self.inode
        if not inode.i_nlink:
            raise SyscallError(errno.ENOENT)
        listing = self._listing
        if listing is None or pos == 0:
            parent = inode
            if self.f_path is not None:
                mnt, dentry = self.f_path
                while dentry is mnt.mnt_root and mnt.mnt_parent is not None and mnt.mnt_mountpoint is not None:
                    dentry, mnt = mnt.mnt_mountpoint, mnt.mnt_parent
                parent = dentry.d_parent.d_inode
            listing = self._listing = [
                DirEntry(b".", inode.i_ino, _DT_DIR),
                DirEntry(b"..", parent.i_ino, _DT_DIR),
                *inode.iterate(),
            ]
            inode.touch_atime()
        return listing[pos:] if pos else listing

    def read(self, task: Task, count: int) -> bytes:
        """EISDIR, as all data calls on a directory."""
        raise SyscallError(errno.EISDIR)

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """EISDIR."""
        raise SyscallError(errno.EISDIR)

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """SEEK_SET and SEEK_CUR, as fs/libfs.c:dcache_dir_lseek()."""
        if whence == 1:
            offset += self.f_pos
        elif whence != 0:
            raise SyscallError(errno.EINVAL)
        if not 0 <= offset <= _OFFSET_MAX:
            raise SyscallError(errno.EINVAL)
        self.f_pos = offset
        if not offset:
            self._listing = None
        return offset

    def fsync(self, task: Task) -> None:
        """Nothing waits to be written."""


class PathFile(File):
    """An O_PATH description: it stands for a place, and can neither be read nor written nor changed."""

    __slots__ = ()

    @property
    def readable(self) -> bool:
        """Never."""
        return False

    @property
    def writable(self) -> bool:
        """Never."""
        return False

    def read(self, task: Task, count: int) -> bytes:
        """EBADF, as all calls that need an open file (fs/file.c:fdget())."""
        raise SyscallError(errno.EBADF)

    def write(self, task: Task, data: bytes) -> int:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """EBADF."""
        raise SyscallError(errno.EBADF)

    def fsync(self, task: Task) -> None:
        """EBADF."""
        raise SyscallError(errno.EBADF)
