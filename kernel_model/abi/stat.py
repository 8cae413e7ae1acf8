"""include/uapi/linux/stat.h, asm-generic/statfs.h, linux/dirent.h: what tells a file's attributes to a guest.

`struct stat` itself differs between the architectures and stands in `kernel_model.arch`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

S_IFMT: Final = 0o170000
S_IFSOCK: Final = 0o140000
S_IFLNK: Final = 0o120000
S_IFREG: Final = 0o100000
S_IFBLK: Final = 0o060000
S_IFDIR: Final = 0o040000
S_IFCHR: Final = 0o020000
S_IFIFO: Final = 0o010000
S_ISUID: Final = 0o4000
S_ISGID: Final = 0o2000
S_ISVTX: Final = 0o1000
S_IXGRP: Final = 0o010
S_IALLUGO: Final = 0o7777

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
STATX_MNT_ID: Final = 0x1000
STATX_MNT_ID_UNIQUE: Final = 0x4000
STATX__RESERVED: Final = 0x8000_0000
STATX_ATTR_MOUNT_ROOT: Final = 0x2000
STATX_ATTRIBUTES_MASK: Final = 0x20_3070
"""Which attributes would be told: IMMUTABLE, APPEND, NODUMP (as on tmpfs), AUTOMOUNT, MOUNT_ROOT, DAX."""

STATX: Final = Struct("<IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIIIQ" + "104x")
"""`struct statx`: mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask; atime, btime,
ctime, mtime as (seconds, nanoseconds); rdev_major, rdev_minor, dev_major, dev_minor, mnt_id; 256 bytes in all."""

STATFS: Final = Struct("<qqQQQQQiiqqq32x")
"""`struct statfs`: type, bsize, blocks, bfree, bavail, files, ffree, fsid[2], namelen, frsize, flags; 120 bytes."""

USTAT: Final = Struct("<i4xQ6s6s4x")
"""`struct ustat`: tfree, tinode, fname, fpack; 32 bytes."""

DIRENT64: Final = Struct("<QqHB")
"""The head of `struct linux_dirent64`: ino, off, reclen, type; the name and its NUL follow at byte 19."""
DIRENT: Final = Struct("<QQH")
"""The head of `struct linux_dirent`: ino, off, reclen; the name follows at byte 18, the type is the last byte."""


def dev_major(dev: int) -> int:
    """The major number of a `dev_t` as user space has it (include/linux/kdev_t.h:new_encode_dev())."""
    return dev >> 8 & 0xFFF


def dev_minor(dev: int) -> int:
    """The minor number of such a `dev_t`."""
    return dev & 0xFF | dev >> 12 & 0xFFF00
