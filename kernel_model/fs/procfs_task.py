"""/proc/<pid>: one directory for each task (fs/proc/base.c, fs/proc/fd.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.cred import CAP_SYS_RESOURCE
from kernel_model.fs import procfs_maps as maps
from kernel_model.fs import procfs_mounts as mounts
from kernel_model.fs import procfs_status as tell
from kernel_model.fs.inode import DirEntry, Inode
from kernel_model.fs.mount import INTERNAL_MOUNT_ID
from kernel_model.fs.namei import file_path
from kernel_model.fs.names import file_name, path_name
from kernel_model.fs.pseudo import S_IFDIR, S_IFLNK, S_IFREG, KernelSuperBlock, PseudoInode, TextInode
from kernel_model.mm.uaccess import copy_from_user_partial
from kernel_model.oom import oom_score
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import File
    from kernel_model.task import Task

_TASK_COMM_LEN: Final = 16
_OOM_SCORE_ADJ_MAX: Final = 1000
_ARGS_CHUNK_BYTES: Final = 1 << 20
_FD_INO: Final = 0x4000
_FDINFO_INO: Final = 0x8000

Tell = Callable[["Task", "Task"], bytes]
"""(whose directory, who reads) -> contents."""


def task_ino(task: Task, index: int) -> int:
    """The inode number of file `index` of the task: the same at every lookup."""
    return task.pid << 32 | index


def may_look(task: Task, target: Task) -> bool:
    """May `task` see what is private to `target`? kernel/ptrace.c:ptrace_may_access(), with
    PTRACE_MODE_READ.
    """
    if task.tgid == target.tgid or task.mm is target.mm:
        return True
    from kernel_model.syscalls.cred import may_access

    return may_access(task, target)


def alive(target: Task) -> None:
    """ESRCH once the task is gone."""
    if target.kernel.tasks.get(target.pid) is not target:
        raise SyscallError(errno.ESRCH)


# -- contents ------------------------------------------------------------------------------------------------
def _memory(target: Task, start: int, end: int) -> bytes:
    """What the target's memory holds in [start, end)."""
    return copy_from_user_partial(target.mm, start, min(max(0, end - start), _ARGS_CHUNK_BYTES))


def _cmdline(target: Task, task: Task) -> bytes:
    """The arguments, each with its NUL; a program may have written its title there (get_mm_cmdline())."""
    mm = target.mm
    if mm.arg_start >= mm.arg_end:
        return b"".join(arg + b"\0" for arg in target.argv)
    data = _memory(target, mm.arg_start, mm.arg_end)
    if data[-1:] == b"\0" or mm.env_start != mm.arg_end or mm.env_end <= mm.env_start:
        return data
    title = _memory(target, mm.arg_start, min(mm.env_end, mm.arg_start + PAGE_SIZE))
    head, nul, _ = title.partition(b"\0")
    return head + nul


def _environ(target: Task, task: Task) -> bytes:
    need_look(task, target)
    return _memory(target, target.mm.env_start, target.mm.env_end)


def need_look(task: Task, target: Task) -> None:
    """EACCES for whom the target's private matters are none of theirs."""
    if not may_look(task, target):
        raise SyscallError(errno.EACCES)


def _private(text: Tell) -> Tell:
    """Contents for those only who may look into the target."""

    def checked(target: Task, task: Task) -> bytes:
        need_look(task, target)
        return text(target, task)

    return checked


def _set_comm(target: Task, task: Task, data: bytes) -> None:
    if task.tgid != target.tgid:
        raise SyscallError(errno.EINVAL)
    target.comm = data[: _TASK_COMM_LEN - 1].split(b"\0", 1)[0]


def _set_oom_score_adj(target: Task, task: Task, data: bytes) -> None:
    """Lowering it takes CAP_SYS_RESOURCE (oom_score_adj_write(), __set_oom_adj())."""
    try:
        value = int(data.strip(b" \n\0"), 0)
    except ValueError:
        raise SyscallError(errno.EINVAL) from None
    if not -_OOM_SCORE_ADJ_MAX <= value <= _OOM_SCORE_ADJ_MAX:
        raise SyscallError(errno.EINVAL)
    if value < target.signal.oom_score_adj and not task.cred.capable(CAP_SYS_RESOURCE):
        raise SyscallError(errno.EACCES)
    target.signal.oom_score_adj = value


