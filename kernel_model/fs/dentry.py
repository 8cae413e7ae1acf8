"""Names: the dentry tree, mounts, and `Path`, a place in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.fs.inode import Inode, SuperBlock


class Dentry:
    """A name in a directory, and the inode it leads to. The root of a file system is its own parent."""

    __slots__ = ("children", "d_inode", "d_name", "d_parent", "mounted", "unhashed")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode) -> None:
        self.d_name = name
        self.d_parent = parent or self
        self.d_inode = inode
        self.children: dict[bytes, Dentry] = {}
        """Names already looked up; `namei` decides how long one is believed."""
        self.unhashed = False
        """The name is gone (unlinked); /proc shows ` (deleted)`."""
        self.mounted: Mount | None = None
        """What is mounted on top of it."""


class Mount:
    """A file system attached somewhere in the tree. Its root may be made late, when somebody first walks into it."""

    __slots__ = ("_make_root", "_root", "fs_type", "mnt_flags", "mnt_id", "mnt_mountpoint", "mnt_parent", "source")

    def __init__(
        self,
        root: Dentry | Callable[[], Inode],
        mountpoint: Dentry | None,
        parent: Mount | None,
        source: str = "none",
        flags: int = 0,
        fs_type: str = "",
    ) -> None:
        self._root: Dentry | None
        self._make_root: Callable[[], Inode] | None
        if isinstance(root, Dentry):
            self._root, self._make_root = root, None
            fs_type = fs_type or root.d_inode.i_sb.fs_type
        else:
            self._root, self._make_root = None, root
        self.mnt_mountpoint = mountpoint
        self.mnt_parent = parent
        self.source = source
        self.mnt_flags = flags
        """MS_* bits (`kernel_model.abi.mount`)."""
        self.fs_type = fs_type
        self.mnt_id = 0

    @property
    def made(self) -> bool:
        """Has anybody walked into it yet?"""
        return self._root is not None

    @property
    def mnt_root(self) -> Dentry:
        """The dentry at the file system's own root."""
        if self._root is None:
            assert self._make_root is not None
            root = self._root = Dentry(b"/", None, self._make_root())
            self._make_root = None
            return root
        return self._root

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
