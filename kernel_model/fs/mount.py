"""The tree of mounts (fs/namespace.c): which file systems a run has, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RELATIME
from kernel_model.fs.dentry import Dentry, Mount, Path
from kernel_model.fs.namei import d_lookup
from kernel_model.fs.tmpfs import MemoryDirectory, MemorySuperBlock
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from kernel_model.fs.inode import Inode
    from kernel_model.kernel import Kernel

    class MakesRoot(Protocol):
        """A module with a file system of the kernel's own."""

        def make_root(self, kernel: Kernel) -> Inode:
            """Its root."""


@dataclass(frozen=True, slots=True)
class Bind:
    """`--bind HOST:GUEST[:ro|rw]`: a directory or file of the host at an absolute place of the guest's tree."""

    host: str
    guest: str
    writable: bool = False


@dataclass(slots=True)
class TreeOptions:
    """What the guest's tree is made of.

    `root`: the host directory beneath the overlay. `isolate`: nothing of the host at all. `program`: the host file
    that is put at the same place of an isolated tree, so that it can be run.
    """

    root: str = "/"
    isolate: bool = False
    binds: list[Bind] = field(default_factory=list)
    program: str | None = None


class MountNamespace:
    """All mounts, in the order in which they were made."""

    def __init__(self) -> None:
        self.mounts: list[Mount] = []
        self._next_id = 1
        self._next_dev = 1

    @property
    def root(self) -> Path:
        """The root of everything."""
        mnt = self.mounts[0]
        return Path(mnt, mnt.mnt_root)

    def new_dev(self) -> int:
        """A device number for a file system without a device (fs/super.c:get_anon_bdev()): major 0."""
        minor = self._next_dev
        self._next_dev = minor + 1
        return minor & 0xFF | (minor & ~0xFF) << 12

    def add(self, mnt: Mount) -> Mount:
        """A new mount goes on top of its mount point."""
        mnt.mnt_id = self._next_id
        self._next_id += 1
        self.mounts.append(mnt)
        if mnt.mnt_mountpoint is not None:
            mnt.mnt_mountpoint.mounted = mnt
        return mnt

    def path_of(self, guest: bytes) -> Path:
        """The place at an absolute name, through mounts but not through links; missing directories are made in memory.

        ENOTDIR when something else is in the way.
        """
        mnt, dentry = self.root
        for name in guest.split(b"/"):
            if name in (b"", b"."):
                continue
            dentry = self._child(dentry, name)
            while dentry.mounted is not None:
                mnt = dentry.mounted
                dentry = mnt.mnt_root
        return Path(mnt, dentry)

    def _child(self, directory: Dentry, name: bytes) -> Dentry:
        """The subdirectory `name`, made if it is not there."""
        child = d_lookup(directory, name)
        if child is not None:
            return child
        inode = directory.d_inode
        if not inode.is_dir:
            raise SyscallError(errno.ENOTDIR)
        child = Dentry(name, directory, inode.mkdir(name, 0o755, 0, 0))
        directory.children[name] = child
        return child


def build_tree(kernel: Kernel, options: TreeOptions) -> MountNamespace:
    """The mounts of a run; also kept as `kernel.mounts`. OSError and SyscallError for what is not there."""
    namespace = MountNamespace()
    kernel.mounts = namespace
    root_dev = namespace.new_dev()
    sb = MemorySuperBlock(kernel, root_dev)
    namespace.add(Mount(Dentry(b"/", None, sb.make_root(0o755)), None, None, "tmpfs", MS_RELATIME))
    kernel_fs = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME
    _mount_late(kernel, b"/proc", "proc", kernel_fs, lambda: _import("procfs").make_root(kernel))
    _mount_late(kernel, b"/sys", "sysfs", kernel_fs, lambda: _import("sysfs").make_root(kernel))
    _mount_late(kernel, b"/dev", "devtmpfs", MS_NOSUID | MS_RELATIME, lambda: _import("devfs").make_root(kernel))
    _mount_late(kernel, b"/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_RELATIME, lambda: _new_tmpfs(kernel))
    return namespace


def _import(name: str) -> MakesRoot:
    """A module of this package, imported when it is first needed."""
    from importlib import import_module
    from typing import cast

    return cast("MakesRoot", import_module(f"kernel_model.fs.{name}"))


def _mount_late(kernel: Kernel, guest: bytes, fs_type: str, flags: int, make_root: Callable[[], Inode]) -> None:
    """Mount a file system that is made when it is first walked into."""
    mnt, dentry = kernel.mounts.path_of(guest)
    kernel.mounts.add(Mount(make_root, dentry, mnt, fs_type, flags, fs_type))


def _new_tmpfs(kernel: Kernel) -> MemoryDirectory:
    """The root of an empty tmpfs that everybody may write to."""
    return MemorySuperBlock(kernel, kernel.mounts.new_dev()).make_root(0o1777)
