"""What the kernel's own file systems are made of: directories, files and links whose contents are worked
out when asked.

Only names and text go through here; what they say is in `procfs`, `sysfs` and their like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.fs.file import File
from kernel_model.fs.inode import DirEntry, Inode, Kstat, Kstatfs, SuperBlock
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

S_IFDIR: Final = 0o040000
S_IFREG: Final = 0o100000
S_IFLNK: Final = 0o120000
_S_IFMT: Final = 0o170000
_SEEK_SET, _SEEK_CUR = 0, 1
_LLONG_MAX: Final = (1 << 63) - 1

Text = Callable[["Task"], bytes]
"""The contents of a file, for the task that reads it."""
Store = Callable[["Task", bytes], None]
"""Take what a task wrote; SyscallError where it does not fit."""


class KernelSuperBlock(SuperBlock):
    """A file system without blocks. fs/libfs.c:simple_statfs()."""

    __slots__ = ("blksize", "create_errno", "file_size", "kernel", "last_ino", "magic")

    def __init__(self, kernel: Kernel, fs_type: str, dev: int, magic: int, first_ino: int = 0) -> None:
        super().__init__(fs_type, dev)
        self.kernel = kernel
        self.magic = magic
        self.last_ino = first_ino
        self.blksize = PAGE_SIZE
        """st_blksize."""
        self.file_size = 0
        """The size that regular files claim."""
        self.create_errno = errno.EPERM
        """Why nothing can be made here. In /proc a name that is not there stays ENOENT whatever one wants
        of it.
        """

    def new_ino(self) -> int:
        """A number for an inode that stays."""
        self.last_ino += 1
        return self.last_ino

    def statfs(self) -> Kstatfs:
        """See `SuperBlock`."""
        return Kstatfs(self.magic, PAGE_SIZE, 0, 0, 0, 0, 0, (self.dev, 0), 255, 0)


class PseudoInode(Inode):
    """What all kinds have in common: root's unless told otherwise, without size, and not to be changed."""

    __slots__ = ()

    i_sb: KernelSuperBlock

    def __init__(
        self, sb: KernelSuperBlock, mode: int, *, ino: int = 0, owner: tuple[int, int] = (0, 0), stays: bool = True
    ) -> None:
        super().__init__(sb, ino or sb.new_ino(), mode, *owner, sb.kernel.clock.realtime_ns())
        self.volatile = not stays

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
        """Who may do what is the kernel's own business: the mode stays (fs/proc/base.c:proc_setattr())."""
        if mode is not None:
            raise SyscallError(errno.EPERM)
        super().setattr(uid=uid, gid=gid, atime_ns=atime_ns, mtime_ns=mtime_ns, ctime_ns=ctime_ns)

    def create(self, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0) -> Inode:
        """See `Inode`."""
        raise SyscallError(self.i_sb.create_errno)

    def mkdir(self, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        raise SyscallError(self.i_sb.create_errno)

    def symlink(self, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        """See `Inode`."""
        raise SyscallError(self.i_sb.create_errno)

    def link(self, name: bytes, inode: Inode) -> None:
        """See `Inode`."""
        raise SyscallError(self.i_sb.create_errno)

    def rename(self, old_name: bytes, new_dir: Inode, new_name: bytes, flags: int) -> None:
        """See `Inode`."""
        try:
            new_dir.lookup(new_name)
        except SyscallError:
            raise SyscallError(self.i_sb.create_errno) from None
        raise SyscallError(errno.EPERM)

    def getattr(self) -> Kstat:
        """As `Inode`, in no blocks."""
        return Kstat(
            self.i_sb.dev, self.i_ino, self.i_mode, self.i_nlink, self.i_uid, self.i_gid, self.i_rdev, self.i_size,
            self.i_sb.blksize, 0, self.i_atime_ns, self.i_mtime_ns, self.i_ctime_ns, self.i_btime_ns,
        )  # fmt: skip


class PseudoDir(PseudoInode):
    """A directory of names that stay; each inode is made when it is first looked up.

    `entries`: name to (mode with its type, a function that makes the inode).
    """

    __slots__ = ("_entries", "_made")

    def __init__(
        self,
        sb: KernelSuperBlock,
        entries: dict[bytes, Node],
        *,
        mode: int = 0o555,
        ino: int = 0,
        owner: tuple[int, int] = (0, 0),
        stays: bool = True,
    ) -> None:
        super().__init__(sb, S_IFDIR | mode, ino=ino, owner=owner, stays=stays)
        self._entries = entries
        self._made: dict[bytes, Inode] = {}
        self.i_nlink = 2 + sum(node.mode & _S_IFMT == S_IFDIR for node in entries.values())

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        inode = self._made.get(name)
        if inode is None:
            node = self._entries.get(name)
            if node is None:
                raise SyscallError(errno.ENOENT)
            inode = self._made[name] = node.make(self.i_sb)
        return inode

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        return [DirEntry(name, self.lookup(name).i_ino, node.mode >> 12) for name, node in self._entries.items()]


class Node:
    """A name of a `PseudoDir` before it is an inode."""

    __slots__ = ("make", "mode")

    def __init__(self, mode: int, make: Callable[[KernelSuperBlock], Inode]) -> None:
        self.mode = mode
        self.make = make


def text_node(text: Text, *, mode: int = 0o444, store: Store | None = None) -> Node:
    """A regular file."""
    return Node(S_IFREG | mode, lambda sb: TextInode(sb, text, mode=mode, store=store))


def constant(text: bytes, *, mode: int = 0o444) -> Node:
    """A regular file that always says the same."""
    return text_node(lambda task: text, mode=mode)


def link_node(target: Text) -> Node:
    """A symbolic link that is walked as text."""
    return Node(S_IFLNK | 0o777, lambda sb: LinkInode(sb, target))


def dir_node(entries: dict[bytes, Node], *, mode: int = 0o555) -> Node:
    """A directory of nodes."""
    return Node(S_IFDIR | mode, lambda sb: PseudoDir(sb, entries, mode=mode))


class LinkInode(PseudoInode):
    """A symbolic link whose text depends on who asks."""

    __slots__ = ("_target",)

    def __init__(self, sb: KernelSuperBlock, target: Text, *, ino: int = 0, stays: bool = True) -> None:
        super().__init__(sb, S_IFLNK | 0o777, ino=ino, stays=stays)
        self._target = target

    def readlink(self) -> bytes:
        """See `Inode`."""
        return self._target(self.i_sb.kernel.current)


class TextInode(PseudoInode):
    """A regular file whose text is made when reading starts at its beginning."""

    __slots__ = ("store", "text")

    def __init__(
        self,
        sb: KernelSuperBlock,
        text: Text,
        *,
        mode: int = 0o444,
        store: Store | None = None,
        ino: int = 0,
        owner: tuple[int, int] = (0, 0),
        stays: bool = True,
    ) -> None:
        super().__init__(sb, S_IFREG | mode, ino=ino, owner=owner, stays=stays)
        self.i_size = sb.file_size
        self.text = text
        self.store = store

    def truncate(self, size: int) -> None:
        """O_TRUNC means nothing to it."""

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`."""
        return TextFile(self, path, flags)


class TextFile(File):
    """An open `TextInode` (`struct seq_file`): one consistent text per reading from the start."""

    __slots__ = ("_text", "_text_inode")

    def __init__(self, inode: TextInode, path: Path | None, flags: int) -> None:
        super().__init__(inode, path, flags)
        self._text_inode = inode
        self._text: bytes | None = None

    def read(self, task: Task, count: int) -> bytes:
        """See `File`."""
        data = self.pread(task, count, self.f_pos)
        self.f_pos += len(data)
        return data

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """See `File`."""
        text = self._text
        if text is None or pos == 0:
            text = self._text = self._text_inode.text(task)
        return text[pos : pos + count]

    def write(self, task: Task, data: bytes) -> int:
        """One write, one value: at most a page of it counts."""
        store = self._text_inode.store
        if store is None:
            raise SyscallError(errno.EIO)
        if data:
            store(task, data[:PAGE_SIZE])
            self.f_pos += len(data)
        return len(data)

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """The position means nothing."""
        return self.write(task, data)

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """SEEK_SET and SEEK_CUR (fs/seq_file.c:seq_lseek())."""
        if whence == _SEEK_CUR:
            offset += self.f_pos
        elif whence != _SEEK_SET:
            raise SyscallError(errno.EINVAL)
        if not 0 <= offset <= _LLONG_MAX:
            raise SyscallError(errno.EINVAL)
        self.f_pos = offset
        return offset
