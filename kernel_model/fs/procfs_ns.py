"""/proc/<pid>/ns and /proc/<pid>/timens_offsets (fs/proc/namespaces.c, fs/proc/base.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.fs.inode import DirEntry, Inode
from kernel_model.fs.nsfs import ns_name, ns_path
from kernel_model.fs.procfs_task import TaskInode, alive, need_look, task_ino
from kernel_model.fs.pseudo import S_IFDIR, S_IFLNK, KernelSuperBlock, TextFile, TextInode
from kernel_model.ns.time import offsets_text, write_offsets
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import File
    from kernel_model.ns.nsproxy import Namespace
    from kernel_model.task import Task

_NS_INO: Final = 0x2000


def _pid_for_children(target: Task) -> Namespace | None:
    """It is not shown before it has a first process (pidns_for_children_get())."""
    ns = target.nsproxy.pid_ns_for_children
    return ns if ns.parent is None or ns.child_reaper else None


_LINKS: Final[dict[bytes, Callable[[Task], Namespace | None]]] = {
    b"uts": lambda target: target.nsproxy.uts_ns,
    b"pid": lambda target: target.pid_ns,
    b"pid_for_children": _pid_for_children,
    b"time": lambda target: target.nsproxy.time_ns,
    b"time_for_children": lambda target: target.nsproxy.time_ns_for_children,
}
_ORDER: Final = tuple(_LINKS)


class NsDir(TaskInode):
    """/proc/<pid>/ns: a magic link for each namespace of the task."""

    __slots__ = ("_first",)

    def __init__(self, sb: KernelSuperBlock, target: Task, index: int) -> None:
        super().__init__(sb, target, S_IFDIR | 0o511, index)
        self._first = _NS_INO + (index & 0x1000)

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        alive(self.target)
        if name not in _LINKS:
            raise SyscallError(errno.ENOENT)
        return NsLink(self.i_sb, self.target, self._first + _ORDER.index(name), name)

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        alive(self.target)
        return [
            DirEntry(name, task_ino(self.target, self._first + index), S_IFLNK >> 12)
            for index, name in enumerate(_ORDER)
        ]


class NsLink(TaskInode):
    """/proc/<pid>/ns/<kind>."""

    __slots__ = ("_name",)

    def __init__(self, sb: KernelSuperBlock, target: Task, index: int, name: bytes) -> None:
        super().__init__(sb, target, S_IFLNK | 0o777, index)
        self._name = name

    def _ns(self, task: Task) -> Namespace:
        """The namespace; of a task that has ended only that of its number is left."""
        target = self.target
        alive(target)
        need_look(task, target)
        ns = _LINKS[self._name](target) if target.exit_code is None or self._name == b"pid" else None
        if ns is None:
            raise SyscallError(errno.ENOENT)
        return ns

    def readlink(self) -> bytes:
        """`pid:[4026531836]`."""
        return ns_name(self._ns(self.i_sb.kernel.current))

    def magic_link(self, task: Task) -> Path | None:
        """The namespace as a file."""
        return ns_path(task.kernel, self._ns(task))


class TimensInode(TextInode):
    """/proc/<pid>/timens_offsets."""

    __slots__ = ("target",)

    def __init__(self, sb: KernelSuperBlock, target: Task, index: int) -> None:
        def contents(task: Task) -> bytes:
            alive(target)
            return offsets_text(target)

        cred = target.cred
        owner = (cred.euid, cred.egid) if target.ptrace_dumpable == 1 else (0, 0)
        super().__init__(sb, contents, mode=0o644, ino=task_ino(target, index), owner=owner, stays=False)
        self.target = target

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`."""
        return TimensFile(self, path, flags)


class TimensFile(TextFile):
    """It is written as a whole, at its beginning (timens_offsets_write())."""

    __slots__ = ("_target",)

    def __init__(self, inode: TimensInode, path: Path | None, flags: int) -> None:
        super().__init__(inode, path, flags)
        self._target = inode.target

    def write(self, task: Task, data: bytes) -> int:
        """See `File`."""
        taken = self.pwrite(task, data, self.f_pos)
        self.f_pos += taken
        return taken

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """See `File`."""
        if pos:
            raise SyscallError(errno.EINVAL)
        alive(self._target)
        return write_offsets(self._target, task, data)
