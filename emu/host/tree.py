"""Host directories as the kernel model sees them: no name leads out, no link is ever followed, no race helps.

Every directory is held by an O_PATH descriptor that was opened one component at a time without following links, and
every operation is one system call relative to such a descriptor. A descriptor that had to be closed is opened again
along the way it came, and must be the same (device, inode) then: ESTALE otherwise.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from kernel_model.host import HostNode, HostStat

_DIRECTORY_FDS: Final = 128
_DATA_FDS: Final = 128
_OPEN_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DATA: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Node:
    """How to find a file again: its directory, its name there, and who it must be."""

    __slots__ = ("dev", "ino", "name", "parent")

    def __init__(self, parent: HostNode, name: bytes, dev: int, ino: int) -> None:
        self.parent = parent
        self.name = name
        self.dev = dev
        self.ino = ino


class _Descriptors(OrderedDict[tuple[HostNode, bool], int]):
    """Open descriptors, the least recently used first; at most `limit` stay open."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def use(self, key: tuple[HostNode, bool]) -> int | None:
        """The descriptor kept under `key`."""
        fd = self.get(key)
        if fd is not None:
            self.move_to_end(key)
        return fd

    def keep(self, key: tuple[HostNode, bool], fd: int) -> None:
        """Keep an open descriptor, closing the one that was not used for longest."""
        self[key] = fd
        if len(self) > self.limit:
            os.close(self.popitem(last=False)[1])

    def close(self, key: tuple[HostNode, bool]) -> None:
        """Close what is kept under `key`, if anything is."""
        fd = self.pop(key, None)
        if fd is not None:
            os.close(fd)


def _host_stat(st: os.stat_result) -> HostStat:
    return HostStat(
        st.st_dev,
        st.st_ino,
        st.st_mode,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_rdev,
        st.st_size,
        st.st_blksize,
        st.st_blocks,
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
    )


def _stale() -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def _read_only() -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS))


