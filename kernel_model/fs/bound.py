"""`--bind HOST:GUEST:rw`: the only way to write to the host. Every change goes through at once.

The classes are the overlay's, but nothing ever becomes the memory's own: names and attributes are asked of the host
each time, and what is written goes to the host and to the page cache. Pages changed through a shared mapping follow at
msync(2), fsync(2), and when the last user of the file is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from kernel_model.abi import errno
from kernel_model.abi.fs import RENAME_EXCHANGE
from kernel_model.fs.inode import DirEntry, Inode
from kernel_model.fs.overlay import (
    Leaf,
    OverlayDirectory,
    OverlayFile,
    OverlayLink,
    OverlaySpecial,
    OverlaySuperBlock,
    host_error,
)
from kernel_model.fs.tmpfs import MemoryInode
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Dentry, Path
    from kernel_model.fs.file import File
    from kernel_model.host import HostNode, HostStat, HostTree
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_ZEROS_LIMIT: Final = 1 << 30
"""The largest hole that is punched by writing zeros (bytes)."""
_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFREG: Final = 0o100000
_S_IFLNK: Final = 0o120000
_S_IFIFO: Final = 0o010000


class BoundSuperBlock(OverlaySuperBlock):
    """A host directory or file that may be written."""

    def __init__(self, kernel: Kernel, tree: HostTree, *, fs_type: str = "bind") -> None:
        super().__init__(kernel, tree, fs_type=fs_type)
        self.inodes: WeakValueDictionary[tuple[int, int], MemoryInode] = WeakValueDictionary()
        """By (device, inode): one file is one inode, whatever it is called."""

    def sync(self) -> None:
        """See `SuperBlock`."""
        for inode in list(self.inodes.values()):
            inode.write_back()

    def root_inode(self) -> MemoryInode:
        """See `OverlaySuperBlock`."""
        root = self.tree.root
        return self.inode_of(root, self.tree.lstat(root), None, b"")

    def inode_of(self, node: HostNode, st: HostStat, parent: BoundDirectory | None, name: bytes) -> MemoryInode:
        """The inode of what the host has as `name` in `parent`."""
        key = (st.dev, st.ino)
        known = self.inodes.get(key)
        if known is None or (known.i_mode ^ st.mode) & _S_IFMT:
            inode = _KINDS.get(st.mode & _S_IFMT, BoundSpecial)(self, st.ino, st.mode, st.uid, st.gid, 0)
            inode.adopt(node, st, parent, name)
            self.inodes[key] = inode
            return inode
        assert isinstance(known, Through)
        if known.parent is parent and known.name == name:
            self.tree.forget(node)
        else:
            # Found under another name: that is the one that is sure to be there.
            if not isinstance(known, BoundDirectory) and known.origin is not None:
                self.tree.forget(known.origin)
            known.origin = node
            known.parent = parent
            known.name = name
        known.look_again(st)
        return known


class Through(Leaf):
    """What all kinds have in common: attributes are the host's."""

    __slots__ = ()

    i_sb: BoundSuperBlock

    def changing(self) -> None:
        """The host says whether it may change."""

    def touch_atime(self) -> None:
        """The host keeps its own time."""

    def look(self) -> None:
        """Ask the host again; a file that has lost its name stays as it was known."""
        if self.origin is not None:
            try:
                self.show(self.i_sb.tree.lstat(self.origin))
            except OSError:
                return

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
        assert self.origin is not None
        tree = self.i_sb.tree
        try:
            if uid is not None or gid is not None:
                tree.chown(self.origin, -1 if uid is None else uid, -1 if gid is None else gid)
            if mode is not None:
                tree.chmod(self.origin, mode)
            if atime_ns is not None or mtime_ns is not None:
                st = tree.lstat(self.origin)
                tree.utimens(
                    self.origin,
                    st.atime_ns if atime_ns is None else atime_ns,
                    st.mtime_ns if mtime_ns is None else mtime_ns,
                )
        except OSError as error:
            raise host_error(error) from None
        self.look()

    def lost_name(self) -> None:
        """One of its names is gone."""
        self.i_nlink = max(0, self.i_nlink - 1)
        self.i_ctime_ns = self.i_sb.now_ns()
        if not self.i_nlink:
            # The host may give the number to another file.
            self.i_sb.inodes.pop((self.i_dev, self.i_ino), None)

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        """See `Inode`."""
        assert self.origin is not None
        try:
            self.i_sb.tree.setxattr(self.origin, name, value, flags)
        except OSError as error:
            raise host_error(error) from None

    def removexattr(self, name: bytes) -> None:
        """See `Inode`."""
        assert self.origin is not None
        try:
            self.i_sb.tree.removexattr(self.origin, name)
        except OSError as error:
            raise host_error(error) from None


