"""Credentials (`struct cred`) and capabilities (include/uapi/linux/capability.h)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

CAP_LAST_CAP: Final = 40
CAP_FULL_SET: Final = (1 << CAP_LAST_CAP + 1) - 1
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID = range(8)
CAP_SETPCAP, CAP_LINUX_IMMUTABLE, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_NET_RAW = range(8, 14)
CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_CHROOT, CAP_SYS_PTRACE = range(14, 20)
CAP_SYS_PACCT, CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_NICE, CAP_SYS_RESOURCE, CAP_SYS_TIME = range(20, 26)
CAP_SYS_TTY_CONFIG, CAP_MKNOD, CAP_LEASE, CAP_AUDIT_WRITE, CAP_AUDIT_CONTROL, CAP_SETFCAP = range(26, 32)
CAP_MAC_OVERRIDE, CAP_MAC_ADMIN, CAP_SYSLOG, CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND, CAP_AUDIT_READ = range(32, 38)
CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE = range(38, 41)


@dataclass(slots=True)
class Cred:
    """Who a task is. Group lists are sorted; capability sets are bit masks."""

    uid: int
    gid: int
    euid: int
    egid: int
    suid: int
    sgid: int
    fsuid: int
    fsgid: int
    groups: tuple[int, ...] = ()
    cap_inheritable: int = 0
    cap_permitted: int = 0
    cap_effective: int = 0
    cap_bset: int = CAP_FULL_SET
    cap_ambient: int = 0
    securebits: int = 0

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...]) -> Cred:
        """The credentials of a fresh process of that user; uid 0 has every capability."""
        caps = 0 if uid else CAP_FULL_SET
        return cls(
            uid, gid, uid, gid, uid, gid, uid, gid, tuple(sorted(groups)), cap_permitted=caps, cap_effective=caps
        )

    def copy(self) -> Cred:
        """A copy that may change by itself."""
        return replace(self)

    def capable(self, cap: int) -> bool:
        """Is the capability in the effective set?"""
        return bool(self.cap_effective >> cap & 1)

    def in_group(self, gid: int) -> bool:
        """Is `gid` the file-system group or a supplementary one?"""
        return gid == self.fsgid or gid in self.groups
