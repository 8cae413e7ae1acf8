"""unshare(2) and setns(2) (kernel/fork.c, kernel/nsproxy.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.fork import CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM
from kernel_model.fs.nsfs import NsFile
from kernel_model.fs.pidfs import PidFile
from kernel_model.ns.create import create_new_namespaces
from kernel_model.ns.nsproxy import (
    ABSENT,
    ALL_KINDS,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    Namespace,
    NsProxy,
    TimeNamespace,
    UtsNamespace,
)
from kernel_model.ns.pid import PidNamespace
from kernel_model.ns.time import timens_commit
from kernel_model.syscalls.cred import may_access
from kernel_model.syscalls.declare import Fd, syscall
from kernel_model.syscalls.kinds import NsFlags, UnshareFlags
from kernel_model.syscalls.read_write import fdget
from kernel_model.task import FsStruct
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

CLONE_SYSVSEM: Final = 0x4_0000
_UNSHARE_FLAGS: Final = CLONE_THREAD | CLONE_FS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM | ALL_KINDS


def _check_unshare_flags(task: Task, flags: int) -> None:
    """What a task alone has it need not unshare, and what it shares it can't. kernel/fork.c:check_unshare_flags()."""
    if (
        flags & ~_UNSHARE_FLAGS
        or (flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and task.signal.threads > 1)
        or (flags & (CLONE_SIGHAND | CLONE_VM) and task.sighand.users > 1)
        or (flags & CLONE_VM and not _is_single_threaded(task))
    ):
        raise SyscallError(errno.EINVAL)


def _is_single_threaded(task: Task) -> bool:
    """Does nobody else run in its address space? (lib/is_single_threaded.c)"""
    return task.signal.threads == 1 and task.mm.users == 1


@syscall(partial="Of namespaces there are those of pids, of clocks and of host names.")
def sys_unshare(task: Task, unshare_flags: UnshareFlags) -> int:
    """unshare(2), in the order of kernel/fork.c:ksys_unshare()."""
    flags = unshare_flags
    if flags & CLONE_NEWUSER:
        flags |= CLONE_THREAD | CLONE_FS
    if flags & CLONE_VM:
        flags |= CLONE_SIGHAND
    if flags & CLONE_SIGHAND:
        flags |= CLONE_THREAD
    if flags & CLONE_NEWNS:
        flags |= CLONE_FS
    _check_unshare_flags(task, flags)
    nsproxy = task.nsproxy
    if flags & CLONE_NEWUSER:
        raise SyscallError(errno.EINVAL)
    if flags & ALL_KINDS:
        if not task.cred.capable(CAP_SYS_ADMIN):
            raise SyscallError(errno.EPERM)
        nsproxy = create_new_namespaces(task, flags)
    if flags & CLONE_FS and task.fs.users > 1:
        _unshare_fs(task)
    if flags & CLONE_FILES and task.files.users > 1:
        task.files.users -= 1
        task.files = task.files.copy()
    task.nsproxy = nsproxy
    return 0


def _unshare_fs(task: Task) -> None:
    """A root, a working directory and a umask of its own."""
    old, pages = task.fs, task.kernel.user_pages
    new = FsStruct(old.root, old.pwd, old.umask)
    if pages is None:
        task.fs = new
    else:
        pages.change_fs(task, new)
    old.users -= 1


@syscall(partial="Of namespaces there are those of pids, of clocks and of host names.")
def sys_setns(task: Task, fd: Fd, flags: NsFlags) -> int:
    """setns(2): into one namespace, or with a pidfd into those of a process. kernel/nsproxy.c."""
    file = fdget(task, fd)
    if isinstance(file, NsFile):
        if flags and flags & 0xFFFF_FFFF != file.ns.ns_type:
            raise SyscallError(errno.EINVAL)
        wanted = [file.ns]
    elif isinstance(file, PidFile):
        if not flags or flags & ~ALL_KINDS or flags & ABSENT:
            raise SyscallError(errno.EINVAL)
        wanted = _of_process(task, file, flags)
    else:
        raise SyscallError(errno.EINVAL)
    nsproxy = task.nsproxy
    for ns in wanted:
        nsproxy = _install(task, nsproxy, ns)
    entered = nsproxy.time_ns is not task.nsproxy.time_ns
    task.nsproxy = nsproxy
    if entered:
        timens_commit(task)
    return 0


def _of_process(task: Task, file: PidFile, flags: int) -> list[Namespace]:
    """Those of a process that `flags` name; ESRCH, EPERM (validate_nsset())."""
    target = file.target()
    if target is None:
        raise SyscallError(errno.ESRCH)
    if not may_access(task, target):
        raise SyscallError(errno.EPERM)
    if target.exit_code is not None:
        raise SyscallError(errno.ESRCH)
    nsproxy = target.nsproxy
    found: list[Namespace] = []
    if flags & CLONE_NEWUTS:
        found.append(nsproxy.uts_ns)
    if flags & CLONE_NEWPID:
        found.append(target.pid_ns)
    if flags & CLONE_NEWTIME:
        found.append(nsproxy.time_ns)
    return found


def _install(task: Task, nsproxy: NsProxy, ns: Namespace) -> NsProxy:
    """`nsproxy` with one namespace instead of its own: EPERM; EINVAL for one of pids that is not within the task's,
    EUSERS for one of clocks while others run in its memory (pidns_install(), timens_install(), utsns_install()).
    """
    if isinstance(ns, TimeNamespace) and not _is_single_threaded(task):
        raise SyscallError(errno.EUSERS)
    if not task.cred.capable(CAP_SYS_ADMIN):
        raise SyscallError(errno.EPERM)
    if isinstance(ns, TimeNamespace):
        return NsProxy(nsproxy.uts_ns, nsproxy.pid_ns_for_children, ns, ns)
    if isinstance(ns, PidNamespace):
        if not ns.is_within(task.pid_ns):
            raise SyscallError(errno.EINVAL)
        return NsProxy(nsproxy.uts_ns, ns, nsproxy.time_ns, nsproxy.time_ns_for_children)
    assert isinstance(ns, UtsNamespace)
    return NsProxy(ns, nsproxy.pid_ns_for_children, nsproxy.time_ns, nsproxy.time_ns_for_children)
