"""The overlay: a host directory, never written, beneath a layer in memory that takes all changes (fs/overlayfs).

The inodes are those of `kernel_model.fs.tmpfs` with an origin on the host. Until the first change an inode shows what
the host has; then it is the memory's own (copy-up) and only contents that nobody touched are still read from the host.

What is believed: a directory that was seen once is there for the run. Files of the host, and the absence of one, are
looked at again at every lookup, so that what others do on the host is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from kernel_model.abi import errno
from kernel_model.fs.inode import DirEntry, Inode, Kstat, Kstatfs
from kernel_model.fs.tmpfs import (
    MemoryDirectory,
    MemoryFile,
    MemoryInode,
    MemoryLink,
    MemorySpecial,
    MemorySuperBlock,
)
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Dentry, Path
    from kernel_model.fs.file import File
    from kernel_model.host import HostNode, HostStat, HostTree
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_FIRST_NEW_INO: Final = 1 << 40
"""Inode numbers of what is made in memory: beyond those that host file systems use."""
_PARKED_FILES: Final = 512
"""How many host files that are closed again are remembered."""
_DIRECTORY_BYTES: Final = 4096
"""What a directory takes that was made in memory: as on the host's usual file systems."""
_NOTHING: Final = memoryview(bytearray())
_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFREG: Final = 0o100000
_S_IFLNK: Final = 0o120000


def host_error(error: OSError) -> SyscallError:
    """What a failed host call means to the guest: the same errno; a directory that the host no longer has is ENOENT."""
    number = error.errno or errno.EIO
    return SyscallError(errno.ENOENT if number == errno.ESTALE else number)


class OverlaySuperBlock(MemorySuperBlock):
    """A host directory under a layer in memory."""

    def __init__(self, kernel: Kernel, tree: HostTree, *, fs_type: str = "overlay", readonly: bool = False) -> None:
        st = tree.lstat(tree.root)
        super().__init__(kernel, st.dev, fs_type, readonly=readonly)
        self.tree = tree
        self._next_ino = _FIRST_NEW_INO
        self.in_use: WeakValueDictionary[tuple[int, int], Leaf] = WeakValueDictionary()
        """The host's files by (device, inode), while somebody has them: all their names lead to one inode."""
        self.copied_up: dict[tuple[int, int], Leaf] = {}
        """Files of several names that were changed, for the names that nobody has looked at yet."""
        self._parked: dict[OverlayFile, Dentry] = {}

    def statfs(self) -> Kstatfs:
        """The host's."""
        return self.statfs_of(self.tree.root)

    def statfs_of(self, node: HostNode) -> Kstatfs:
        """What the host says of the file system that `node` is on."""
        try:
            kind, bsize, blocks, bfree, bavail, files, ffree, namelen = self.tree.statfs(node)
        except OSError as error:
            raise host_error(error) from None
        return Kstatfs(kind, bsize, blocks, bfree, bavail, files, ffree, (self.dev, 0), namelen, 0)

    def root_inode(self) -> MemoryInode:
        """The inode of the tree's root, a directory or a single file."""
        root = self.tree.root
        st = self.tree.lstat(root)
        if st.mode & _S_IFMT == _S_IFDIR:
            directory = OverlayDirectory(self, st.ino, st.mode, st.uid, st.gid, 0)
            directory.adopt(root, st, None, b"")
            return directory
        file = OverlayFile(self, st.ino, st.mode, st.uid, st.gid, 0)
        file.adopt(root, st, None, b"")
        return file

    # -- files of the host that are closed again -----------------------------------------------------------------------
    def park(self, inode: OverlayFile, dentry: Dentry) -> None:
        """A host file was closed: its name and pages stay for who opens it next, until too many others came."""
        self._parked[inode] = dentry
        if len(self._parked) > _PARKED_FILES:
            self._evict(next(iter(self._parked)))

    def unpark(self, inode: OverlayFile) -> None:
        """It is opened again, or changes."""
        self._parked.pop(inode, None)

    def _evict(self, inode: OverlayFile) -> None:
        """Forget a closed host file."""
        dentry = self._parked.pop(inode)
        siblings = dentry.d_parent.children
        if siblings.get(dentry.d_name) is dentry:
            del siblings[dentry.d_name]
        inode.forget_pages()


