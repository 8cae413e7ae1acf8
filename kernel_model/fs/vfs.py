"""Changing the tree: what the file calls do once their arguments are in the kernel (fs/namei.c, fs/attr.c, fs/open.c).

`do_*` take names and have the whole call's order of errors; `vfs_*` take places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_SEAL_EXEC, F_SEAL_GROW, F_SEAL_SHRINK
from kernel_model.abi.fs import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from kernel_model.abi.resource import RLIMIT_FSIZE
from kernel_model.cred import CAP_CHOWN, CAP_FSETID, CAP_MKNOD
from kernel_model.fs.dentry import Dentry, Path
from kernel_model.fs.namei import (
    LAST_DOT,
    LAST_DOTDOT,
    LAST_NORM,
    Nameidata,
    d_add,
    d_drop,
    d_lookup,
)
from kernel_model.fs.open import get_write_access, new_owner, readonly
from kernel_model.fs.permission import (
    MAY_WRITE,
    inode_permission,
    may_create,
    may_delete,
    owner_or_capable,
)
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task


_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_S_IFREG: Final = 0o100000
_S_IFLNK: Final = 0o120000
_S_IFCHR: Final = 0o020000
_S_IFBLK: Final = 0o060000
_S_IFIFO: Final = 0o010000
_S_IFSOCK: Final = 0o140000


def current_time(task: Task) -> int:
    """The time stamp of a change made now (nanoseconds since 1970)."""
    return task.kernel.clock.realtime_ns()


def _is_dir(inode: Inode) -> bool:
    return inode.i_mode & _S_IFMT == _S_IFDIR


def want_write(path: Path) -> None:
    """EROFS unless the file system and its mount may be changed."""
    if readonly(path):
        raise SyscallError(errno.EROFS)


# -- making names ----------------------------------------------------------------------------------------------------
def filename_create(task: Task, dfd: int, name: bytes, *, want_dir: bool = False) -> tuple[Path, bytes]:
    """(directory, last name) of something that is to be made. EEXIST, ENOENT, EROFS in the order of
    fs/namei.c:filename_create(). `want_dir`: a trailing slash is fine."""
    nd = Nameidata(task, dfd, name)
    nd.link_path_walk(name)
    if nd.last_type != LAST_NORM:
        raise SyscallError(errno.EEXIST)
    if d_lookup(nd.dentry, nd.last) is not None:
        raise SyscallError(errno.EEXIST)
    if nd.directory and not want_dir:
        raise SyscallError(errno.ENOENT)
    directory = Path(nd.mnt, nd.dentry)
    want_write(directory)
    return directory, nd.last


def vfs_mkdir(task: Task, directory: Path, name: bytes, mode: int) -> Path:
    """Make a directory. `mode`: before the umask; the bits of 01777 count."""
    parent = directory.dentry.d_inode
    may_create(task.cred, parent)
    mode, uid, gid = new_owner(task, parent, _S_IFDIR | mode & 0o1777)
    return _instantiate(directory, name, parent.mkdir(name, mode, uid, gid))


def vfs_mknod(task: Task, directory: Path, name: bytes, mode: int, rdev: int = 0) -> Path:
    """Make a regular file, FIFO, socket or device node. `mode`: with its type bits (0: regular), before the umask."""
    parent = directory.dentry.d_inode
    may_create(task.cred, parent)
    kind = mode & _S_IFMT
    if kind in (_S_IFCHR, _S_IFBLK) and not (kind == _S_IFCHR and rdev == 0) and not task.cred.capable(CAP_MKNOD):
        raise SyscallError(errno.EPERM)
    mode, uid, gid = new_owner(task, parent, (kind or _S_IFREG) | mode & 0o7777)
    return _instantiate(directory, name, parent.create(name, mode, uid, gid, rdev))


def vfs_symlink(task: Task, directory: Path, name: bytes, target: bytes) -> Path:
    """Make a symbolic link."""
    parent = directory.dentry.d_inode
    may_create(task.cred, parent)
    _, uid, gid = new_owner(task, parent, _S_IFLNK | 0o777)
    return _instantiate(directory, name, parent.symlink(name, target, uid, gid))


def vfs_link(task: Task, old: Path, directory: Path, name: bytes) -> None:
    """Make `name` another name of what is at `old`. fs/namei.c:vfs_link()."""
    inode = old.dentry.d_inode
    parent = directory.dentry.d_inode
    may_create(task.cred, parent)
    if inode.i_sb is not parent.i_sb:
        raise SyscallError(errno.EXDEV)
    if _is_dir(inode):
        raise SyscallError(errno.EPERM)
    parent.link(name, inode)
    _instantiate(directory, name, inode)


def _instantiate(directory: Path, name: bytes, inode: Inode) -> Path:
    """The new name's place."""
    dentry = Dentry(name, directory.dentry, inode)
    if not inode.volatile or inode.keeps_dentry:
        directory.dentry.children[name] = dentry
    return Path(directory.mnt, dentry)


