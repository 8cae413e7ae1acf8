"""The stat family, access(2), readlink(2), getdents(2), statfs(2)."""

from __future__ import annotations

from struct import Struct, unpack_from

import pytest

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_NOFOLLOW, O_PATH
from kernel_model.abi.stat import STATFS, STATX, STATX_BTIME, STATX_MNT_ID_UNIQUE
from tests.filecalls.calls import BAD, Calls


def test_what_stat_tells(calls: Calls) -> None:
    calls.make(b"f", b"12345")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    stat = calls.stat(b"f")
    assert stat["st_mode"] == 0o100644
    assert (stat["st_size"], stat["st_nlink"], stat["st_blksize"]) == (5, 1, 4096)
    assert calls.stat(b"l")["st_ino"] == stat["st_ino"]
    link = calls.stat(b"l", AT_SYMLINK_NOFOLLOW)
    assert (link["st_mode"], link["st_size"]) == (0o120777, 1)
    assert calls.stat(b".")["st_mode"] == 0o40755


def test_legacy_names(x86: Calls) -> None:
    x86.make(b"f", b"12345")
    x86("symlinkat", b"f", AT_FDCWD, b"l")
    buffer = x86.model.alloc(256)
    assert x86("stat", b"l", buffer) == 0
    assert x86.stat_fields(buffer)["st_size"] == 5
    assert x86("lstat", b"l", buffer) == 0
    assert x86.stat_fields(buffer)["st_size"] == 1
    assert x86("stat", b"none", buffer) == -errno.ENOENT


def test_empty_paths(calls: Calls) -> None:
    calls.make(b"f", b"123")
    fd = calls.open(b"f", O_PATH)
    buffer = calls.model.alloc(256)
    for name in (b"", 0):
        assert calls("newfstatat", fd, name, buffer, AT_EMPTY_PATH) == 0
        assert calls.stat_fields(buffer)["st_size"] == 3
    assert calls("newfstatat", fd, b"", buffer, 0) == -errno.ENOENT
    assert calls("newfstatat", fd, 0, buffer, 0) == -errno.EFAULT
    assert calls("newfstatat", AT_FDCWD, b"", buffer, AT_EMPTY_PATH) == 0
    assert calls.stat_fields(buffer)["st_mode"] & 0o170000 == 0o40000
    assert calls("newfstatat", calls.pipe()[0], b"", buffer, AT_EMPTY_PATH) == 0
    assert calls.stat_fields(buffer)["st_mode"] == 0o10600


def test_stat_errors(calls: Calls) -> None:
    calls.make(b"f")
    buffer = calls.model.alloc(256)
    assert calls("newfstatat", AT_FDCWD, b"f", buffer, 1) == -errno.EINVAL
    assert calls("newfstatat", AT_FDCWD, b"f", BAD, 0) == -errno.EFAULT
    assert calls("newfstatat", 99, b"f", buffer, 0) == -errno.EBADF
    assert calls("newfstatat", calls.open(b"f"), b"x", buffer, 0) == -errno.ENOTDIR
    assert calls("fstat", 99, buffer) == -errno.EBADF


def statx(calls: Calls, path: bytes, mask: int = 0xFFF, flags: int = 0) -> tuple[int, ...]:
    buffer = calls.model.alloc(256)
    assert calls("statx", AT_FDCWD, path, flags, mask, buffer) == 0
    return STATX.unpack(calls.model.get(buffer, 256))


def test_statx(calls: Calls) -> None:
    calls.make(b"f", b"12345")
    told = statx(calls, b"f")
    assert told[0] & 0xFFF == 0xFFF
    assert (told[6], told[8]) == (0o100644, 5)
    assert not told[2] & 0x2000
    assert statx(calls, b"/")[2] & 0x2000
    assert not statx(calls, b"f", 0x7FF)[0] & STATX_BTIME
    assert statx(calls, b"f", STATX_MNT_ID_UNIQUE)[0] & STATX_MNT_ID_UNIQUE


def test_statx_refuses(calls: Calls) -> None:
    buffer = calls.model.alloc(256)
    assert calls("statx", AT_FDCWD, b".", 0x6000, 0, buffer) == -errno.EINVAL
    assert calls("statx", AT_FDCWD, b".", 1, 0, buffer) == -errno.EINVAL
    assert calls("statx", AT_FDCWD, b".", 0, 0x8000_0000, buffer) == -errno.EINVAL
    assert calls("statx", AT_FDCWD, b".", 0, 0, BAD) == -errno.EFAULT
    assert calls("statx", AT_FDCWD, 0, AT_EMPTY_PATH, 0, buffer) == 0


# -- access -----------------------------------------------------------------------------------------------------------
def test_access_is_for_the_real_user(calls: Calls) -> None:
    calls.make(b"f")
    calls("fchmodat", AT_FDCWD, b"f", 0o600)
    assert calls("faccessat", AT_FDCWD, b"f", 6) == 0
    assert calls("faccessat", AT_FDCWD, b"f", 1) == -errno.EACCES
    assert calls("faccessat", AT_FDCWD, b"f", 8) == -errno.EINVAL
    assert calls("faccessat2", AT_FDCWD, b"f", 0, 1) == -errno.EINVAL
    kept = calls.task.cred
    real_user = kept.copy()
    real_user.uid = 1000
    calls.task.cred = real_user
    assert calls("faccessat", AT_FDCWD, b"f", 4) == -errno.EACCES
    assert calls("faccessat2", AT_FDCWD, b"f", 4, 0x200) == 0
    assert calls("faccessat", AT_FDCWD, b"f", 0) == 0
    assert calls.task.cred is real_user


