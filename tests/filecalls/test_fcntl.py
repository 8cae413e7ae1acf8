"""dup(2), fcntl(2), ioctl(2)."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno, ioctls
from kernel_model.abi import fcntl as abi
from kernel_model.abi.fcntl import (
    AT_FDCWD,
    O_APPEND,
    O_ASYNC,
    O_CLOEXEC,
    O_DIRECT,
    O_LARGEFILE,
    O_NOATIME,
    O_NONBLOCK,
    O_PATH,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
)
from tests.filecalls.calls import BAD, Calls

INT = Struct("<i")


@pytest.fixture
def fd(calls: Calls) -> int:
    return calls.open(calls.make(b"f", b"0123456789"), O_RDWR)


def getfl(calls: Calls, fd: int) -> int:
    return calls.arch.open_flags_from_user(calls("fcntl", fd, abi.F_GETFL, 0))


def setfl(calls: Calls, fd: int, flags: int) -> int:
    return calls("fcntl", fd, abi.F_SETFL, calls.arch.open_flags_to_user(flags))


# -- dup --------------------------------------------------------------------------------------------------------------
def test_duplicates_share_position_and_flags(calls: Calls, fd: int) -> None:
    other = calls("dup", fd)
    assert other == fd + 1
    calls("lseek", fd, 5, 0)
    setfl(calls, fd, O_APPEND)
    assert calls("lseek", other, 0, 1) == 5
    assert getfl(calls, other) & O_APPEND
    calls("close", fd)
    assert calls("lseek", other, 0, 1) == 5


def test_dup3(calls: Calls, fd: int) -> None:
    cloexec = calls.arch.open_flags_to_user(O_CLOEXEC)
    assert calls("dup3", fd, 40, cloexec) == 40
    assert calls("fcntl", 40, abi.F_GETFD, 0) == 1
    assert calls("dup3", fd, 40, 0) == 40
    assert calls("fcntl", 40, abi.F_GETFD, 0) == 0
    assert calls("dup3", fd, fd, 0) == -errno.EINVAL
    assert calls("dup3", fd, 41, O_NONBLOCK) == -errno.EINVAL
    assert calls("dup3", 99, 41, 0) == -errno.EBADF
    assert calls("dup3", fd, -1, 0) == -errno.EBADF
    assert calls("dup3", fd, 1 << 30, 0) == -errno.EBADF


def test_dup2(x86: Calls) -> None:
    fd = x86.open(x86.make(b"f"))
    other = x86.open(b".")
    assert x86("dup2", fd, fd) == fd
    assert x86("dup2", 99, 99) == -errno.EBADF
    assert x86("dup2", 99, other) == -errno.EBADF
    assert x86("dup2", fd, other) == other
    assert x86.fstat(other)["st_mode"] & 0o170000 == 0o100000


def test_dupfd(calls: Calls, fd: int) -> None:
    assert calls("fcntl", fd, abi.F_DUPFD, 30) == 30
    assert calls("fcntl", fd, abi.F_DUPFD, 30) == 31
    assert calls("fcntl", fd, abi.F_DUPFD_CLOEXEC, 30) == 32
    assert calls("fcntl", 32, abi.F_GETFD, 0) == 1
    assert calls("fcntl", 31, abi.F_GETFD, 0) == 0
    assert calls("dup", fd) == fd + 1
    calls.task.signal.rlim[7] = (33, 33)
    assert calls("fcntl", fd, abi.F_DUPFD, 30) == -errno.EMFILE
    assert calls("fcntl", fd, abi.F_DUPFD, 33) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_DUPFD, -1) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_DUPFD_QUERY, 30) == 1
    assert calls("fcntl", fd, abi.F_DUPFD_QUERY, calls.open(b"f")) == 0
    assert calls("fcntl", fd, abi.F_DUPFD_QUERY, 99) == -errno.EBADF


# -- flags ------------------------------------------------------------------------------------------------------------
def test_descriptor_flags(calls: Calls, fd: int) -> None:
    assert calls("fcntl", fd, abi.F_SETFD, 0xFF) == 0
    assert calls("fcntl", fd, abi.F_GETFD, 0) == 1
    assert calls("fcntl", fd, abi.F_SETFD, 2) == 0
    assert calls("fcntl", fd, abi.F_GETFD, 0) == 0
    assert calls("fcntl", 99, abi.F_GETFD, 0) == -errno.EBADF


def test_setfl_changes_what_may_change(calls: Calls, fd: int) -> None:
    assert setfl(calls, fd, O_WRONLY | O_APPEND | O_NONBLOCK | O_TRUNC | O_NOATIME | O_DIRECT) == 0
    assert getfl(calls, fd) == O_RDWR | O_LARGEFILE | O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT
    assert setfl(calls, fd, 0) == 0
    assert getfl(calls, fd) == O_RDWR | O_LARGEFILE
    with calls.user(1000):
        assert setfl(calls, fd, O_NOATIME) == -errno.EPERM
    assert setfl(calls, fd, O_ASYNC) == 0
    assert not getfl(calls, fd) & O_ASYNC
    read_end, _ = calls.pipe()
    assert setfl(calls, read_end, O_ASYNC) == 0
    assert getfl(calls, read_end) & O_ASYNC


def test_commands_that_are_none(calls: Calls, fd: int) -> None:
    assert calls("fcntl", fd, 9999, 0) == -errno.EINVAL
    assert calls("fcntl", fd, -1, 0) == -errno.EINVAL
    assert calls("fcntl", 99, 9999, 0) == -errno.EBADF
    assert calls("fcntl", fd, abi.F_NOTIFY, 0) == 0
    assert calls("fcntl", fd, abi.F_NOTIFY, 1) == -errno.ENOTDIR
    assert calls("fcntl", calls.open(b"."), abi.F_NOTIFY, 1) == -errno.EINVAL
    path = calls.open(b"f", O_PATH)
    assert calls("fcntl", path, 9999, 0) == -errno.EBADF
    assert calls("fcntl", path, abi.F_GETFL, 0) & O_PATH


# -- owners -----------------------------------------------------------------------------------------------------------
def test_owner(calls: Calls, fd: int) -> None:
    pid = calls.task.tgid
    assert calls("fcntl", fd, abi.F_GETOWN, 0) == 0
    assert calls("fcntl", fd, abi.F_SETOWN, pid) == 0
    assert calls("fcntl", fd, abi.F_GETOWN, 0) == pid
    assert calls("fcntl", fd, abi.F_SETOWN, -calls.task.signal.pgrp) == 0
    assert calls("fcntl", fd, abi.F_GETOWN, 0) == -calls.task.signal.pgrp
    assert calls("fcntl", fd, abi.F_SETOWN, 1 << 31) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_SETOWN, 12345) == -errno.ESRCH
    assert calls("fcntl", fd, abi.F_SETSIG, 65) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_SETSIG, 34) == 0
    assert calls("fcntl", fd, abi.F_SETOWN, 0) == 0
    assert calls("fcntl", fd, abi.F_GETSIG, 0) == 34


def test_owner_ex(calls: Calls, fd: int) -> None:
    pair = Struct("<ii")
    assert calls("fcntl", fd, abi.F_SETOWN_EX, calls.out(pair, abi.F_OWNER_TID, calls.task.pid)) == 0
    buffer = calls.out(pair)
    assert calls("fcntl", fd, abi.F_GETOWN_EX, buffer) == 0
    assert pair.unpack(calls.model.get(buffer, 8)) == (abi.F_OWNER_TID, calls.task.pid)
    assert calls("fcntl", fd, abi.F_GETOWNER_UIDS, buffer) == 0
    assert pair.unpack(calls.model.get(buffer, 8)) == (0, 0)
    assert calls("fcntl", fd, abi.F_SETOWN_EX, calls.out(pair, 3, 1)) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_SETOWN_EX, calls.out(pair, 1, 12345)) == -errno.ESRCH
    assert calls("fcntl", fd, abi.F_SETOWN_EX, BAD) == -errno.EFAULT


# -- pipes, hints, leases ---------------------------------------------------------------------------------------------
def test_pipe_size(calls: Calls, fd: int) -> None:
    read_end, write_end = calls.pipe()
    assert calls("fcntl", read_end, abi.F_GETPIPE_SZ, 0) == 65536
    assert calls("fcntl", write_end, abi.F_SETPIPE_SZ, 5000) == 8192
    assert calls("fcntl", read_end, abi.F_GETPIPE_SZ, 0) == 8192
    assert calls("fcntl", write_end, abi.F_SETPIPE_SZ, -1) == -errno.EINVAL
    assert calls("fcntl", fd, abi.F_GETPIPE_SZ, 0) == -errno.EBADF
    with calls.user(1000):
        assert calls("fcntl", write_end, abi.F_SETPIPE_SZ, 2 << 20) == -errno.EPERM
    assert calls("write", write_end, calls.model.put(bytes(6000)), 6000) == 6000
    assert calls("fcntl", write_end, abi.F_SETPIPE_SZ, 4096) == -errno.EBUSY


def test_write_hints(calls: Calls, fd: int) -> None:
    hint = Struct("<Q")
    buffer = calls.out(hint, 3)
    assert calls("fcntl", fd, abi.F_SET_RW_HINT, buffer) == 0
    other = calls.out(hint)
    assert calls("fcntl", fd, abi.F_GET_RW_HINT, other) == 0
    assert hint.unpack(calls.model.get(other, 8)) == (3,)
    assert calls("fcntl", fd, abi.F_SET_RW_HINT, calls.out(hint, 6)) == -errno.EINVAL


def test_there_are_no_leases(calls: Calls, fd: int) -> None:
    assert calls("fcntl", fd, abi.F_GETLEASE, 0) == abi.F_UNLCK
    assert calls("fcntl", fd, abi.F_SETLEASE, abi.F_RDLCK) == -errno.EINVAL


# -- ioctl ------------------------------------------------------------------------------------------------------------
def test_ioctls_of_every_file(calls: Calls, fd: int) -> None:
    on, off = calls.out(INT, 1), calls.out(INT, 0)
    assert calls("ioctl", fd, ioctls.FIOCLEX, 0) == 0
    assert calls("fcntl", fd, abi.F_GETFD, 0) == 1
    assert calls("ioctl", fd, ioctls.FIONCLEX, 0) == 0
    assert calls("fcntl", fd, abi.F_GETFD, 0) == 0
    assert calls("ioctl", fd, ioctls.FIONBIO, on) == 0
    assert getfl(calls, fd) & O_NONBLOCK
    assert calls("ioctl", fd, ioctls.FIONBIO, off) == 0
    assert not getfl(calls, fd) & O_NONBLOCK
    assert calls("ioctl", fd, ioctls.FIONBIO, BAD) == -errno.EFAULT
    assert calls("ioctl", fd, ioctls.FIOASYNC, off) == 0
    assert calls("ioctl", fd, ioctls.FIOASYNC, on) == -errno.ENOTTY
    assert calls("ioctl", calls.pipe()[0], ioctls.FIOASYNC, on) == 0


def test_ioctls_of_regular_files(calls: Calls, fd: int) -> None:
    buffer = calls.out(Struct("<q"))
    calls("lseek", fd, 4, 0)
    assert calls("ioctl", fd, ioctls.FIONREAD, buffer) == 0
    assert INT.unpack(calls.model.get(buffer, 4)) == (6,)
    assert calls("ioctl", fd, ioctls.FIOQSIZE, buffer) == 0
    assert Struct("<q").unpack(calls.model.get(buffer, 8)) == (4096,)
    assert calls("ioctl", fd, ioctls.FIGETBSZ, buffer) == 0
    assert INT.unpack(calls.model.get(buffer, 4)) == (4096,)
    assert calls("ioctl", fd, ioctls.FIBMAP, buffer) == -errno.EINVAL
    with calls.user(1000):
        assert calls("ioctl", fd, ioctls.FIBMAP, buffer) == -errno.EPERM
    for command in (0x5401, 0x8008_6601, 0, 0xFFFF_FFFF):
        assert calls("ioctl", fd, command, buffer) == -errno.ENOTTY
    assert calls("ioctl", 99, 0x5401, buffer) == -errno.EBADF


def test_ioctls_of_pipes(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    calls("write", write_end, calls.model.put(b"abc"), 3)
    buffer = calls.out(INT)
    assert calls("ioctl", read_end, ioctls.FIONREAD, buffer) == 0
    assert INT.unpack(calls.model.get(buffer, 4)) == (3,)
    assert calls("ioctl", read_end, ioctls.FIOQSIZE, buffer) == -errno.ENOTTY


def test_no_blocks_are_shared(calls: Calls, fd: int) -> None:
    other = calls.open(calls.make(b"g"), O_RDWR)
    assert calls("ioctl", other, ioctls.FICLONE, fd) == -errno.EOPNOTSUPP
    assert calls("ioctl", other, ioctls.FICLONE, 99) == -errno.EBADF
    assert calls("ioctl", other, ioctls.FICLONE, calls.open(b".")) == -errno.EISDIR
    assert calls("ioctl", calls.open(b"g"), ioctls.FICLONE, fd) == -errno.EBADF
    assert calls("ioctl", other, ioctls.FICLONE, calls.pipe()[0]) == -errno.EXDEV
    assert calls("ioctl", other, ioctls.FICLONERANGE, calls.out(Struct("<qQQQ"), fd, 0, 0, 0)) == -errno.EOPNOTSUPP
    assert calls("newfstatat", AT_FDCWD, b"g", calls.model.alloc(256), 0) == 0
