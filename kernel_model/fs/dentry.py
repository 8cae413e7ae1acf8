"""Names: the dentry tree, mounts, and `Path`, a place in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kernel_model.fs.inode import Inode, SuperBlock


class Dentry:
    """A name in a directory, and the inode it leads to. The root of a file system is its own parent."""

    __slots__ = ("children", "d_inode", "d_name", "d_parent", "unhashed")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode) -> None:
        self.d_name = name
        self.d_parent = parent or self
        self.d_inode = inode
        self.children: dict[bytes, Dentry] = {}
        """Names already looked up; `namei` decides how long one is believed."""
        self.unhashed = False
        """The name is gone (unlinked); /proc shows ` (deleted)`."""


class Mount:
    """A file system attached somewhere in the tree."""

    __slots__ = ("mnt_flags", "mnt_mountpoint", "mnt_parent", "mnt_root", "source")

    def __init__(
        self, root: Dentry, mountpoint: Dentry | None, parent: Mount | None, source: str = "none", flags: int = 0
    ) -> None:
        self.mnt_root = root
        self.mnt_mountpoint = mountpoint
        self.mnt_parent = parent
        self.source = source
        self.mnt_flags = flags

    @property
    def mnt_sb(self) -> SuperBlock:
        """The file system."""
        return self.mnt_root.d_inode.i_sb


class Path(NamedTuple):
    """A place: which mount, and which dentry of it."""

    mnt: Mount
    dentry: Dentry

    @property
    def inode(self) -> Inode:
        """What is there."""
        return self.dentry.d_inode
