"""The tree of mounts (fs/namespace.c): which file systems a run has, and where."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kernel_model.abi import errno
from kernel_model.abi.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME
from kernel_model.fs.dentry import Dentry, Mount, Path
from kernel_model.fs.namei import MAXSYMLINKS, d_lookup
from kernel_model.fs.overlay import Leaf, OverlaySuperBlock
from kernel_model.fs.tmpfs import MemoryDirectory, MemorySuperBlock
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from kernel_model.fs.inode import Inode
    from kernel_model.kernel import Kernel

    class MakesRoot(Protocol):
        """A module with a file system of the kernel's own."""

        def make_root(self, kernel: Kernel) -> Inode:
            """Its root."""


INTERNAL_MOUNT_ID: Final = 15
"""What /proc says that files are on which are in no directory: one of the mounts that the kernel makes first."""


class Bind(NamedTuple):
    """`--bind HOST:GUEST[:ro|rw]`: a directory or file of the host at an absolute place of the guest's tree."""

    host: str
    guest: str
    writable: bool = False


class TreeOptions(NamedTuple):
    """What the guest's tree is made of.

    `root`: the host directory beneath the overlay. `isolate`: nothing of the host at all. `program`: the absolute
    name of the host file that is shown there in an isolated tree, so that it can be run.
    """

    root: str = "/"
    isolate: bool = False
    binds: Sequence[Bind] = ()
    program: str | None = None


class MountNamespace:
    """All mounts, in the order in which they were made."""

    def __init__(self) -> None:
        self.mounts: list[Mount] = []
        self._next_id = INTERNAL_MOUNT_ID + 1
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
            self._hold(mnt.mnt_mountpoint)
        return mnt

    @staticmethod
    def _hold(mountpoint: Dentry) -> None:
        """A file of the host that is mounted on must keep its name, whatever happens on the host."""
        inode = mountpoint.d_inode
        if isinstance(inode, Leaf) and inode.volatile:
            inode.copy_up()
            mountpoint.d_parent.children[mountpoint.d_name] = mountpoint

    def path_of(self, guest: bytes, *, make: bool = True) -> Path:
        """The place at a name from the root, as root would walk it; missing directories are made (in memory, in an
        overlay) unless `make` is false. ENOTDIR, ELOOP, ENOENT.
        """
        root = self.root
        mnt, dentry = root
        pending = guest.split(b"/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                while dentry is mnt.mnt_root and mnt.mnt_mountpoint is not None and mnt.mnt_parent is not None:
                    dentry, mnt = mnt.mnt_mountpoint, mnt.mnt_parent
                dentry = dentry.d_parent
                continue
            child = d_lookup(dentry, name)
            if child is None:
                if not make:
                    raise SyscallError(errno.ENOENT)
                child = self._make_directory(dentry, name)
            if child.d_inode.is_link:
                links += 1
                if links > MAXSYMLINKS:
                    raise SyscallError(errno.ELOOP)
                target = child.d_inode.readlink()
                if target[:1] == b"/":
                    mnt, dentry = root
                pending += target.split(b"/")[::-1]
                continue
            dentry = child
            while dentry.mounted is not None:
                mnt = dentry.mounted
                dentry = mnt.mnt_root
        return Path(mnt, dentry)

    def _make_directory(self, directory: Dentry, name: bytes) -> Dentry:
        """A directory to mount on or to lead to a mount point."""
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
    if options.isolate:
        root = MemorySuperBlock(kernel, namespace.new_dev()).make_root(0o755)
        namespace.add(Mount(Dentry(b"/", None, root), None, None, "tmpfs", MS_RELATIME))
    else:
        lower = OverlaySuperBlock(kernel, kernel.host.open_tree(options.root, writable=False)).root_inode()
        if not lower.is_dir:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), options.root)
        namespace.add(Mount(Dentry(b"/", None, lower), None, None, "overlay", MS_RELATIME))
    kernel_fs = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME
    _mount_late(kernel, b"/proc", "proc", kernel_fs, lambda: _import("procfs").make_root(kernel))
    _mount_late(kernel, b"/sys", "sysfs", kernel_fs, lambda: _import("sysfs").make_root(kernel))
    _mount_late(kernel, b"/dev", "devtmpfs", MS_NOSUID | MS_RELATIME, lambda: _import("devfs").make_root(kernel))
    if options.isolate or options.root != "/":
        _mount_late(kernel, b"/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_RELATIME, lambda: _new_tmpfs(kernel))
    if options.isolate and options.program is not None:
        bind(kernel, Bind(options.program, options.program)).source = "none"
    for one in options.binds:
        bind(kernel, one)
    return namespace


def bind(kernel: Kernel, what: Bind) -> Mount:
    """Mount a directory or file of the host. OSError when the host lacks it."""
    tree = kernel.host.open_tree(what.host, writable=what.writable)
    fs_type = "bind"
    sb: OverlaySuperBlock
    if what.writable:
        from kernel_model.fs.bound import BoundSuperBlock

        sb = BoundSuperBlock(kernel, tree, fs_type=fs_type)
    else:
        sb = OverlaySuperBlock(kernel, tree, fs_type=fs_type, readonly=True)
    root = sb.root_inode()
    mnt, dentry = _mount_point(kernel, os.fsencode(what.guest), is_dir=root.is_dir)
    flags = MS_RELATIME if what.writable else MS_RELATIME | MS_RDONLY
    return kernel.mounts.add(Mount(Dentry(b"/", None, root), dentry, mnt, what.host, flags, fs_type))


def _mount_point(kernel: Kernel, guest: bytes, *, is_dir: bool) -> Path:
    """Where to mount: made if it is not there; ENOTDIR, EISDIR when it is of the other kind."""
    namespace = kernel.mounts
    directory, _, name = guest.rstrip(b"/").rpartition(b"/")
    if not is_dir and name not in (b"", b".", b".."):
        place = namespace.path_of(directory)
        if d_lookup(place.dentry, name) is None:
            inode = place.inode.create(name, 0o644, 0, 0)
            place.dentry.children[name] = Dentry(name, place.dentry, inode)
    place = namespace.path_of(guest)
    if place.inode.is_dir is not is_dir:
        raise SyscallError(errno.ENOTDIR if is_dir else errno.EISDIR)
    return place


def _import(name: str) -> MakesRoot:
    """A module of this package, imported when it is first needed."""
    return cast("MakesRoot", import_module(f"kernel_model.fs.{name}"))


def _mount_late(kernel: Kernel, guest: bytes, fs_type: str, flags: int, make_root: Callable[[], Inode]) -> None:
    """Mount a file system that is made when it is first walked into."""
    mnt, dentry = kernel.mounts.path_of(guest)
    kernel.mounts.add(Mount(make_root, dentry, mnt, fs_type, flags, fs_type))


def _new_tmpfs(kernel: Kernel) -> MemoryDirectory:
    """The root of an empty tmpfs that everybody may write to."""
    return MemorySuperBlock(kernel, kernel.mounts.new_dev()).make_root(0o1777)
