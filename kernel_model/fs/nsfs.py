"""Namespaces as files (fs/nsfs.c): what the links of /proc/<pid>/ns lead to."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC, O_RDONLY
from kernel_model.fs.anon import install
from kernel_model.fs.dentry import Dentry, Mount, Path
from kernel_model.fs.file import File
from kernel_model.fs.inode import Inode
from kernel_model.fs.pseudo import S_IFREG, KernelSuperBlock
from kernel_model.ns.pid import PidNamespace
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.ns.nsproxy import Namespace
    from kernel_model.task import Task

_NSFS_MAGIC: Final = 0x6E73_6673
# include/uapi/linux/nsfs.h
NS_GET_USERNS: Final = 0xB701
NS_GET_PARENT: Final = 0xB702
NS_GET_NSTYPE: Final = 0xB703
NS_GET_OWNER_UID: Final = 0xB704
NS_GET_PID_FROM_PIDNS: Final = 0x8004_B706
NS_GET_TGID_FROM_PIDNS: Final = 0x8004_B707
NS_GET_PID_IN_PIDNS: Final = 0x8004_B708
NS_GET_TGID_IN_PIDNS: Final = 0x8004_B709
# include/uapi/linux/pidfd.h
_OF_PIDFD: Final[dict[int, Callable[[Task], Namespace]]] = {
    0xFF05: attrgetter("pid_ns"),  # PIDFD_GET_PID_NAMESPACE
    0xFF06: attrgetter("nsproxy.pid_ns_for_children"),
    0xFF07: attrgetter("nsproxy.time_ns"),
    0xFF08: attrgetter("nsproxy.time_ns_for_children"),
    0xFF0A: attrgetter("nsproxy.uts_ns"),
}
_ABSENT_OF_PIDFD: Final = frozenset((0xFF01, 0xFF02, 0xFF03, 0xFF04, 0xFF09))
_TRANSLATIONS: Final = frozenset(
    (NS_GET_PID_FROM_PIDNS, NS_GET_TGID_FROM_PIDNS, NS_GET_PID_IN_PIDNS, NS_GET_TGID_IN_PIDNS)
)


class NsInode(Inode):
    """One namespace; it lives as long as somebody has it open."""

    __slots__ = ("ns",)

    def __init__(self, sb: KernelSuperBlock, ns: Namespace) -> None:
        super().__init__(sb, ns.inum, S_IFREG | 0o444, 0, 0, sb.kernel.clock.file_time_ns())
        self.ns = ns

    def d_dname(self) -> bytes | None:
        """`pid:[4026531836]`."""
        return ns_name(self.ns)

    def open(self, path: Path, flags: int, task: Task) -> File:
        """See `Inode`."""
        return NsFile(self, path, flags)


class NsFile(File):
    """An open namespace, for setns(2) and ioctl_nsfs(2)."""

    __slots__ = ("ns",)

    def __init__(self, inode: NsInode, path: Path, flags: int) -> None:
        super().__init__(inode, path, flags)
        self.ns = inode.ns

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """fs/nsfs.c:ns_ioctl()."""
        ns = self.ns
        if cmd == NS_GET_NSTYPE:
            return ns.ns_type
        if cmd == NS_GET_USERNS:
            raise SyscallError(errno.EPERM)  # ns_get_owner() without CONFIG_USER_NS
        if cmd == NS_GET_PARENT:
            return _open_parent(task, ns)
        if cmd == NS_GET_OWNER_UID:
            raise SyscallError(errno.EINVAL)
        if cmd in _TRANSLATIONS:
            if not isinstance(ns, PidNamespace):
                raise SyscallError(errno.EINVAL)
            return _translate(task, ns, cmd, (arg & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000)
        return super().ioctl(task, cmd, arg)


def _open_parent(task: Task, ns: Namespace) -> int:
    """NS_GET_PARENT: EINVAL for a kind without parents, EPERM for one outside the caller's (pidns_get_parent())."""
    if not isinstance(ns, PidNamespace):
        raise SyscallError(errno.EINVAL)
    if ns.parent is None or not ns.parent.is_within(task.pid_ns):
        raise SyscallError(errno.EPERM)
    return open_namespace(task, ns.parent)


def _translate(task: Task, ns: PidNamespace, cmd: int, nr: int) -> int:
    """NS_GET_PID_FROM_PIDNS and its kin: what `nr` there is here, or the reverse; ESRCH."""
    outwards = cmd in (NS_GET_PID_FROM_PIDNS, NS_GET_TGID_FROM_PIDNS)
    here, there = (ns, task.pid_ns) if outwards else (task.pid_ns, ns)
    target = task.kernel.tasks.get(here.find(nr))
    if target is None:
        raise SyscallError(errno.ESRCH)
    found = there.nr(target.tgid if cmd in (NS_GET_TGID_FROM_PIDNS, NS_GET_TGID_IN_PIDNS) else target.pid)
    if not found:
        raise SyscallError(errno.ESRCH)
    return found


def ns_name(ns: Namespace) -> bytes:
    """What readlink(2) says (ns_get_name())."""
    return b"%s:[%d]" % (ns.name, ns.inum)


def ns_path(kernel: Kernel, ns: Namespace) -> Path:
    """A place for the namespace, in no directory."""
    if kernel.nsfs_mnt is None:
        sb = KernelSuperBlock(kernel, "nsfs", kernel.mounts.new_dev(), _NSFS_MAGIC)
        kernel.nsfs_mnt = Mount(Dentry(b"/", None, Inode(sb, 1, 0o040000, 0, 0, 0)), None, None, "nsfs", 0, "nsfs")
    mnt = kernel.nsfs_mnt
    nsfs = mnt.mnt_sb
    assert isinstance(nsfs, KernelSuperBlock)
    return Path(mnt, Dentry(b"", mnt.mnt_root, NsInode(nsfs, ns)))


def open_namespace(task: Task, ns: Namespace) -> int:
    """A new descriptor of it (open_related_ns())."""
    path = ns_path(task.kernel, ns)
    return install(task, path.inode.open(path, O_RDONLY, task), O_CLOEXEC)


def open_of_pidfd(task: Task, target: Task | None, cmd: int, arg: int) -> int:
    """PIDFD_GET_*_NAMESPACE: ESRCH, EINVAL, EACCES; EOPNOTSUPP for a kind that there is not."""
    if cmd not in _OF_PIDFD and cmd not in _ABSENT_OF_PIDFD:
        raise SyscallError(errno.ENOTTY)
    if target is None:
        raise SyscallError(errno.ESRCH)
    if arg:
        raise SyscallError(errno.EINVAL)
    if target.exit_code is not None:
        raise SyscallError(errno.ESRCH)
    from kernel_model.fs.procfs_task import need_look

    need_look(task, target)
    if cmd in _ABSENT_OF_PIDFD:
        raise SyscallError(errno.EOPNOTSUPP)
    return open_namespace(task, _OF_PIDFD[cmd](target))
