"""An inode: what a file is, whatever it is called. File systems derive from `Inode`; nobody else needs to know them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.abi import errno
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import File
    from kernel_model.fs.pipe import Pipe
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task


class Kstat(NamedTuple):
    """What stat(2) tells of an inode, in Linux's field names; times in nanoseconds, `blocks` of 512 bytes."""

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int


class Kstatfs(NamedTuple):
    """What statfs(2) tells of a file system; sizes in blocks of `bsize` bytes."""

    type: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: tuple[int, int]
    namelen: int
    flags: int


class DirEntry(NamedTuple):
    """One name of a directory, as getdents64(2) shows it (`d_type`: DT_*, the file type bits of the mode >> 12)."""

    name: bytes
    ino: int
    d_type: int


class SuperBlock:
    """A file system that is there: its name in /proc/mounts, its device number, and whether it may be written."""

    __slots__ = ("dev", "fs_type", "readonly")

    def __init__(self, fs_type: str, dev: int, readonly: bool = False) -> None:
        self.fs_type = fs_type
        self.dev = dev
        self.readonly = readonly

    def statfs(self) -> Kstatfs:
        """What statfs(2) says; a file system of no size of its own unless overridden."""
        return Kstatfs(0, 4096, 0, 0, 0, 0, 0, (self.dev, 0), 255, 0)

    def sync(self) -> None:
        """syncfs(2): bring what has changed to where it lives; nothing to do in memory."""