class HostBacked(MemoryInode):
    """What the four kinds have in common: an origin on the host."""

    __slots__ = ()

    i_sb: OverlaySuperBlock

    def adopt(self, node: HostNode, st: HostStat, parent: MemoryDirectory | None, name: bytes) -> None:
        """It is what the host has at `node`, found as `name` in `parent`."""
        self.origin = node
        self.parent = parent
        self.name = name
        self.show(st)

    def show(self, st: HostStat) -> None:
        """Take over what the host says."""
        self.lower = st
        self.i_ino = st.ino
        self.i_dev = st.dev
        self.i_mode = st.mode
        self.i_uid = st.uid
        self.i_gid = st.gid
        self.i_nlink = st.nlink
        self.i_rdev = st.rdev
        self.i_size = st.size
        self.i_atime_ns = st.atime_ns
        self.i_mtime_ns = st.mtime_ns
        self.i_ctime_ns = st.ctime_ns

    def getattr(self) -> Kstat:
        """See `Inode`."""
        lower = self.lower
        return Kstat(
            self.i_dev,
            self.i_ino,
            self.i_mode,
            self.i_nlink,
            self.i_uid,
            self.i_gid,
            self.i_rdev,
            self.i_size,
            PAGE_SIZE if lower is None else lower.blksize,
            self.blocks(),
            self.i_atime_ns,
            self.i_mtime_ns,
            self.i_ctime_ns,
            self.i_btime_ns,
        )

    def birth_ns(self) -> int:
        """See `Inode`. The host is asked only when somebody wants to know."""
        if self.origin is not None and not self.i_btime_ns:
            try:
                self.i_btime_ns = self.i_sb.tree.birth_ns(self.origin)
            except OSError:
                return 0
        return self.i_btime_ns

    def blocks(self) -> int:
        """The host's, for what came from there."""
        return 0 if self.lower is None else self.lower.blocks

    # -- extended attributes: the host's until one is changed ----------------------------------------------------------
    def getxattr(self, name: bytes) -> bytes:
        """See `Inode`."""
        if self.origin is None or self.xattrs is not None:
            return super().getxattr(name)
        try:
            return self.i_sb.tree.getxattr(self.origin, name)
        except OSError as error:
            raise host_error(error) from None

    def listxattr(self) -> list[bytes]:
        """See `Inode`."""
        if self.origin is None or self.xattrs is not None:
            return super().listxattr()
        try:
            return self.i_sb.tree.listxattr(self.origin)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return []
            raise host_error(error) from None

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        """See `Inode`."""
        self._take_xattrs()
        super().setxattr(name, value, flags)

    def removexattr(self, name: bytes) -> None:
        """See `Inode`."""
        self._take_xattrs()
        super().removexattr(name)

    def _take_xattrs(self) -> None:
        """One is about to change: from now on all are the memory's own."""
        if self.xattrs is None and self.origin is not None:
            self.changing()
            self.xattrs = {name: self.getxattr(name) for name in self.listxattr()}

    def touch_atime(self) -> None:
        """What the host has keeps the host's time stamps."""
        if self.origin is None:
            super().touch_atime()


class Leaf(HostBacked):
    """What the kinds other than directories have in common: how they become the memory's own."""

    __slots__ = ()

    def adopt(self, node: HostNode, st: HostStat, parent: MemoryDirectory | None, name: bytes) -> None:
        """See `HostBacked`."""
        super().adopt(node, st, parent, name)
        self.volatile = True

    def changing(self) -> None:
        """See `MemoryInode`: the copy-up. From now on its directory remembers it."""
        super().changing()
        if self.volatile:
            self.copy_up()

    def copy_up(self) -> None:
        """The inode becomes the memory's own, and other names of it on the host lead here from now on."""
        self.volatile = False
        if self.parent is not None:
            self.parent.entries.setdefault(self.name, self)
            self.parent = None
        if self.i_nlink > 1:
            self.i_sb.copied_up[self.i_dev, self.i_ino] = self

    def look_again(self, st: HostStat) -> None:
        """The host says `st` now."""
        if st != self.lower:
            self.show(st)

    def drop(self) -> None:
        """See `Inode`."""
        super().drop()
        self.i_sb.copied_up.pop((self.i_dev, self.i_ino), None)

    def __del__(self) -> None:
        if self.origin is not None:
            self.i_sb.tree.forget(self.origin)


