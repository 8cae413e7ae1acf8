"""Descriptors and descriptions: dup(2), fcntl(2), flock(2), ioctl(2). fs/fcntl.c, fs/file.c, fs/locks.c, fs/ioctl.c."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno, ioctls
from kernel_model.abi import fcntl as abi
from kernel_model.abi.fcntl import O_ASYNC, O_CLOEXEC, O_DIRECT, O_NOATIME, O_NONBLOCK, O_PATH, O_WRONLY
from kernel_model.abi.fs import SEEK_CUR, SEEK_END, SEEK_SET
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.file import NO_OWNER, FileOwner, get_file
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.ns.pid import find_vpid, pid_vnr
from kernel_model.syscalls.declare import Hex, syscall
from kernel_model.syscalls.kinds import FcntlArg, FcntlCmd, FlockCmd, IoctlCmd, OpenFlags, UFd
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import PAGE_SIZE, U32_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.fs.file import File
    from kernel_model.task import Task

FLOCK: Final = Struct("<hh4xqqi4x")
"""`struct flock`: type, whence, start, len, pid; 32 bytes."""
_INT: Final = Struct("<i")
_TWO_INTS: Final = Struct("<ii")
_TWO_UINTS: Final = Struct("<II")
_U64: Final = Struct("<Q")
_CLONE_RANGE: Final = Struct("<qQQQ")
"""`struct file_clone_range`: src_fd, src_offset, src_length, dest_offset."""
_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFDIR: Final = 0o040000
_S_IFLNK: Final = 0o120000
_S_IFIFO: Final = 0o010000
_S_IFCHR: Final = 0o020000
_S_IFSOCK: Final = 0o140000
_MEM_MAJOR: Final = 1
_DN_MULTISHOT: Final = 0x8000_0000
_LOCK_MAND: Final = 32


# -- dup --------------------------------------------------------------------------------------------------------------
@syscall(returns="fd")
def sys_dup(task: Task, fildes: UFd) -> int:
    """dup(2)."""
    files = task.files
    file = files.get(fildes)
    fd = files.install(file, task.signal.rlim[RLIMIT_NOFILE][0])
    get_file(file)
    return fd


@syscall(returns="fd")
def sys_dup2(task: Task, oldfd: UFd, newfd: UFd) -> int:
    """dup2(2): nothing happens to a descriptor duplicated onto itself."""
    if oldfd == newfd:
        task.files.get(oldfd)
        return newfd
    return sys_dup3(task, oldfd, newfd, 0)


@syscall(returns="fd")
def sys_dup3(task: Task, oldfd: UFd, newfd: UFd, flags: OpenFlags) -> int:
    """dup3(2)."""
    flags = task.kernel.arch.open_flags_from_user(flags)
    if flags & ~O_CLOEXEC or oldfd == newfd:
        raise SyscallError(errno.EINVAL)
    if newfd >= task.signal.rlim[RLIMIT_NOFILE][0]:
        raise SyscallError(errno.EBADF)
    file = get_file(task.files.get(oldfd))
    task.files.replace(newfd, file, task, cloexec=bool(flags))
    return newfd


# -- fcntl ------------------------------------------------------------------------------------------------------------
@syscall(
    partial="Leases and F_NOTIFY are refused with EINVAL, F_CREATED_QUERY is not known, and O_ASYNC sends no SIGIO."
)
def sys_fcntl(task: Task, fd: UFd, cmd: FcntlCmd, arg: FcntlArg) -> int:
    """fcntl(2). Few commands are for an O_PATH descriptor (fs/fcntl.c:check_fcntl_cmd())."""
    file = task.files.get(fd)
    if cmd == abi.F_GETFD:
        return int(fd in task.files.cloexec)
    if cmd == abi.F_SETFD:
        if arg & abi.FD_CLOEXEC:
            task.files.cloexec.add(fd)
        else:
            task.files.cloexec.discard(fd)
        return 0
    if cmd == abi.F_GETFL:
        return task.kernel.arch.open_flags_to_user(file.f_flags)
    command = _COMMANDS.get(cmd)
    if file.f_flags & O_PATH and cmd not in _FOR_O_PATH:
        raise SyscallError(errno.EBADF)
    if command is None:
        raise SyscallError(errno.EINVAL)
    return command(task, file, cmd, arg)


def _dupfd(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_DUPFD, F_DUPFD_CLOEXEC."""
    minimum = arg & U32_MASK
    limit = task.signal.rlim[RLIMIT_NOFILE][0]
    if minimum >= limit:
        raise SyscallError(errno.EINVAL)
    fd = task.files.install(file, limit, cloexec=cmd == abi.F_DUPFD_CLOEXEC, minimum=minimum)
    get_file(file)
    return fd


