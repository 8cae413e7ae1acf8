"""What files are and what directories hold: the stat family, access(2), readlink(2), getdents(2), statfs(2).

fs/stat.c, fs/open.c (access), fs/readdir.c, fs/statfs.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_FLAGS,
    AT_SYMLINK_NOFOLLOW,
)
from kernel_model.fs.namei import file_path, getname, path_at
from kernel_model.mm.uaccess import copy_to_user
from kernel_model.syscalls.declare import DirFd, Fd, Int, PathPtr, UInt, syscall
from kernel_model.syscalls.kinds import (
    AccessFlags,
    AccessMode,
    AtFlags,
    DevT,
    Dirent64Ptr,
    DirentPtr,
    PathBuffer,
    StatfsPtr,
    StatPtr,
    StatxMask,
    StatxPtr,
    UAtFlags,
    UstatPtr,
)
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct

    from kernel_model.cred import Cred
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.inode import DirEntry, Kstat
    from kernel_model.task import Task

    Encoder = Callable[[Struct, DirEntry, int], bytes]

_ACCESS_FLAGS: Final = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_X_OK: Final = 1
_W_OK: Final = 2
_SECURE_NO_SETUID_FIXUP: Final = 1 << 2
_STATX_MG_TIMES: Final = 0xC0
"""STATX_MTIME | STATX_CTIME, which are told only to who asks for one of them."""
_NS: Final = 1_000_000_000


# -- stat -------------------------------------------------------------------------------------------------------------
def path_or_fd(task: Task, dfd: int, name_ptr: UserPtr, flags: int) -> Path:
    """The place that (`dfd`, name, AT_* `flags`) mean for a call that tells of a file.

    With AT_EMPTY_PATH a null name is an empty one (fs/namei.c:getname_maybe_null()).
    """
    empty_ok = bool(flags & AT_EMPTY_PATH)
    name = b"" if empty_ok and not name_ptr else getname(task, name_ptr, empty_ok=empty_ok)
    return path_at(task, dfd, name, follow=not flags & AT_SYMLINK_NOFOLLOW, empty_ok=empty_ok)


@syscall()
def sys_stat(task: Task, filename: PathPtr, statbuf: StatPtr) -> int:
    """stat(2)."""
    stat = path_or_fd(task, AT_FDCWD, filename, 0).dentry.d_inode.getattr()
    copy_to_user(task.mm, statbuf, task.kernel.arch.pack_stat(stat))
    return 0


@syscall()
def sys_lstat(task: Task, filename: PathPtr, statbuf: StatPtr) -> int:
    """lstat(2)."""
    stat = path_or_fd(task, AT_FDCWD, filename, AT_SYMLINK_NOFOLLOW).dentry.d_inode.getattr()
    copy_to_user(task.mm, statbuf, task.kernel.arch.pack_stat(stat))
    return 0


@syscall()
def sys_fstat(task: Task, fd: Fd, statbuf: StatPtr) -> int:
    """fstat(2); an O_PATH descriptor will do."""
    stat = task.files.get(fd).inode.getattr()
    copy_to_user(task.mm, statbuf, task.kernel.arch.pack_stat(stat))
    return 0


@syscall()
def sys_newfstatat(task: Task, dfd: DirFd, filename: PathPtr, statbuf: StatPtr, flag: AtFlags) -> int:
    """fstatat(2)."""
    if flag & ~AT_SYMLINK_FLAGS:
        raise SyscallError(errno.EINVAL)
    stat = path_or_fd(task, dfd, filename, flag).dentry.d_inode.getattr()
    copy_to_user(task.mm, statbuf, task.kernel.arch.pack_stat(stat))
    return 0


@syscall()
def sys_statx(task: Task, dfd: DirFd, filename: PathPtr, flags: UAtFlags, mask: StatxMask, buffer: StatxPtr) -> int:
    """statx(2)."""
    from kernel_model.abi.stat import STATX__RESERVED

    if mask & STATX__RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise SyscallError(errno.EINVAL)
    if flags & ~AT_SYMLINK_FLAGS:
        raise SyscallError(errno.EINVAL)
    path = path_or_fd(task, dfd, filename, flags)
    copy_to_user(task.mm, buffer, _pack_statx(path, path.inode.getattr(), mask))
    return 0


def _pack_statx(path: Path, stat: Kstat, mask: int) -> bytes:
    """`struct statx`. fs/stat.c:vfs_getattr_nosec(), fill_mg_cmtime(), vfs_statx_path(), cp_statx()."""
    from kernel_model.abi import stat as abi

    told = abi.STATX_BASIC_STATS | (mask & abi.STATX_MNT_ID_UNIQUE or abi.STATX_MNT_ID)
    ctime_ns, mtime_ns, btime_ns = stat.ctime_ns, stat.mtime_ns, 0
    if not mask & _STATX_MG_TIMES:
        told &= ~_STATX_MG_TIMES
        ctime_ns = mtime_ns = 0
    if mask & abi.STATX_BTIME:
        btime_ns = path.inode.birth_ns()
        if btime_ns:
            told |= abi.STATX_BTIME
    attributes = abi.STATX_ATTR_MOUNT_ROOT if path.dentry is path.mnt.mnt_root else 0
    return abi.STATX.pack(
        told, stat.blksize, attributes, stat.nlink, stat.uid, stat.gid, stat.mode, stat.ino, stat.size,
        stat.blocks, abi.STATX_ATTRIBUTES_MASK,
        *divmod(stat.atime_ns, _NS), *divmod(btime_ns, _NS), *divmod(ctime_ns, _NS),
        *divmod(mtime_ns, _NS), abi.dev_major(stat.rdev), abi.dev_minor(stat.rdev),
        abi.dev_major(stat.dev), abi.dev_minor(stat.dev), path.mnt.mnt_id,
    )  # fmt: skip


# -- access -----------------------------------------------------------------------------------------------------------
@syscall()
def sys_access(task: Task, filename: PathPtr, mode: AccessMode) -> int:
    """access(2)."""
    return _faccessat(task, AT_FDCWD, filename, mode, 0)


@syscall()
def sys_faccessat(task: Task, dfd: DirFd, filename: PathPtr, mode: AccessMode) -> int:
    """faccessat(2) as the kernel has it: without flags."""
    return _faccessat(task, dfd, filename, mode, 0)


@syscall()
def sys_faccessat2(task: Task, dfd: DirFd, filename: PathPtr, mode: AccessMode, flags: AccessFlags) -> int:
    """faccessat2(2)."""
    return _faccessat(task, dfd, filename, mode, flags)


def _faccessat(task: Task, dfd: int, filename: UserPtr, mode: int, flags: int) -> int:
    """fs/open.c:do_faccessat(): the walk and the check are the real user's unless AT_EACCESS."""
    if mode & ~7 or flags & ~_ACCESS_FLAGS:
        raise SyscallError(errno.EINVAL)
    kept = task.cred
    if not flags & AT_EACCESS:
        task.cred = _real_cred(kept)
    try:
        name = getname(task, filename, empty_ok=bool(flags & AT_EMPTY_PATH))
        follow = not flags & AT_SYMLINK_NOFOLLOW
        path = path_at(task, dfd, name, follow=follow, empty_ok=bool(flags & AT_EMPTY_PATH))
        _check_access_at(task, path, mode)
    finally:
        task.cred = kept
    return 0


