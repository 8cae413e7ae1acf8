"""Opening: from a name and O_* flags to an open file description (fs/namei.c:path_openat(), fs/open.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_TMPFILE,
    O_TRUNC,
)
from kernel_model.abi.mount import MS_NODEV, MS_RDONLY
from kernel_model.cred import CAP_FSETID
from kernel_model.fs.dentry import Dentry, Path
from kernel_model.fs.directory import PathFile
from kernel_model.fs.namei import LAST_NORM, Nameidata
from kernel_model.fs.permission import (
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    inode_permission,
    owner_or_capable,
)
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task

_TMPFILE_BIT: Final = O_TMPFILE & ~O_DIRECTORY
_PATH_FLAGS: Final = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC
_GONE_AFTER_OPEN: Final = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC
_ACC_MODE: Final = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)
_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFREG: Final = 0o100000
_S_IFLNK: Final = 0o120000
_S_IFCHR: Final = 0o020000
_S_IFBLK: Final = 0o060000


def readonly(path: Path) -> bool:
    """Would a change at `path` fail with EROFS? fs/namespace.c:mnt_want_write()."""
    return bool(path.mnt.mnt_flags & MS_RDONLY) or path.dentry.d_inode.i_sb.readonly


def new_owner(task: Task, directory: Inode, mode: int) -> tuple[int, int, int]:
    """(mode, uid, gid) of what the task makes in `directory`: umask and set-group-ID directories are applied.

    fs/inode.c:inode_init_owner(), fs/namei.c:vfs_prepare_mode().
    """
    cred = task.cred
    mode &= ~(task.fs.umask & 0o777)
    gid = cred.fsgid
    if directory.i_mode & 0o2000:
        gid = directory.i_gid
        if mode & _S_IFMT == _S_IFDIR:
            mode |= 0o2000
        elif mode & 0o2010 == 0o2010 and not cred.in_group(gid) and not cred.capable(CAP_FSETID):
            mode &= ~0o2000
    return mode, cred.fsuid, gid


def do_open(task: Task, dfd: int, name: bytes, flags: int, mode: int = 0, resolve: int = 0) -> File:
    """Open `name`. `flags`: O_* in asm-generic's numbers; `mode`: a new file's, before the umask; `resolve`: RESOLVE_*.

    Errors in the order of openat(2) on Linux. The file has one reference; its descriptor is the caller's business.
    """
    if flags & O_PATH:
        flags &= _PATH_FLAGS
        acc_mode = 0
    else:
        flags |= O_LARGEFILE
        acc_mode = _ACC_MODE[flags & O_ACCMODE]
        if flags & O_TRUNC:
            acc_mode |= MAY_WRITE
    if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY:
        raise SyscallError(errno.EINVAL)
    nd = Nameidata(task, dfd, name, resolve)
    nd.link_path_walk(name)
    if flags & _TMPFILE_BIT and not flags & O_PATH:
        return _do_tmpfile(task, nd, flags, mode, acc_mode)
    created = False
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    if flags & O_CREAT and nd.directory and nd.last_type == LAST_NORM:
        raise SyscallError(errno.EISDIR)
    while nd.walk_last(follow=follow, creating=bool(flags & O_CREAT)) is None:
        if not flags & O_CREAT:
            raise SyscallError(errno.ENOENT)
        _create(task, nd, mode)
        created = True
    dentry = nd.dentry
    inode = dentry.d_inode
    kind = inode.i_mode & _S_IFMT
    if flags & O_CREAT and not created:
        if flags & O_EXCL:
            raise SyscallError(errno.EEXIST)
        if kind == _S_IFDIR:
            raise SyscallError(errno.EISDIR)
    if (nd.directory or flags & O_DIRECTORY) and kind != _S_IFDIR:
        raise SyscallError(errno.ENOTDIR)
    path = Path(nd.mnt, dentry)
    if flags & O_PATH:
        return PathFile(inode, path, flags & ~O_CLOEXEC)
    truncate = False
    if not created:
        if flags & O_TRUNC and kind == _S_IFREG:
            if readonly(path):
                raise SyscallError(errno.EROFS)
            truncate = True
        may_open(task, path, acc_mode, flags)
        if acc_mode & MAY_WRITE and inode.i_mode & 0o111:
            get_write_access(task, inode)
    file = inode.open(path, flags & ~_GONE_AFTER_OPEN, task)
    if truncate:
        inode.truncate(0)
        if inode.i_mode & 0o6000:
            from kernel_model.fs.vfs import drop_privileges

            drop_privileges(task, inode)
    return file


def may_open(task: Task, path: Path, acc_mode: int, flags: int) -> None:
    """Raise unless what is at `path` may be opened so. fs/namei.c:may_open()."""
    inode = path.dentry.d_inode
    kind = inode.i_mode & _S_IFMT
    if kind == _S_IFLNK:
        raise SyscallError(errno.ELOOP)
    if kind == _S_IFDIR:
        if acc_mode & MAY_WRITE:
            raise SyscallError(errno.EISDIR)
        if acc_mode & MAY_EXEC:
            raise SyscallError(errno.EACCES)
    elif kind in (_S_IFCHR, _S_IFBLK) and path.mnt.mnt_flags & MS_NODEV:
        raise SyscallError(errno.EACCES)
    if acc_mode & MAY_WRITE and path.mnt.mnt_flags & MS_RDONLY and kind == _S_IFREG:
        raise SyscallError(errno.EROFS)
    inode_permission(task.cred, inode, acc_mode)
    if flags & O_NOATIME and not owner_or_capable(task.cred, inode):
        raise SyscallError(errno.EPERM)


def get_write_access(task: Task, inode: Inode) -> None:
    """ETXTBSY for the program that some task runs. include/linux/fs.h:get_write_access()."""
    if inode.i_mode & _S_IFMT == _S_IFREG:
        for other in task.kernel.tasks.values():
            if other.exe is not None and other.exe.dentry.d_inode is inode:
                raise SyscallError(errno.ETXTBSY)


def _create(task: Task, nd: Nameidata, mode: int) -> None:
    """Make the regular file that the walk did not find; the walk goes on into it. fs/namei.c:lookup_open()."""
    directory = nd.dentry.d_inode
    if readonly(Path(nd.mnt, nd.dentry)):
        raise SyscallError(errno.EROFS)
    if not directory.i_nlink:
        raise SyscallError(errno.ENOENT)
    inode_permission(task.cred, directory, MAY_WRITE | MAY_EXEC)
    mode, uid, gid = new_owner(task, directory, _S_IFREG | mode & 0o7777)
    try:
        inode = directory.create(nd.last, mode, uid, gid)
    except SyscallError as error:
        if error.errno == errno.EPERM:
            raise SyscallError(errno.EACCES) from None
        raise
    nd.dentry.children[nd.last] = Dentry(nd.last, nd.dentry, inode)


def _do_tmpfile(task: Task, nd: Nameidata, flags: int, mode: int, acc_mode: int) -> File:
    """O_TMPFILE: a file that has no name (yet). fs/namei.c:do_tmpfile()."""
    if not flags & O_DIRECTORY or not acc_mode & MAY_WRITE:
        raise SyscallError(errno.EINVAL)
    if nd.walk_last(follow=not flags & O_NOFOLLOW) is None:
        raise SyscallError(errno.ENOENT)
    directory = nd.dentry.d_inode
    if directory.i_mode & _S_IFMT != _S_IFDIR:
        raise SyscallError(errno.ENOTDIR)
    if readonly(Path(nd.mnt, nd.dentry)):
        raise SyscallError(errno.EROFS)
    inode_permission(task.cred, directory, MAY_WRITE | MAY_EXEC)
    mode, uid, gid = new_owner(task, directory, _S_IFREG | mode & 0o7777)
    inode = directory.tmpfile(mode, uid, gid, linkable=not flags & O_EXCL)
    dentry = Dentry(b"#%d" % inode.i_ino, nd.dentry, inode)
    dentry.unhashed = True
    return inode.open(Path(nd.mnt, dentry), flags & ~_GONE_AFTER_OPEN, task)
