"""Changing what files are: mode, owner, times, size, extended attributes (fs/open.c, fs/utimes.c, fs/xattr.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import fs as abi
from kernel_model.abi.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_WRITE,
)
from kernel_model.fs import vfs
from kernel_model.fs.namei import file_path, user_path_at
from kernel_model.mm.uaccess import copy_from_user, copy_struct_from_user, copy_to_user, get_user, strncpy_from_user
from kernel_model.syscalls.declare import DirFd, Fd, Long, Mode, Offset, PathPtr, Size, StringPtr, Uid, syscall
from kernel_model.syscalls.kinds import (
    AtFlags,
    FallocateMode,
    TimespecPair,
    TimevalPair,
    UAtFlags,
    Utimbuf,
    XattrArgs,
    XattrBuffer,
    XattrFlags,
    XattrValue,
)
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import PAGE_SIZE, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.task import Task

UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
_NS: Final = 1_000_000_000
_US: Final = 1_000_000
_TWO_TIMES: Final = Struct("<qqqq")
_UTIMBUF: Final = Struct("<qq")
_XATTR_ARGS: Final = Struct("<QII")
_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFDIR: Final = 0o040000
_S_IFIFO: Final = 0o010000
_AT_CHANGE: Final = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH


def _path_to_change(task: Task, dfd: int, filename: UserPtr, flags: int) -> Path:
    """The place that a call with AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH changes; EINVAL for other flags."""
    if flags & ~_AT_CHANGE:
        raise SyscallError(errno.EINVAL)
    follow = not flags & AT_SYMLINK_NOFOLLOW
    return user_path_at(task, dfd, filename, follow=follow, empty_ok=bool(flags & AT_EMPTY_PATH))


# -- mode -------------------------------------------------------------------------------------------------------------
@syscall()
def sys_chmod(task: Task, filename: PathPtr, mode: Mode) -> int:
    """chmod(2)."""
    vfs.vfs_chmod(task, user_path_at(task, AT_FDCWD, filename), mode)
    return 0


@syscall()
def sys_fchmod(task: Task, fd: Fd, mode: Mode) -> int:
    """fchmod(2)."""
    vfs.vfs_chmod(task, file_path(fdget(task, fd)), mode)
    return 0


@syscall()
def sys_fchmodat(task: Task, dfd: DirFd, filename: PathPtr, mode: Mode) -> int:
    """fchmodat(2) as the kernel has it: without flags."""
    vfs.vfs_chmod(task, user_path_at(task, dfd, filename), mode)
    return 0


@syscall()
def sys_fchmodat2(task: Task, dfd: DirFd, filename: PathPtr, mode: Mode, flags: UAtFlags) -> int:
    """fchmodat2(2)."""
    vfs.vfs_chmod(task, _path_to_change(task, dfd, filename, flags), mode)
    return 0


# -- owner ------------------------------------------------------------------------------------------------------------
@syscall()
def sys_chown(task: Task, filename: PathPtr, user: Uid, group: Uid) -> int:
    """chown(2)."""
    vfs.vfs_chown(task, user_path_at(task, AT_FDCWD, filename), user, group)
    return 0


@syscall()
def sys_lchown(task: Task, filename: PathPtr, user: Uid, group: Uid) -> int:
    """lchown(2)."""
    vfs.vfs_chown(task, user_path_at(task, AT_FDCWD, filename, follow=False), user, group)
    return 0


@syscall()
def sys_fchown(task: Task, fd: Fd, user: Uid, group: Uid) -> int:
    """fchown(2)."""
    vfs.vfs_chown(task, file_path(fdget(task, fd)), user, group)
    return 0


@syscall()
def sys_fchownat(task: Task, dfd: DirFd, filename: PathPtr, user: Uid, group: Uid, flag: AtFlags) -> int:
    """fchownat(2)."""
    vfs.vfs_chown(task, _path_to_change(task, dfd, filename, flag), user, group)
    return 0


# -- times ------------------------------------------------------------------------------------------------------------
def _utimes(task: Task, path: Path, stamps: tuple[int | None, int | None] | None) -> int:
    """Set (access, modification) times in nanoseconds; None in the pair leaves one, None instead of it is now."""
    if stamps is None:
        now_ns = vfs.current_time(task)
        vfs.vfs_utimes(task, path, now_ns, now_ns, touch=True)
    else:
        vfs.vfs_utimes(task, path, *stamps, touch=False)
    return 0


@syscall()
def sys_utimensat(task: Task, dfd: DirFd, filename: PathPtr, utimes: TimespecPair, flags: AtFlags) -> int:
    """utimensat(2): without a name it is futimens(3). fs/utimes.c:do_utimes(), vfs_utimes()."""
    times = None
    if utimes:
        times = get_user(task.mm, utimes, _TWO_TIMES)
        if times[1] == times[3] == UTIME_OMIT:
            return 0
    if not filename and dfd != AT_FDCWD:
        if flags:
            raise SyscallError(errno.EINVAL)
        path = file_path(fdget(task, dfd))
    else:
        path = _path_to_change(task, dfd, filename, flags)
    if times is None or times[1] == times[3] == UTIME_NOW:
        return _utimes(task, path, None)
    now_ns = vfs.current_time(task)
    return _utimes(task, path, (_stamp(times[0], times[1], now_ns), _stamp(times[2], times[3], now_ns)))


def _stamp(seconds: int, nanoseconds: int, now_ns: int) -> int | None:
    """A `struct timespec` of utimensat(2) in nanoseconds; None for UTIME_OMIT, EINVAL for one that is not valid."""
    if nanoseconds == UTIME_OMIT:
        return None
    if nanoseconds == UTIME_NOW:
        return now_ns
    if not 0 <= nanoseconds < _NS:
        raise SyscallError(errno.EINVAL)
    return seconds * _NS + nanoseconds


def _from_timevals(task: Task, utimes: UserPtr) -> tuple[int | None, int | None] | None:
    """Two `struct timeval` as nanoseconds; None for a null pointer, EINVAL for microseconds out of range."""
    if not utimes:
        return None
    atime, atime_us, mtime, mtime_us = get_user(task.mm, utimes, _TWO_TIMES)
    if not (0 <= atime_us < _US and 0 <= mtime_us < _US):
        raise SyscallError(errno.EINVAL)
    return atime * _NS + atime_us * 1000, mtime * _NS + mtime_us * 1000


@syscall()
def sys_utimes(task: Task, filename: PathPtr, utimes: TimevalPair) -> int:
    """utimes(2)."""
    return sys_futimesat(task, AT_FDCWD, filename, utimes)


@syscall()
def sys_futimesat(task: Task, dfd: DirFd, filename: PathPtr, utimes: TimevalPair) -> int:
    """futimesat(2)."""
    stamps = _from_timevals(task, utimes)
    if not filename and dfd != AT_FDCWD:
        return _utimes(task, file_path(fdget(task, dfd)), stamps)
    return _utimes(task, user_path_at(task, dfd, filename), stamps)


@syscall()
def sys_utime(task: Task, filename: PathPtr, times: Utimbuf) -> int:
    """utime(2)."""
    stamps = None
    if times:
        atime, mtime = get_user(task.mm, times, _UTIMBUF)
        stamps = (atime * _NS, mtime * _NS)
    return _utimes(task, user_path_at(task, AT_FDCWD, filename), stamps)


# -- size -------------------------------------------------------------------------------------------------------------
@syscall()
def sys_truncate(task: Task, path: PathPtr, length: Long) -> int:
    """truncate(2)."""
    if length < 0:
        raise SyscallError(errno.EINVAL)
    vfs.vfs_truncate(task, user_path_at(task, AT_FDCWD, path), length)
    return 0


@syscall()
def sys_ftruncate(task: Task, fd: Fd, length: Offset) -> int:
    """ftruncate(2). fs/open.c:do_ftruncate()."""
    if length < 0:
        raise SyscallError(errno.EINVAL)
    file = fdget(task, fd)
    if file.inode.i_mode & _S_IFMT != _S_IFREG or not file.writable:
        raise SyscallError(errno.EINVAL)
    vfs.do_truncate(task, file.inode, length)
    return 0


_KEEP: Final = abi.FALLOC_FL_KEEP_SIZE
_FALLOCATE_MODES: Final = (
    0,
    _KEEP,
    abi.FALLOC_FL_PUNCH_HOLE | _KEEP,
    abi.FALLOC_FL_ZERO_RANGE,
    abi.FALLOC_FL_ZERO_RANGE | _KEEP,
)


@syscall(partial="Ranges are collapsed, inserted or unshared nowhere, as on tmpfs (EOPNOTSUPP).")
def sys_fallocate(task: Task, fd: Fd, mode: FallocateMode, offset: Offset, len: Offset) -> int:
    """fallocate(2). fs/open.c:vfs_fallocate(), mm/shmem.c:shmem_fallocate()."""
    file = fdget(task, fd)
    if offset < 0 or len <= 0:
        raise SyscallError(errno.EINVAL)
    if mode not in _FALLOCATE_MODES:
        raise SyscallError(errno.EOPNOTSUPP)
    if not file.writable:
        raise SyscallError(errno.EBADF)
    inode = file.inode
    kind = inode.i_mode & _S_IFMT
    if kind != _S_IFREG:
        raise SyscallError({_S_IFIFO: errno.ESPIPE, _S_IFDIR: errno.EISDIR}.get(kind, errno.ENODEV))
    end = offset + len
    if end > abi.LLONG_MAX:
        raise SyscallError(errno.EFBIG)
    seals = 0 if inode.mapping is None else inode.mapping.seals
    holes = mode & ~_KEEP
    if holes:
        if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            raise SyscallError(errno.EPERM)
        inode.punch_hole(offset, end)
        if holes == abi.FALLOC_FL_PUNCH_HOLE:
            return 0
    # QUIRK: fallocate checks that there is room but keeps none back for the file.
    if end > inode.i_size:
        if seals & F_SEAL_GROW:
            raise SyscallError(errno.EPERM)
        vfs.check_new_size(task, inode, end)
        space = inode.i_sb.statfs()
        if len > space.bavail * space.bsize:
            raise SyscallError(errno.ENOSPC)
        if not mode & _KEEP:
            vfs.do_truncate(task, inode, end)
    return 0


# -- extended attributes ----------------------------------------------------------------------------------------------
def _xattr_name(task: Task, name: UserPtr) -> bytes:
    """An attribute's name: 1 to 255 bytes, else ERANGE. fs/xattr.c:import_xattr_name()."""
    try:
        result = strncpy_from_user(task.mm, name, abi.XATTR_NAME_MAX + 1)
    except SyscallError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise SyscallError(errno.ERANGE) from None
        raise
    if not result:
        raise SyscallError(errno.ERANGE)
    return result