def _check_access_at(task: Task, path: Path, mode: int) -> None:
    """May the task do what the bits of `mode` say with what is at `path`?"""
    from kernel_model.abi.mount import MS_NOEXEC, MS_RDONLY
    from kernel_model.fs.permission import inode_permission

    inode = path.inode
    kind = inode.i_mode & 0o170000
    if mode & _X_OK and kind == 0o100000 and path.mnt.mnt_flags & MS_NOEXEC:
        raise SyscallError(errno.EACCES)
    if mode:
        inode_permission(task.cred, inode, mode)
    if mode & _W_OK and kind in (0o100000, 0o040000, 0o120000) and path.mnt.mnt_flags & MS_RDONLY:
        raise SyscallError(errno.EROFS)


def _real_cred(cred: Cred) -> Cred:
    """Credentials as of the real user. fs/open.c:access_override_creds()."""
    same_caps = cred.cap_effective == (0 if cred.uid else cred.cap_permitted)
    fixup = not cred.securebits & _SECURE_NO_SETUID_FIXUP
    if cred.fsuid == cred.uid and cred.fsgid == cred.gid and (same_caps or not fixup):
        return cred
    real = cred.copy()
    real.fsuid = cred.uid
    real.fsgid = cred.gid
    if fixup:
        real.cap_effective = 0 if cred.uid else cred.cap_permitted
    return real


# -- readlink ---------------------------------------------------------------------------------------------------------
@syscall()
def sys_readlink(task: Task, path: PathPtr, buf: PathBuffer, bufsiz: Int) -> int:
    """readlink(2)."""
    return sys_readlinkat(task, AT_FDCWD, path, buf, bufsiz)


