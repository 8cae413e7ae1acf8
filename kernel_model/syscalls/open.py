"""Opening and closing, and where a task stands: open(2), close(2), chdir(2), getcwd(2), chroot(2), umask(2).

fs/open.c, fs/file.c, fs/d_path.c (getcwd).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import (
    AT_FDCWD,
    CLOSE_RANGE_CLOEXEC,
    CLOSE_RANGE_UNSHARE,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_PATH,
    O_PATH_FLAGS,
    O_RDONLY,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
    OPEN_HOW_SIZE_VER0,
    VALID_OPEN_FLAGS,
)
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.namei import getname
from kernel_model.fs.open import do_open
from kernel_model.mm.uaccess import copy_struct_from_user, copy_to_user
from kernel_model.syscalls.declare import DirFd, Fd, Mode, PathPtr, Size, ULong, syscall
from kernel_model.syscalls.kinds import CloseRangeFlags, OpenFlags, OpenHow, PathBuffer, UFd
from kernel_model.types import PAGE_SIZE, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.task import Task

OPEN_HOW: Final = Struct("<QQQ")
"""`struct open_how`: flags, mode, resolve."""
_TMPFILE_BIT: Final = O_TMPFILE & ~O_DIRECTORY
_WILL_CREATE: Final = O_CREAT | _TMPFILE_BIT


def check_fd_limit(task: Task) -> int:
    """RLIMIT_NOFILE; EMFILE where no descriptor below it is free, which is found before anything is opened or made."""
    limit = task.signal.rlim[RLIMIT_NOFILE][0]
    table = task.files.fd
    if len(table) >= limit and all(fd in table for fd in range(limit)):
        raise SyscallError(errno.EMFILE)
    return limit


def _open(task: Task, dfd: int, name_ptr: UserPtr, flags: int, mode: int) -> int:
    """open(2): flags that mean nothing are dropped. fs/open.c:build_open_how(), do_sys_openat2()."""
    flags = task.kernel.arch.open_flags_from_user(flags) & VALID_OPEN_FLAGS
    if flags & O_PATH:
        flags &= O_PATH_FLAGS
    _check_open_flags(flags)
    name = getname(task, name_ptr)
    limit = check_fd_limit(task)
    file = do_open(task, dfd, name, flags, mode & 0o7777 if flags & _WILL_CREATE else 0)
    return task.files.install(file, limit, cloexec=bool(flags & O_CLOEXEC))


def _check_open_flags(flags: int) -> None:
    """EINVAL for combinations that no open allows. fs/open.c:build_open_flags()."""
    if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY:
        raise SyscallError(errno.EINVAL)
    if flags & _TMPFILE_BIT and (not flags & O_DIRECTORY or flags & O_ACCMODE == O_RDONLY):
        raise SyscallError(errno.EINVAL)


@syscall(returns="fd")
def sys_openat(task: Task, dfd: DirFd, filename: PathPtr, flags: OpenFlags, mode: Mode) -> int:
    """openat(2)."""
    return _open(task, dfd, filename, flags, mode)


@syscall(returns="fd")
def sys_open(task: Task, filename: PathPtr, flags: OpenFlags, mode: Mode) -> int:
    """open(2)."""
    return _open(task, AT_FDCWD, filename, flags, mode)


@syscall(returns="fd")
def sys_creat(task: Task, pathname: PathPtr, mode: Mode) -> int:
    """creat(2)."""
    return _open(task, AT_FDCWD, pathname, O_CREAT | O_WRONLY | O_TRUNC, mode)


@syscall(returns="fd")
def sys_openat2(task: Task, dfd: DirFd, filename: PathPtr, how: OpenHow, usize: Size) -> int:
    """openat2(2): what it does not know it refuses."""
    from kernel_model.abi.openat2 import RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT

    if usize < OPEN_HOW_SIZE_VER0:
        raise SyscallError(errno.EINVAL)
    if usize > PAGE_SIZE:
        raise SyscallError(errno.E2BIG)
    flags, mode, resolve = OPEN_HOW.unpack(copy_struct_from_user(task.mm, how, usize, OPEN_HOW.size))
    flags = task.kernel.arch.open_flags_from_user(flags)
    if flags & ~VALID_OPEN_FLAGS or resolve & ~0x3F:
        raise SyscallError(errno.EINVAL)
    if resolve & RESOLVE_BENEATH and resolve & RESOLVE_IN_ROOT:
        raise SyscallError(errno.EINVAL)
    if mode & ~0o7777 or (mode and not flags & _WILL_CREATE):
        raise SyscallError(errno.EINVAL)
    _check_open_flags(flags)
    if flags & O_PATH and flags & ~O_PATH_FLAGS:
        raise SyscallError(errno.EINVAL)
    if resolve & RESOLVE_CACHED and flags & (O_TRUNC | _WILL_CREATE):
        raise SyscallError(errno.EAGAIN)
    name = getname(task, filename)
    limit = check_fd_limit(task)
    file = do_open(task, dfd, name, flags, mode, resolve)
    return task.files.install(file, limit, cloexec=bool(flags & O_CLOEXEC))


@syscall()
def sys_close(task: Task, fd: Fd) -> int:
    """close(2)."""
    task.files.close(fd, task)
    return 0


@syscall()
def sys_close_range(task: Task, fd: UFd, max_fd: UFd, flags: CloseRangeFlags) -> int:
    """close_range(2)."""
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or fd > max_fd:
        raise SyscallError(errno.EINVAL)
    files = task.files
    if flags & CLOSE_RANGE_UNSHARE and files.users > 1:
        files.users -= 1
        files = task.files = files.copy()
    chosen = sorted(number for number in files.fd if fd <= number <= max_fd)
    if flags & CLOSE_RANGE_CLOEXEC:
        files.cloexec.update(chosen)
    else:
        for number in chosen:
            files.close(number, task)
    return 0


# -- where a task stands ----------------------------------------------------------------------------------------------
@syscall()
def sys_getcwd(task: Task, buf: PathBuffer, size: ULong) -> int:
    """getcwd(2): the length of the name with its NUL. ENOENT once the directory is gone, ERANGE. fs/d_path.c."""
    from kernel_model.fs.namei import d_path

    pwd = task.fs.pwd
    if pwd.dentry.unhashed:
        raise SyscallError(errno.ENOENT)
    name = d_path(task, pwd) + b"\0"
    if len(name) > PAGE_SIZE:
        raise SyscallError(errno.ENAMETOOLONG)
    if len(name) > size:
        raise SyscallError(errno.ERANGE)
    copy_to_user(task.mm, buf, name)
    return len(name)


def _directory(task: Task, path: Path) -> Path:
    """`path` if it is a directory that the task may enter; ENOTDIR, EACCES."""
    from kernel_model.fs.permission import MAY_EXEC, inode_permission

    if not path.inode.is_dir:
        raise SyscallError(errno.ENOTDIR)
    inode_permission(task.cred, path.inode, MAY_EXEC)
    return path


@syscall()
def sys_chdir(task: Task, filename: PathPtr) -> int:
    """chdir(2)."""
    from kernel_model.fs.namei import user_path_at

    task.fs.pwd = _directory(task, user_path_at(task, AT_FDCWD, filename))
    return 0


@syscall()
def sys_fchdir(task: Task, fd: Fd) -> int:
    """fchdir(2); an O_PATH descriptor will do."""
    file = task.files.get(fd)
    if file.f_path is None:
        raise SyscallError(errno.ENOTDIR)
    task.fs.pwd = _directory(task, file.f_path)
    return 0


@syscall()
def sys_chroot(task: Task, filename: PathPtr) -> int:
    """chroot(2)."""
    from kernel_model.cred import CAP_SYS_CHROOT
    from kernel_model.fs.namei import user_path_at

    path = _directory(task, user_path_at(task, AT_FDCWD, filename))
    if not task.cred.capable(CAP_SYS_CHROOT):
        raise SyscallError(errno.EPERM)
    task.fs.root = path
    return 0


@syscall(returns="oct")
def sys_umask(task: Task, mask: Mode) -> int:
    """umask(2): the mask before."""
    old = task.fs.umask
    task.fs.umask = mask & 0o777
    return old
