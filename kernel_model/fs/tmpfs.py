"""A file system in memory (mm/shmem.c): every inode is here, regular files keep their contents in a page cache.

The overlay (`kernel_model.fs.overlay`) and host directories (`kernel_model.fs.bound`) derive from these classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_WRITE
from kernel_model.abi.fs import RENAME_EXCHANGE
from kernel_model.fs.inode import DirEntry, Inode, Kstat, Kstatfs, SuperBlock
from kernel_model.mm.frames import OutOfMemory
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Dentry, Path
    from kernel_model.fs.file import File
    from kernel_model.host import HostNode, HostStat
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

TMPFS_MAGIC: Final = 0x01021994
_BOGO_DIRENT_SIZE: Final = 20
_DAY_NS: Final = 86_400 * 10**9
_WRITE_SEALS: Final = F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
_INODE_BYTES: Final = 1024
"""What an inode and its name take in the emulator's memory, about."""
_NAME_BYTES: Final = 256
_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFREG: Final = 0o100000
_S_IFLNK: Final = 0o120000
_S_IFIFO: Final = 0o010000
_S_IFSOCK: Final = 0o140000


class MemorySuperBlock(SuperBlock):
    """A tmpfs."""

    def __init__(self, kernel: Kernel, dev: int, fs_type: str = "tmpfs", *, readonly: bool = False) -> None:
        super().__init__(fs_type, dev, readonly)
        self.frames = kernel.frames
        self.now_ns = kernel.clock.realtime_ns
        """() -> the time stamp of a change made now."""
        self._next_ino = 1
        self._kept_bytes = 0
        self._kept_limit_bytes = kernel.frames.total_frames * PAGE_SIZE // 4

    def charge(self, count: int) -> None:
        """`count` bytes of names, inodes, link texts and attributes are kept: ENOSPC beyond a quarter of the memory.

        They are in the emulator's memory, not in the machine's, and must not grow without bounds there.
        """
        kept = max(0, self._kept_bytes + count)
        if count > 0 and kept > self._kept_limit_bytes:
            raise SyscallError(errno.ENOSPC)
        self._kept_bytes = kept

    def new_ino(self) -> int:
        """The number of the next inode; ENOSPC."""
        self.charge(_INODE_BYTES)
        ino = self._next_ino
        self._next_ino = ino + 1
        return ino

    def statfs(self) -> Kstatfs:
        """Half the machine's memory, as a tmpfs without options."""
        # QUIRK: A tmpfs may take all the machine's memory, not half of it: ENOSPC comes when no page is left.
        blocks = self.frames.total_frames // 2
        free = min(blocks, self.frames.free_frames)
        files = self._kept_limit_bytes // _INODE_BYTES
        free_files = (self._kept_limit_bytes - self._kept_bytes) // _INODE_BYTES
        return Kstatfs(TMPFS_MAGIC, PAGE_SIZE, blocks, free, free, files, free_files, (self.dev, 0), 255, 0)

    def make_root(self, mode: int, uid: int = 0, gid: int = 0) -> MemoryDirectory:
        """The root directory."""
        root = MemoryDirectory(self, self.new_ino(), _S_IFDIR | mode, uid, gid, self.now_ns())
        root.i_nlink = 2
        return root