def do_mkdirat(task: Task, dfd: int, name: bytes, mode: int) -> None:
    """mkdirat(2)."""
    directory, last = filename_create(task, dfd, name, want_dir=True)
    vfs_mkdir(task, directory, last, mode)


def do_mknodat(task: Task, dfd: int, name: bytes, mode: int, rdev: int) -> None:
    """mknodat(2). fs/namei.c:may_mknod(), do_mknodat()."""
    kind = mode & _S_IFMT
    if kind == _S_IFDIR:
        raise SyscallError(errno.EPERM)
    if kind not in (0, _S_IFREG, _S_IFCHR, _S_IFBLK, _S_IFIFO, _S_IFSOCK):
        raise SyscallError(errno.EINVAL)
    directory, last = filename_create(task, dfd, name)
    vfs_mknod(task, directory, last, mode, rdev if kind in (_S_IFCHR, _S_IFBLK) else 0)


def do_symlinkat(task: Task, target: bytes, dfd: int, name: bytes) -> None:
    """symlinkat(2)."""
    if not target:
        raise SyscallError(errno.ENOENT)
    directory, last = filename_create(task, dfd, name)
    vfs_symlink(task, directory, last, target)


def do_linkat(task: Task, old: Path, dfd: int, name: bytes) -> None:
    """linkat(2), its first name already looked up."""
    directory, last = filename_create(task, dfd, name)
    if old.mnt is not directory.mnt:
        raise SyscallError(errno.EXDEV)
    vfs_link(task, old, directory, last)


# -- removing names --------------------------------------------------------------------------------------------------
def vfs_unlink(task: Task, directory: Path, dentry: Dentry) -> None:
    """Remove the name of a non-directory."""
    parent = directory.dentry.d_inode
    may_delete(task.cred, parent, dentry.d_inode, is_dir=False)
    if dentry.mounted is not None:
        raise SyscallError(errno.EBUSY)
    parent.unlink(dentry.d_name)
    d_drop(dentry)


def vfs_rmdir(task: Task, directory: Path, dentry: Dentry) -> None:
    """Remove an empty directory."""
    parent = directory.dentry.d_inode
    may_delete(task.cred, parent, dentry.d_inode, is_dir=True)
    if dentry.mounted is not None or _holds_mounts(dentry):
        raise SyscallError(errno.EBUSY)
    parent.rmdir(dentry.d_name)
    d_drop(dentry)


def _holds_mounts(dentry: Dentry) -> bool:
    """Is something mounted on a name of this directory? The mount point may exist for the mount's sake only."""
    return any(child.mounted is not None for child in dentry.children.values())


def do_unlinkat(task: Task, dfd: int, name: bytes) -> None:
    """unlink(2), and unlinkat(2) without AT_REMOVEDIR."""
    nd = Nameidata(task, dfd, name)
    nd.link_path_walk(name)
    if nd.last_type != LAST_NORM:
        raise SyscallError(errno.EISDIR)
    directory = Path(nd.mnt, nd.dentry)
    want_write(directory)
    dentry = d_lookup(nd.dentry, nd.last)
    if dentry is None:
        raise SyscallError(errno.ENOENT)
    if nd.directory:
        raise SyscallError(errno.EISDIR if _is_dir(dentry.d_inode) else errno.ENOTDIR)
    vfs_unlink(task, directory, dentry)


def do_rmdir(task: Task, dfd: int, name: bytes) -> None:
    """rmdir(2), and unlinkat(2) with AT_REMOVEDIR."""
    nd = Nameidata(task, dfd, name)
    nd.link_path_walk(name)
    if nd.last_type != LAST_NORM:
        special = {LAST_DOTDOT: errno.ENOTEMPTY, LAST_DOT: errno.EINVAL}
        raise SyscallError(special.get(nd.last_type, errno.EBUSY))
    directory = Path(nd.mnt, nd.dentry)
    want_write(directory)
    dentry = d_lookup(nd.dentry, nd.last)
    if dentry is None:
        raise SyscallError(errno.ENOENT)
    vfs_rmdir(task, directory, dentry)