def _io(target: Task, task: Task) -> bytes:
    """Nothing is counted: storage is not the guest's."""
    return b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"


def _turns(name: str) -> Tell:
    """What `kernel_model.fs.procfs_sched` tells, which few ask for."""

    def text(target: Task, task: Task) -> bytes:
        from kernel_model.fs.procfs_sched import TEXTS

        return TEXTS[name](target)

    return text


_ID_MAP: Final = b"%10u %10u %10u\n" % (0, 0, 0xFFFF_FFFF)

_TEXTS: Final[dict[bytes, tuple[int, Tell]]] = {
    b"auxv": (0o400, _private(lambda target, task: target.auxv)),
    b"cgroup": (0o444, lambda target, task: b"0::/\n"),
    b"cmdline": (0o444, _cmdline),
    b"comm": (0o644, lambda target, task: target.comm + b"\n"),
    b"coredump_filter": (0o444, lambda target, task: b"00000033\n"),
    b"environ": (0o400, _environ),
    b"gid_map": (0o444, lambda target, task: _ID_MAP),
    b"io": (0o400, _private(_io)),
    b"limits": (0o444, lambda target, task: tell.limits(target)),
    b"loginuid": (0o444, lambda target, task: b"%d" % 0xFFFF_FFFF),
    b"maps": (0o444, _private(maps.maps)),
    b"mountinfo": (0o444, mounts.mountinfo),
    b"mounts": (0o444, mounts.mounts),
    b"oom_score": (0o444, lambda target, task: b"%d\n" % oom_score(target)),
    b"oom_score_adj": (0o644, lambda target, task: b"%d\n" % target.signal.oom_score_adj),
    b"personality": (0o400, _private(lambda target, task: b"%08x\n" % target.personality)),
    b"children": (0o444, _turns("children")),
    b"sched": (0o644, _turns("sched")),
    b"schedstat": (0o444, _turns("schedstat")),
    b"timers": (0o444, _turns("timers")),
    b"sessionid": (0o444, lambda target, task: b"%d" % 0xFFFF_FFFF),
    b"setgroups": (0o444, lambda target, task: b"allow\n"),
    b"smaps": (0o444, _private(maps.smaps)),
    b"smaps_rollup": (0o444, _private(maps.smaps_rollup)),
    b"stat": (0o444, lambda target, task: tell.stat(target)),
    b"statm": (0o444, lambda target, task: tell.statm(target)),
    b"status": (0o444, lambda target, task: tell.status(target)),
    b"syscall": (0o400, _private(lambda target, task: tell.syscall(target))),
    b"timerslack_ns": (0o444, _private(lambda target, task: b"%d\n" % target.timer_slack_ns)),
    b"uid_map": (0o444, lambda target, task: _ID_MAP),
    b"wchan": (0o444, lambda target, task: b"0"),
}
_STORES: Final = {b"comm": _set_comm, b"oom_score_adj": _set_oom_score_adj}
_LINKS: Final[dict[bytes, Callable[[Task], Path | None]]] = {
    b"cwd": lambda target: target.fs.pwd,
    b"exe": lambda target: target.exe,
    b"root": lambda target: target.fs.root,
}
_NOT_OF_THREADS: Final = frozenset((b"task", b"timens_offsets", b"timers"))
_NOT_OF_PROCESSES: Final = frozenset((b"children",))
_DIRS: Final = {b"fd": 0o500, b"fdinfo": 0o555, b"ns": 0o511, b"task": 0o555}
_ORDER: Final = tuple(sorted((*_TEXTS, *_LINKS, *_DIRS, b"mem", b"timens_offsets")))
_INDEX: Final = {name: index for index, name in enumerate(_ORDER, 1)}


# -- the directory -------------------------------------------------------------------------------------------
class TaskInode(PseudoInode):
    """Anything below /proc/<pid>. It is the target's own, unless the target may not be looked into."""

    __slots__ = ("target",)

    def __init__(self, sb: KernelSuperBlock, target: Task, mode: int, index: int) -> None:
        cred = target.cred
        dumpable = target.ptrace_dumpable == 1 or mode == S_IFDIR | 0o555
        owner = (cred.euid, cred.egid) if dumpable else (0, 0)
        super().__init__(sb, mode, ino=task_ino(target, index), owner=owner, stays=False)
        self.target = target