class DirHostTree:
    """`kernel_model.host.HostTree` over a directory, or a single file, of this machine."""

    def __init__(self, path: str, *, writable: bool = False) -> None:
        self.writable = writable
        self._root_fd = -1
        self._nodes: dict[HostNode, _Node] = {}
        self._next = 2
        self._directories = _Descriptors(_DIRECTORY_FDS)
        self._data = _Descriptors(_DATA_FDS)
        self._pinned: dict[tuple[HostNode, bool], int] = {}
        """Data descriptors of files that have lost their name."""
        self._names: dict[tuple[HostNode, bytes], set[HostNode]] = {}
        """Which handles stand for a name; only kept where names can change."""
        self.root = HostNode(1)
        real = os.path.realpath(path)
        st = os.stat(real)
        if stat.S_ISDIR(st.st_mode):
            self._root_fd = os.open(real, _OPEN_DIRECTORY)
            self._anchor = self.root
            return
        # A single file: its directory is the anchor, but nobody gets a handle for that.
        directory, name = os.path.split(real)
        self._root_fd = os.open(directory, _OPEN_DIRECTORY)
        self._anchor = HostNode(0)
        self._nodes[self.root] = _Node(self._anchor, os.fsencode(name), st.st_dev, st.st_ino)

    def close(self) -> None:
        """Close every descriptor; the tree can't be used any more."""
        for kept in (self._directories, self._data, self._pinned):
            for fd in kept.values():
                os.close(fd)
            kept.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def __del__(self) -> None:
        """As a file object: what nobody closed is closed when nobody can use it any more."""
        self.close()

    # -- descriptors -------------------------------------------------------------------------------------------------
    def _directory_fd(self, node: HostNode) -> int:
        """The O_PATH descriptor of a directory."""
        if node == self._anchor:
            return self._root_fd
        fd = self._directories.use((node, False))
        return self._reopen(node) if fd is None else fd

    def _reopen(self, node: HostNode) -> int:
        """Open a directory along the way it came, from the nearest one that is still open."""
        way = [node]
        fd: int | None = None
        while fd is None:
            parent = self._nodes[way[-1]].parent
            if parent == self._anchor:
                fd = self._root_fd
            else:
                fd = self._directories.use((parent, False))
                if fd is None:
                    way.append(parent)
        for step in reversed(way):
            entry = self._nodes[step]
            try:
                fd = os.open(entry.name, _OPEN_DIRECTORY, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise _stale() from None
                raise
            st = os.fstat(fd)
            if st.st_ino != entry.ino or st.st_dev != entry.dev:
                os.close(fd)
                raise _stale()
            self._directories.keep((step, False), fd)
        return fd

    def _place(self, node: HostNode) -> tuple[int, bytes]:
        """(descriptor of the directory, name) of a file. The root directory is `.` of itself."""
        if node == self._anchor:
            return self._root_fd, b"."
        entry = self._nodes[node]
        return self._directory_fd(entry.parent), entry.name

    def _data_fd(self, node: HostNode, *, write: bool = False) -> int:
        """A descriptor to read from or write to a regular file; nothing else is ever opened."""
        key = (node, write)
        fd = self._data.use(key)
        if fd is None:
            fd = self._pinned.get(key)
        if fd is not None:
            return fd
        fd = self._open_data(node, write=write)
        self._data.keep(key, fd)
        return fd

    def _open_data(self, node: HostNode, *, write: bool) -> int:
        """Open a regular file that must still be who it was."""
        directory, name = self._place(node)
        entry = self._nodes[node]
        st = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if st.st_ino != entry.ino or st.st_dev != entry.dev or not stat.S_ISREG(st.st_mode):
            raise _stale()
        if write:
            fd = os.open(name, os.O_WRONLY | _OPEN_DATA, dir_fd=directory)
        else:
            try:
                # QUIRK: Reading another user's host file, or following a host's link, may stamp its access time there.
                fd = os.open(name, os.O_RDONLY | os.O_NOATIME | _OPEN_DATA, dir_fd=directory)
            except PermissionError:
                fd = os.open(name, os.O_RDONLY | _OPEN_DATA, dir_fd=directory)
        opened = os.fstat(fd)
        if opened.st_ino != entry.ino or opened.st_dev != entry.dev or not stat.S_ISREG(opened.st_mode):
            os.close(fd)
            raise _stale()
        return fd

    def _open_path(self, node: HostNode) -> int:
        """A fresh O_PATH descriptor of a file that must still be who it was; the caller closes it."""
        directory, name = self._place(node)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        if node != self._anchor:
            entry = self._nodes[node]
            st = os.fstat(fd)
            if st.st_ino != entry.ino or st.st_dev != entry.dev:
                os.close(fd)
                raise _stale()
        return fd

    def _node(self, directory: HostNode, name: bytes, st: os.stat_result) -> tuple[HostNode, HostStat]:
        """A handle for a name that was just looked at."""
        node = HostNode(self._next)
        self._next += 1
        self._nodes[node] = _Node(directory, name, st.st_dev, st.st_ino)
        if self.writable:
            self._names.setdefault((directory, name), set()).add(node)
        return node, _host_stat(st)

    # -- looking -----------------------------------------------------------------------------------------------------
    def lookup(self, directory: HostNode, name: bytes) -> tuple[HostNode, HostStat]:
        """See `HostTree`."""
        fd = self._directory_fd(directory)
        return self._node(directory, name, os.stat(name, dir_fd=fd, follow_symlinks=False))

    def lstat(self, node: HostNode) -> HostStat:
        """See `HostTree`. ESTALE when the name means something else now."""
        if node == self._anchor:
            return _host_stat(os.fstat(self._root_fd))
        for write in (False, True):
            key = (node, write)
            fd = self._data.get(key, self._pinned.get(key))
            if fd is not None:
                return _host_stat(os.fstat(fd))
        entry = self._nodes[node]
        st = os.stat(entry.name, dir_fd=self._directory_fd(entry.parent), follow_symlinks=False)
        if st.st_ino != entry.ino or st.st_dev != entry.dev:
            raise _stale()
        return _host_stat(st)

    def birth_ns(self, node: HostNode) -> int:
        """See `HostTree`."""
        from emu.host.libc import birth_ns

        fd = self._open_path(node)
        try:
            return birth_ns(fd)
        finally:
            os.close(fd)

    def listdir(self, directory: HostNode) -> list[tuple[bytes, int, int]]:
        """See `HostTree`."""
        path_fd = self._directory_fd(directory)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            fd = os.open(b".", flags | os.O_NOATIME, dir_fd=path_fd)
        except PermissionError:
            fd = os.open(b".", flags, dir_fd=path_fd)
        try:
            with os.scandir(fd) as entries:
                return [(os.fsencode(entry.name), entry.inode(), _d_type(entry)) for entry in entries]
        finally:
            os.close(fd)

    def readlink(self, node: HostNode) -> bytes:
        """See `HostTree`."""
        directory, name = self._place(node)
        return os.readlink(name, dir_fd=directory)

    def pread_into(self, node: HostNode, buffer: memoryview, offset: int) -> int:
        """See `HostTree`. An empty buffer opens the file and reads nothing."""
        return os.preadv(self._data_fd(node), [buffer], offset)

    def getxattr(self, node: HostNode, name: bytes) -> bytes:
        """See `HostTree`."""
        fd = self._open_path(node)
        try:
            return os.getxattr(_by_fd(fd), name)
        finally:
            os.close(fd)

    def listxattr(self, node: HostNode) -> list[bytes]:
        """See `HostTree`."""
        fd = self._open_path(node)
        try:
            return [os.fsencode(name) for name in os.listxattr(_by_fd(fd))]
        finally:
            os.close(fd)

    def statfs(self, node: HostNode) -> tuple[int, int, int, int, int, int, int, int]:
        """See `HostTree`."""
        from emu.host.libc import fstatfs

        fd = self._open_path(node)
        try:
            return fstatfs(fd)
        finally:
            os.close(fd)

    def forget(self, node: HostNode) -> None:
        """See `HostTree`."""
        entry = self._nodes.pop(node, None)
        if entry is None:
            return
        for key in ((node, False), (node, True)):
            if key in self._data:
                self._data.close(key)
            fd = self._pinned.pop(key, None)
            if fd is not None:
                os.close(fd)
        self._directories.close((node, False))
        if self.writable:
            self._unname(node, entry)

    def _unname(self, node: HostNode, entry: _Node) -> None:
        """`node` no longer stands for its name."""
        key = (entry.parent, entry.name)
        handles = self._names.get(key)
        if handles is not None:
            handles.discard(node)
            if not handles:
                del self._names[key]

    # -- changing ----------------------------------------------------------------------------------------------------
    def _writable_fd(self, directory: HostNode) -> int:
        """The descriptor of a directory that is about to change."""
        if not self.writable:
            raise _read_only()
        return self._directory_fd(directory)

    def create(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]:
        """See `HostTree`; `mode` is set whatever our own umask is."""
        fd = os.open(
            name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_DATA, mode & 0o777, dir_fd=self._writable_fd(directory)
        )
        try:
            os.fchmod(fd, mode & 0o7777)
            return self._node(directory, name, os.fstat(fd))
        finally:
            os.close(fd)

    def mkdir(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]:
        """See `HostTree`."""
        os.mkdir(name, mode & 0o777, dir_fd=self._writable_fd(directory))
        return self._made(directory, name, mode)

    def symlink(self, directory: HostNode, name: bytes, target: bytes) -> tuple[HostNode, HostStat]:
        """See `HostTree`."""
        os.symlink(target, name, dir_fd=self._writable_fd(directory))
        return self.lookup(directory, name)

    def mkfifo(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]:
        """See `HostTree`."""
        os.mkfifo(name, mode & 0o777, dir_fd=self._writable_fd(directory))
        return self._made(directory, name, mode)

    def _made(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]:
        """What was just made, with exactly the mode that was asked for."""
        node, st = self.lookup(directory, name)
        if st.mode & 0o7777 != mode & 0o7777:
            self.chmod(node, mode & 0o7777)
            st = self.lstat(node)
        return node, st

    def link(self, node: HostNode, directory: HostNode, name: bytes) -> None:
        """See `HostTree`."""
        new_fd = self._writable_fd(directory)
        old_fd, old_name = self._place(node)
        os.link(old_name, name, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)

    def unlink(self, directory: HostNode, name: bytes) -> None:
        """See `HostTree`. What is behind handles for the name can still be read and written."""
        fd = self._writable_fd(directory)
        self._pin(directory, name)
        os.unlink(name, dir_fd=fd)

    def _pin(self, directory: HostNode, name: bytes) -> None:
        """A regular file is about to lose this name: keep it open for both directions, as far as we may."""
        for node in self._names.get((directory, name), ()):
            for write in (False, True):
                key = (node, write)
                if key in self._pinned:
                    continue
                fd = self._data.pop(key, None)
                try:
                    self._pinned[key] = self._open_data(node, write=write) if fd is None else fd
                except OSError:
                    continue

    def rmdir(self, directory: HostNode, name: bytes) -> None:
        """See `HostTree`."""
        os.rmdir(name, dir_fd=self._writable_fd(directory))

    def rename(self, old: HostNode, old_name: bytes, new: HostNode, new_name: bytes, flags: int) -> None:
        """See `HostTree`. Handles for the name go along."""
        old_fd = self._writable_fd(old)
        new_fd = self._writable_fd(new)
        if flags:
            from emu.host.libc import renameat2

            renameat2(old_fd, old_name, new_fd, new_name, flags)
        else:
            self._pin(new, new_name)
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        moved = self._names.pop((old, old_name), set())
        replaced = self._names.pop((new, new_name), set())
        self._rename_handles(moved, new, new_name)
        if flags & 2:
            self._rename_handles(replaced, old, old_name)

    def _rename_handles(self, nodes: set[HostNode], directory: HostNode, name: bytes) -> None:
        """Handles stand for another name now."""
        for node in nodes:
            entry = self._nodes[node]
            entry.parent = directory
            entry.name = name
        if nodes:
            self._names.setdefault((directory, name), set()).update(nodes)

    def pwrite(self, node: HostNode, data: bytes | memoryview, offset: int) -> int:
        """See `HostTree`."""
        if not self.writable:
            raise _read_only()
        return os.pwrite(self._data_fd(node, write=True), data, offset)

    def truncate(self, node: HostNode, size: int) -> None:
        """See `HostTree`."""
        if not self.writable:
            raise _read_only()
        os.ftruncate(self._data_fd(node, write=True), size)

    def chmod(self, node: HostNode, mode: int) -> None:
        """See `HostTree`."""
        self._by_path(node, lambda path: os.chmod(path, mode))

    def chown(self, node: HostNode, uid: int, gid: int) -> None:
        """See `HostTree`."""
        if not self.writable:
            raise _read_only()
        directory, name = self._place(node)
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    def utimens(self, node: HostNode, atime_ns: int, mtime_ns: int) -> None:
        """See `HostTree`."""
        if not self.writable:
            raise _read_only()
        directory, name = self._place(node)
        os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)

    def fsync(self, node: HostNode) -> None:
        """See `HostTree`."""
        os.fsync(self._data_fd(node, write=self.writable))

    def setxattr(self, node: HostNode, name: bytes, value: bytes, flags: int) -> None:
        """See `HostTree`."""
        self._by_path(node, lambda path: os.setxattr(path, name, value, flags))

    def removexattr(self, node: HostNode, name: bytes) -> None:
        """See `HostTree`."""
        self._by_path(node, lambda path: os.removexattr(path, name))

    def _by_path(self, node: HostNode, change: Callable[[str], None]) -> None:
        """Change a file through an O_PATH descriptor, for calls that would follow a link at the name itself."""
        if not self.writable:
            raise _read_only()
        fd = self._open_path(node)
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            change(_by_fd(fd))
        finally:
            os.close(fd)


def _by_fd(fd: int) -> str:
    """A path that leads to exactly what the descriptor holds."""
    return f"/proc/self/fd/{fd}"


def _d_type(entry: os.DirEntry[str]) -> int:
    """DT_* of a directory entry."""
    if entry.is_symlink():
        return stat.S_IFLNK >> 12
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR >> 12
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG >> 12
    try:
        return entry.stat(follow_symlinks=False).st_mode >> 12
    except OSError:
        return 0