# -- moving names ----------------------------------------------------------------------------------------------------
def do_renameat2(task: Task, old_dfd: int, old_name: bytes, new_dfd: int, new_name: bytes, flags: int) -> None:
    """renameat2(2). fs/namei.c:do_renameat2()."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT):
        raise SyscallError(errno.EINVAL)
    if flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT):
        raise SyscallError(errno.EINVAL)
    old_nd = Nameidata(task, old_dfd, old_name)
    old_nd.link_path_walk(old_name)
    new_nd = Nameidata(task, new_dfd, new_name)
    new_nd.link_path_walk(new_name)
    if old_nd.mnt is not new_nd.mnt:
        raise SyscallError(errno.EXDEV)
    if old_nd.last_type != LAST_NORM:
        raise SyscallError(errno.EBUSY)
    if new_nd.last_type != LAST_NORM:
        raise SyscallError(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY)
    old_dir, new_dir = Path(old_nd.mnt, old_nd.dentry), Path(new_nd.mnt, new_nd.dentry)
    want_write(old_dir)
    old = d_lookup(old_dir.dentry, old_nd.last)
    if old is None:
        raise SyscallError(errno.ENOENT)
    new = d_lookup(new_dir.dentry, new_nd.last)
    if flags & RENAME_NOREPLACE and new is not None:
        raise SyscallError(errno.EEXIST)
    if flags & RENAME_EXCHANGE:
        if new is None:
            raise SyscallError(errno.ENOENT)
        if new_nd.directory and not _is_dir(new.d_inode):
            raise SyscallError(errno.ENOTDIR)
    if not _is_dir(old.d_inode) and (old_nd.directory or (not flags & RENAME_EXCHANGE and new_nd.directory)):
        raise SyscallError(errno.ENOTDIR)
    if _is_ancestor(old, new_dir.dentry):
        raise SyscallError(errno.EINVAL)
    if new is not None and _is_ancestor(new, old_dir.dentry):
        raise SyscallError(errno.EINVAL if flags & RENAME_EXCHANGE else errno.ENOTEMPTY)
    vfs_rename(task, old_dir, old, new_dir, new_nd.last, new, flags)


def _is_ancestor(dentry: Dentry, of: Dentry) -> bool:
    """Is `of` the directory `dentry`, or below it?"""
    while True:
        if of is dentry:
            return True
        if of.d_parent is of:
            return False
        of = of.d_parent


def vfs_rename(
    task: Task, old_dir: Path, old: Dentry, new_dir: Path, new_name: bytes, new: Dentry | None, flags: int
) -> None:
    """Move `old` to `new_name` (now the name of `new`, if that is not None). fs/namei.c:vfs_rename()."""
    source = old.d_inode
    if new is not None and new.d_inode is source:
        return
    cred = task.cred
    old_parent, new_parent = old_dir.dentry.d_inode, new_dir.dentry.d_inode
    is_dir = _is_dir(source)
    may_delete(cred, old_parent, source, is_dir=is_dir)
    if new is None:
        may_create(cred, new_parent)
    else:
        target_is_dir = _is_dir(new.d_inode)
        may_delete(cred, new_parent, new.d_inode, is_dir=target_is_dir if flags & RENAME_EXCHANGE else is_dir)
    if old_parent is not new_parent:
        if is_dir:
            inode_permission(cred, source, MAY_WRITE)
        if flags & RENAME_EXCHANGE and new is not None and _is_dir(new.d_inode):
            inode_permission(cred, new.d_inode, MAY_WRITE)
    if old.mounted is not None or (new is not None and new.mounted is not None):
        raise SyscallError(errno.EBUSY)
    if flags & RENAME_WHITEOUT:
        raise SyscallError(errno.EINVAL)
    old_name = old.d_name
    old_parent.rename(old_name, new_parent, new_name, flags)
    old_dir.dentry.children.pop(old_name, None)
    if new is not None:
        d_drop(new)
        if flags & RENAME_EXCHANGE:
            d_add(old_dir.dentry, old_name, new)
    d_add(new_dir.dentry, new_name, old)


# -- attributes ------------------------------------------------------------------------------------------------------
def vfs_chmod(task: Task, path: Path, mode: int) -> None:
    """chmod(2) of what is at `path`. fs/open.c:chmod_common(), fs/attr.c:setattr_prepare()."""
    want_write(path)
    inode = path.dentry.d_inode
    cred = task.cred
    if inode.i_mode & _S_IFMT == _S_IFLNK:
        raise SyscallError(errno.EOPNOTSUPP)
    if not owner_or_capable(cred, inode):
        raise SyscallError(errno.EPERM)
    if not cred.in_group(inode.i_gid) and not cred.capable(CAP_FSETID):
        mode &= ~0o2000
    if (mode ^ inode.i_mode) & 0o111 and inode.mapping is not None and inode.mapping.seals & F_SEAL_EXEC:
        raise SyscallError(errno.EPERM)
    inode.setattr(mode=mode & 0o7777, ctime_ns=current_time(task))


def vfs_chown(task: Task, path: Path, uid: int, gid: int) -> None:
    """chown(2) of what is at `path`; -1 (0xffffffff) leaves an id as it is. fs/open.c:chown_common()."""
    want_write(path)
    inode = path.dentry.d_inode
    cred = task.cred
    uid &= 0xFFFF_FFFF
    gid &= 0xFFFF_FFFF
    new_uid = None if uid == 0xFFFF_FFFF else uid
    new_gid = None if gid == 0xFFFF_FFFF else gid
    privileged = cred.capable(CAP_CHOWN)
    owner = cred.fsuid == inode.i_uid
    if new_uid is not None and not privileged and not (owner and new_uid == inode.i_uid):
        raise SyscallError(errno.EPERM)
    if new_gid is not None and not privileged and not (owner and (new_gid == inode.i_gid or cred.in_group(new_gid))):
        raise SyscallError(errno.EPERM)
    mode = None
    if not _is_dir(inode):
        kept = inode.i_mode & ~0o4000
        if kept & 0o2010 == 0o2010 or (
            kept & 0o2000 and not cred.in_group(inode.i_gid) and not cred.capable(CAP_FSETID)
        ):
            kept &= ~0o2000
        if kept != inode.i_mode:
            if not owner_or_capable(cred, inode):
                raise SyscallError(errno.EPERM)
            mode = kept & 0o7777
    inode.setattr(mode=mode, uid=new_uid, gid=new_gid, ctime_ns=current_time(task))


def vfs_utimes(task: Task, path: Path, atime_ns: int | None, mtime_ns: int | None, *, touch: bool) -> None:
    """Set time stamps; None leaves one. `touch`: both to now, which needs no more than write permission.

    fs/utimes.c:vfs_utimes(), fs/attr.c:setattr_prepare(), may_setattr().
    """
    want_write(path)
    inode = path.dentry.d_inode
    if not owner_or_capable(task.cred, inode):
        if not touch:
            raise SyscallError(errno.EPERM)
        inode_permission(task.cred, inode, MAY_WRITE)
    inode.setattr(atime_ns=atime_ns, mtime_ns=mtime_ns, ctime_ns=current_time(task))


def vfs_truncate(task: Task, path: Path, size: int) -> None:
    """truncate(2) of what is at `path`. fs/open.c:vfs_truncate()."""
    inode = path.dentry.d_inode
    kind = inode.i_mode & _S_IFMT
    if kind == _S_IFDIR:
        raise SyscallError(errno.EISDIR)
    if kind != _S_IFREG:
        raise SyscallError(errno.EINVAL)
    want_write(path)
    inode_permission(task.cred, inode, MAY_WRITE)
    get_write_access(task, inode)
    do_truncate(task, inode, size)


def do_truncate(task: Task, inode: Inode, size: int) -> None:
    """Set a file's size, within RLIMIT_FSIZE; set-user-ID and set-group-ID go.

    fs/open.c:do_truncate(), mm/shmem.c:shmem_setattr() for seals.
    """
    seals = 0 if inode.mapping is None else inode.mapping.seals
    if (seals & F_SEAL_SHRINK and size < inode.i_size) or (seals & F_SEAL_GROW and size > inode.i_size):
        raise SyscallError(errno.EPERM)
    if size > inode.i_size:
        check_new_size(task, inode, size)
    inode.truncate(size)
    drop_privileges(task, inode)


def check_new_size(task: Task, inode: Inode, size: int) -> None:
    """EFBIG, with SIGXFSZ, for a file that would grow beyond RLIMIT_FSIZE. fs/attr.c:inode_newsize_ok()."""
    if size > task.signal.rlim[RLIMIT_FSIZE][0]:
        raise file_too_big(task)


def file_too_big(task: Task) -> SyscallError:
    """EFBIG, with SIGXFSZ for the task."""
    from kernel_model.abi.signal import SI_USER, SIGXFSZ
    from kernel_model.signal.send import send_signal
    from kernel_model.signal.sighand import SigInfo

    send_signal(task.kernel, task, SigInfo(SIGXFSZ, SI_USER, fields=(("pid", task.tgid_vnr), ("uid", task.cred.uid))))
    return SyscallError(errno.EFBIG)


def drop_privileges(task: Task, inode: Inode) -> None:
    """The contents changed: set-user-ID and (if group-executable) set-group-ID go, unless the task has CAP_FSETID.

    fs/inode.c:file_remove_privs(), fs/attr.c:setattr_should_drop_suidgid().
    """
    mode = inode.i_mode
    if not mode & 0o6000 or task.cred.capable(CAP_FSETID):
        return
    kept = mode & ~0o4000
    if mode & 0o2010 == 0o2010 or (mode & 0o2000 and not task.cred.in_group(inode.i_gid)):
        kept &= ~0o2000
    if kept != mode:
        inode.setattr(mode=kept & 0o7777, ctime_ns=current_time(task))