class TaskDir(TaskInode):
    """/proc/<pid>, or /proc/<pid>/task/<tid> (`thread`), which has no task directory of its own."""

    __slots__ = ("_lacks", "thread")

    def __init__(self, sb: KernelSuperBlock, target: Task, *, thread: bool = False) -> None:
        super().__init__(sb, target, S_IFDIR | 0o555, 0x1000 if thread else 0)
        self.thread = thread
        self._lacks = _NOT_OF_THREADS if thread else _NOT_OF_PROCESSES
        self.i_nlink = 2 + len(_DIRS) - thread

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        sb, target = self.i_sb, self.target
        alive(target)
        index = _INDEX.get(name)
        if index is None or name in self._lacks:
            raise SyscallError(errno.ENOENT)
        if self.thread:
            index += 0x1000
        if name in _TEXTS:
            return _task_text(sb, target, name, index, whole=not self.thread)
        if name in _LINKS:
            return TaskLink(sb, target, index, _LINKS[name])
        if name == b"fd":
            return FdDir(sb, target, S_IFDIR | _DIRS[name], index)
        if name == b"fdinfo":
            return FdInfoDir(sb, target, S_IFDIR | _DIRS[name], index)
        if name == b"task":
            return ThreadsDir(sb, target, S_IFDIR | _DIRS[name], index)
        if name in (b"ns", b"timens_offsets"):
            from kernel_model.fs.procfs_ns import NsDir, TimensInode

            return NsDir(sb, target, index) if name == b"ns" else TimensInode(sb, target, index)
        return MemInode(sb, target, S_IFREG | 0o600, index)

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        alive(self.target)
        first = 0x1000 if self.thread else 0
        return [
            DirEntry(name, task_ino(self.target, first + index), _d_type(name))
            for name, index in _INDEX.items()
            if name not in self._lacks
        ]


def _d_type(name: bytes) -> int:
    """DT_* of an entry of a `TaskDir`."""
    if name in _LINKS:
        return S_IFLNK >> 12
    return (S_IFDIR if name in _DIRS else S_IFREG) >> 12


def _task_text(sb: KernelSuperBlock, target: Task, name: bytes, index: int, *, whole: bool) -> TextInode:
    """A text file of `_TEXTS`. `whole`: of the process, not of one thread."""
    mode, text = _TEXTS[name]
    if name == b"stat" and not whole:
        text = _thread_stat

    def contents(task: Task) -> bytes:
        alive(target)
        return text(target, task)

    store = None
    if name in _STORES:
        write = _STORES[name]

        def store(task: Task, data: bytes) -> None:
            alive(target)
            write(target, task, data)

    cred = target.cred
    owner = (cred.euid, cred.egid) if target.ptrace_dumpable == 1 else (0, 0)
    return TextInode(sb, contents, mode=mode, store=store, ino=task_ino(target, index), owner=owner, stays=False)


def _thread_stat(target: Task, task: Task) -> bytes:
    return tell.stat(target, whole=False)


class TaskLink(TaskInode):
    """cwd, exe, root: leads to a place whatever its name is now (a magic link)."""

    __slots__ = ("_place",)

    def __init__(self, sb: KernelSuperBlock, target: Task, index: int, place: Callable[[Task], Path | None]) -> None:
        super().__init__(sb, target, S_IFLNK | 0o777, index)
        self._place = place

    def _path(self, task: Task) -> Path:
        alive(self.target)
        need_look(task, self.target)
        path = self._place(self.target)
        if path is None:
            raise SyscallError(errno.ENOENT)
        return path

    def readlink(self) -> bytes:
        """The name of the place, for people."""
        task = self.i_sb.kernel.current
        return path_name(task, self._path(task))

    def magic_link(self, task: Task) -> Path | None:
        """The place."""
        return self._path(task)