def _setxattr(task: Task, path: Path, name: bytes, value: bytes, flags: int) -> int:
    """Set it."""
    from kernel_model.fs.xattr import setxattr

    setxattr(task, path, name, value, flags)
    return 0


def _xattr_to_set(task: Task, name: UserPtr, value: UserPtr, size: int, flags: int) -> tuple[bytes, bytes]:
    """(name, value) from the guest. fs/xattr.c:setxattr_copy()."""
    if flags & ~(abi.XATTR_CREATE | abi.XATTR_REPLACE):
        raise SyscallError(errno.EINVAL)
    text = _xattr_name(task, name)
    if size > abi.XATTR_SIZE_MAX:
        raise SyscallError(errno.E2BIG)
    return text, copy_from_user(task.mm, value, size) if size else b""


def _xattr_out(task: Task, buffer: UserPtr, size: int, data: bytes) -> int:
    """What the guest asked for, into its buffer; only the length when `size` is 0. ERANGE."""
    if size:
        if len(data) > size:
            raise SyscallError(errno.ERANGE)
        copy_to_user(task.mm, buffer, data)
    return len(data)


def _getxattr(task: Task, path: Path, name: bytes, value: UserPtr, size: int) -> int:
    """Its value, or the length of it."""
    from kernel_model.fs.xattr import getxattr

    return _xattr_out(task, value, size, getxattr(task, path, name))