class BoundFile(Through, OverlayFile):
    """A regular file."""

    __slots__ = ()

    def blocks(self) -> int:
        """The host's."""
        return 0 if self.lower is None else self.lower.blocks

    def page_cache(self) -> AddressSpace:
        """See `MemoryFile`."""
        if self.mapping is None:
            self.mapping = AddressSpace(
                self.i_sb.frames, self, self._readpages, self.i_size, writepages=self._writepages
            )
        return self.mapping

    def _writepages(self, pos: int, data: memoryview) -> None:
        """Carry bytes to the host."""
        assert self.origin is not None
        tree = self.i_sb.tree
        done = 0
        try:
            while done < len(data):
                done += tree.pwrite(self.origin, data[done:], pos + done)
        except OSError as error:
            raise host_error(error) from None

    def write_at(self, pos: int, data: bytes) -> None:
        """See `MemoryFile`: first to the host, so that what it refuses is not in the page cache either."""
        self._writepages(pos, memoryview(data))
        mapping = self.page_cache()
        end = pos + len(data)
        pages = range(pos >> PAGE_SHIFT, (end - 1 >> PAGE_SHIFT) + 1)
        clean = [index for index in pages if index not in mapping.dirty]
        mapping.backed_size = max(mapping.backed_size, end)
        mapping.write(pos, data)
        mapping.dirty.difference_update(clean)
        self.look()

    def page_mkwrite(self) -> None:
        """The host stamps the time when the page gets there."""

    def truncate(self, size: int) -> None:
        """See `Inode`."""
        assert self.origin is not None
        try:
            self.i_sb.tree.truncate(self.origin, size)
        except OSError as error:
            raise host_error(error) from None
        mapping = self.page_cache()
        self.i_size = size
        mapping.truncate(size)
        mapping.backed_size = size
        self.look()

    def punch_hole(self, start: int, end: int) -> None:
        """See `Inode`: zeros are written; EOPNOTSUPP where those would be too many."""
        end = min(end, self.i_size)
        if end - start > _ZEROS_LIMIT:
            raise SyscallError(errno.EOPNOTSUPP)
        while start < end:
            count = min(end - start, 256 * PAGE_SIZE)
            self.write_at(start, bytes(count))
            start += count

    def look_again(self, st: HostStat) -> None:
        """See `OverlayFile`. What a mapping changed is not lost."""
        if self.mapping is not None and self.mapping.dirty and st != self.lower:
            self.write_back()
        OverlayFile.look_again(self, st)

    def refresh(self) -> None:
        """See `MemoryFile`."""
        OverlayFile.refresh(self)

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`. The host is asked at once whether we may write."""
        if flags & 3:
            self._writepages_allowed()
        return super().open(path, flags, task)

    def _writepages_allowed(self) -> None:
        """EACCES, EROFS, ETXTBSY ... as the host says."""
        assert self.origin is not None
        try:
            self.i_sb.tree.pwrite(self.origin, b"", 0)
        except OSError as error:
            raise host_error(error) from None

    def closed_at(self, dentry: Dentry | None) -> None:
        """See `MemoryFile`."""
        if self.i_opens == 1:
            try:
                self.write_back()
            except SyscallError:
                # Nobody is left to be told, as on Linux.
                pass
        super().closed_at(dentry)

    def write_back(self) -> None:
        """See `Inode`."""
        if self.mapping is not None and self.mapping.dirty:
            self.mapping.write_back()
            self.look()

    def copy_up(self) -> None:
        """Never: the host's file is the file."""

    def drop(self) -> None:
        """See `Inode`."""
        self.forget_pages()


class BoundLink(Through, OverlayLink):
    """A symbolic link."""

    __slots__ = ()


class BoundSpecial(Through, OverlaySpecial):
    """A FIFO, socket or device node."""

    # QUIRK: A FIFO of the host connects guest programs with each other, never with the host's.

    __slots__ = ()


class BoundDirectory(Through, OverlayDirectory):
    """A directory. `entries` stays empty: the host knows the names."""

    __slots__ = ()

    keeps_dentry = True

    def _call(self, what: str, *args: object) -> tuple[HostNode, HostStat]:
        """A call of the host tree that makes something in this directory."""
        try:
            made: tuple[HostNode, HostStat] = getattr(self.i_sb.tree, what)(self.origin, *args)
        except OSError as error:
            raise host_error(error) from None
        return made

    def find(self, name: bytes) -> Inode | None:
        """See `MemoryDirectory`."""
        found = self._host_lookup(name)
        return None if found is None else self.i_sb.inode_of(*found, self, name)

    def is_empty(self) -> bool:
        """The host decides."""
        return True

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        assert self.origin is not None
        try:
            return [DirEntry(*entry) for entry in self.i_sb.tree.listdir(self.origin)]
        except OSError as error:
            raise host_error(error) from None

    def _made(self, name: bytes, node: HostNode, st: HostStat, uid: int, gid: int) -> Inode:
        """The inode of what was just made, given to its owner if the host lets us."""
        # QUIRK: In a directory bound `rw`, new files are the emulator user's where the host won't give them away.
        if st.uid != uid or st.gid != gid:
            try:
                self.i_sb.tree.chown(node, uid, gid)
                st = self.i_sb.tree.lstat(node)
            except OSError:
                pass
        self.look()
        return self.i_sb.inode_of(node, st, self, name)

    def create(self, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0) -> Inode:
        """See `Inode`."""
        # QUIRK: Sockets and device nodes can't be made in a directory bound `rw` (EPERM).
        kind = mode & _S_IFMT
        if kind not in (0, _S_IFREG, _S_IFIFO):
            raise SyscallError(errno.EPERM)
        what = "mkfifo" if kind == _S_IFIFO else "create"
        return self._made(name, *self._call(what, name, mode & 0o7777), uid, gid)

    def tmpfile(self, mode: int, uid: int, gid: int, *, linkable: bool) -> Inode:
        """See `Inode`."""
        raise SyscallError(errno.EOPNOTSUPP)

    def mkdir(self, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        return self._made(name, *self._call("mkdir", name, mode & 0o7777), uid, gid)

    def symlink(self, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        return self._made(name, *self._call("symlink", name, target), uid, gid)

    def link(self, name: bytes, inode: Inode) -> None:
        """See `Inode`."""
        assert isinstance(inode, Through)
        assert inode.origin is not None
        assert self.origin is not None
        try:
            self.i_sb.tree.link(inode.origin, self.origin, name)
        except OSError as error:
            raise host_error(error) from None
        inode.look()
        self.look()

    def unlink(self, name: bytes) -> None:
        """See `Inode`."""
        self._remove(name, directory=False)

    def rmdir(self, name: bytes) -> None:
        """See `Inode`."""
        self._remove(name, directory=True)

    def _remove(self, name: bytes, *, directory: bool) -> None:
        """Remove a name."""
        assert self.origin is not None
        inode = self.lookup(name)
        assert isinstance(inode, Through)
        tree = self.i_sb.tree
        try:
            if directory:
                tree.rmdir(self.origin, name)
            else:
                tree.unlink(self.origin, name)
        except OSError as error:
            raise host_error(error) from None
        if directory:
            inode.i_nlink = 0
        inode.lost_name()
        self.look()

    def rename(self, old_name: bytes, new_dir: Inode, new_name: bytes, flags: int) -> None:
        """See `Inode`."""
        assert isinstance(new_dir, BoundDirectory)
        assert self.origin is not None
        assert new_dir.origin is not None
        moved = self.lookup(old_name)
        replaced = new_dir.find(new_name)
        assert isinstance(moved, Through)
        try:
            self.i_sb.tree.rename(self.origin, old_name, new_dir.origin, new_name, flags & RENAME_EXCHANGE)
        except OSError as error:
            raise host_error(error) from None
        moved.parent, moved.name = new_dir, new_name
        if isinstance(replaced, Through):
            if flags & RENAME_EXCHANGE:
                replaced.parent, replaced.name = self, old_name
            else:
                if isinstance(replaced, BoundDirectory):
                    replaced.i_nlink = 0
                replaced.lost_name()
        moved.look()
        self.look()
        new_dir.look()


_KINDS: Final[dict[int, type[BoundFile] | type[BoundLink] | type[BoundDirectory]]] = {
    _S_IFREG: BoundFile,
    _S_IFLNK: BoundLink,
    _S_IFDIR: BoundDirectory,
}
