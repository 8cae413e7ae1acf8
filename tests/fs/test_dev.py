"""/dev: the nodes, and what the devices do."""

from __future__ import annotations

import os
import struct

import pytest

from kernel_model.abi.errno import EFAULT, ENODEV, ENOSPC, ENOTTY, ENXIO, EPERM
from kernel_model.abi.fcntl import O_RDWR
from kernel_model.fs.devfs import makedev
from tests.filecalls.calls import BAD, Calls
from tests.filecalls.calls import calls as calls  # noqa: PLC0414 - a fixture

S_IFCHR, S_IFLNK, S_IFDIR = 0o020000, 0o120000, 0o040000
AT_SYMLINK_NOFOLLOW = 0x100
RNDGETENTCNT = 0x80045200


def read(calls: Calls, fd: int, count: int) -> bytes | int:
    buffer = calls.model.alloc(max(count, 1))
    got = calls("read", fd, buffer, count)
    return got if got < 0 else calls.model.get(buffer, got)


def write(calls: Calls, fd: int, data: bytes) -> int:
    return calls("write", fd, calls.model.put(data), len(data))


@pytest.mark.parametrize("name", ["null", "zero", "full", "random", "urandom", "tty", "console"])
def test_nodes_are_the_hosts(calls: Calls, name: str) -> None:
    mine = calls.stat(b"/dev/" + name.encode())
    assert mine["st_mode"] & 0o170000 == S_IFCHR
    assert (mine["st_uid"], mine["st_size"], mine["st_nlink"]) == (0, 0, 1)
    try:
        host = os.stat(f"/dev/{name}")
    except FileNotFoundError:
        pytest.skip("the host lacks it")
    assert mine["st_rdev"] == host.st_rdev


def test_the_rest_of_it(calls: Calls) -> None:
    assert calls.stat(b"/dev/stdin", AT_SYMLINK_NOFOLLOW)["st_mode"] == S_IFLNK | 0o777
    assert calls.stat(b"/dev/shm")["st_mode"] == S_IFDIR | 0o1777
    assert calls.stat(b"/dev/pts")["st_mode"] == S_IFDIR | 0o755
    assert calls.contents(calls.make(b"/dev/shm/segment", b"shared")) == b"shared"


def test_null(calls: Calls) -> None:
    fd = calls.open(b"/dev/null", O_RDWR)
    assert write(calls, fd, b"gone") == 4
    assert read(calls, fd, 10) == b""
    assert calls("lseek", fd, 1000, 0) == 0
    assert calls("pwrite64", fd, calls.model.put(b"x"), 1, 77) == 1
    assert calls("mmap", 0, 4096, 1, 2, fd, 0) == -ENODEV


def test_zero(calls: Calls) -> None:
    fd = calls.open(b"/dev/zero", O_RDWR)
    assert read(calls, fd, 5000) == bytes(5000)
    assert write(calls, fd, b"gone") == 4
    for flags in (1, 2):
        address = calls("mmap", 0, 8192, 3, flags, fd, 0)
        assert address > 0
        assert calls.model.get(address, 8192) == bytes(8192)
        other = calls("mmap", 0, 4096, 3, flags, fd, 0)
        assert calls("read", calls.open(b"/dev/urandom"), address, 16) == 16
        assert calls.model.get(address, 16) != bytes(16)
        assert calls.model.get(other, 16) == bytes(16)


def test_a_huge_read_is_not_one_huge_buffer(calls: Calls) -> None:
    fd = calls.open(b"/dev/zero")
    assert calls("read", fd, BAD, 0x7FFF_F000) == -EFAULT


def test_full(calls: Calls) -> None:
    fd = calls.open(b"/dev/full", O_RDWR)
    assert read(calls, fd, 3) == bytes(3)
    assert write(calls, fd, b"x") == -ENOSPC
    assert calls("mmap", 0, 4096, 1, 2, fd, 0) == -ENODEV


@pytest.mark.parametrize("name", [b"/dev/random", b"/dev/urandom"])
def test_random(calls: Calls, name: bytes) -> None:
    fd = calls.open(name, O_RDWR)
    first, second = read(calls, fd, 32), read(calls, fd, 32)
    assert isinstance(first, bytes)
    assert len(first) == 32
    assert first != second
    assert write(calls, fd, b"entropy") == 7
    answer = calls.model.alloc(4)
    assert calls("ioctl", fd, RNDGETENTCNT, answer) == 0
    assert struct.unpack("<i", calls.model.get(answer, 4)) == (256,)
    assert calls("ioctl", fd, 0x5204, 0) == 0
    with calls.user(1000):
        assert calls("ioctl", fd, 0x5204, 0) == -EPERM
    assert calls("ioctl", fd, 0x1234, 0) == -ENOTTY


def test_devices_by_number_anywhere(calls: Calls) -> None:
    assert calls("mknodat", -100, b"/tmp/mine", S_IFCHR | 0o666, makedev(1, 3)) == 0
    assert calls("mknodat", -100, b"/tmp/none", S_IFCHR | 0o666, makedev(200, 3)) == 0
    assert calls("mknodat", -100, b"/dev/mine", S_IFCHR | 0o666, makedev(1, 3)) == 0
    assert calls("mknodat", -100, b"/dev/none", S_IFCHR | 0o666, makedev(200, 3)) == 0
    # /tmp is mounted nodev
    assert calls("openat", -100, b"/tmp/mine", O_RDWR, 0) == -13
    assert write(calls, calls.open(b"/dev/mine", O_RDWR), b"x") == 1
    assert calls("openat", -100, b"/dev/none", O_RDWR, 0) == -ENXIO