class Inode:
    """A file, directory, link, device, FIFO or socket. A method that a kind lacks raises the errno Linux has for it.

    Permission checks are not here: `namei` and the system calls make them, with `kernel_model.fs.permission`.
    """

    __slots__ = (
        "i_atime_ns", "i_btime_ns", "i_ctime_ns", "i_gid", "i_ino", "i_mode", "i_mtime_ns", "i_nlink", "i_pipe",
        "i_rdev", "i_sb", "i_size", "i_uid", "i_write_hint", "locks", "mapping", "volatile", "xattrs",
    )  # fmt: skip

    keeps_dentry = False
    """Is its name kept by `namei` although it is volatile?"""

    def __init__(self, sb: SuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        self.i_sb = sb
        self.i_ino = ino
        self.i_mode = mode
        self.i_uid = uid
        self.i_gid = gid
        self.i_nlink = 1
        self.i_rdev = 0
        self.i_size = 0
        self.i_write_hint = 0
        self.i_atime_ns = self.i_mtime_ns = self.i_ctime_ns = self.i_btime_ns = now_ns
        self.mapping: AddressSpace | None = None
        """The page cache of a regular file (the one truth of its contents); None for all else."""
        self.xattrs: dict[bytes, bytes] | None = None
        self.locks: object | None = None
        """POSIX and flock state (`kernel_model.fs.locks`), made when the first lock is taken."""
        self.i_pipe: Pipe | None = None
        """What a FIFO holds while it is open (`kernel_model.fs.pipe`)."""
        self.volatile = True
        """Its name may come to mean something else without the kernel's doing: `namei` asks again at each lookup."""

    @property
    def is_dir(self) -> bool:
        """Is it a directory?"""
        return stat.S_ISDIR(self.i_mode)

    @property
    def is_link(self) -> bool:
        """Is it a symbolic link?"""
        return stat.S_ISLNK(self.i_mode)

    def getattr(self) -> Kstat:
        """What stat(2) tells."""
        size = self.i_size
        return Kstat(
            self.i_sb.dev, self.i_ino, self.i_mode, self.i_nlink, self.i_uid, self.i_gid, self.i_rdev, size, 4096,
            (size + 4095) // 4096 * 8, self.i_atime_ns, self.i_mtime_ns, self.i_ctime_ns, self.i_btime_ns,
        )  # fmt: skip

    def d_dname(self) -> bytes | None:
        """What /proc calls it when it is in no directory (`pipe:[5]`, `/memfd:name (deleted)`); None for all else."""
        return None

    def birth_ns(self) -> int:
        """When it was made, for statx(2); 0 where nobody knows."""
        return self.i_btime_ns

    # -- directories ------------------------------------------------------------------------------------------------
    def lookup(self, name: bytes) -> Inode:
        """The inode called `name` here; ENOENT when there is none."""
        raise SyscallError(errno.ENOTDIR)

    def find(self, name: bytes) -> Inode | None:
        """As `lookup`, but None where there is no such name."""
        try:
            return self.lookup(name)
        except SyscallError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def revalidate(self, name: bytes, inode: Inode) -> Inode | None:
        """The inode called `name` here, known as the volatile `inode` until now: that one if it still is; or None."""
        return self.find(name)

    def iterate(self) -> list[DirEntry]:
        """Every entry but `.` and `..`, in a stable order."""
        raise SyscallError(errno.ENOTDIR)

    def create(self, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0) -> Inode:
        """Make a regular file, FIFO, socket or device node (by the type bits of `mode`; none means regular)."""
        raise SyscallError(errno.EPERM)

    def tmpfile(self, mode: int, uid: int, gid: int, *, linkable: bool) -> Inode:
        """Make a regular file without a name (O_TMPFILE), which link(2) may give one later if `linkable`."""
        raise SyscallError(errno.EOPNOTSUPP)

    def mkdir(self, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """Make a directory."""
        raise SyscallError(errno.EPERM)

    def symlink(self, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        """Make a symbolic link."""
        raise SyscallError(errno.EPERM)

    def link(self, name: bytes, inode: Inode) -> None:
        """Make `name` another name of `inode` (same file system)."""
        raise SyscallError(errno.EPERM)

    def unlink(self, name: bytes) -> None:
        """Remove the name of a non-directory."""
        raise SyscallError(errno.EPERM)

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory; ENOTEMPTY."""
        raise SyscallError(errno.EPERM)

    def rename(self, old_name: bytes, new_dir: Inode, new_name: bytes, flags: int) -> None:
        """Move an entry to `new_dir` (same file system), replacing or exchanging as renameat2(2) `flags` say."""
        raise SyscallError(errno.EPERM)

    # -- symbolic links ---------------------------------------------------------------------------------------------
    def readlink(self) -> bytes:
        """The link's text."""
        raise SyscallError(errno.EINVAL)

    def magic_link(self, task: Task) -> Path | None:
        """Where a link of /proc leads without its text being walked; None for an ordinary link."""
        return None

    # -- all --------------------------------------------------------------------------------------------------------
    def open(self, path: Path, flags: int, task: Task) -> File:
        """An open file description over this inode; permissions and O_CREAT, O_EXCL, O_TRUNC are already dealt with."""
        if self.i_mode & 0o170000 == stat.S_IFDIR:
            from kernel_model.fs.directory import DirectoryFile

            return DirectoryFile(self, path, flags)
        raise SyscallError(errno.ENXIO)

    def setattr(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int,
    ) -> None:
        """Change what is not None. `mode`: permission bits only. EROFS on a read-only file system."""
        if self.i_sb.readonly:
            raise SyscallError(errno.EROFS)
        if mode is not None:
            self.i_mode = self.i_mode & ~0o7777 | mode & 0o7777
        if uid is not None:
            self.i_uid = uid
        if gid is not None:
            self.i_gid = gid
        if atime_ns is not None:
            self.i_atime_ns = atime_ns
        if mtime_ns is not None:
            self.i_mtime_ns = mtime_ns
        self.i_ctime_ns = ctime_ns

    def truncate(self, size: int) -> None:
        """Set a regular file's size (bytes)."""
        raise SyscallError(errno.EINVAL)

    def touch_atime(self) -> None:
        """It was read: stamp the time of access, where the file system keeps one."""

    def punch_hole(self, start: int, end: int) -> None:
        """Make bytes [start, end) of a regular file zeros, its size unchanged (fallocate(2))."""
        raise SyscallError(errno.EOPNOTSUPP)

    # Extended attributes: `kernel_model.fs.xattr` has checked that the caller may, and XATTR_CREATE, XATTR_REPLACE.
    def getxattr(self, name: bytes) -> bytes:
        """The attribute's value; ENODATA."""
        raise SyscallError(errno.EOPNOTSUPP)

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        """Set the attribute."""
        raise SyscallError(errno.EOPNOTSUPP)

    def removexattr(self, name: bytes) -> None:
        """Remove the attribute; ENODATA."""
        raise SyscallError(errno.EOPNOTSUPP)

    def listxattr(self) -> list[bytes]:
        """The names of all attributes."""
        return []

    def write_back(self) -> None:
        """fsync(2): bring changed pages to where the file really lives; nothing to do in memory."""

    def drop(self) -> None:
        """The last name and the last open description are gone: give the pages back."""
