"""Three calls of the C library that Python's os module does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
# struct statfs of 64-bit asm-generic and x86-64: type bsize blocks bfree bavail files ffree fsid[2] namelen frsize ...
_STATFS: Final = struct.Struct("qqQQQQQiiqq")
_STATFS_BYTES: Final = 120
# struct statx: mask first, btime (seconds, nanoseconds) at 80
_STATX_MASK: Final = struct.Struct("I")
_STATX_BTIME: Final = struct.Struct("qI")
_STATX_BTIME_OFFSET: Final = 80
_STATX_BYTES: Final = 256
_WANT_BTIME: Final = 0x800
_AT_EMPTY_PATH: Final = 0x1000


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fstatfs(fd: int) -> tuple[int, int, int, int, int, int, int, int]:
    """(type, bsize, blocks, bfree, bavail, files, ffree, namelen) of the file system that `fd` is on."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    _check(_libc.fstatfs(fd, buffer))
    kind, bsize, blocks, bfree, bavail, files, ffree, _, _, namelen, _ = _STATFS.unpack_from(buffer)
    return kind, bsize, blocks, bfree, bavail, files, ffree, namelen


def birth_ns(fd: int) -> int:
    """When the file that `fd` holds was made, in nanoseconds since 1970; 0 where nobody knows."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    _check(_libc.statx(fd, b"", _AT_EMPTY_PATH, _WANT_BTIME, buffer))
    if not _STATX_MASK.unpack_from(buffer)[0] & _WANT_BTIME:
        return 0
    seconds, nanoseconds = _STATX_BTIME.unpack_from(buffer, _STATX_BTIME_OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds)


def renameat2(old_fd: int, old_name: bytes, new_fd: int, new_name: bytes, flags: int) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(old_fd, old_name, new_fd, new_name, flags))
