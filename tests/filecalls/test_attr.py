"""Modes, owners, times, sizes, extended attributes."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi import fs as abi
from kernel_model.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CREAT, O_PATH, O_RDWR, O_WRONLY
from kernel_model.cred import CAP_CHOWN, CAP_FOWNER
from kernel_model.syscalls.attr import UTIME_NOW, UTIME_OMIT
from tests.filecalls.calls import BAD, Calls

TIMES = Struct("<qqqq")


def chmod(calls: Calls, path: bytes, mode: int) -> int:
    return calls("fchmodat", AT_FDCWD, path, mode)


def chown(calls: Calls, path: bytes, uid: int, gid: int) -> int:
    return calls("fchownat", AT_FDCWD, path, uid, gid, 0)


def mode_of(calls: Calls, path: bytes) -> int:
    return calls.stat(path)["st_mode"] & 0o7777


# -- mode and owner ---------------------------------------------------------------------------------------------------
def test_who_may_chmod(calls: Calls) -> None:
    calls.make(b"f")
    chown(calls, b"f", 1000, 100)
    with calls.user(1001):
        assert chmod(calls, b"f", 0o777) == -errno.EPERM
    with calls.user(1000):
        assert chmod(calls, b"f", 0o4755) == 0
    assert mode_of(calls, b"f") == 0o4755
    with calls.user(1001):
        calls.task.cred.cap_effective = 1 << CAP_FOWNER
        assert chmod(calls, b"f", 0o600) == 0
    assert mode_of(calls, b"f") == 0o600


def test_setgid_goes_when_the_group_is_not_ours(calls: Calls) -> None:
    calls.make(b"f")
    chown(calls, b"f", 1000, 500)
    with calls.user(1000, 100):
        assert chmod(calls, b"f", 0o2755) == 0
        assert mode_of(calls, b"f") == 0o755
    with calls.user(1000, 100, (500,)):
        assert chmod(calls, b"f", 0o2755) == 0
    assert mode_of(calls, b"f") == 0o2755


def test_who_may_chown(calls: Calls) -> None:
    calls.make(b"f")
    chown(calls, b"f", 1000, 100)
    with calls.user(1000, 100, (200,)):
        assert chown(calls, b"f", 1001, -1) == -errno.EPERM
        assert chown(calls, b"f", -1, 300) == -errno.EPERM
        assert chown(calls, b"f", 1000, 200) == 0
        assert chown(calls, b"f", -1, -1) == 0
    with calls.user(1001, 200):
        assert chown(calls, b"f", -1, 200) == -errno.EPERM
        calls.task.cred.cap_effective = 1 << CAP_CHOWN
        assert chown(calls, b"f", 7, 8) == 0
    stat = calls.stat(b"f")
    assert (stat["st_uid"], stat["st_gid"]) == (7, 8)


def test_chown_clears_what_would_give_rights_away(calls: Calls) -> None:
    calls.make(b"f")
    for before, after in ((0o6755, 0o755), (0o6745, 0o2745), (0o4644, 0o644)):
        chmod(calls, b"f", before)
        chown(calls, b"f", 1000, 100)
        assert mode_of(calls, b"f") == after


def test_links_and_flags(calls: Calls) -> None:
    calls.make(b"f")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    assert calls("fchownat", AT_FDCWD, b"l", 5, 6, AT_SYMLINK_NOFOLLOW) == 0
    assert calls.stat(b"l", AT_SYMLINK_NOFOLLOW)["st_uid"] == 5
    assert calls.stat(b"f")["st_uid"] == 0
    assert calls("fchmodat2", AT_FDCWD, b"l", 0o600, AT_SYMLINK_NOFOLLOW) == -errno.EOPNOTSUPP
    assert calls("fchmodat2", AT_FDCWD, b"f", 0o600, 1) == -errno.EINVAL
    fd = calls.open(b"f", O_PATH)
    assert calls("fchmodat2", fd, b"", 0o640, AT_EMPTY_PATH) == 0
    assert calls("fchmodat2", fd, b"", 0o640, 0) == -errno.ENOENT
    assert mode_of(calls, b"f") == 0o640
    assert calls("fchownat", fd, b"", 1, 2, AT_EMPTY_PATH) == 0
    assert calls("fchownat", AT_FDCWD, b"f", 1, 2, 4) == -errno.EINVAL
    plain = calls.open(b"f")
    assert calls("fchmod", plain, 0o604) == 0
    assert calls("fchown", plain, 3, 4) == 0
    assert calls.fstat(plain)["st_mode"] == 0o100604


def test_writing_takes_setuid_away(calls: Calls) -> None:
    calls.make(b"f", b"abc")
    chown(calls, b"f", 1000, 100)
    chmod(calls, b"f", 0o4777)
    with calls.user(1001):
        fd = calls.open(b"f", O_RDWR)
        assert calls("write", fd, calls.model.put(b"x"), 1) == 1
    assert mode_of(calls, b"f") == 0o777


# -- times ------------------------------------------------------------------------------------------------------------
def utimensat(
    calls: Calls, path: bytes | int, times: tuple[int, ...] | None, flags: int = 0, dfd: int = AT_FDCWD
) -> int:
    return calls("utimensat", dfd, path, calls.model.put(TIMES.pack(*times)) if times else 0, flags)


def stamps(calls: Calls, path: bytes) -> tuple[int, int, int, int]:
    stat = calls.stat(path)
    return stat["atime"], stat["atime_ns"], stat["mtime"], stat["mtime_ns"]


def test_times_are_set_left_and_made_now(calls: Calls) -> None:
    calls.make(b"f")
    assert utimensat(calls, b"f", (1, 2, -3, 4)) == 0
    assert stamps(calls, b"f") == (1, 2, -3, 4)
    assert utimensat(calls, b"f", (9, UTIME_OMIT, 5, 6)) == 0
    assert stamps(calls, b"f") == (1, 2, 5, 6)
    assert utimensat(calls, b"f", (0, UTIME_NOW, 0, UTIME_OMIT)) == 0
    assert stamps(calls, b"f")[0] > 1_000_000_000
    assert stamps(calls, b"f")[2:] == (5, 6)
    assert utimensat(calls, b"f", None) == 0
    assert stamps(calls, b"f")[2] > 1_000_000_000


def test_utimensat_errors(calls: Calls) -> None:
    calls.make(b"f")
    assert utimensat(calls, b"f", (0, 1_000_000_000, 0, 0)) == -errno.EINVAL
    assert utimensat(calls, b"f", (0, -1, 0, 0)) == -errno.EINVAL
    assert utimensat(calls, b"f", (0, 0, 0, 0), 1) == -errno.EINVAL
    assert utimensat(calls, b"nothing", (0, UTIME_OMIT, 0, UTIME_OMIT)) == 0
    assert utimensat(calls, b"nothing", None) == -errno.ENOENT
    assert utimensat(calls, 0, None) == -errno.EFAULT
    assert calls("utimensat", AT_FDCWD, b"f", BAD, 0) == -errno.EFAULT
    assert utimensat(calls, 0, None, dfd=99) == -errno.EBADF


def test_times_of_a_descriptor_and_of_a_link(calls: Calls) -> None:
    calls.make(b"f")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    fd = calls.open(b"f")
    assert utimensat(calls, 0, (1, 0, 2, 0), dfd=fd) == 0
    assert utimensat(calls, 0, (1, 0, 2, 0), AT_SYMLINK_NOFOLLOW, dfd=fd) == -errno.EINVAL
    assert utimensat(calls, b"l", (7, 0, 8, 0), AT_SYMLINK_NOFOLLOW) == 0
    assert stamps(calls, b"f")[::2] == (1, 2)
    assert calls.stat(b"l", AT_SYMLINK_NOFOLLOW)["mtime"] == 8


def test_who_may_set_times(calls: Calls) -> None:
    calls.make(b"f")
    chmod(calls, b"f", 0o666)
    with calls.user(1000):
        assert utimensat(calls, b"f", None) == 0
        assert utimensat(calls, b"f", (0, UTIME_NOW, 0, UTIME_NOW)) == 0
        assert utimensat(calls, b"f", (0, UTIME_NOW, 0, UTIME_OMIT)) == -errno.EPERM
        assert utimensat(calls, b"f", (1, 0, 1, 0)) == -errno.EPERM
    chmod(calls, b"f", 0o644)
    with calls.user(1000):
        assert utimensat(calls, b"f", None) == -errno.EACCES


def test_the_older_calls(x86: Calls) -> None:
    x86.make(b"f")
    assert x86("utimes", b"f", x86.model.put(TIMES.pack(1, 2, 3, 4))) == 0
    assert stamps(x86, b"f") == (1, 2000, 3, 4000)
    assert x86("utimes", b"f", x86.model.put(TIMES.pack(1, 1_000_000, 3, 4))) == -errno.EINVAL
    assert x86("futimesat", AT_FDCWD, b"f", x86.model.put(TIMES.pack(5, 6, 7, 8))) == 0
    assert x86("futimesat", x86.open(b"f"), 0, x86.model.put(TIMES.pack(5, 6, 7, 8))) == 0
    assert stamps(x86, b"f") == (5, 6000, 7, 8000)
    assert x86("utime", b"f", x86.model.put(Struct("<qq").pack(11, 12))) == 0
    assert stamps(x86, b"f") == (11, 0, 12, 0)
    assert x86("utime", b"f", 0) == 0
    assert stamps(x86, b"f")[0] > 1_000_000_000


# -- size -------------------------------------------------------------------------------------------------------------
def test_truncate(calls: Calls) -> None:
    calls.make(b"f", b"123456")
    assert calls("truncate", b"f", 3) == 0
    assert calls("truncate", b"f", 5) == 0
    assert calls.contents(b"f") == b"123\0\0"
    assert calls("truncate", b"f", -1) == -errno.EINVAL
    assert calls("truncate", b".", 0) == -errno.EISDIR
    assert calls("truncate", b"nothing", 0) == -errno.ENOENT
    with calls.user(1000):
        assert calls("truncate", b"f", 0) == -errno.EACCES


def test_ftruncate(calls: Calls) -> None:
    calls.make(b"f", b"123456")
    assert calls("ftruncate", calls.open(b"f", O_WRONLY), 2) == 0
    assert calls("ftruncate", calls.open(b"f"), 2) == -errno.EINVAL
    assert calls("ftruncate", calls.open(b"."), 2) == -errno.EINVAL
    assert calls("ftruncate", calls.pipe()[1], 2) == -errno.EINVAL
    assert calls("ftruncate", 99, 2) == -errno.EBADF
    assert calls("ftruncate", 99, -2) == -errno.EINVAL
    assert calls.contents(b"f") == b"12"


PUNCH = abi.FALLOC_FL_PUNCH_HOLE | abi.FALLOC_FL_KEEP_SIZE


def test_fallocate(calls: Calls) -> None:
    calls.make(b"f", b"x" * 10000)
    fd = calls.open(b"f", O_RDWR)
    assert calls("fallocate", fd, abi.FALLOC_FL_KEEP_SIZE, 0, 20000) == 0
    assert calls.fstat(fd)["st_size"] == 10000
    assert calls("fallocate", fd, 0, 10000, 100) == 0
    assert calls.fstat(fd)["st_size"] == 10100
    assert calls("fallocate", fd, PUNCH, 10, 9000) == 0
    assert calls("fallocate", fd, abi.FALLOC_FL_ZERO_RANGE, 10050, 100) == 0
    assert calls.contents(b"f") == b"x" * 10 + bytes(9000) + b"x" * 990 + bytes(150)


@pytest.mark.parametrize(("mode", "offset", "length", "wanted"), [
    (0, -1, 10, errno.EINVAL),
    (0, 0, 0, errno.EINVAL),
    (0, 0, -1, errno.EINVAL),
    (0, abi.LLONG_MAX, 10, errno.EFBIG),
    (0, 0, 1 << 40, errno.ENOSPC),
    (abi.FALLOC_FL_PUNCH_HOLE, 0, 10, errno.EOPNOTSUPP),
    (abi.FALLOC_FL_COLLAPSE_RANGE, 0, 4096, errno.EOPNOTSUPP),
    (abi.FALLOC_FL_INSERT_RANGE, 0, 4096, errno.EOPNOTSUPP),
    (0x100, 0, 10, errno.EOPNOTSUPP),
])  # fmt: skip
def test_fallocate_errors(calls: Calls, mode: int, offset: int, length: int, wanted: int) -> None:
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    assert calls("fallocate", fd, mode, offset, length) == -wanted


def test_fallocate_of_what_is_no_file(calls: Calls) -> None:
    calls.make(b"f")
    assert calls("fallocate", calls.open(b"f"), 0, 0, 10) == -errno.EBADF
    assert calls("fallocate", calls.pipe()[1], 0, 0, 10) == -errno.ESPIPE
    assert calls("fallocate", 99, 0, -1, 10) == -errno.EBADF


def test_seals(calls: Calls) -> None:
    fd = calls("memfd_create", b"m", 2)
    assert calls("ftruncate", fd, 100) == 0
    assert calls("fcntl", fd, 1034, 0) == 0
    assert calls("fcntl", fd, 1033, 0x2) == 0
    assert calls("ftruncate", fd, 50) == -errno.EPERM
    assert calls("ftruncate", fd, 200) == 0
    assert calls("fcntl", fd, 1033, 0x4) == 0
    assert calls("ftruncate", fd, 201) == -errno.EPERM
    assert calls("fallocate", fd, 0, 0, 300) == -errno.EPERM
    assert calls("pwrite64", fd, calls.model.put(b"x"), 1, 199) == 1
    assert calls("pwrite64", fd, calls.model.put(b"x"), 1, 200) == -errno.EPERM
    assert calls("fcntl", fd, 1033, 0x40) == -errno.EINVAL
    assert calls("fcntl", fd, 1033, 0x9) == 0
    assert calls("pwrite64", fd, calls.model.put(b"x"), 1, 0) == -errno.EPERM
    assert calls("fallocate", fd, PUNCH, 0, 10) == -errno.EPERM
    assert calls("fcntl", fd, 1034, 0) == 0xF
    assert calls("fcntl", fd, 1033, 0x10) == -errno.EPERM


def test_no_seals_elsewhere(calls: Calls) -> None:
    calls.make(b"f", b"x")
    fd = calls.open(b"f", O_RDWR)
    assert calls("fcntl", fd, 1034, 0) == 1
    assert calls("fcntl", fd, 1033, 2) == -errno.EPERM
    assert calls("fcntl", calls.open(b"f"), 1033, 2) == -errno.EPERM
    assert calls("fcntl", calls.pipe()[0], 1034, 0) == -errno.EINVAL
    assert calls("write", fd, calls.model.put(b"more"), 4) == 4


def test_a_mapping_that_may_write_keeps_the_seal_away(calls: Calls) -> None:
    fd = calls("memfd_create", b"m", 2)
    calls("ftruncate", fd, 4096)
    address = calls("mmap", 0, 4096, 3, 1, fd, 0)
    assert calls("fcntl", fd, 1033, 8) == -errno.EBUSY
    assert calls("munmap", address, 4096) == 0
    assert calls("fcntl", fd, 1033, 8) == 0


# -- extended attributes ----------------------------------------------------------------------------------------------
def setxattr(calls: Calls, path: bytes, name: bytes, value: bytes, flags: int = 0) -> int:
    return calls("setxattr", path, name, calls.model.put(value), len(value), flags)


def getxattr(calls: Calls, path: bytes, name: bytes) -> bytes | int:
    buffer = calls.model.alloc(4096)
    size = calls("getxattr", path, name, buffer, 4096)
    return size if size < 0 else calls.model.get(buffer, size)


def test_attributes(calls: Calls) -> None:
    calls.make(b"f")
    assert setxattr(calls, b"f", b"user.a", b"one") == 0
    assert setxattr(calls, b"f", b"user.empty", b"") == 0
    assert getxattr(calls, b"f", b"user.a") == b"one"
    assert getxattr(calls, b"f", b"user.empty") == b""
    assert getxattr(calls, b"f", b"user.b") == -errno.ENODATA
    buffer = calls.model.alloc(64)
    assert calls("getxattr", b"f", b"user.a", BAD, 0) == 3
    assert calls("getxattr", b"f", b"user.a", buffer, 2) == -errno.ERANGE
    assert calls("getxattr", b"f", b"user.a", BAD, 3) == -errno.EFAULT
    assert calls("listxattr", b"f", BAD, 0) == 18
    assert calls("listxattr", b"f", buffer, 17) == -errno.ERANGE
    assert calls("listxattr", b"f", buffer, 64) == 18
    assert calls.model.get(buffer, 18) == b"user.a\0user.empty\0"
    assert calls("removexattr", b"f", b"user.a") == 0
    assert calls("removexattr", b"f", b"user.a") == -errno.ENODATA


def test_create_and_replace(calls: Calls) -> None:
    calls.make(b"f")
    assert setxattr(calls, b"f", b"user.a", b"1", abi.XATTR_REPLACE) == -errno.ENODATA
    assert setxattr(calls, b"f", b"user.a", b"1", abi.XATTR_CREATE) == 0
    assert setxattr(calls, b"f", b"user.a", b"2", abi.XATTR_CREATE) == -errno.EEXIST
    assert setxattr(calls, b"f", b"user.a", b"3", abi.XATTR_REPLACE) == 0
    assert setxattr(calls, b"f", b"user.a", b"4", 4) == -errno.EINVAL
    assert getxattr(calls, b"f", b"user.a") == b"3"


@pytest.mark.parametrize(("name", "wanted"), [
    (b"", errno.ERANGE),
    (b"user." + b"x" * 251, errno.ERANGE),
    (b"user.", errno.EINVAL),
    (b"user", errno.EOPNOTSUPP),
    (b"other.x", errno.EOPNOTSUPP),
    (b"system.posix_acl_access", errno.EOPNOTSUPP),
    (b"security.capability", errno.EINVAL),
])  # fmt: skip
def test_names_that_can_not_be_set(calls: Calls, name: bytes, wanted: int) -> None:
    calls.make(b"f")
    assert setxattr(calls, b"f", name, b"x") == -wanted


def test_how_much_fits(calls: Calls) -> None:
    calls.make(b"f")
    assert setxattr(calls, b"f", b"user.big", bytes(65537)) == -errno.E2BIG
    assert setxattr(calls, b"f", b"user.big", bytes(65536)) == 0
    assert setxattr(calls, b"f", b"user.more", bytes(65536)) == -errno.ENOSPC
    assert setxattr(calls, b"f", b"user.big", b"small") == 0
    assert setxattr(calls, b"f", b"user.more", bytes(65536)) == 0


def test_namespaces(calls: Calls) -> None:
    calls.make(b"f")
    chmod(calls, b"f", 0o666)
    assert setxattr(calls, b"f", b"trusted.x", b"1") == 0
    assert setxattr(calls, b"f", b"security.x", b"1") == 0
    with calls.user(1000):
        assert setxattr(calls, b"f", b"trusted.y", b"1") == -errno.EPERM
        assert getxattr(calls, b"f", b"trusted.x") == -errno.ENODATA
        assert setxattr(calls, b"f", b"security.y", b"1") == -errno.EPERM
        assert getxattr(calls, b"f", b"security.x") == b"1"
        assert calls("listxattr", b"f", 0, 0) == 11
    chmod(calls, b"f", 0o600)
    with calls.user(1000):
        assert getxattr(calls, b"f", b"user.x") == -errno.EACCES


def test_user_attributes_are_for_files_and_directories(calls: Calls) -> None:
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    value = calls.model.put(b"x")
    assert calls("lsetxattr", b"l", b"user.x", value, 1, 0) == -errno.EPERM
    assert calls("lgetxattr", b"l", b"user.x", value, 1) == -errno.ENODATA
    assert calls("lsetxattr", b"l", b"trusted.x", value, 1, 0) == 0
    assert calls("llistxattr", b"l", 0, 0) == 10
    assert calls("lremovexattr", b"l", b"trusted.x") == 0
    assert setxattr(calls, b".", b"user.x", b"1") == 0


def test_by_descriptor_and_at(calls: Calls) -> None:
    calls.make(b"f")
    fd = calls.open(b"f")
    value = calls.model.put(b"abc")
    assert calls("fsetxattr", fd, b"user.x", value, 3, 0) == 0
    assert calls("fgetxattr", fd, b"user.x", value, 3) == 3
    assert calls("flistxattr", fd, 0, 0) == 7
    assert calls("fremovexattr", fd, b"user.x") == 0
    args = calls.model.put(Struct("<QII").pack(value, 3, abi.XATTR_CREATE))
    assert calls("setxattrat", fd, b"", AT_EMPTY_PATH, b"user.y", args, 16) == 0
    assert calls("setxattrat", AT_FDCWD, b"f", 0, b"user.y", args, 16) == -errno.EEXIST
    assert calls("setxattrat", AT_FDCWD, b"f", 0, b"user.y", args, 8) == -errno.EINVAL
    assert calls("getxattrat", AT_FDCWD, b"f", 0, b"user.y", args, 16) == -errno.EINVAL
    args = calls.model.put(Struct("<QII").pack(value, 3, 0))
    assert calls("getxattrat", AT_FDCWD, b"f", 0, b"user.y", args, 16) == 3
    assert calls("listxattrat", AT_FDCWD, b"f", 0, 0, 0) == 7
    assert calls("removexattrat", AT_FDCWD, b"f", 0, b"user.y") == 0


def test_no_attributes_in_a_pipe(calls: Calls) -> None:
    read_end, _ = calls.pipe()
    assert calls("flistxattr", read_end, 0, 0) == 0
    assert calls("fgetxattr", read_end, b"trusted.x", 0, 0) == -errno.EOPNOTSUPP