def _dupfd_query(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_DUPFD_QUERY: is descriptor `arg` of the same description?"""
    return int(task.files.get(arg & U32_MASK) is file)


def _has_fasync(file: File) -> bool:
    """Can the kind tell of input by SIGIO (`->fasync`)? Pipes, sockets and terminals can, /dev/null can't."""
    kind = file.inode.i_mode & _S_IFMT
    return kind in (_S_IFIFO, _S_IFSOCK) or (kind == _S_IFCHR and file.inode.i_rdev >> 8 != _MEM_MAJOR)


def _setfl(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETFL. fs/fcntl.c:setfl()."""
    from kernel_model.fs.permission import owner_or_capable

    flags = task.kernel.arch.open_flags_from_user(arg & U32_MASK)
    kind = file.inode.i_mode & _S_IFMT
    if flags & O_NOATIME & ~file.f_flags and not owner_or_capable(task.cred, file.inode):
        raise SyscallError(errno.EPERM)
    if flags & O_DIRECT and kind not in (_S_IFREG, _S_IFIFO):
        raise SyscallError(errno.EINVAL)
    mask = abi.SETFL_MASK
    if not _has_fasync(file):
        mask &= ~O_ASYNC
    file.f_flags = flags & mask | file.f_flags & ~mask
    return 0


# -- record locks -----------------------------------------------------------------------------------------------------
def _range_of(file: File, whence: int, start: int, length: int) -> tuple[int, int]:
    """(first, last) byte of a `struct flock`'s range. fs/locks.c:flock64_to_posix_lock()."""
    from kernel_model.fs.locks import OFFSET_MAX

    if whence == SEEK_SET:
        base = 0
    elif whence == SEEK_CUR:
        base = file.f_pos
    elif whence == SEEK_END:
        base = file.inode.i_size
    else:
        raise SyscallError(errno.EINVAL)
    first = base + start
    if first > OFFSET_MAX:
        raise SyscallError(errno.EOVERFLOW)
    if first < 0:
        raise SyscallError(errno.EINVAL)
    if length > 0:
        last = first + length - 1
        if last > OFFSET_MAX:
            raise SyscallError(errno.EOVERFLOW)
        return first, last
    if length < 0:
        if first + length < 0:
            raise SyscallError(errno.EINVAL)
        return first + length, first - 1
    return first, OFFSET_MAX


def _getlk(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETLK, F_OFD_GETLK: what would be in the way. fs/locks.c:fcntl_getlk()."""
    from kernel_model.fs import locks

    kind, whence, start, length, pid = get_user(task.mm, UserPtr(arg), FLOCK)
    ofd = cmd == abi.F_OFD_GETLK
    if kind not in (abi.F_RDLCK, abi.F_WRLCK) and not (ofd and kind == abi.F_UNLCK):
        raise SyscallError(errno.EINVAL)
    first, last = _range_of(file, whence, start, length)
    if ofd and pid:
        raise SyscallError(errno.EINVAL)
    found = locks.context(file.inode).conflict(file if ofd else task.files, kind, first, last)
    if found is None:
        put_user(task.mm, UserPtr(arg), FLOCK, abi.F_UNLCK, whence, start, length, pid)
        return 0
    held = found[1]
    length = 0 if held.end == locks.OFFSET_MAX else held.end - held.start + 1
    pid = pid_vnr(task, held.pid) if held.pid > 0 else held.pid
    put_user(task.mm, UserPtr(arg), FLOCK, held.type, SEEK_SET, held.start, length, pid)
    return 0


def _setlk(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETLK, F_SETLKW and their F_OFD_ forms. fs/locks.c:fcntl_setlk()."""
    from kernel_model.fs.locks import posix_lock

    kind, whence, start, length, pid = get_user(task.mm, UserPtr(arg), FLOCK)
    first, last = _range_of(file, whence, start, length)
    if kind not in (abi.F_RDLCK, abi.F_WRLCK, abi.F_UNLCK):
        raise SyscallError(errno.EINVAL)
    if (kind == abi.F_RDLCK and not file.readable) or (kind == abi.F_WRLCK and not file.writable):
        raise SyscallError(errno.EBADF)
    ofd = cmd in (abi.F_OFD_SETLK, abi.F_OFD_SETLKW)
    if ofd and pid:
        raise SyscallError(errno.EINVAL)
    owner = file if ofd else task.files
    wait = cmd in (abi.F_SETLKW, abi.F_OFD_SETLKW)
    posix_lock(task, file.inode, owner, -1 if ofd else task.tgid, (kind, first, last), wait=wait)
    return 0


@syscall()
def sys_flock(task: Task, fd: UFd, cmd: FlockCmd) -> int:
    """flock(2)."""
    from kernel_model.fs.locks import flock_lock

    if cmd & _LOCK_MAND:
        return 0
    kinds = {abi.LOCK_SH: abi.F_RDLCK, abi.LOCK_EX: abi.F_WRLCK, abi.LOCK_UN: abi.F_UNLCK}
    kind = kinds.get(cmd & ~abi.LOCK_NB)
    if kind is None:
        raise SyscallError(errno.EINVAL)
    file = fdget(task, fd)
    if kind != abi.F_UNLCK and not (file.readable or file.writable):
        raise SyscallError(errno.EBADF)
    flock_lock(file.inode, file, task.tgid, kind, wait=not cmd & abi.LOCK_NB)
    return 0


# -- who gets SIGIO ---------------------------------------------------------------------------------------------------
def _owner(file: File) -> FileOwner:
    """The owner of the description; pid 0 for none."""
    return file.f_owner or NO_OWNER


def _set_owner(task: Task, file: File, kind: int, pid: int) -> int:
    """fs/fcntl.c:__f_setown(): ESRCH unless there is such a task or group; 0 means nobody."""
    tasks = task.kernel.tasks.values()
    if pid:
        pid = find_vpid(task, pid)
        if kind == abi.F_OWNER_PGRP:
            there = any(other.signal.pgrp == pid for other in tasks)
        else:
            there = any(pid == (other.pid if kind == abi.F_OWNER_TID else other.tgid) for other in tasks)
        if not there:
            raise SyscallError(errno.ESRCH)
    file.f_owner = FileOwner(kind, pid, _owner(file).signum, task.cred.uid, task.cred.euid)
    return 0


def _setown(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETOWN: a negative number names a group."""
    pid = (arg & U32_MASK ^ 0x8000_0000) - 0x8000_0000
    if pid == -0x8000_0000:
        raise SyscallError(errno.EINVAL)
    return _set_owner(task, file, abi.F_OWNER_PGRP if pid < 0 else abi.F_OWNER_PID, abs(pid))


def _getown(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETOWN."""
    owner = _owner(file)
    pid = pid_vnr(task, owner.pid)
    return -pid if owner.type == abi.F_OWNER_PGRP else pid


def _setown_ex(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETOWN_EX."""
    kind, pid = get_user(task.mm, UserPtr(arg), _TWO_INTS)
    if kind not in (abi.F_OWNER_TID, abi.F_OWNER_PID, abi.F_OWNER_PGRP):
        raise SyscallError(errno.EINVAL)
    return _set_owner(task, file, kind, pid)


def _getown_ex(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETOWN_EX."""
    owner = _owner(file)
    put_user(task.mm, UserPtr(arg), _TWO_INTS, owner.type, pid_vnr(task, owner.pid))
    return 0


def _getowner_uids(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETOWNER_UIDS."""
    owner = _owner(file)
    put_user(task.mm, UserPtr(arg), _TWO_UINTS, owner.uid, owner.euid)
    return 0


def _setsig(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETSIG."""
    if arg > 64:
        raise SyscallError(errno.EINVAL)
    file.f_owner = _owner(file)._replace(signum=arg)
    return 0


def _getsig(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETSIG."""
    return _owner(file).signum


# -- pipes, seals, hints ----------------------------------------------------------------------------------------------
def _pipe_size(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_SETPIPE_SZ, F_GETPIPE_SZ; EBADF for what is no pipe."""
    from kernel_model.fs.pipe import pipe_of, resize_pipe

    pipe = pipe_of(file)
    if pipe is None:
        raise SyscallError(errno.EBADF)
    if cmd == abi.F_SETPIPE_SZ:
        if arg > 0x7FFF_FFFF:
            raise SyscallError(errno.EINVAL)
        return resize_pipe(task, pipe, arg)
    return pipe.max_usage * PAGE_SIZE


def _seals(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_ADD_SEALS, F_GET_SEALS. mm/memfd.c:memfd_add_seals()."""
    mapping = file.inode.mapping
    if cmd == abi.F_ADD_SEALS:
        if arg > U32_MASK:
            raise SyscallError(errno.EINVAL)
        if not file.writable:
            raise SyscallError(errno.EPERM)
    if file.inode.i_mode & _S_IFMT != _S_IFREG or (arg & ~abi.F_ALL_SEALS and cmd == abi.F_ADD_SEALS):
        raise SyscallError(errno.EINVAL)
    seals = abi.F_SEAL_SEAL if mapping is None else mapping.seals
    if cmd == abi.F_GET_SEALS:
        return seals
    if mapping is None or seals & abi.F_SEAL_SEAL:
        raise SyscallError(errno.EPERM)
    if arg & ~seals & abi.F_SEAL_WRITE and mapping.mapped_writable:
        raise SyscallError(errno.EBUSY)
    if arg & abi.F_SEAL_EXEC and file.inode.i_mode & 0o111:
        arg |= abi.F_SEAL_SHRINK | abi.F_SEAL_GROW | abi.F_SEAL_WRITE | abi.F_SEAL_FUTURE_WRITE
    mapping.seals |= arg
    return 0


def _rw_hint(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GET_RW_HINT, F_SET_RW_HINT: how long what is written will live, for the storage below."""
    from kernel_model.fs.permission import owner_or_capable

    if cmd == abi.F_GET_RW_HINT:
        put_user(task.mm, UserPtr(arg), _U64, file.inode.i_write_hint)
        return 0
    if not owner_or_capable(task.cred, file.inode):
        raise SyscallError(errno.EPERM)
    (hint,) = get_user(task.mm, UserPtr(arg), _U64)
    if hint > abi.RWH_WRITE_LIFE_EXTREME:
        raise SyscallError(errno.EINVAL)
    file.inode.i_write_hint = hint
    return 0


def _getlease(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_GETLEASE: there are none."""
    return abi.F_UNLCK


def _notify(task: Task, file: File, cmd: int, arg: int) -> int:
    """F_NOTIFY: to be told of nothing works. fs/notify/dnotify/dnotify.c:fcntl_dirnotify()."""
    if not arg & U32_MASK & ~_DN_MULTISHOT:
        return 0
    raise SyscallError(errno.EINVAL if file.inode.is_dir else errno.ENOTDIR)


_FOR_O_PATH: Final = frozenset(
    (abi.F_DUPFD, abi.F_DUPFD_CLOEXEC, abi.F_DUPFD_QUERY, abi.F_GETFD, abi.F_SETFD, abi.F_GETFL)
)
_COMMANDS: Final[dict[int, Callable[[Task, File, int, int], int]]] = {
    abi.F_DUPFD: _dupfd,
    abi.F_DUPFD_CLOEXEC: _dupfd,
    abi.F_DUPFD_QUERY: _dupfd_query,
    abi.F_SETFL: _setfl,
    abi.F_GETLK: _getlk,
    abi.F_OFD_GETLK: _getlk,
    abi.F_SETLK: _setlk,
    abi.F_SETLKW: _setlk,
    abi.F_OFD_SETLK: _setlk,
    abi.F_OFD_SETLKW: _setlk,
    abi.F_SETOWN: _setown,
    abi.F_GETOWN: _getown,
    abi.F_SETOWN_EX: _setown_ex,
    abi.F_GETOWN_EX: _getown_ex,
    abi.F_GETOWNER_UIDS: _getowner_uids,
    abi.F_SETSIG: _setsig,
    abi.F_GETSIG: _getsig,
    abi.F_SETPIPE_SZ: _pipe_size,
    abi.F_GETPIPE_SZ: _pipe_size,
    abi.F_ADD_SEALS: _seals,
    abi.F_GET_SEALS: _seals,
    abi.F_GET_RW_HINT: _rw_hint,
    abi.F_SET_RW_HINT: _rw_hint,
    abi.F_GETLEASE: _getlease,
    abi.F_NOTIFY: _notify,
}


# -- ioctl ------------------------------------------------------------------------------------------------------------
@syscall(partial="FS_IOC_FIEMAP and the FS_IOC_* flag requests are refused, as file systems without them do.")
def sys_ioctl(task: Task, fd: UFd, cmd: IoctlCmd, arg: Hex) -> int:
    """ioctl(2): what every file knows is here (fs/ioctl.c:do_vfs_ioctl()), the rest is the file's own."""
    file = fdget(task, fd)
    command = _IOCTLS.get(cmd)
    return file.ioctl(task, cmd, arg) if command is None else command(task, fd, file, cmd, arg)


def _fioclex(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIOCLEX, FIONCLEX."""
    if cmd == ioctls.FIOCLEX:
        task.files.cloexec.add(fd)
    else:
        task.files.cloexec.discard(fd)
    return 0


def _fionbio(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIONBIO."""
    (on,) = get_user(task.mm, UserPtr(arg), _INT)
    file.f_flags = file.f_flags | O_NONBLOCK if on else file.f_flags & ~O_NONBLOCK
    return 0


def _fioasync(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIOASYNC."""
    (on,) = get_user(task.mm, UserPtr(arg), _INT)
    flags = file.f_flags | O_ASYNC if on else file.f_flags & ~O_ASYNC
    if flags != file.f_flags and not _has_fasync(file):
        raise SyscallError(errno.ENOTTY)
    file.f_flags = flags
    return 0


def _fioqsize(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIOQSIZE: how many bytes the file takes."""
    if file.inode.i_mode & _S_IFMT not in (_S_IFREG, _S_IFDIR, _S_IFLNK):
        raise SyscallError(errno.ENOTTY)
    put_user(task.mm, UserPtr(arg), _U64, file.inode.getattr().blocks * 512)
    return 0


def _figetbsz(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIGETBSZ: the file system's block size."""
    put_user(task.mm, UserPtr(arg), _INT, file.inode.i_sb.statfs().bsize)
    return 0


def _fibmap(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIBMAP: no file here has blocks on a device."""
    from kernel_model.cred import CAP_SYS_RAWIO

    if file.inode.i_mode & _S_IFMT != _S_IFREG:
        return file.ioctl(task, cmd, arg)
    raise SyscallError(errno.EINVAL if task.cred.capable(CAP_SYS_RAWIO) else errno.EPERM)


def _fionread(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FIONREAD: for a regular file what is left to its end, else the file's own."""
    if file.inode.i_mode & _S_IFMT != _S_IFREG:
        return file.ioctl(task, cmd, arg)
    left = file.inode.getattr().size - file.f_pos
    put_user(task.mm, UserPtr(arg), _INT, (left & U32_MASK ^ 0x8000_0000) - 0x8000_0000)
    return 0


def _ficlone(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """FICLONE, FICLONERANGE: no file system here shares blocks. fs/remap_range.c:vfs_clone_file_range()."""
    source_fd = arg & U32_MASK
    if cmd == ioctls.FICLONERANGE:
        source_fd = get_user(task.mm, UserPtr(arg), _CLONE_RANGE)[0] & U32_MASK
    source = fdget(task, source_fd)
    if source.inode.i_sb is not file.inode.i_sb:
        raise SyscallError(errno.EXDEV)
    kinds = (source.inode.i_mode & _S_IFMT, file.inode.i_mode & _S_IFMT)
    if _S_IFDIR in kinds:
        raise SyscallError(errno.EISDIR)
    if kinds != (_S_IFREG, _S_IFREG):
        raise SyscallError(errno.EINVAL)
    if source.f_flags & O_WRONLY or not file.writable or file.f_flags & abi.O_APPEND:
        raise SyscallError(errno.EBADF)
    raise SyscallError(errno.EOPNOTSUPP)


def _refused(task: Task, fd: int, file: File, cmd: int, arg: int) -> int:
    """Known to every file, supported by none here."""
    raise SyscallError(errno.EOPNOTSUPP)


_IOCTLS: Final[dict[int, Callable[[Task, int, File, int, int], int]]] = {
    ioctls.FIOCLEX: _fioclex,
    ioctls.FIONCLEX: _fioclex,
    ioctls.FIONBIO: _fionbio,
    ioctls.FIOASYNC: _fioasync,
    ioctls.FIOQSIZE: _fioqsize,
    ioctls.FIGETBSZ: _figetbsz,
    ioctls.FIBMAP: _fibmap,
    ioctls.FIONREAD: _fionread,
    ioctls.FICLONE: _ficlone,
    ioctls.FICLONERANGE: _ficlone,
    ioctls.FIDEDUPERANGE: _refused,
    ioctls.FS_IOC_FIEMAP: _refused,
}
