"""User and group ids, groups, capabilities (kernel/sys.c, groups.c, capability.c, security/commoncap.c)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.cred import (
    CAP_FULL_SET,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_SETUID,
    CAP_SYS_PTRACE,
    FS_CAPS,
    SECURE_KEEP_CAPS,
    SECURE_NO_SETUID_FIXUP,
)
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid
from kernel_model.syscalls.declare import Int, Uid, syscall
from kernel_model.syscalls.kinds import CapData, CapHeader, GroupList, OutCapData, OutGroupList, OutUid
from kernel_model.types import U32_MASK, SyscallError, UserPtr
from kernel_model.ucounts import change_user

if TYPE_CHECKING:
    from kernel_model.cred import Cred
    from kernel_model.task import Task

NO_ID = U32_MASK
"""(uid_t) -1: leave it as it is; as an id of its own it is invalid."""
_NGROUPS_MAX = 65536
_ID = struct.Struct("<I")


def may_access(task: Task, target: Task) -> bool:
    """May `task` look into `target` (kernel/ptrace.c:__ptrace_may_access() with real credentials)?"""
    own, other = task.cred, target.cred
    if task.signal is target.signal or own.capable(CAP_SYS_PTRACE):
        return True
    return (
        own.uid == other.euid == other.suid == other.uid
        and own.gid == other.egid == other.sgid == other.gid
        and target.ptrace_dumpable == 1
        and not other.cap_permitted & ~own.cap_permitted
    )


# -- asking -----------------------------------------------------------------------------------------------------------
@syscall()
def sys_getuid(task: Task) -> int:
    """getuid(2)."""
    return task.cred.uid


@syscall()
def sys_geteuid(task: Task) -> int:
    """geteuid(2)."""
    return task.cred.euid


@syscall()
def sys_getgid(task: Task) -> int:
    """getgid(2)."""
    return task.cred.gid


@syscall()
def sys_getegid(task: Task) -> int:
    """getegid(2)."""
    return task.cred.egid


@syscall()
def sys_getresuid(task: Task, ruid: OutUid, euid: OutUid, suid: OutUid) -> int:
    """getresuid(2)."""
    cred = task.cred
    put_user(task.mm, ruid, _ID, cred.uid)
    put_user(task.mm, euid, _ID, cred.euid)
    put_user(task.mm, suid, _ID, cred.suid)
    return 0


@syscall()
def sys_getresgid(task: Task, rgid: OutUid, egid: OutUid, sgid: OutUid) -> int:
    """getresgid(2)."""
    cred = task.cred
    put_user(task.mm, rgid, _ID, cred.gid)
    put_user(task.mm, egid, _ID, cred.egid)
    put_user(task.mm, sgid, _ID, cred.sgid)
    return 0


# -- changing ---------------------------------------------------------------------------------------------------------
def _fix_capabilities(old: Cred, new: Cred) -> None:
    """What a change of user ids does to capabilities (security/commoncap.c:cap_emulate_setxuid())."""
    if old.securebits & SECURE_NO_SETUID_FIXUP:
        return
    was_root = 0 in (old.uid, old.euid, old.suid)
    if was_root and 0 not in (new.uid, new.euid, new.suid):
        if not old.securebits & SECURE_KEEP_CAPS:
            new.cap_permitted = 0
            new.cap_effective = 0
        new.cap_ambient = 0
    if old.euid == 0 and new.euid != 0:
        new.cap_effective = 0
    if old.euid != 0 and new.euid == 0:
        new.cap_effective = new.cap_permitted


def commit_creds(task: Task, new: Cred) -> None:
    """Put `new` in force. Gaining what the old had not makes the process unreadable (kernel/cred.c:commit_creds())."""
    old = task.cred
    changed = (old.euid, old.egid, old.fsuid, old.fsgid) != (new.euid, new.egid, new.fsuid, new.fsgid)
    if changed or new.cap_permitted & ~old.cap_permitted:
        task.ptrace_dumpable = 0
        task.pdeath_signal = 0
    task.cred = new
    if task.kernel.data_pages is not None:
        task.kernel.data_pages.changed(task)
    if new.uid != old.uid:
        change_user(task, new.uid)


@syscall()
def sys_setuid(task: Task, uid: Uid) -> int:
    """setuid(2): all three with CAP_SETUID, else the effective one."""
    if uid == NO_ID:
        raise SyscallError(errno.EINVAL)
    old = task.cred
    new = old.copy()
    if old.capable(CAP_SETUID):
        new.uid = new.suid = uid
    elif uid not in (old.uid, old.suid):
        raise SyscallError(errno.EPERM)
    new.euid = new.fsuid = uid
    _fix_capabilities(old, new)
    commit_creds(task, new)
    return 0


@syscall()
def sys_setgid(task: Task, gid: Uid) -> int:
    """setgid(2)."""
    if gid == NO_ID:
        raise SyscallError(errno.EINVAL)
    old = task.cred
    new = old.copy()
    if old.capable(CAP_SETGID):
        new.gid = new.sgid = gid
    elif gid not in (old.gid, old.sgid):
        raise SyscallError(errno.EPERM)
    new.egid = new.fsgid = gid
    commit_creds(task, new)
    return 0


@syscall()
def sys_setreuid(task: Task, ruid: Uid, euid: Uid) -> int:
    """setreuid(2)."""
    old = task.cred
    new = old.copy()
    privileged = old.capable(CAP_SETUID)
    if ruid != NO_ID:
        new.uid = ruid
        if ruid not in (old.uid, old.euid) and not privileged:
            raise SyscallError(errno.EPERM)
    if euid != NO_ID:
        new.euid = euid
        if euid not in (old.uid, old.euid, old.suid) and not privileged:
            raise SyscallError(errno.EPERM)
    if ruid != NO_ID or euid not in (NO_ID, old.uid):
        new.suid = new.euid
    new.fsuid = new.euid
    _fix_capabilities(old, new)
    commit_creds(task, new)
    return 0


@syscall()
def sys_setregid(task: Task, rgid: Uid, egid: Uid) -> int:
    """setregid(2)."""
    old = task.cred
    new = old.copy()
    privileged = old.capable(CAP_SETGID)
    if rgid != NO_ID:
        new.gid = rgid
        if rgid not in (old.gid, old.egid) and not privileged:
            raise SyscallError(errno.EPERM)
    if egid != NO_ID:
        new.egid = egid
        if egid not in (old.gid, old.egid, old.sgid) and not privileged:
            raise SyscallError(errno.EPERM)
    if rgid != NO_ID or egid not in (NO_ID, old.gid):
        new.sgid = new.egid
    new.fsgid = new.egid
    commit_creds(task, new)
    return 0


@syscall()
def sys_setresuid(task: Task, ruid: Uid, euid: Uid, suid: Uid) -> int:
    """setresuid(2); when it would change nothing but the file-system id, it does not change that either."""
    old = task.cred
    if ruid in (NO_ID, old.uid) and suid in (NO_ID, old.suid) and (euid == NO_ID or euid == old.euid == old.fsuid):
        return 0
    if not old.capable(CAP_SETUID):
        allowed = (NO_ID, old.uid, old.euid, old.suid)
        if ruid not in allowed or euid not in allowed or suid not in allowed:
            raise SyscallError(errno.EPERM)
    new = old.copy()
    if ruid != NO_ID:
        new.uid = ruid
    if euid != NO_ID:
        new.euid = euid
    if suid != NO_ID:
        new.suid = suid
    new.fsuid = new.euid
    _fix_capabilities(old, new)
    commit_creds(task, new)
    return 0


@syscall()
def sys_setresgid(task: Task, rgid: Uid, egid: Uid, sgid: Uid) -> int:
    """setresgid(2); when it would change nothing but the file-system id, it does not change that either."""
    old = task.cred
    if rgid in (NO_ID, old.gid) and sgid in (NO_ID, old.sgid) and (egid == NO_ID or egid == old.egid == old.fsgid):
        return 0
    if not old.capable(CAP_SETGID):
        allowed = (NO_ID, old.gid, old.egid, old.sgid)
        if rgid not in allowed or egid not in allowed or sgid not in allowed:
            raise SyscallError(errno.EPERM)
    new = old.copy()
    if rgid != NO_ID:
        new.gid = rgid
    if egid != NO_ID:
        new.egid = egid
    if sgid != NO_ID:
        new.sgid = sgid
    new.fsgid = new.egid
    commit_creds(task, new)
    return 0


@syscall()
def sys_setfsuid(task: Task, uid: Uid) -> int:
    """setfsuid(2): tells the old one, whether it changes or not."""
    old = task.cred
    if uid != NO_ID and (uid in (old.uid, old.euid, old.suid, old.fsuid) or old.capable(CAP_SETUID)):
        if uid != old.fsuid:
            new = old.copy()
            new.fsuid = uid
            if not old.securebits & SECURE_NO_SETUID_FIXUP:
                if old.fsuid == 0:
                    new.cap_effective &= ~FS_CAPS
                elif uid == 0:
                    new.cap_effective |= new.cap_permitted & FS_CAPS
            commit_creds(task, new)
    return old.fsuid


@syscall()
def sys_setfsgid(task: Task, gid: Uid) -> int:
    """setfsgid(2)."""
    old = task.cred
    if gid != NO_ID and (gid in (old.gid, old.egid, old.sgid, old.fsgid) or old.capable(CAP_SETGID)):
        if gid != old.fsgid:
            new = old.copy()
            new.fsgid = gid
            commit_creds(task, new)
    return old.fsgid


# -- groups -----------------------------------------------------------------------------------------------------------
@syscall()
def sys_getgroups(task: Task, gidsetsize: Int, grouplist: OutGroupList) -> int:
    """getgroups(2)."""
    if gidsetsize < 0:
        raise SyscallError(errno.EINVAL)
    groups = task.cred.groups
    if gidsetsize:
        if len(groups) > gidsetsize:
            raise SyscallError(errno.EINVAL)
        copy_to_user(task.mm, grouplist, struct.pack(f"<{len(groups)}I", *groups))
    return len(groups)


@syscall()
def sys_setgroups(task: Task, gidsetsize: Int, grouplist: GroupList) -> int:
    """setgroups(2)."""
    if not task.cred.capable(CAP_SETGID):
        raise SyscallError(errno.EPERM)
    if not 0 <= gidsetsize <= _NGROUPS_MAX:
        raise SyscallError(errno.EINVAL)
    groups = struct.unpack(f"<{gidsetsize}I", copy_from_user(task.mm, grouplist, 4 * gidsetsize))
    if NO_ID in groups:
        raise SyscallError(errno.EINVAL)
    new = task.cred.copy()
    new.groups = tuple(sorted(groups))
    commit_creds(task, new)
    return 0


# -- capabilities -----------------------------------------------------------------------------------------------------
_CAP_HEADER = struct.Struct("<Ii")
_CAP_VERSION = struct.Struct("<I")
# effective, permitted, inheritable: 32 bits of each; versions 2 and 3 have two of these
_CAP_DATA = struct.Struct("<III")
_CAP_DATA_2 = struct.Struct("<IIIIII")
_CAPABILITY_VERSION_1 = 0x19980330
_CAPABILITY_VERSION_3 = 0x20080522
_WORDS = {_CAPABILITY_VERSION_1: 1, 0x20071026: 2, _CAPABILITY_VERSION_3: 2}


def _cap_words(task: Task, header: UserPtr) -> int | None:
    """How many 32-bit words of each set the header's version has; None for an unknown one, which is put right.

    kernel/capability.c:cap_validate_magic().
    """
    (version,) = get_user(task.mm, header, _CAP_VERSION)
    words = _WORDS.get(version)
    if words is None:
        put_user(task.mm, header, _CAP_VERSION, _CAPABILITY_VERSION_3)
    return words


@syscall()
def sys_capget(task: Task, header: CapHeader, data: OutCapData) -> int:
    """capget(2). An unknown version is no error when `data` is NULL: that is how the version is asked for."""
    words = _cap_words(task, header)
    if words is None:
        if data:
            raise SyscallError(errno.EINVAL)
        return 0
    if not data:
        return 0
    _, pid = get_user(task.mm, header, _CAP_HEADER)
    if pid < 0:
        raise SyscallError(errno.EINVAL)
    target = find_task_by_vpid(task, pid) if pid else task
    if target is None:
        raise SyscallError(errno.ESRCH)
    cred = target.cred
    values = [
        cap_set >> 32 * word & U32_MASK
        for word in range(words)
        for cap_set in (cred.cap_effective, cred.cap_permitted, cred.cap_inheritable)
    ]
    copy_to_user(task.mm, data, struct.pack(f"<{len(values)}I", *values))
    return 0


@syscall()
def sys_capset(task: Task, header: CapHeader, data: CapData) -> int:
    """capset(2): only of the caller itself, and never more than it was permitted (cap_capset())."""
    words = _cap_words(task, header)
    if words is None:
        raise SyscallError(errno.EINVAL)
    _, pid = get_user(task.mm, header, _CAP_HEADER)
    if pid not in (0, task.pid_vnr):
        raise SyscallError(errno.EPERM)
    if words == 1:
        effective, permitted, inheritable = get_user(task.mm, data, _CAP_DATA)
    else:
        e0, p0, i0, e1, p1, i1 = get_user(task.mm, data, _CAP_DATA_2)
        effective, permitted, inheritable = e0 | e1 << 32, p0 | p1 << 32, i0 | i1 << 32
    effective, permitted, inheritable = effective & CAP_FULL_SET, permitted & CAP_FULL_SET, inheritable & CAP_FULL_SET
    old = task.cred
    if not old.capable(CAP_SETPCAP) and inheritable & ~(old.cap_inheritable | old.cap_permitted):
        raise SyscallError(errno.EPERM)
    if inheritable & ~(old.cap_inheritable | old.cap_bset) or permitted & ~old.cap_permitted or effective & ~permitted:
        raise SyscallError(errno.EPERM)
    new = old.copy()
    new.cap_effective, new.cap_permitted, new.cap_inheritable = effective, permitted, inheritable
    new.cap_ambient &= permitted & inheritable
    commit_creds(task, new)
    return 0
