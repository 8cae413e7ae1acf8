"""Who may do what with an inode (fs/namei.c: inode_permission() and its callers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.cred import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.cred import Cred
    from kernel_model.fs.inode import Inode

MAY_EXEC: Final = 1
MAY_WRITE: Final = 2
MAY_READ: Final = 4

_S_IFMT: Final = 0o170000
_S_IFDIR: Final = 0o040000
_READONLY_MATTERS: Final = (0o100000, 0o040000, 0o120000)


def generic_permission(cred: Cred, inode: Inode, mask: int) -> bool:
    """Do mode bits, owner, groups and capabilities allow `mask` (MAY_*)? fs/namei.c:generic_permission()."""
    mode = inode.i_mode
    if cred.fsuid == inode.i_uid:
        bits = mode >> 6
    elif (mode >> 3 ^ mode) & 7 and cred.in_group(inode.i_gid):
        bits = mode >> 3
    else:
        bits = mode
    if not mask & ~bits & 7:
        return True
    if mode & _S_IFMT == _S_IFDIR:
        if not mask & MAY_WRITE and cred.capable(CAP_DAC_READ_SEARCH):
            return True
        return cred.capable(CAP_DAC_OVERRIDE)
    if mask == MAY_READ and cred.capable(CAP_DAC_READ_SEARCH):
        return True
    return bool((not mask & MAY_EXEC or mode & 0o111) and cred.capable(CAP_DAC_OVERRIDE))


def inode_permission(cred: Cred, inode: Inode, mask: int) -> None:
    """Raise EROFS or EACCES unless `cred` may do `mask` (MAY_* bits) with `inode`."""
    if mask & MAY_WRITE and inode.i_sb.readonly and inode.i_mode & _S_IFMT in _READONLY_MATTERS:
        raise SyscallError(errno.EROFS)
    if not generic_permission(cred, inode, mask):
        raise SyscallError(errno.EACCES)


def owner_or_capable(cred: Cred, inode: Inode) -> bool:
    """Is it the task's own file, or may it act as anyone's owner? fs/inode.c:inode_owner_or_capable()."""
    return cred.fsuid == inode.i_uid or cred.capable(CAP_FOWNER)


def check_sticky(cred: Cred, directory: Inode, inode: Inode) -> bool:
    """Does the directory's sticky bit forbid removing `inode` from it? fs/namei.c:__check_sticky()."""
    if not directory.i_mode & 0o1000:
        return False
    return cred.fsuid not in (inode.i_uid, directory.i_uid) and not cred.capable(CAP_FOWNER)


def may_create(cred: Cred, directory: Inode) -> None:
    """Raise unless a name may be added to `directory`. fs/namei.c:may_create()."""
    if not directory.i_nlink:
        raise SyscallError(errno.ENOENT)
    inode_permission(cred, directory, MAY_WRITE | MAY_EXEC)


def may_delete(cred: Cred, directory: Inode, victim: Inode, *, is_dir: bool) -> None:
    """Raise unless the name of `victim` may be taken from `directory`. fs/namei.c:may_delete()."""
    inode_permission(cred, directory, MAY_WRITE | MAY_EXEC)
    if check_sticky(cred, directory, victim):
        raise SyscallError(errno.EPERM)
    victim_is_dir = victim.i_mode & _S_IFMT == _S_IFDIR
    if is_dir and not victim_is_dir:
        raise SyscallError(errno.ENOTDIR)
    if not is_dir and victim_is_dir:
        raise SyscallError(errno.EISDIR)
    if not directory.i_nlink:
        raise SyscallError(errno.ENOENT)