def _listxattr(task: Task, path: Path, names: UserPtr, size: int) -> int:
    """All names, or the length of them."""
    from kernel_model.fs.xattr import listxattr

    return _xattr_out(task, names, size, listxattr(task, path))


def _removexattr(task: Task, path: Path, name: bytes) -> int:
    """Remove it."""
    from kernel_model.fs.xattr import removexattr

    removexattr(task, path, name)
    return 0


@syscall()
def sys_setxattr(
    task: Task, pathname: PathPtr, name: StringPtr, value: XattrValue, size: Size, flags: XattrFlags
) -> int:
    """setxattr(2)."""
    text, data = _xattr_to_set(task, name, value, size, flags)
    return _setxattr(task, user_path_at(task, AT_FDCWD, pathname), text, data, flags)


@syscall()
def sys_lsetxattr(
    task: Task, pathname: PathPtr, name: StringPtr, value: XattrValue, size: Size, flags: XattrFlags
) -> int:
    """lsetxattr(2)."""
    text, data = _xattr_to_set(task, name, value, size, flags)
    return _setxattr(task, user_path_at(task, AT_FDCWD, pathname, follow=False), text, data, flags)


@syscall()
def sys_fsetxattr(task: Task, fd: Fd, name: StringPtr, value: XattrValue, size: Size, flags: XattrFlags) -> int:
    """fsetxattr(2)."""
    text, data = _xattr_to_set(task, name, value, size, flags)
    return _setxattr(task, file_path(fdget(task, fd)), text, data, flags)


