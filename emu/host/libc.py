"""Two calls of the C library that Python's os module does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
# struct statfs of 64-bit asm-generic and x86-64: type bsize blocks bfree bavail files ffree fsid[2] namelen frsize ...
_STATFS: Final = struct.Struct("qqQQQQQiiqq")
_STATFS_BYTES: Final = 120


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


def renameat2(old_fd: int, old_name: bytes, new_fd: int, new_name: bytes, flags: int) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(old_fd, old_name, new_fd, new_name, flags))