class MemInode(TaskInode):
    """/proc/<pid>/mem."""

    __slots__ = ()

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`."""
        alive(self.target)
        need_look(task, self.target)
        return maps.MemFile(self, path, flags, self.target.mm)

    def truncate(self, size: int) -> None:
        """O_TRUNC means nothing to it."""


# -- descriptors ---------------------------------------------------------------------------------------------
def _fd_number(target: Task, name: bytes) -> tuple[int, File]:
    """The descriptor that `name` means, as /proc writes numbers; ENOENT."""
    alive(target)
    if name.isdigit() and (name == b"0" or name[:1] != b"0") and len(name) <= 10:
        file = target.files.fd.get(int(name))
        if file is not None:
            return int(name), file
    raise SyscallError(errno.ENOENT)


class FdDir(TaskInode):
    """/proc/<pid>/fd: a magic link for each open descriptor."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        fd, file = _fd_number(self.target, name)
        return FdLink(self.i_sb, self.target, fd, file)

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        alive(self.target)
        need_look(self.i_sb.kernel.current, self.target)
        return [
            DirEntry(b"%d" % fd, task_ino(self.target, _FD_INO + fd), S_IFLNK >> 12)
            for fd in sorted(self.target.files.fd)
        ]


class FdLink(TaskInode):
    """/proc/<pid>/fd/N."""

    __slots__ = ("_fd",)

    def __init__(self, sb: KernelSuperBlock, target: Task, fd: int, file: File) -> None:
        # fs/proc/fd.c:tid_fd_update_inode()
        mode = S_IFLNK | (0o500 if file.readable else 0) | (0o300 if file.writable else 0)
        super().__init__(sb, target, mode, _FD_INO + fd)
        self.i_size = 64
        self._fd = fd

    def _file(self, task: Task) -> File:
        alive(self.target)
        need_look(task, self.target)
        file = self.target.files.fd.get(self._fd)
        if file is None:
            raise SyscallError(errno.ENOENT)
        return file

    def readlink(self) -> bytes:
        """What is open there, for people."""
        task = self.i_sb.kernel.current
        return file_name(task, self._file(task))

    def magic_link(self, task: Task) -> Path | None:
        """What is open there."""
        return file_path(self._file(task))


class FdInfoDir(TaskInode):
    """/proc/<pid>/fdinfo."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        target = self.target
        fd, _ = _fd_number(target, name)
        owner = (self.i_uid, self.i_gid)
        return TextInode(
            self.i_sb,
            lambda task: _fdinfo(target, fd, task),
            ino=task_ino(target, _FDINFO_INO + fd),
            owner=owner,
            stays=False,
        )

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        alive(self.target)
        need_look(self.i_sb.kernel.current, self.target)
        return [
            DirEntry(b"%d" % fd, task_ino(self.target, _FDINFO_INO + fd), S_IFREG >> 12)
            for fd in sorted(self.target.files.fd)
        ]


def _fdinfo(target: Task, fd: int, task: Task) -> bytes:
    """/proc/<pid>/fdinfo/N. fs/proc/fd.c:seq_show()."""
    alive(target)
    need_look(task, target)
    file = target.files.fd.get(fd)
    if file is None:
        raise SyscallError(errno.ENOENT)
    flags = target.kernel.arch.open_flags_to_user(file.f_flags)
    if fd in target.files.cloexec:
        flags |= O_CLOEXEC
    mnt_id = file.f_path.mnt.mnt_id if file.f_path is not None else INTERNAL_MOUNT_ID
    head = b"pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n" % (file.f_pos, flags, mnt_id, file.inode.i_ino)
    if file.inode.locks:
        from kernel_model.fs.procfs_locks import fd_locks

        head += fd_locks(target, file)
    return head + file.show_fdinfo(task)


class ThreadsDir(TaskInode):
    """/proc/<pid>/task."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        alive(self.target)
        for thread in tell.threads_of(self.target):
            if name == b"%d" % thread.pid:
                return TaskDir(self.i_sb, thread, thread=True)
        raise SyscallError(errno.ENOENT)

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        alive(self.target)
        return [
            DirEntry(b"%d" % thread.pid, task_ino(thread, 0x1000), S_IFDIR >> 12)
            for thread in tell.threads_of(self.target)
        ]