class OverlayFile(Leaf, MemoryFile):
    """A regular file."""

    __slots__ = ("_wrote",)

    def __init__(self, sb: OverlaySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self._wrote = False

    def cached_pages(self) -> int:
        """How many pages of it are in memory."""
        return 0 if self.mapping is None else self.mapping.nrpages

    def blocks(self) -> int:
        """The host's while the contents are; then what is there, holes of the host's part not told apart."""
        if self.origin is not None:
            if not self._wrote:
                return super().blocks()
            if self.page_cache().backed_size:
                return (self.i_size + PAGE_SIZE - 1) // PAGE_SIZE * 8
        return self.cached_pages() * 8

    def page_cache(self) -> AddressSpace:
        """See `MemoryFile`."""
        if self.mapping is None:
            if self.origin is None or self.lower is None:
                return super().page_cache()
            self.mapping = AddressSpace(
                self.i_sb.frames, self, self._readpages, self.lower.size, mkwrite=self.page_mkwrite
            )
        return self.mapping

    def _readpages(self, pos: int, buffer: memoryview) -> int:
        """Contents that nobody has changed come from the host; EIO when they can't be had any more."""
        assert self.origin is not None
        try:
            return self.i_sb.tree.pread_into(self.origin, buffer, pos)
        except OSError as error:
            raise SyscallError(errno.EIO if error.errno == errno.ESTALE else error.errno or errno.EIO) from None

    def look_again(self, st: HostStat) -> None:
        """See `Leaf`. Cached pages go if the contents may be others, unless they are mapped."""
        old = self.lower
        mapping = self.mapping
        if mapping is not None and old is not None and (st.mtime_ns != old.mtime_ns or st.size != old.size):
            if not mapping.i_mmap:
                mapping.drop()
            mapping.backed_size = st.size
        super().look_again(st)

    def refresh(self) -> None:
        """See `MemoryFile`."""
        if self.volatile and self.origin is not None:
            try:
                st = self.i_sb.tree.lstat(self.origin)
            except OSError:
                return
            self.look_again(st)

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`. A file of the host is opened there at once: it stays readable when it loses its name."""
        if self.volatile:
            self.i_sb.unpark(self)
            if self.parent is None:
                # A file that is mounted by itself is not looked up by name.
                self.refresh()
            if not flags & 1:
                self._readpages(0, _NOTHING)
            dentry = path.dentry
            if not dentry.unhashed:
                dentry.d_parent.children[dentry.d_name] = dentry
        return super().open(path, flags, task)

    def closed_at(self, dentry: Dentry | None) -> None:
        """See `MemoryFile`."""
        super().closed_at(dentry)
        if self.volatile and not self.i_opens and dentry is not None:
            self.i_sb.park(self, dentry)

    def copy_up(self) -> None:
        """See `Leaf`."""
        self.i_sb.unpark(self)
        super().copy_up()

    def write_at(self, pos: int, data: bytes) -> None:
        """See `MemoryFile`."""
        self._wrote = True
        super().write_at(pos, data)

    def page_mkwrite(self) -> None:
        """See `MemoryFile`."""
        self._wrote = True
        super().page_mkwrite()

    def truncate(self, size: int) -> None:
        """See `Inode`."""
        if size != self.i_size:
            self._wrote = True
        super().truncate(size)


class OverlayLink(Leaf, MemoryLink):
    """A symbolic link."""

    __slots__ = ()

    def copy_up(self) -> None:
        """See `Leaf`: the text comes along."""
        self.readlink()
        super().copy_up()

    def readlink(self) -> bytes:
        """See `Inode`."""
        if not self.target and self.origin is not None:
            try:
                self.target = self.i_sb.tree.readlink(self.origin)
            except OSError as error:
                raise host_error(error) from None
        return self.target


class OverlaySpecial(Leaf, MemorySpecial):
    """A FIFO, socket or device node. The host's are shown, but never opened: what they do is the model's business."""

    __slots__ = ()

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`. The name keeps meaning this inode, so that both ends of a FIFO meet."""
        dentry = path.dentry
        if self.volatile and not dentry.unhashed:
            dentry.d_parent.children[dentry.d_name] = dentry
        return super().open(path, flags, task)


class OverlayDirectory(HostBacked, MemoryDirectory):
    """A directory. `entries` are the names that memory knows better than the host: what was made or changed, and the
    host's directories that were seen; `whiteouts` are the host's names that are gone."""

    __slots__ = ("whiteouts",)

    def __init__(self, sb: OverlaySuperBlock, ino: int, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(sb, ino, mode, uid, gid, now_ns)
        self.i_size = _DIRECTORY_BYTES
        self.whiteouts: set[bytes] | None = None

    def getattr(self) -> Kstat:
        """See `Inode`."""
        return HostBacked.getattr(self)

    def blocks(self) -> int:
        """See `HostBacked`."""
        return _DIRECTORY_BYTES // 512 if self.lower is None else self.lower.blocks

    # -- names -------------------------------------------------------------------------------------------------------
    def find(self, name: bytes) -> Inode | None:
        """See `MemoryDirectory`."""
        inode = self.entries.get(name)
        if inode is not None or self.origin is None:
            return inode
        if self.whiteouts is not None and name in self.whiteouts:
            return None
        found = self._host_lookup(name)
        return None if found is None else self._found(name, *found)

    def _host_lookup(self, name: bytes) -> tuple[HostNode, HostStat] | None:
        """What the host has under `name`."""
        assert self.origin is not None
        try:
            return self.i_sb.tree.lookup(self.origin, name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise host_error(error) from None

    def _found(self, name: bytes, node: HostNode, st: HostStat) -> Inode:
        """The inode of what the host has under `name`: a new one unless it is in use already."""
        sb = self.i_sb
        kind = st.mode & _S_IFMT
        if kind == _S_IFDIR:
            directory = self.entries[name] = OverlayDirectory(sb, st.ino, st.mode, st.uid, st.gid, 0)
            directory.adopt(node, st, self, name)
            return directory
        key = (st.dev, st.ino)
        if st.nlink > 1:
            changed = sb.copied_up.get(key)
            if changed is not None:
                self.entries[name] = changed
                sb.tree.forget(node)
                return changed
        leaf = sb.in_use.get(key)
        if leaf is not None and leaf.volatile and not (leaf.i_mode ^ st.mode) & _S_IFMT:
            leaf.look_again(st)
            sb.tree.forget(node)
            return leaf
        leaf = sb.in_use[key] = _LEAVES.get(kind, OverlaySpecial)(sb, st.ino, st.mode, st.uid, st.gid, 0)
        leaf.adopt(node, st, self, name)
        return leaf

    def remove(self, name: bytes) -> None:
        """See `MemoryDirectory`. If the host has the name, it must not show through."""
        inode = self.entries.pop(name, None)
        if self.origin is None or (self.whiteouts is not None and name in self.whiteouts):
            return
        if inode is not None and isinstance(inode, HostBacked) and inode.origin is None:
            return
        found = self._host_lookup(name)
        if found is not None:
            self.i_sb.tree.forget(found[0])
            if self.whiteouts is None:
                self.whiteouts = set()
            self.whiteouts.add(name)

    def is_empty(self) -> bool:
        """See `MemoryDirectory`."""
        return not self.entries and not (self.origin is not None and self.iterate())

    def iterate(self) -> list[DirEntry]:
        """See `Inode`: in the host's order, then what is new."""
        if self.origin is None:
            return super().iterate()
        try:
            listing = self.i_sb.tree.listdir(self.origin)
        except OSError as error:
            raise host_error(error) from None
        entries = self.entries
        whiteouts = self.whiteouts or ()
        result = []
        seen = set()
        for name, ino, d_type in listing:
            inode = entries.get(name)
            if inode is not None:
                seen.add(name)
                result.append(DirEntry(name, inode.i_ino, inode.i_mode >> 12))
            elif name not in whiteouts:
                result.append(DirEntry(name, ino, d_type))
        result += [
            DirEntry(name, inode.i_ino, inode.i_mode >> 12) for name, inode in entries.items() if name not in seen
        ]
        return result

    # -- making ------------------------------------------------------------------------------------------------------
    def new_file(self, mode: int, uid: int, gid: int) -> MemoryFile:
        """See `MemoryDirectory`."""
        sb = self.i_sb
        return OverlayFile(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())

    def new_directory(self, mode: int, uid: int, gid: int) -> MemoryDirectory:
        """See `MemoryDirectory`."""
        sb = self.i_sb
        return OverlayDirectory(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())

    def new_link(self, target: bytes, uid: int, gid: int) -> MemoryLink:
        """See `MemoryDirectory`."""
        sb = self.i_sb
        inode = OverlayLink(sb, sb.new_ino(), _S_IFLNK | 0o777, uid, gid, sb.now_ns())
        inode.set_target(target)
        return inode

    def new_special(self, mode: int, uid: int, gid: int, rdev: int) -> MemorySpecial:
        """See `MemoryDirectory`."""
        sb = self.i_sb
        inode = OverlaySpecial(sb, sb.new_ino(), mode, uid, gid, sb.now_ns())
        inode.i_rdev = rdev
        return inode


_LEAVES: Final[dict[int, type[OverlayFile] | type[OverlayLink]]] = {_S_IFREG: OverlayFile, _S_IFLNK: OverlayLink}
