"""New namespaces for a task or its child (kernel/nsproxy.c, kernel/pid_namespace.c, kernel/time/namespace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.ns.nsproxy import (
    ABSENT,
    ALL_KINDS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NsProxy,
    TimeNamespace,
    UtsNamespace,
)
from kernel_model.ns.pid import PidNamespace
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

CLONE_VM: Final = 0x100
_MAX_PID_NS_LEVEL: Final = 32


def new_inum(kernel: Kernel) -> int:
    """A number for a new namespace (fs/proc/generic.c:proc_alloc_inum())."""
    kernel.last_ns_inum += 1
    return kernel.last_ns_inum


def copy_namespaces(task: Task, flags: int) -> NsProxy:
    """Those of a child that clone(2) makes with `flags`. EPERM, EINVAL, ENOSPC. kernel/nsproxy.c:copy_namespaces().

    A child with an address space of its own enters the time namespace that its parent has for children.
    """
    if flags & CLONE_NEWUSER:
        raise SyscallError(errno.EINVAL)
    if flags & ALL_KINDS:
        if not task.cred.capable(CAP_SYS_ADMIN):
            raise SyscallError(errno.EPERM)
        new = create_new_namespaces(task, flags)
    else:
        new = task.nsproxy
    return new if flags & CLONE_VM else timens_on_fork(new)


def timens_on_fork(nsproxy: NsProxy) -> NsProxy:
    """The same, but in the time namespace that was for children (kernel/time/namespace.c)."""
    time_ns = nsproxy.time_ns_for_children
    if nsproxy.time_ns is time_ns:
        return nsproxy
    return NsProxy(nsproxy.uts_ns, nsproxy.pid_ns_for_children, time_ns, time_ns)


def create_new_namespaces(task: Task, flags: int) -> NsProxy:
    """New ones of the kinds in `flags`, and else those of `task`. Checks in the order of kernel/nsproxy.c."""
    # QUIRK: There are no mount, IPC, network, user and control group namespaces: as without CONFIG_*_NS that is EINVAL.
    if flags & ABSENT:
        raise SyscallError(errno.EINVAL)
    kernel, old = task.kernel, task.nsproxy
    uts_ns, pid_ns, time_ns = old.uts_ns, old.pid_ns_for_children, old.time_ns_for_children
    if flags & CLONE_NEWUTS:
        uts_ns = UtsNamespace(new_inum(kernel), uts_ns.hostname, uts_ns.domainname)
    if flags & CLONE_NEWPID:
        if pid_ns is not task.pid_ns:
            raise SyscallError(errno.EINVAL)
        if pid_ns.level >= _MAX_PID_NS_LEVEL:
            raise SyscallError(errno.ENOSPC)
        pid_ns = PidNamespace(new_inum(kernel), pid_ns)
    if flags & CLONE_NEWTIME:
        time_ns = TimeNamespace(new_inum(kernel), time_ns.monotonic_ns, time_ns.boottime_ns)
    return NsProxy(uts_ns, pid_ns, old.time_ns, time_ns)
