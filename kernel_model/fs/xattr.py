"""Extended attributes: who may see and set which name (fs/xattr.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fs import XATTR_CREATE, XATTR_LIST_MAX, XATTR_REPLACE
from kernel_model.cred import CAP_SETFCAP, CAP_SYS_ADMIN
from kernel_model.fs.permission import MAY_READ, MAY_WRITE, inode_permission, owner_or_capable
from kernel_model.fs.vfs import current_time, want_write
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task

SPACE_BYTES: Final = 128 << 10
"""How much the attributes of one inode may take together."""
_CAPS: Final = b"security.capability"
_CAPS_SIZES: Final = {0x0100_0000: 12, 0x0200_0000: 20, 0x0300_0000: 24}
"""Size of the value by its revision (struct vfs_cap_data, vfs_ns_cap_data)."""
_S_IFMT: Final = 0o170000
_KINDS_WITH_USER: Final = (0o100000, 0o040000)


def _check(task: Task, inode: Inode, name: bytes, mask: int) -> None:
    """May the task read or write (`mask`) the attribute? EOPNOTSUPP for a name of no kind. fs/xattr.c."""
    write = mask == MAY_WRITE
    prefix, dot, rest = name.partition(b".")
    if prefix == b"trusted" and dot:
        if not task.cred.capable(CAP_SYS_ADMIN):
            raise SyscallError(errno.EPERM if write else errno.ENODATA)
    elif prefix == b"user" and dot:
        if inode.i_mode & _S_IFMT not in _KINDS_WITH_USER:
            raise SyscallError(errno.EPERM if write else errno.ENODATA)
        if write and inode.is_dir and inode.i_mode & 0o1000 and not owner_or_capable(task.cred, inode):
            raise SyscallError(errno.EPERM)
        inode_permission(task.cred, inode, mask)
    elif prefix != b"security" or not dot:
        if prefix != b"system":
            inode_permission(task.cred, inode, mask)
        raise SyscallError(errno.EOPNOTSUPP)
    elif write and not task.cred.capable(CAP_SETFCAP if name == _CAPS else CAP_SYS_ADMIN):
        raise SyscallError(errno.EPERM)
    if not rest:
        raise SyscallError(errno.EINVAL)


def getxattr(task: Task, path: Path, name: bytes) -> bytes:
    """The attribute's value; ENODATA."""
    inode = path.inode
    _check(task, inode, name, MAY_READ)
    return inode.getxattr(name)


def listxattr(task: Task, path: Path) -> bytes:
    """The names, each with a NUL; `trusted.` ones only for CAP_SYS_ADMIN. E2BIG."""
    names = path.inode.listxattr()
    if not task.cred.capable(CAP_SYS_ADMIN):
        names = [name for name in names if not name.startswith(b"trusted.")]
    result = b"".join(name + b"\0" for name in names)
    if len(result) > XATTR_LIST_MAX:
        raise SyscallError(errno.E2BIG)
    return result


def setxattr(task: Task, path: Path, name: bytes, value: bytes, flags: int) -> None:
    """Set the attribute. EEXIST for XATTR_CREATE, ENODATA for XATTR_REPLACE, ENOSPC."""
    want_write(path)
    inode = path.inode
    if name == _CAPS and len(value) != _CAPS_SIZES.get(int.from_bytes(value[:4], "little") & 0xFF00_0000):
        raise SyscallError(errno.EINVAL)
    _check(task, inode, name, MAY_WRITE)
    names = inode.listxattr()
    if flags & XATTR_CREATE and name in names:
        raise SyscallError(errno.EEXIST)
    if flags & XATTR_REPLACE and name not in names:
        raise SyscallError(errno.ENODATA)
    used = sum(len(other) + len(inode.getxattr(other)) for other in names if other != name)
    if used + len(name) + len(value) > SPACE_BYTES:
        raise SyscallError(errno.ENOSPC)
    inode.setxattr(name, value, flags)
    inode.setattr(ctime_ns=current_time(task))


def removexattr(task: Task, path: Path, name: bytes) -> None:
    """Remove the attribute; ENODATA."""
    want_write(path)
    _check(task, path.inode, name, MAY_WRITE)
    path.inode.removexattr(name)
    path.inode.setattr(ctime_ns=current_time(task))