@syscall()
def sys_setxattrat(
    task: Task, dfd: DirFd, pathname: PathPtr, at_flags: UAtFlags, name: StringPtr, uargs: XattrArgs, usize: Size
) -> int:
    """setxattrat(2)."""
    value, size, flags = _xattr_args(task, uargs, usize)
    text, data = _xattr_to_set(task, name, value, size, flags)
    return _setxattr(task, _path_to_change(task, dfd, pathname, at_flags), text, data, flags)


def _xattr_args(task: Task, uargs: UserPtr, usize: int) -> tuple[UserPtr, int, int]:
    """`struct xattr_args`: (value, size, flags); a longer one must end in zeros (copy_struct_from_user())."""
    if usize < _XATTR_ARGS.size:
        raise SyscallError(errno.EINVAL)
    if usize > PAGE_SIZE:
        raise SyscallError(errno.E2BIG)
    value, size, flags = _XATTR_ARGS.unpack(copy_struct_from_user(task.mm, uargs, usize, _XATTR_ARGS.size))
    return UserPtr(value), size, flags


@syscall()
def sys_getxattr(task: Task, pathname: PathPtr, name: StringPtr, value: XattrBuffer, size: Size) -> int:
    """getxattr(2)."""
    text = _xattr_name(task, name)
    return _getxattr(task, user_path_at(task, AT_FDCWD, pathname), text, value, size)


@syscall()
def sys_lgetxattr(task: Task, pathname: PathPtr, name: StringPtr, value: XattrBuffer, size: Size) -> int:
    """lgetxattr(2)."""
    text = _xattr_name(task, name)
    return _getxattr(task, user_path_at(task, AT_FDCWD, pathname, follow=False), text, value, size)


@syscall()
def sys_fgetxattr(task: Task, fd: Fd, name: StringPtr, value: XattrBuffer, size: Size) -> int:
    """fgetxattr(2)."""
    text = _xattr_name(task, name)
    return _getxattr(task, file_path(fdget(task, fd)), text, value, size)


@syscall()
def sys_getxattrat(
    task: Task, dfd: DirFd, pathname: PathPtr, at_flags: UAtFlags, name: StringPtr, uargs: XattrArgs, usize: Size
) -> int:
    """getxattrat(2)."""
    value, size, flags = _xattr_args(task, uargs, usize)
    if flags:
        raise SyscallError(errno.EINVAL)
    text = _xattr_name(task, name)
    return _getxattr(task, _path_to_change(task, dfd, pathname, at_flags), text, value, size)


@syscall()
def sys_listxattr(task: Task, pathname: PathPtr, list: XattrBuffer, size: Size) -> int:
    """listxattr(2)."""
    return _listxattr(task, user_path_at(task, AT_FDCWD, pathname), list, size)


@syscall()
def sys_llistxattr(task: Task, pathname: PathPtr, list: XattrBuffer, size: Size) -> int:
    """llistxattr(2)."""
    return _listxattr(task, user_path_at(task, AT_FDCWD, pathname, follow=False), list, size)


@syscall()
def sys_flistxattr(task: Task, fd: Fd, list: XattrBuffer, size: Size) -> int:
    """flistxattr(2)."""
    return _listxattr(task, file_path(fdget(task, fd)), list, size)


@syscall()
def sys_listxattrat(
    task: Task, dfd: DirFd, pathname: PathPtr, at_flags: UAtFlags, list: XattrBuffer, size: Size
) -> int:
    """listxattrat(2)."""
    return _listxattr(task, _path_to_change(task, dfd, pathname, at_flags), list, size)


@syscall()
def sys_removexattr(task: Task, pathname: PathPtr, name: StringPtr) -> int:
    """removexattr(2)."""
    text = _xattr_name(task, name)
    return _removexattr(task, user_path_at(task, AT_FDCWD, pathname), text)


@syscall()
def sys_lremovexattr(task: Task, pathname: PathPtr, name: StringPtr) -> int:
    """lremovexattr(2)."""
    text = _xattr_name(task, name)
    return _removexattr(task, user_path_at(task, AT_FDCWD, pathname, follow=False), text)


@syscall()
def sys_fremovexattr(task: Task, fd: Fd, name: StringPtr) -> int:
    """fremovexattr(2)."""
    text = _xattr_name(task, name)
    return _removexattr(task, file_path(fdget(task, fd)), text)


@syscall()
def sys_removexattrat(task: Task, dfd: DirFd, pathname: PathPtr, at_flags: UAtFlags, name: StringPtr) -> int:
    """removexattrat(2)."""
    text = _xattr_name(task, name)
    return _removexattr(task, _path_to_change(task, dfd, pathname, at_flags), text)
