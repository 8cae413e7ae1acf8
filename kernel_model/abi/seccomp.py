"""include/uapi/linux/{seccomp,bpf_common,filter,audit}.h."""

from __future__ import annotations

from struct import Struct
from typing import Final

SECCOMP_MODE_DISABLED: Final = 0
SECCOMP_MODE_STRICT: Final = 1
SECCOMP_MODE_FILTER: Final = 2

SECCOMP_SET_MODE_STRICT: Final = 0
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_GET_ACTION_AVAIL: Final = 2
SECCOMP_GET_NOTIF_SIZES: Final = 3

SECCOMP_FILTER_FLAG_TSYNC: Final = 1 << 0
SECCOMP_FILTER_FLAG_LOG: Final = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final = 1 << 2
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 1 << 3
SECCOMP_FILTER_FLAG_TSYNC_ESRCH: Final = 1 << 4
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final = 1 << 5
SECCOMP_FILTER_FLAG_MASK: Final = (1 << 6) - 1

SECCOMP_RET_KILL_PROCESS: Final = 0x8000_0000
SECCOMP_RET_KILL_THREAD: Final = 0x0000_0000
SECCOMP_RET_TRAP: Final = 0x0003_0000
SECCOMP_RET_ERRNO: Final = 0x0005_0000
SECCOMP_RET_USER_NOTIF: Final = 0x7FC0_0000
SECCOMP_RET_TRACE: Final = 0x7FF0_0000
SECCOMP_RET_LOG: Final = 0x7FFC_0000
SECCOMP_RET_ALLOW: Final = 0x7FFF_0000
SECCOMP_RET_ACTION_FULL: Final = 0xFFFF_0000
SECCOMP_RET_DATA: Final = 0x0000_FFFF

ACTION_NAMES: Final = {
    SECCOMP_RET_KILL_PROCESS: "kill_process",
    SECCOMP_RET_KILL_THREAD: "kill_thread",
    SECCOMP_RET_TRAP: "trap",
    SECCOMP_RET_ERRNO: "errno",
    SECCOMP_RET_USER_NOTIF: "user_notif",
    SECCOMP_RET_TRACE: "trace",
    SECCOMP_RET_LOG: "log",
    SECCOMP_RET_ALLOW: "allow",
}
"""What /proc/sys/kernel/seccomp calls the actions, in its order (kernel/seccomp.c:seccomp_log_names)."""

AUDIT_ARCH_64BIT_LE: Final = 0xC000_0000
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 are this and the ELF machine's number."""

SOCK_FPROG: Final = Struct("<H6xQ")
"""`struct sock_fprog`: len, filter."""
SOCK_FILTER: Final = Struct("<HBBI")
"""`struct sock_filter`: code, jt, jf, k."""
SECCOMP_DATA: Final = Struct("<iI7Q")
"""`struct seccomp_data`: nr, arch, instruction_pointer, args."""
SECCOMP_DATA_BYTES: Final = 64
SECCOMP_DATA_WITH_BOUNDS_BYTES: Final = 80
"""With `__u64 ip_bounds[2]`, the start and end of the vDSO, at its end (docs/decisions/0011)."""
NOTIF_SIZES: Final = Struct("<HHH")
"""`struct seccomp_notif_sizes`."""
SECCOMP_NOTIF_BYTES: Final = 80
SECCOMP_NOTIF_RESP_BYTES: Final = 24

SECCOMP_NOTIF_HEAD: Final = Struct("<QII")
"""`struct seccomp_notif` less its seccomp_data: id, pid, flags."""
SECCOMP_NOTIF_RESP: Final = Struct("<QqiI")
"""`struct seccomp_notif_resp`: id, val, error, flags."""
SECCOMP_NOTIF_ADDFD: Final = Struct("<QIIII")
"""`struct seccomp_notif_addfd`: id, flags, srcfd, newfd, newfd_flags."""
SECCOMP_USER_NOTIF_FLAG_CONTINUE: Final = 1
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: Final = 1
SECCOMP_ADDFD_FLAG_SETFD: Final = 1
SECCOMP_ADDFD_FLAG_SEND: Final = 2
SECCOMP_IOCTL_NOTIF_RECV: Final = 0xC050_2100
SECCOMP_IOCTL_NOTIF_SEND: Final = 0xC018_2101
SECCOMP_IOCTL_NOTIF_ID_VALID: Final = 0x4008_2102
SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR: Final = 0x8008_2102
SECCOMP_IOCTL_NOTIF_ADDFD: Final = 0x4018_2103
SECCOMP_IOCTL_NOTIF_SET_FLAGS: Final = 0x4008_2104
IOC_INOUT_AND_SIZE: Final = 0xFFFF_0000
"""The bits of an ioctl's number that tell direction and size, by which ADDFD may grow."""

BPF_MAXINSNS: Final = 4096
BPF_MEMWORDS: Final = 16
MAX_INSNS_PER_PATH: Final = 32768
