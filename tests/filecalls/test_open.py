"""openat(2), openat2(2), close(2), close_range(2), and where a task stands."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi.fcntl import (
    AT_FDCWD,
    CLOSE_RANGE_CLOEXEC,
    CLOSE_RANGE_UNSHARE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOFOLLOW,
    O_PATH,
    O_RDWR,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
)
from kernel_model.abi.openat2 import RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS
from tests.filecalls.calls import BAD, Calls

HOW = Struct("<QQQ")


def try_open(calls: Calls, path: bytes, flags: int, mode: int = 0o644) -> int:
    return calls("openat", AT_FDCWD, path, calls.arch.open_flags_to_user(flags), mode)


def openat2(calls: Calls, path: bytes, flags: int, mode: int = 0, resolve: int = 0, *, more: bytes = b"") -> int:
    data = HOW.pack(calls.arch.open_flags_to_user(flags), mode, resolve) + more
    return calls("openat2", AT_FDCWD, path, calls.model.put(data), len(data))


def test_flags_are_kept_as_getfl_shows_them(calls: Calls) -> None:
    fd = calls.open(b"f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_TRUNC)
    flags = calls("fcntl", fd, 3, 0)
    assert calls.arch.open_flags_from_user(flags) == O_RDWR | O_LARGEFILE
    assert calls("fcntl", fd, 1, 0) == 1
    assert calls("fcntl", calls.open(b"f"), 1, 0) == 0


def test_each_architecture_has_its_own_numbers(calls: Calls) -> None:
    calls.make(b"f")
    directory = {"x86_64": 0o200000, "aarch64": 0o40000}[calls.arch.NAME]
    assert calls("openat", AT_FDCWD, b"f", directory, 0) == -errno.ENOTDIR
    assert calls("openat", AT_FDCWD, b".", directory, 0) >= 0


@pytest.mark.parametrize(("path", "flags", "wanted"), [
    (b"nothing", 0, errno.ENOENT),
    (b"", 0, errno.ENOENT),
    (b"f", O_CREAT | O_EXCL, errno.EEXIST),
    (b"f/x", 0, errno.ENOTDIR),
    (b"f/", 0, errno.ENOTDIR),
    (b".", O_WRONLY, errno.EISDIR),
    (b"new/", O_CREAT, errno.EISDIR),
    (b"new", O_CREAT | O_DIRECTORY, errno.EINVAL),
    (b".", O_TMPFILE, errno.EINVAL),
    (b"f", O_TMPFILE | O_RDWR, errno.ENOTDIR),
    (b"l", O_NOFOLLOW, errno.ELOOP),
    (b"loop", 0, errno.ELOOP),
    (b"x" * 256, 0, errno.ENAMETOOLONG),
    (b"x/" * 2048, 0, errno.ENAMETOOLONG),
])  # fmt: skip
def test_errors(calls: Calls, path: bytes, flags: int, wanted: int) -> None:
    calls.make(b"f")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    calls("symlinkat", b"loop", AT_FDCWD, b"loop")
    assert try_open(calls, path, flags) == -wanted


def test_unknown_flags_are_ignored_but_not_by_openat2(calls: Calls) -> None:
    calls.make(b"f")
    assert calls("openat", AT_FDCWD, b"f", 1 << 30, 0) >= 0
    assert openat2(calls, b"f", 1 << 30) == -errno.EINVAL
    assert openat2(calls, b"f", 1 << 40) == -errno.EINVAL


def test_bad_pointers(calls: Calls) -> None:
    assert calls("openat", AT_FDCWD, BAD, 0, 0) == -errno.EFAULT
    assert calls("openat2", AT_FDCWD, b"f", BAD, 24) == -errno.EFAULT
    assert calls("openat", 99, b"f", 0, 0) == -errno.EBADF
    assert calls("openat", 99, b"/tmp", 0, 0) >= 0


def test_a_path_descriptor_is_for_the_place_only(calls: Calls) -> None:
    calls.make(b"f", b"x")
    fd = calls.open(b"f", O_PATH | O_RDWR | O_TRUNC)
    assert calls.fstat(fd)["st_size"] == 1
    buffer = calls.model.alloc(64)
    for call in (("read", fd, buffer, 1), ("fchmod", fd, 0o600), ("ioctl", fd, 0x5401, buffer), ("fsync", fd),
                 ("ftruncate", fd, 0), ("getdents64", fd, buffer, 64), ("flock", fd, 1), ("fcntl", fd, 4, 0),
                 ("fchown", fd, 0, 0), ("lseek", fd, 0, 0), ("fgetxattr", fd, b"user.x", 0, 0)):  # fmt: skip
        assert calls(*call) == -errno.EBADF, call
    assert calls("dup", fd) > fd
    assert calls("fchdir", calls.open(b".", O_PATH)) == 0
    assert calls("fchdir", fd) == -errno.ENOTDIR


def test_openat2_sizes(calls: Calls) -> None:
    calls.make(b"f")
    assert openat2(calls, b"f", 0, more=bytes(100)) >= 0
    assert openat2(calls, b"f", 0, more=bytes(99) + b"x") == -errno.E2BIG
    how = calls.model.put(bytes(8192))
    assert calls("openat2", AT_FDCWD, b"f", how, 23) == -errno.EINVAL
    assert calls("openat2", AT_FDCWD, b"f", how, 0) == -errno.EINVAL
    assert calls("openat2", AT_FDCWD, b"f", how, 4097) == -errno.E2BIG


def test_openat2_refuses(calls: Calls) -> None:
    calls.make(b"f")
    calls("symlinkat", b"f", AT_FDCWD, b"l")
    assert openat2(calls, b"f", 0, mode=0o644) == -errno.EINVAL
    assert openat2(calls, b"new", O_CREAT, mode=0o10000) == -errno.EINVAL
    assert openat2(calls, b"f", 0, resolve=0x40) == -errno.EINVAL
    assert openat2(calls, b"f", 0, resolve=RESOLVE_BENEATH | RESOLVE_IN_ROOT) == -errno.EINVAL
    assert openat2(calls, b"f", O_PATH | O_RDWR) == -errno.EINVAL
    assert openat2(calls, b"f", O_TRUNC, resolve=RESOLVE_CACHED) == -errno.EAGAIN
    assert openat2(calls, b"l", 0, resolve=RESOLVE_NO_SYMLINKS) == -errno.ELOOP
    assert openat2(calls, b"../w/f", 0, resolve=RESOLVE_BENEATH) == -errno.EXDEV
    assert openat2(calls, b"/f", 0, resolve=RESOLVE_IN_ROOT) >= 0


def test_mode_and_umask(calls: Calls) -> None:
    assert calls("umask", 0o027) == 0o022
    calls.open(b"f", O_CREAT | O_WRONLY, 0o7777)
    assert calls.stat(b"f")["st_mode"] == 0o107750
    assert calls("umask", 0o7022) == 0o027
    assert calls("umask", 0) == 0o022


def test_a_file_made_readonly_may_be_written_by_who_made_it(calls: Calls) -> None:
    calls("fchmodat", AT_FDCWD, b".", 0o777)
    with calls.user(1000):
        fd = try_open(calls, b"f", O_CREAT | O_RDWR, 0o400)
        assert calls("write", fd, calls.model.put(b"x"), 1) == 1
        assert try_open(calls, b"f", O_RDWR) == -errno.EACCES


def test_creat_truncates(x86: Calls) -> None:
    x86.make(b"f", b"abc")
    assert x86("creat", b"f", 0o600) >= 0
    assert x86.contents(b"f") == b""
    assert x86("open", b"f", O_RDWR, 0) >= 0


def test_the_limit_is_found_before_anything_is_made(calls: Calls) -> None:
    calls.task.signal.rlim[7] = (5, 5)
    while try_open(calls, b".", 0) >= 0:
        pass
    assert try_open(calls, b"new", O_CREAT | O_WRONLY) == -errno.EMFILE
    assert calls("dup", 3) == -errno.EMFILE
    calls.task.signal.rlim[7] = (64, 64)
    assert try_open(calls, b"new", 0) == -errno.ENOENT


def test_tmpfile_gets_a_name(calls: Calls) -> None:
    fd = calls.open(b".", O_TMPFILE | O_RDWR)
    assert calls.fstat(fd)["st_nlink"] == 0
    assert calls("linkat", fd, b"", AT_FDCWD, b"named", 0x1000) == 0
    assert calls.stat(b"named")["st_nlink"] == 1


def test_close(calls: Calls) -> None:
    fd = calls.open(b".")
    assert calls("close", fd) == 0
    assert calls("close", fd) == -errno.EBADF
    assert calls("close", -1) == -errno.EBADF
    assert calls.open(b".") == fd


def test_close_range(calls: Calls) -> None:
    first = calls.open(b".")
    for _ in range(4):
        calls.open(b".")
    assert calls("close_range", first + 2, first + 1, 0) == -errno.EINVAL
    assert calls("close_range", first, first, 8) == -errno.EINVAL
    assert calls("close_range", first + 1, first + 2, CLOSE_RANGE_CLOEXEC) == 0
    assert [calls("fcntl", first + i, 1, 0) for i in range(4)] == [0, 1, 1, 0]
    assert calls("close_range", first + 2, (1 << 32) - 1, CLOSE_RANGE_UNSHARE) == 0
    assert [calls("fcntl", first + i, 1, 0) for i in range(4)] == [0, 1, -errno.EBADF, -errno.EBADF]


def test_unsharing_leaves_the_others_table(calls: Calls) -> None:
    fd = calls.open(b".")
    shared = calls.task.files
    shared.users = 2
    assert calls("close_range", fd, fd, CLOSE_RANGE_UNSHARE) == 0
    assert calls.task.files is not shared
    assert fd in shared.fd and fd not in calls.task.files.fd
    assert shared.users == 1


# -- where a task stands ----------------------------------------------------------------------------------------------
def test_getcwd(calls: Calls) -> None:
    buffer = calls.model.alloc(64)
    assert calls("getcwd", buffer, 64) == 7
    assert calls.model.get(buffer, 7) == b"/tmp/w\0"
    assert calls("getcwd", buffer, 7) == 7
    assert calls("getcwd", buffer, 6) == -errno.ERANGE
    assert calls("getcwd", buffer, 0) == -errno.ERANGE
    assert calls("getcwd", BAD, 64) == -errno.EFAULT


def test_getcwd_of_what_is_gone(calls: Calls) -> None:
    calls("mkdirat", AT_FDCWD, b"d", 0o755)
    assert calls("chdir", b"d") == 0
    assert calls("unlinkat", AT_FDCWD, b"../d", 0x200) == 0
    assert calls("getcwd", calls.model.alloc(64), 64) == -errno.ENOENT
    assert calls("chdir", b"..") == 0


def test_chdir(calls: Calls) -> None:
    calls.make(b"f")
    calls("mkdirat", AT_FDCWD, b"closed", 0o700)
    assert calls("chdir", b"f") == -errno.ENOTDIR
    assert calls("chdir", b"nothing") == -errno.ENOENT
    assert calls("chdir", BAD) == -errno.EFAULT
    fd = calls.open(b"closed", O_DIRECTORY)
    with calls.user(1000):
        assert calls("chdir", b"closed") == -errno.EACCES
        assert calls("fchdir", fd) == -errno.EACCES
    assert calls("fchdir", fd) == 0
    assert calls("fchdir", calls.pipe()[0]) == -errno.ENOTDIR


def test_chroot(calls: Calls) -> None:
    calls("mkdirat", AT_FDCWD, b"jail", 0o755)
    with calls.user(1000):
        assert calls("chroot", b"jail") == -errno.EPERM
        assert calls("chroot", b"nothing") == -errno.ENOENT
    assert calls("chroot", b"jail") == 0
    buffer = calls.model.alloc(64)
    assert calls("getcwd", buffer, 64) > 0
    assert calls.model.get(buffer, 20).startswith(b"(unreachable)/tmp/w\0")
    assert calls("chdir", b"/") == 0
    assert calls("chdir", b"..") == 0
    assert calls("getcwd", buffer, 64) == 2