class MemoryInode(Inode):
    """What all kinds have in common."""

    __slots__ = ("__weakref__", "i_dev", "i_opens", "lower", "name", "origin", "parent")

    i_sb: MemorySuperBlock

    def __init__(self, sb: MemorySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self.volatile = False
        self.i_dev = sb.dev
        """st_dev: the file system's, unless the inode was taken from another one."""
        self.i_opens = 0
        """Open descriptions of it."""
        self.origin: HostNode | None = None
        """Where it is on the host; None for what was made in memory, and always None in a tmpfs."""
        self.lower: HostStat | None = None
        """What the host said of it."""
        self.parent: MemoryDirectory | None = None
        """The directory it was found in, and under which name, while it is still the host's own."""
        self.name = b""

    def blocks(self) -> int:
        """How much it takes, in blocks of 512 bytes."""
        return 0

    def getattr(self) -> Kstat:
        """See `Inode`."""
        return Kstat(
            self.i_dev,
            self.i_ino,
            self.i_mode,
            self.i_nlink,
            self.i_uid,
            self.i_gid,
            self.i_rdev,
            self.i_size,
            PAGE_SIZE,
            self.blocks(),
            self.i_atime_ns,
            self.i_mtime_ns,
            self.i_ctime_ns,
            self.i_btime_ns,
        )

    def changing(self) -> None:
        """It is about to change: EROFS, or whatever must be done first."""
        if self.i_sb.readonly:
            raise SyscallError(errno.EROFS)

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
        """See `Inode`."""
        self.changing()
        super().setattr(mode=mode, uid=uid, gid=gid, atime_ns=atime_ns, mtime_ns=mtime_ns, ctime_ns=ctime_ns)

    def getxattr(self, name: bytes) -> bytes:
        """See `Inode`."""
        value = (self.xattrs or {}).get(name)
        if value is None:
            raise SyscallError(errno.ENODATA)
        return value

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        """See `Inode`."""
        self.changing()
        if self.xattrs is None:
            self.xattrs = {}
        old = self.xattrs.get(name)
        self.i_sb.charge(len(value) - len(old) if old is not None else len(name) + len(value))
        self.xattrs[name] = value

    def removexattr(self, name: bytes) -> None:
        """See `Inode`."""
        self.getxattr(name)
        self.changing()
        if self.xattrs is not None:
            self.i_sb.charge(-len(name) - len(self.xattrs.pop(name)))

    def listxattr(self) -> list[bytes]:
        """See `Inode`."""
        return list(self.xattrs or ())

    def put_link(self) -> None:
        """A name of it is gone; the last one takes the contents along, unless it is open."""
        self.i_nlink -= 1
        self.i_ctime_ns = self.i_sb.now_ns()
        if self.i_nlink > 0:
            self.i_sb.charge(-_NAME_BYTES)
        elif not self.i_opens:
            self.drop()

    def drop(self) -> None:
        """See `Inode`."""
        count = sum(len(name) + len(value) for name, value in (self.xattrs or {}).items())
        if self.origin is None:
            count += _INODE_BYTES
        self.i_sb.charge(-count)

    def touch_atime(self) -> None:
        """It was read: stamp the time as a relatime mount does (fs/inode.c:relatime_need_update())."""
        atime_ns = self.i_atime_ns
        if atime_ns <= self.i_mtime_ns or atime_ns <= self.i_ctime_ns:
            self.i_atime_ns = self.i_sb.now_ns()
            return
        now_ns = self.i_sb.now_ns()
        if now_ns - atime_ns >= _DAY_NS:
            self.i_atime_ns = now_ns

    def closed_at(self, dentry: Dentry | None) -> None:
        """One open description less; it was opened as `dentry`."""
        self.i_opens -= 1
        if not self.i_opens and not self.i_nlink:
            self.drop()


class MemoryFile(MemoryInode):
    """A regular file."""

    __slots__ = ("linkable",)

    def __init__(self, sb: MemorySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self.linkable = False
        """Made by O_TMPFILE: link(2) may give it its first name."""

    def page_cache(self) -> AddressSpace:
        """Its contents; the page cache is made when first asked for."""
        if self.mapping is None:
            self.mapping = AddressSpace(self.i_sb.frames, self, mkwrite=self.page_mkwrite)
        return self.mapping

    def page_mkwrite(self) -> None:
        """A shared mapping is about to write it."""
        self.changing()
        self.i_mtime_ns = self.i_ctime_ns = self.i_sb.now_ns()

    def refresh(self) -> None:
        """Look again at what may have changed without the kernel's doing; nothing in memory."""

    def write_at(self, pos: int, data: bytes) -> None:
        """Put `data` (not empty) at `pos`, and stamp the time. The caller has checked limits; ENOSPC, EROFS."""
        self.changing()
        mapping = self.mapping or self.page_cache()
        end = pos + len(data)
        if mapping.seals & _WRITE_SEALS and (mapping.seals & ~F_SEAL_GROW & _WRITE_SEALS or end > self.i_size):
            raise SyscallError(errno.EPERM)
        try:
            mapping.write(pos, data)
        except OutOfMemory:
            raise SyscallError(errno.ENOSPC) from None
        self.i_size = max(self.i_size, end)
        self.i_mtime_ns = self.i_ctime_ns = self.i_sb.now_ns()

    def blocks(self) -> int:
        """Those in the page cache, as on tmpfs."""
        return 0 if self.mapping is None else self.mapping.nrpages * 8

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`."""
        from kernel_model.fs.regular import RegularFile

        return RegularFile(self, path, flags)

    def truncate(self, size: int) -> None:
        """See `Inode`."""
        self.changing()
        if size != self.i_size:
            mapping = self.page_cache()
            self.i_size = size
            mapping.truncate(size)
        self.i_mtime_ns = self.i_ctime_ns = self.i_sb.now_ns()

    def punch_hole(self, start: int, end: int) -> None:
        """See `Inode`."""
        self.changing()
        self.page_cache().punch_hole(start, end)
        self.i_mtime_ns = self.i_ctime_ns = self.i_sb.now_ns()

    def drop(self) -> None:
        """See `Inode`."""
        super().drop()
        self.forget_pages()
        self.i_size = 0

    def forget_pages(self) -> None:
        """Give the page cache back (and break its ring with the inode)."""
        if self.mapping is not None:
            self.mapping.drop()
            self.mapping = None


class MemoryLink(MemoryInode):
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(self, sb: MemorySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self.target = b""

    def set_target(self, target: bytes) -> None:
        """Give a new link its text."""
        self.i_sb.charge(len(target))
        self.target = target
        self.i_size = len(target)

    def readlink(self) -> bytes:
        """See `Inode`."""
        return self.target

    def drop(self) -> None:
        """See `Inode`."""
        super().drop()
        if self.origin is None:
            self.i_sb.charge(-len(self.target))


class MemorySpecial(MemoryInode):
    """A FIFO, socket or device node."""

    __slots__ = ()

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`. A socket's name can't be opened: ENXIO."""
        kind = self.i_mode & _S_IFMT
        if kind == _S_IFIFO:
            from kernel_model.fs.pipe import open_fifo

            return open_fifo(self, path, flags, task)
        if kind == _S_IFSOCK:
            raise SyscallError(errno.ENXIO)
        from kernel_model.fs.devfs import open_device

        return open_device(self, path, flags, task)


class MemoryDirectory(MemoryInode):
    """A directory: a dict of its names, in the order in which they were made."""

    __slots__ = ("entries",)

    def __init__(self, sb: MemorySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self.entries: dict[bytes, Inode] = {}

    def getattr(self) -> Kstat:
        """See `Inode`; a directory of a tmpfs is 20 bytes an entry long (mm/shmem.c:BOGO_DIRENT_SIZE)."""
        self.i_size = (len(self.entries) + 2) * _BOGO_DIRENT_SIZE
        return super().getattr()

    # -- what a derived file system has otherwise --------------------------------------------------------------------
    def find(self, name: bytes) -> Inode | None:
        """The inode called `name`, or None."""
        return self.entries.get(name)

    def is_empty(self) -> bool:
        """Nothing in it?"""
        return not self.entries

    def put(self, name: bytes, inode: Inode) -> None:
        """`name` means `inode` from now on."""
        self.entries[name] = inode

    def remove(self, name: bytes) -> None:
        """`name` means nothing from now on."""
        del self.entries[name]

    # -- looking -----------------------------------------------------------------------------------------------------
    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        inode = self.find(name)
        if inode is None:
            raise SyscallError(errno.ENOENT)
        return inode

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        return [DirEntry(name, inode.i_ino, inode.i_mode >> 12) for name, inode in self.entries.items()]

    # -- changing ----------------------------------------------------------------------------------------------------
    def _touch(self) -> None:
        """The directory's contents changed."""
        self.i_mtime_ns = self.i_ctime_ns = self.i_sb.now_ns()

    def _add(self, name: bytes, inode: Inode) -> Inode:
        """Give a new inode its name."""
        if self.find(name) is not None:
            raise SyscallError(errno.EEXIST)
        self.changing()
        self.put(name, inode)
        self._touch()
        return inode

    def create(self, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0) -> Inode:
        """See `Inode`."""
        if mode & _S_IFMT in (0, _S_IFREG):
            return self._add(name, self.new_file(_S_IFREG | mode & 0o7777, uid, gid))
        return self._add(name, self.new_special(mode, uid, gid, rdev))

    def new_file(self, mode: int, uid: int, gid: int) -> MemoryFile:
        """A regular file without a name."""
        sb = self.i_sb
        return MemoryFile(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())

    def new_directory(self, mode: int, uid: int, gid: int) -> MemoryDirectory:
        """An empty directory without a name."""
        sb = self.i_sb
        return MemoryDirectory(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())

    def new_link(self, target: bytes, uid: int, gid: int) -> MemoryLink:
        """A symbolic link without a name."""
        sb = self.i_sb
        inode = MemoryLink(sb, sb.new_ino(), _S_IFLNK | 0o777, uid, gid, sb.now_ns())
        inode.set_target(target)
        return inode

    def new_special(self, mode: int, uid: int, gid: int, rdev: int) -> MemorySpecial:
        """A FIFO, socket or device node without a name."""
        sb = self.i_sb
        inode = MemorySpecial(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())
        inode.i_rdev = rdev
        return inode

    def tmpfile(self, mode: int, uid: int, gid: int, *, linkable: bool) -> Inode:
        """See `Inode`."""
        self.changing()
        inode = self.new_file(_S_IFREG | mode & 0o7777, uid, gid)
        inode.i_nlink = 0
        inode.linkable = linkable
        return inode

    def mkdir(self, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        inode = self.new_directory(_S_IFDIR | mode & 0o7777, uid, gid)
        inode.i_nlink = 2
        self._add(name, inode)
        self.i_nlink += 1
        return inode

    def symlink(self, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        return self._add(name, self.new_link(target, uid, gid))

    def link(self, name: bytes, inode: Inode) -> None:
        """See `Inode`."""
        assert isinstance(inode, MemoryInode)
        if not inode.i_nlink and not (isinstance(inode, MemoryFile) and inode.linkable):
            raise SyscallError(errno.ENOENT)
        inode.changing()
        self.i_sb.charge(_NAME_BYTES)
        self._add(name, inode)
        if isinstance(inode, MemoryFile):
            inode.linkable = False
        inode.i_nlink += 1
        inode.i_ctime_ns = self.i_ctime_ns

    def unlink(self, name: bytes) -> None:
        """See `Inode`."""
        inode = self.lookup(name)
        assert isinstance(inode, MemoryInode)
        if isinstance(inode, MemoryDirectory):
            raise SyscallError(errno.EISDIR)
        self.changing()
        inode.changing()
        self.remove(name)
        self._touch()
        inode.put_link()

    def rmdir(self, name: bytes) -> None:
        """See `Inode`."""
        inode = self.lookup(name)
        if not isinstance(inode, MemoryDirectory):
            raise SyscallError(errno.ENOTDIR)
        if not inode.is_empty():
            raise SyscallError(errno.ENOTEMPTY)
        self.changing()
        self.remove(name)
        self._touch()
        self._bury(inode)

    def _bury(self, inode: MemoryDirectory) -> None:
        """A directory that was here lost its name."""
        inode.changing()
        inode.i_nlink = 0
        inode.i_ctime_ns = self.i_ctime_ns
        inode.drop()
        self.i_nlink -= 1

    def rename(self, old_name: bytes, new_dir: Inode, new_name: bytes, flags: int) -> None:
        """See `Inode`."""
        assert isinstance(new_dir, MemoryDirectory)
        inode = self.lookup(old_name)
        target = new_dir.find(new_name)
        assert isinstance(inode, MemoryInode)
        assert target is None or isinstance(target, MemoryInode)
        is_dir = isinstance(inode, MemoryDirectory)
        exchange = bool(flags & RENAME_EXCHANGE)
        if not exchange and target is not None:
            if isinstance(target, MemoryDirectory) != is_dir:
                raise SyscallError(errno.ENOTDIR if is_dir else errno.EISDIR)
            if isinstance(target, MemoryDirectory) and not target.is_empty():
                raise SyscallError(errno.ENOTEMPTY)
        self.changing()
        new_dir.changing()
        inode.changing()
        if target is not None:
            target.changing()
        self.remove(old_name)
        if exchange and target is not None:
            new_dir.remove(new_name)
            self.put(old_name, target)
            if isinstance(target, MemoryDirectory):
                self.i_nlink += 1
                new_dir.i_nlink -= 1
        elif target is not None:
            new_dir.remove(new_name)
        new_dir.put(new_name, inode)
        if is_dir:
            self.i_nlink -= 1
            new_dir.i_nlink += 1
        self._touch()
        new_dir._touch()
        inode.i_ctime_ns = self.i_ctime_ns
        if target is not None:
            if exchange:
                target.i_ctime_ns = self.i_ctime_ns
            elif isinstance(target, MemoryDirectory):
                new_dir._bury(target)
            else:
                target.put_link()
