"""Making, moving and removing names: arguments and flags (the tree itself is tests/fs's)."""

from __future__ import annotations

import pytest

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_FDCWD, O_PATH
from tests.filecalls.calls import BAD, Calls


def exists(calls: Calls, path: bytes) -> bool:
    return calls("faccessat2", AT_FDCWD, path, 0, 0x100) == 0


def test_directories(calls: Calls) -> None:
    assert calls("mkdirat", AT_FDCWD, b"d", 0o7777) == 0
    assert calls.stat(b"d")["st_mode"] == 0o41755
    assert calls("mkdirat", AT_FDCWD, b"d", 0o777) == -errno.EEXIST
    assert calls("mkdirat", AT_FDCWD, b"d/e/", 0o777) == 0
    assert calls("unlinkat", AT_FDCWD, b"d", 0x200) == -errno.ENOTEMPTY
    assert calls("unlinkat", AT_FDCWD, b"d/e", 0) == -errno.EISDIR
    assert calls("unlinkat", AT_FDCWD, b"d/e", 0x200) == 0
    assert calls("unlinkat", AT_FDCWD, b"d/.", 0x200) == -errno.EINVAL
    assert calls("unlinkat", AT_FDCWD, b"d", 1) == -errno.EINVAL
    assert calls("mkdirat", 99, b"x", 0o777) == -errno.EBADF


def test_relative_to_a_directory(calls: Calls) -> None:
    calls("mkdirat", AT_FDCWD, b"d", 0o755)
    fd = calls.open(b"d", O_PATH)
    assert calls("mkdirat", fd, b"e", 0o755) == 0
    assert calls("symlinkat", b"e", fd, b"l") == 0
    assert calls("renameat", fd, b"e", AT_FDCWD, b"moved") == 0
    assert exists(calls, b"moved") and not exists(calls, b"d/e")
    assert calls("unlinkat", fd, b"l", 0) == 0


@pytest.mark.parametrize(("mode", "wanted"), [
    (0, 0), (0o100000, 0), (0o010000, 0), (0o140000, 0), (0o020000, 0), (0o060000, 0),
    (0o040000, -errno.EPERM), (0o120000, -errno.EINVAL), (0o030000, -errno.EINVAL),
])  # fmt: skip
def test_mknod(calls: Calls, mode: int, wanted: int) -> None:
    assert calls("mknodat", AT_FDCWD, b"n", mode | 0o666, 0x103) == wanted
    if not wanted:
        stat = calls.stat(b"n")
        assert stat["st_mode"] == (mode or 0o100000) | 0o644
        assert stat["st_rdev"] == (0x103 if mode in (0o020000, 0o060000) else 0)
        assert calls("mknodat", AT_FDCWD, b"n", mode | 0o666, 0x103) == -errno.EEXIST


def test_a_user_makes_no_devices(calls: Calls) -> None:
    calls("fchmodat", AT_FDCWD, b".", 0o777)
    with calls.user(1000):
        assert calls("mknodat", AT_FDCWD, b"n", 0o020666, 0x103) == -errno.EPERM
        assert calls("mknodat", AT_FDCWD, b"p", 0o010666, 0) == 0


def test_links(calls: Calls) -> None:
    calls.make(b"f", b"x")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    assert calls("linkat", AT_FDCWD, b"f", AT_FDCWD, b"g", 0) == 0
    assert calls.stat(b"f")["st_nlink"] == 2
    assert calls("linkat", AT_FDCWD, b"l", AT_FDCWD, b"m", 0) == 0
    assert calls.stat(b"m", 0x100)["st_mode"] == 0o120777
    assert calls("linkat", AT_FDCWD, b"l", AT_FDCWD, b"n", 0x400) == 0
    assert calls.stat(b"n", 0x100)["st_mode"] == 0o100644
    assert calls("linkat", AT_FDCWD, b".", AT_FDCWD, b"o", 0) == -errno.EPERM
    assert calls("linkat", AT_FDCWD, b"f", AT_FDCWD, b"g", 0) == -errno.EEXIST
    assert calls("linkat", AT_FDCWD, b"f", AT_FDCWD, b"p", 0x100) == -errno.EINVAL
    fd = calls.open(b"f", O_PATH)
    assert calls("linkat", fd, b"", AT_FDCWD, b"p", 0) == -errno.ENOENT
    assert calls("linkat", fd, b"", AT_FDCWD, b"p", 0x1000) == 0
    assert calls("symlinkat", b"", AT_FDCWD, b"q") == -errno.ENOENT


def test_renaming(calls: Calls) -> None:
    calls.make(b"a", b"A")
    calls.make(b"b", b"B")
    assert calls("renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", 1) == -errno.EEXIST
    assert calls("renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", 2) == 0
    assert (calls.contents(b"a"), calls.contents(b"b")) == (b"B", b"A")
    assert calls("renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", 3) == -errno.EINVAL
    assert calls("renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", 8) == -errno.EINVAL
    assert calls("renameat2", AT_FDCWD, b"a", AT_FDCWD, b"none", 2) == -errno.ENOENT
    assert calls("renameat", AT_FDCWD, b"a", AT_FDCWD, b"b") == 0
    assert calls.contents(b"b") == b"B"
    assert not exists(calls, b"a")


@pytest.mark.parametrize(("call", "args"), [
    ("mkdirat", (AT_FDCWD, BAD, 0)),
    ("mknodat", (AT_FDCWD, BAD, 0, 0)),
    ("unlinkat", (AT_FDCWD, BAD, 0)),
    ("symlinkat", (BAD, AT_FDCWD, b"x")),
    ("symlinkat", (b"x", AT_FDCWD, BAD)),
    ("linkat", (AT_FDCWD, BAD, AT_FDCWD, b"x", 0)),
    ("renameat2", (AT_FDCWD, b"x", AT_FDCWD, BAD, 0)),
    ("readlinkat", (AT_FDCWD, BAD, 0x10000, 10)),
])  # fmt: skip
def test_bad_names(calls: Calls, call: str, args: tuple[int | bytes, ...]) -> None:
    assert calls(call, *args) == -errno.EFAULT


def test_the_calls_without_at(x86: Calls) -> None:
    assert x86("mkdir", b"d", 0o755) == 0
    assert x86("mknod", b"n", 0o100644, 0) == 0
    assert x86("symlink", b"n", b"l") == 0
    assert x86("link", b"n", b"m") == 0
    assert x86("rename", b"m", b"o") == 0
    assert x86("unlink", b"o") == 0
    assert x86("rmdir", b"d") == 0
    buffer = x86.model.alloc(8)
    assert x86("readlink", b"l", buffer, 8) == 1
    assert x86("access", b"l", 0) == 0
    assert x86("chmod", b"n", 0o600) == 0
    assert x86("chown", b"l", 1, 2) == 0
    assert x86("lchown", b"l", 3, 4) == 0
    assert x86.stat(b"n")["st_uid"] == 1
    assert x86.stat(b"l", 0x100)["st_uid"] == 3