@syscall()
def sys_readlinkat(task: Task, dfd: DirFd, pathname: PathPtr, buf: PathBuffer, bufsiz: Int) -> int:
    """readlinkat(2): the first `bufsiz` bytes of the link's text, without a NUL. fs/stat.c:do_readlinkat()."""
    if bufsiz <= 0:
        raise SyscallError(errno.EINVAL)
    name = getname(task, pathname, empty_ok=True)
    inode = path_at(task, dfd, name, follow=False, empty_ok=True).inode
    if not inode.is_link:
        raise SyscallError(errno.EINVAL if name else errno.ENOENT)
    text = inode.readlink()[:bufsiz]
    copy_to_user(task.mm, buf, text)
    return len(text)


# -- directories ------------------------------------------------------------------------------------------------------
@syscall()
def sys_getdents64(task: Task, fd: Fd, dirent: Dirent64Ptr, count: UInt) -> int:
    """getdents64(2)."""
    from kernel_model.abi.stat import DIRENT64

    return _getdents(task, fd, dirent, count, DIRENT64, _dirent64)


@syscall()
def sys_getdents(task: Task, fd: Fd, dirent: DirentPtr, count: UInt) -> int:
    """getdents(2), the older layout: the type stands in the record's last byte."""
    from kernel_model.abi.stat import DIRENT

    return _getdents(task, fd, dirent, count, DIRENT, _dirent)


def _dirent64(head: Struct, entry: DirEntry, cookie: int) -> bytes:
    """`struct linux_dirent64`."""
    length = 19 + len(entry.name) + 8 & -8
    return (head.pack(entry.ino, cookie, length, entry.d_type) + entry.name).ljust(length, b"\0")


def _dirent(head: Struct, entry: DirEntry, cookie: int) -> bytes:
    """`struct linux_dirent`."""
    length = 18 + len(entry.name) + 9 & -8
    return (head.pack(entry.ino, cookie, length) + entry.name).ljust(length - 1, b"\0") + bytes((entry.d_type,))


def _getdents(task: Task, fd: int, addr: UserPtr, count: int, head: Struct, encode: Encoder) -> int:
    """As many records as fit in `count` bytes; EINVAL where the first does not. fs/readdir.c."""
    from kernel_model.fs.directory import DirectoryFile

    file = fdget(task, fd)
    if not isinstance(file, DirectoryFile):
        raise SyscallError(errno.ENOTDIR)
    pos = file.f_pos
    records = []
    room = count
    for entry in file.iterate_from(pos):
        record = encode(head, entry, pos + 1)
        if len(record) > room:
            break
        records.append(record)
        room -= len(record)
        pos += 1
    else:
        if not records:
            return 0
    if not records:
        raise SyscallError(errno.EINVAL)
    copy_to_user(task.mm, addr, b"".join(records))
    file.f_pos = pos
    return count - room


# -- file systems -----------------------------------------------------------------------------------------------------
@syscall()
def sys_statfs(task: Task, pathname: PathPtr, buf: StatfsPtr) -> int:
    """statfs(2)."""
    path = path_at(task, AT_FDCWD, getname(task, pathname))
    copy_to_user(task.mm, buf, _pack_statfs(path))
    return 0


@syscall()
def sys_fstatfs(task: Task, fd: Fd, buf: StatfsPtr) -> int:
    """fstatfs(2); an O_PATH descriptor will do."""
    copy_to_user(task.mm, buf, _pack_statfs(file_path(task.files.get(fd))))
    return 0


def _pack_statfs(path: Path) -> bytes:
    """`struct statfs` of the file system at `path`, with the mount's flags. fs/statfs.c:vfs_statfs()."""
    from kernel_model.abi import mount
    from kernel_model.abi.stat import STATFS

    sb = path.inode.i_sb
    told = sb.statfs()
    flags = path.mnt.mnt_flags
    same = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC | mount.MS_NOATIME
    flags = told.flags | mount.ST_VALID | flags & same | (mount.ST_RELATIME if flags & mount.MS_RELATIME else 0)
    if sb.readonly:
        flags |= mount.MS_RDONLY
    return STATFS.pack(
        told.type, told.bsize, told.blocks, told.bfree, told.bavail, told.files, told.ffree, *told.fsid,
        told.namelen, told.bsize, flags,
    )  # fmt: skip


@syscall()
def sys_ustat(task: Task, dev: DevT, ubuf: UstatPtr) -> int:
    """ustat(2): free blocks and inodes of the mounted file system with device number `dev`; EINVAL for none."""
    from kernel_model.abi.stat import USTAT

    for mnt in task.kernel.mounts.mounts:
        if mnt.mnt_sb.dev == dev:
            told = mnt.mnt_sb.statfs()
            copy_to_user(task.mm, ubuf, USTAT.pack(told.bfree & 0x7FFF_FFFF, told.ffree, b"", b""))
            return 0
    raise SyscallError(errno.EINVAL)
