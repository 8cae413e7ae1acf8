"""Credentials (`struct cred`) and capabilities (include/uapi/linux/capability.h)."""

from __future__ import annotations

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

FS_CAPS: Final = (
    1 << CAP_CHOWN | 1 << CAP_MKNOD | 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_FOWNER
    | 1 << CAP_FSETID | 1 << CAP_LINUX_IMMUTABLE | 1 << CAP_MAC_OVERRIDE
)  # fmt: skip
"""CAP_FS_SET: what follows the file-system user id (include/linux/capability.h)."""

# include/uapi/linux/securebits.h
SECURE_NOROOT: Final = 1 << 0
SECURE_NO_SETUID_FIXUP: Final = 1 << 2
SECURE_KEEP_CAPS: Final = 1 << 4
SECURE_KEEP_CAPS_LOCKED: Final = 1 << 5
SECURE_NO_CAP_AMBIENT_RAISE: Final = 1 << 6
SECURE_EXEC_BITS: Final = 1 << 8 | 1 << 10
"""EXEC_RESTRICT_FILE and EXEC_DENY_INTERACTIVE, which need no privilege."""
SECURE_ALL_BITS: Final = 0x55 | SECURE_EXEC_BITS
SECURE_ALL_LOCKS: Final = SECURE_ALL_BITS << 1


class Cred:
    """Who a task is. Group lists are sorted; capability sets are bit masks."""

    def __init__(
        self,
        uid: int,
        gid: int,
        euid: int,
        egid: int,
        suid: int,
        sgid: int,
        fsuid: int,
        fsgid: int,
        groups: tuple[int, ...] = (),
        cap_inheritable: int = 0,
        cap_permitted: int = 0,
        cap_effective: int = 0,
        cap_bset: int = CAP_FULL_SET,
        cap_ambient: int = 0,
        securebits: int = 0,
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.euid = euid
        self.egid = egid
        self.suid = suid
        self.sgid = sgid
        self.fsuid = fsuid
        self.fsgid = fsgid
        self.groups = groups
        self.cap_inheritable = cap_inheritable
        self.cap_permitted = cap_permitted
        self.cap_effective = cap_effective
        self.cap_bset = cap_bset
        self.cap_ambient = cap_ambient
        self.securebits = securebits

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...]) -> Cred:
        """The credentials of a fresh process of that user; uid 0 has every capability."""
        caps = 0 if uid else CAP_FULL_SET
        return cls(
            uid, gid, uid, gid, uid, gid, uid, gid, tuple(sorted(groups)), cap_permitted=caps, cap_effective=caps
        )

    def copy(self) -> Cred:
        """A copy that may change by itself."""
        new = Cred.__new__(Cred)
        vars(new).update(vars(self))
        return new

    def capable(self, cap: int) -> bool:
        """Is the capability in the effective set?"""
        return bool(self.cap_effective >> cap & 1)

    def in_group(self, gid: int) -> bool:
        """Is `gid` the file-system group or a supplementary one?"""
        return gid == self.fsgid or gid in self.groups