def test_access_without_a_name(calls: Calls) -> None:
    calls.make(b"f")
    fd = calls.open(b"f", O_PATH)
    assert calls("faccessat2", fd, b"", 4, AT_EMPTY_PATH) == 0
    assert calls("faccessat2", fd, b"", 4, 0) == -errno.ENOENT


# -- readlink ---------------------------------------------------------------------------------------------------------
def test_readlink(calls: Calls) -> None:
    calls("symlinkat", b"some/where", AT_FDCWD, b"l")
    calls.make(b"f")
    buffer = calls.model.put(b"\xee" * 16)
    assert calls("readlinkat", AT_FDCWD, b"l", buffer, 16) == 10
    assert calls.model.get(buffer, 12) == b"some/where\xee\xee"
    assert calls("readlinkat", AT_FDCWD, b"l", buffer, 4) == 4
    assert calls("readlinkat", AT_FDCWD, b"l", buffer, 0) == -errno.EINVAL
    assert calls("readlinkat", AT_FDCWD, b"l", buffer, -1) == -errno.EINVAL
    assert calls("readlinkat", AT_FDCWD, b"f", buffer, 16) == -errno.EINVAL
    assert calls("readlinkat", AT_FDCWD, b"l", BAD, 16) == -errno.EFAULT
    assert calls("readlinkat", AT_FDCWD, b"", buffer, 16) == -errno.ENOENT
    fd = calls.open(b"l", O_PATH | O_NOFOLLOW)
    assert calls("readlinkat", fd, b"", buffer, 16) == 10


# -- directories ------------------------------------------------------------------------------------------------------
def entries64(data: bytes) -> list[tuple[bytes, int, int]]:
    """(name, d_off, d_type) of each `struct linux_dirent64`."""
    found = []
    at = 0
    while at < len(data):
        _ino, off, length, kind = unpack_from("<QqHB", data, at)
        assert length % 8 == 0 and data[at + length - 1] == 0
        found.append((data[at + 19 : at + length].split(b"\0")[0], off, kind))
        at += length
    return found


def listing(calls: Calls, fd: int, count: int) -> list[tuple[bytes, int, int]]:
    buffer = calls.model.alloc(max(count, 1))
    found = []
    while (size := calls("getdents64", fd, buffer, count)) > 0:
        found += entries64(calls.model.get(buffer, size))
    assert size == 0
    return found


@pytest.mark.parametrize("count", [24, 32, 100, 4096])
def test_a_directory_in_pieces(calls: Calls, count: int) -> None:
    names = [b"f%d" % i for i in range(20)]
    for name in names:
        calls.make(name)
    fd = calls.open(b".")
    found = listing(calls, fd, count)
    assert [name for name, _, _ in found] == [b".", b"..", *names]
    assert [kind for _, _, kind in found] == [4, 4, *[8] * 20]
    assert calls("lseek", fd, 0, 0) == 0
    assert listing(calls, fd, 4096) == found
    assert calls("lseek", fd, found[9][1], 0) == found[9][1]
    assert listing(calls, fd, 4096) == found[10:]


def test_getdents_errors(calls: Calls) -> None:
    calls.make(b"f")
    calls("mkdirat", AT_FDCWD, b"d", 0o755)
    fd = calls.open(b"d")
    buffer = calls.model.alloc(64)
    assert calls("getdents64", fd, buffer, 23) == -errno.EINVAL
    assert calls("getdents64", fd, buffer, 0) == -errno.EINVAL
    assert calls("getdents64", fd, BAD, 64) == -errno.EFAULT
    assert calls("getdents64", calls.open(b"f"), buffer, 64) == -errno.ENOTDIR
    assert calls("unlinkat", AT_FDCWD, b"d", 0x200) == 0
    assert calls("getdents64", fd, buffer, 64) == -errno.ENOENT


def test_the_older_layout(x86: Calls) -> None:
    x86.make(b"file")
    fd = x86.open(b".")
    buffer = x86.model.alloc(256)
    size = x86("getdents", fd, buffer, 256)
    data = x86.model.get(buffer, size)
    found = []
    at = 0
    while at < size:
        length = unpack_from("<H", data, at + 16)[0]
        found.append((data[at + 18 : at + length].split(b"\0")[0], data[at + length - 1]))
        at += length
    assert found == [(b".", 4), (b"..", 4), (b"file", 8)]
    assert x86("getdents", fd, buffer, 256) == 0


# -- file systems -----------------------------------------------------------------------------------------------------
def test_statfs(calls: Calls) -> None:
    buffer = calls.model.alloc(120)
    assert calls("statfs", b"/tmp", buffer) == 0
    told = STATFS.unpack(calls.model.get(buffer, 120))
    assert (told[0], told[1], told[9], told[10]) == (0x01021994, 4096, 255, 4096)
    assert told[11] & 0x26 == 0x26
    fd = calls.open(b"/tmp", O_PATH)
    other = calls.model.alloc(120)
    assert calls("fstatfs", fd, other) == 0
    assert calls.model.get(other, 120) == calls.model.get(buffer, 120)
    assert calls("statfs", b"nothing", buffer) == -errno.ENOENT
    assert calls("fstatfs", 99, buffer) == -errno.EBADF


def test_ustat(x86: Calls) -> None:
    buffer = x86.model.alloc(32)
    assert x86("ustat", x86.stat(b".")["st_dev"], buffer) == 0
    assert Struct("<i4xQ").unpack(x86.model.get(buffer, 16))[0] > 0
    assert x86("ustat", 0xFFFF, buffer) == -errno.EINVAL
