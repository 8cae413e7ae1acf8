"""Making, moving and removing names (fs/namei.c); the order of errors is `kernel_model.fs.vfs`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW
from kernel_model.fs import vfs
from kernel_model.fs.namei import getname, path_at
from kernel_model.syscalls.declare import DirFd, Mode, PathPtr, syscall
from kernel_model.syscalls.kinds import AtFlags, DevT, RenameFlags, UnlinkFlags
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

_LINK_FLAGS: Final = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH


@syscall()
def sys_mkdir(task: Task, pathname: PathPtr, mode: Mode) -> int:
    """mkdir(2)."""
    vfs.do_mkdirat(task, AT_FDCWD, getname(task, pathname), mode)
    return 0


@syscall()
def sys_mkdirat(task: Task, dfd: DirFd, pathname: PathPtr, mode: Mode) -> int:
    """mkdirat(2)."""
    vfs.do_mkdirat(task, dfd, getname(task, pathname), mode)
    return 0


@syscall()
def sys_rmdir(task: Task, pathname: PathPtr) -> int:
    """rmdir(2)."""
    vfs.do_rmdir(task, AT_FDCWD, getname(task, pathname))
    return 0


@syscall()
def sys_mknod(task: Task, filename: PathPtr, mode: Mode, dev: DevT) -> int:
    """mknod(2)."""
    vfs.do_mknodat(task, AT_FDCWD, getname(task, filename), mode & 0xFFFF, dev)
    return 0


@syscall()
def sys_mknodat(task: Task, dfd: DirFd, filename: PathPtr, mode: Mode, dev: DevT) -> int:
    """mknodat(2)."""
    vfs.do_mknodat(task, dfd, getname(task, filename), mode & 0xFFFF, dev)
    return 0


@syscall()
def sys_symlink(task: Task, oldname: PathPtr, newname: PathPtr) -> int:
    """symlink(2)."""
    return sys_symlinkat(task, oldname, AT_FDCWD, newname)


@syscall()
def sys_symlinkat(task: Task, oldname: PathPtr, newdfd: DirFd, newname: PathPtr) -> int:
    """symlinkat(2)."""
    target = getname(task, oldname)
    vfs.do_symlinkat(task, target, newdfd, getname(task, newname))
    return 0


@syscall()
def sys_link(task: Task, oldname: PathPtr, newname: PathPtr) -> int:
    """link(2): a link in the last place of `oldname` is not followed."""
    return sys_linkat(task, AT_FDCWD, oldname, AT_FDCWD, newname, 0)


@syscall()
def sys_linkat(task: Task, olddfd: DirFd, oldname: PathPtr, newdfd: DirFd, newname: PathPtr, flags: AtFlags) -> int:
    """linkat(2)."""
    # QUIRK: linkat with AT_EMPTY_PATH does not ask whether the caller's credentials opened the descriptor.
    # QUIRK: Links to files of others are made freely, as with fs.protected_hardlinks=0.
    if flags & ~_LINK_FLAGS:
        raise SyscallError(errno.EINVAL)
    empty_ok = bool(flags & AT_EMPTY_PATH)
    old_name = getname(task, oldname, empty_ok=empty_ok)
    old = path_at(task, olddfd, old_name, follow=bool(flags & AT_SYMLINK_FOLLOW), empty_ok=empty_ok)
    vfs.do_linkat(task, old, newdfd, getname(task, newname))
    return 0


@syscall()
def sys_unlink(task: Task, pathname: PathPtr) -> int:
    """unlink(2)."""
    vfs.do_unlinkat(task, AT_FDCWD, getname(task, pathname))
    return 0


@syscall()
def sys_unlinkat(task: Task, dfd: DirFd, pathname: PathPtr, flag: UnlinkFlags) -> int:
    """unlinkat(2)."""
    if flag & ~AT_REMOVEDIR:
        raise SyscallError(errno.EINVAL)
    name = getname(task, pathname)
    if flag & AT_REMOVEDIR:
        vfs.do_rmdir(task, dfd, name)
    else:
        vfs.do_unlinkat(task, dfd, name)
    return 0


def _rename(task: Task, olddfd: int, oldname: UserPtr, newdfd: int, newname: UserPtr, flags: int) -> int:
    """Both names first, then the work."""
    old = getname(task, oldname)
    vfs.do_renameat2(task, olddfd, old, newdfd, getname(task, newname), flags)
    return 0


@syscall()
def sys_rename(task: Task, oldname: PathPtr, newname: PathPtr) -> int:
    """rename(2)."""
    return _rename(task, AT_FDCWD, oldname, AT_FDCWD, newname, 0)


@syscall()
def sys_renameat(task: Task, olddfd: DirFd, oldname: PathPtr, newdfd: DirFd, newname: PathPtr) -> int:
    """renameat(2)."""
    return _rename(task, olddfd, oldname, newdfd, newname, 0)


@syscall(partial="RENAME_WHITEOUT is refused with EINVAL.")
def sys_renameat2(
    task: Task, olddfd: DirFd, oldname: PathPtr, newdfd: DirFd, newname: PathPtr, flags: RenameFlags
) -> int:
    """renameat2(2)."""
    return _rename(task, olddfd, oldname, newdfd, newname, flags)
