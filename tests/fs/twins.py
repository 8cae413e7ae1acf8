"""The same file operations on the host and in the model, for comparing what they answer and leave behind."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as HostPath
from typing import Any

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_FDCWD, O_CLOEXEC, O_NONBLOCK, O_PATH
from kernel_model.fs import vfs
from kernel_model.fs.file import File, put_file
from kernel_model.fs.mount import TreeOptions, build_tree
from kernel_model.fs.namei import path_lookup
from kernel_model.fs.open import do_open
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked
from tests.support.model import Model, make_model

_libc = ctypes.CDLL(None, use_errno=True)


def make_tree_model(options: TreeOptions) -> Model:
    """A model whose tree is what `options` say; its task is whoever runs the tests."""
    model = make_model()
    build_tree(model.kernel, options)
    task = model.task
    task.fs.root = task.fs.pwd = model.kernel.mounts.root
    task.cred = type(task.cred).of(os.geteuid(), os.getegid(), tuple(os.getgroups()))
    return model


def close_model(model: Model) -> None:
    """Give back the host descriptors that a model holds."""
    for mnt in model.kernel.mounts.mounts:
        if mnt.fs_type in ("overlay", "bind"):
            mnt.mnt_sb.tree.close()  # type: ignore[attr-defined]
    model.kernel.host.close()  # type: ignore[attr-defined]


@dataclass
class Native:
    """Operations on the host, relative to a directory. Each answers plain values or raises OSError."""

    root: HostPath
    kept: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY)

    def close(self) -> None:
        for fd in [*self.kept, self.fd]:
            os.close(fd)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode, dir_fd=self.fd)

    def rmdir(self, path: str) -> None:
        os.rmdir(path, dir_fd=self.fd)

    def unlink(self, path: str) -> None:
        os.unlink(path, dir_fd=self.fd)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, path, dir_fd=self.fd)

    def link(self, old: str, new: str, follow: bool) -> None:
        # os.link drops follow_symlinks=False on some versions: the flag is AT_SYMLINK_FOLLOW or nothing.
        self._raw(_libc.linkat, self.fd, old.encode(), self.fd, new.encode(), 0x400 if follow else 0)

    def rename(self, old: str, new: str, flags: int) -> None:
        self._raw(_libc.renameat2, self.fd, old.encode(), self.fd, new.encode(), flags)

    def mkfifo(self, path: str, mode: int) -> None:
        os.mkfifo(path, mode, dir_fd=self.fd)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode, dir_fd=self.fd)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self._absolute(path), size)

    def utime(self, path: str, seconds: int) -> None:
        os.utime(path, (seconds, seconds), dir_fd=self.fd)

    def touch(self, path: str) -> None:
        os.utime(path, None, dir_fd=self.fd)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(path, uid, gid, dir_fd=self.fd)

    def readlink(self, path: str) -> str:
        return os.readlink(path, dir_fd=self.fd)

    def stat(self, path: str, follow: bool) -> tuple[int, ...]:
        return _facts(os.stat(path, dir_fd=self.fd, follow_symlinks=follow))

    def listdir(self, path: str) -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def open(self, path: str, flags: int, mode: int, keep: bool) -> tuple[int, ...]:
        fd = os.open(path, flags | os.O_NONBLOCK, mode, dir_fd=self.fd)
        if keep:
            self.kept.append(fd)
        try:
            return (fcntl.fcntl(fd, fcntl.F_GETFL), *_facts(os.fstat(fd)))
        finally:
            if not keep:
                os.close(fd)

    def write(self, index: int, data: bytes, pos: int | None) -> int:
        fd = self.kept[index]
        return os.write(fd, data) if pos is None else os.pwrite(fd, data, pos)

    def read(self, index: int, count: int, pos: int | None) -> bytes:
        fd = self.kept[index]
        return os.read(fd, count) if pos is None else os.pread(fd, count, pos)

    def seek(self, index: int, offset: int, whence: int) -> int:
        return os.lseek(self.kept[index], offset, whence)

    def fstat(self, index: int) -> tuple[int, ...]:
        return _facts(os.fstat(self.kept[index]))

    def drop(self, index: int) -> None:
        os.close(self.kept.pop(index))

    def _absolute(self, path: str) -> str:
        # truncate(2) knows no directory descriptor.
        return f"/proc/self/fd/{self.fd}/{path}" if path else ""

    @staticmethod
    def _raw(call: Any, *args: object) -> None:
        if call(*args):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _facts(st: os.stat_result) -> tuple[int, ...]:
    """What must be the same on both sides."""
    if stat.S_ISDIR(st.st_mode):
        return (st.st_mode, st.st_uid, st.st_gid, 0, st.st_nlink)
    return (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_nlink)


@dataclass
class Modelled:
    """The same operations in the model, relative to a directory of its tree."""

    model: Model
    directory: bytes
    kept: list[File] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task = self.model.task
        self.task.fs.pwd = path_lookup(self.task, AT_FDCWD, self.directory)

    def close(self) -> None:
        for file in self.kept:
            put_file(file, self.task)

    def mkdir(self, path: str, mode: int) -> None:
        vfs.do_mkdirat(self.task, AT_FDCWD, path.encode(), mode)

    def rmdir(self, path: str) -> None:
        vfs.do_rmdir(self.task, AT_FDCWD, path.encode())

    def unlink(self, path: str) -> None:
        vfs.do_unlinkat(self.task, AT_FDCWD, path.encode())

    def symlink(self, target: str, path: str) -> None:
        vfs.do_symlinkat(self.task, target.encode(), AT_FDCWD, path.encode())

    def link(self, old: str, new: str, follow: bool) -> None:
        place = path_lookup(self.task, AT_FDCWD, old.encode(), follow=follow)
        vfs.do_linkat(self.task, place, AT_FDCWD, new.encode())

    def rename(self, old: str, new: str, flags: int) -> None:
        vfs.do_renameat2(self.task, AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags)

    def mkfifo(self, path: str, mode: int) -> None:
        vfs.do_mknodat(self.task, AT_FDCWD, path.encode(), stat.S_IFIFO | mode, 0)

    def chmod(self, path: str, mode: int) -> None:
        vfs.vfs_chmod(self.task, path_lookup(self.task, AT_FDCWD, path.encode()), mode)

    def truncate(self, path: str, size: int) -> None:
        vfs.vfs_truncate(self.task, path_lookup(self.task, AT_FDCWD, path.encode()), size)

    def utime(self, path: str, seconds: int) -> None:
        place = path_lookup(self.task, AT_FDCWD, path.encode())
        vfs.vfs_utimes(self.task, place, seconds * 10**9, seconds * 10**9, touch=False)

    def touch(self, path: str) -> None:
        now = vfs.current_time(self.task)
        vfs.vfs_utimes(self.task, path_lookup(self.task, AT_FDCWD, path.encode()), now, now, touch=True)

    def chown(self, path: str, uid: int, gid: int) -> None:
        vfs.vfs_chown(self.task, path_lookup(self.task, AT_FDCWD, path.encode()), uid, gid)

    def readlink(self, path: str) -> str:
        place = path_lookup(self.task, AT_FDCWD, path.encode(), follow=False)
        return place.inode.readlink().decode()

    def stat(self, path: str, follow: bool) -> tuple[int, ...]:
        return self._facts(path_lookup(self.task, AT_FDCWD, path.encode(), follow=follow).inode)

    def listdir(self, path: str) -> list[str]:
        file = do_open(self.task, AT_FDCWD, path.encode(), os.O_RDONLY | os.O_DIRECTORY)
        try:
            entries = file.iterate_from(0)  # type: ignore[attr-defined]
            for entry in entries[2:]:
                inode = file.inode.lookup(entry.name)
                assert (entry.ino, entry.d_type) == (inode.i_ino, inode.i_mode >> 12)
            return sorted(entry.name.decode() for entry in entries[2:])
        finally:
            put_file(file, self.task)

    def open(self, path: str, flags: int, mode: int, keep: bool) -> tuple[int, ...]:
        file = do_open(self.task, AT_FDCWD, path.encode(), flags | O_NONBLOCK | O_CLOEXEC, mode)
        if keep:
            self.kept.append(file)
        try:
            return (file.f_flags, *self._facts(file.inode))
        finally:
            if not keep:
                put_file(file, self.task)

    def write(self, index: int, data: bytes, pos: int | None) -> int:
        file = self._checked(index, pos)
        if not file.writable:
            raise SyscallError(errno.EBADF)
        return file.write(self.task, data) if pos is None else file.pwrite(self.task, data, pos)

    def read(self, index: int, count: int, pos: int | None) -> bytes:
        file = self._checked(index, pos)
        if not file.readable:
            raise SyscallError(errno.EBADF)
        return file.read(self.task, count) if pos is None else file.pread(self.task, count, pos)

    def _checked(self, index: int, pos: int | None) -> File:
        """What the system calls check before they ask for read or write."""
        file = self.kept[index]
        if pos is not None and stat.S_ISFIFO(file.inode.i_mode) and not file.f_flags & O_PATH:
            raise SyscallError(errno.ESPIPE)
        return file

    def seek(self, index: int, offset: int, whence: int) -> int:
        return self.kept[index].llseek(self.task, offset, whence)

    def fstat(self, index: int) -> tuple[int, ...]:
        return self._facts(self.kept[index].inode)

    def drop(self, index: int) -> None:
        put_file(self.kept.pop(index), self.task)

    @staticmethod
    def _facts(inode: Any) -> tuple[int, ...]:
        st = inode.getattr()
        if stat.S_ISDIR(st.mode):
            return (st.mode, st.uid, st.gid, 0, st.nlink)
        return (st.mode, st.uid, st.gid, st.size, st.nlink)


def answer(call: Callable[[], Any]) -> Any:
    """What a call returns, or the errno it fails with."""
    try:
        return ("returns", call())
    except OSError as error:
        return ("fails", errno.errno_name(error.errno or 0))
    except SyscallError as error:
        return ("fails", errno.errno_name(error.errno))
    except Blocked:
        return ("blocks",)


def walk(side: Native | Modelled, path: str = ".") -> dict[str, Any]:
    """Everything below `path`: facts, contents, link texts."""
    tree: dict[str, Any] = {}
    pending = [path]
    while pending:
        current = pending.pop()
        facts = side.stat(current, False)
        contents: Any = None
        if stat.S_ISDIR(facts[0]):
            contents = side.listdir(current)
            pending += [f"{current}/{name}" for name in contents]
        elif stat.S_ISLNK(facts[0]):
            contents = side.readlink(current)
        elif stat.S_ISREG(facts[0]):
            side.open(current, os.O_RDONLY, 0, True)
            contents = side.read(-1, 1 << 20, 0)
            side.drop(-1)
        tree[current] = (facts, contents)
    return tree


def snapshot(root: HostPath) -> list[Any]:
    """The whole of a host directory: to see that nothing changed in it."""
    result = []
    for directory, _, files in sorted(os.walk(root)):
        for name in [".", *sorted(files)]:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            contents: bytes | str = ""
            if stat.S_ISREG(st.st_mode):
                contents = HostPath(path).read_bytes()
            elif stat.S_ISLNK(st.st_mode):
                contents = os.readlink(path)
            result.append(
                (path, st.st_mode, st.st_uid, st.st_nlink, st.st_ino, st.st_mtime_ns, st.st_ctime_ns, contents)
            )
    return result


@contextlib.contextmanager
def usual_umask() -> Iterator[None]:
    """The model's first task has this one."""
    old = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(old)
