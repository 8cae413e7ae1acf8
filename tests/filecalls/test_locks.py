"""Record locks: the ranges against a byte-by-byte model, and the calls that take and lose them."""

from __future__ import annotations

from itertools import pairwise
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi.fcntl import (
    AT_FDCWD,
    F_GETLK,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_RDLCK,
    F_SETLK,
    F_SETLKW,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_NB,
    LOCK_SH,
    LOCK_UN,
    O_RDWR,
    O_WRONLY,
)
from kernel_model.fs.file import FilesStruct, put_file
from kernel_model.fs.locks import OFFSET_MAX, FileLockContext, LockWait
from kernel_model.syscalls.fcntl import FLOCK
from tests.filecalls.calls import BAD, Calls
from tests.support.model import changed_copy

BYTES = 24
OWNERS = 3

operations = st.lists(
    st.tuples(
        st.integers(0, OWNERS - 1),
        st.sampled_from((F_RDLCK, F_WRLCK, F_UNLCK)),
        st.integers(0, BYTES - 1),
        st.integers(0, BYTES - 1),
    ),
    max_size=40,
)


def blockers(naive: list[dict[int, int]], owner: int, kind: int, span: range) -> set[int]:
    """Who has a byte of `span` so that `owner` can't."""
    return {
        other
        for other in range(OWNERS)
        if other != owner
        and any(F_WRLCK in (kind, naive[other].get(byte, -1)) and byte in naive[other] for byte in span)
    }


@given(operations)
def test_ranges_are_what_locking_byte_by_byte_gives(steps: list[tuple[int, int, int, int]]) -> None:
    locks = FileLockContext()
    owners = [FilesStruct() for _ in range(OWNERS)]
    naive: list[dict[int, int]] = [{} for _ in range(OWNERS)]
    for owner, kind, a, b in steps:
        start, end = min(a, b), max(a, b)
        span = range(start, end + 1)
        if kind != F_UNLCK:
            in_the_way = blockers(naive, owner, kind, span)
            found = locks.conflict(owners[owner], kind, start, end)
            assert (found is None) == (not in_the_way)
            if found is not None:
                assert any(found[0] is owners[other] for other in in_the_way)
                assert found[1].start <= end and found[1].end >= start
                continue
        locks.set_range(owners[owner], owner, kind, start, end)
        for byte in span:
            if kind == F_UNLCK:
                naive[owner].pop(byte, None)
            else:
                naive[owner][byte] = kind
        for index in range(OWNERS):
            ranges = locks.posix.get(owners[index], [])
            expanded = {byte: held.type for held in ranges for byte in range(held.start, held.end + 1)}
            assert expanded == naive[index]
            assert sum(held.end - held.start + 1 for held in ranges) == len(expanded)
            assert ranges == sorted(ranges)
            for left, right in pairwise(ranges):
                assert left.end + 1 < right.start or left.type != right.type


def test_unlocking_everything_forgets_the_owner() -> None:
    locks = FileLockContext()
    owner = FilesStruct()
    locks.set_range(owner, 1, F_WRLCK, 10, OFFSET_MAX)
    locks.set_range(owner, 1, F_UNLCK, 0, OFFSET_MAX)
    assert not locks.posix


# -- the calls --------------------------------------------------------------------------------------------------------
def lock(calls: Calls, fd: int, cmd: int, kind: int, start: int, length: int, *, whence: int = 0, pid: int = 0) -> int:
    return calls("fcntl", fd, cmd, calls.model.put(FLOCK.pack(kind, whence, start, length, pid)))


def getlk(calls: Calls, fd: int, kind: int, start: int, length: int, cmd: int = F_GETLK) -> tuple[int, ...]:
    buffer = calls.model.put(FLOCK.pack(kind, 0, start, length, 0))
    assert calls("fcntl", fd, cmd, buffer) == 0
    return FLOCK.unpack(calls.model.get(buffer, FLOCK.size))


@pytest.fixture
def fd(calls: Calls) -> int:
    return calls.open(calls.make(b"f", bytes(100)), O_RDWR)


def other_process(calls: Calls) -> FilesStruct:
    """The descriptors of another process: a copy, as fork makes it."""
    return calls.task.files.copy()


def test_another_process_is_kept_out(calls: Calls, fd: int) -> None:
    assert lock(calls, fd, F_SETLK, F_WRLCK, 10, 10) == 0
    assert lock(calls, fd, F_SETLK, F_RDLCK, 15, 1) == 0
    mine = calls.task.files
    calls.task.files = other_process(calls)
    assert lock(calls, fd, F_SETLK, F_RDLCK, 10, 1) == -errno.EAGAIN
    assert lock(calls, fd, F_SETLK, F_RDLCK, 15, 1) == 0
    assert lock(calls, fd, F_SETLK, F_WRLCK, 15, 1) == -errno.EAGAIN
    assert getlk(calls, fd, F_WRLCK, 0, 0) == (F_WRLCK, 0, 10, 5, calls.task.tgid)
    assert getlk(calls, fd, F_WRLCK, 16, 0) == (F_WRLCK, 0, 16, 4, calls.task.tgid)
    assert getlk(calls, fd, F_RDLCK, 50, 3) == (F_UNLCK, 0, 50, 3, 0)
    calls.task.files = mine
    assert lock(calls, fd, F_SETLK, F_UNLCK, 0, 0) == 0


def test_any_close_by_the_process_frees_its_ranges(calls: Calls, fd: int) -> None:
    lock(calls, fd, F_SETLK, F_WRLCK, 0, 0)
    second = calls.open(b"f")
    mine = calls.task.files
    theirs = other_process(calls)
    calls.task.files = theirs
    calls("close", second)
    assert lock(calls, fd, F_SETLK, F_WRLCK, 0, 1) == -errno.EAGAIN
    calls.task.files = mine
    calls("close", second)
    calls.task.files = theirs
    assert lock(calls, fd, F_SETLK, F_WRLCK, 0, 1) == 0


def test_a_held_reference_of_the_kernel_is_no_close(calls: Calls, fd: int) -> None:
    lock(calls, fd, F_SETLK, F_WRLCK, 0, 0)
    file = calls.task.files.get(fd)
    file.f_count += 1
    put_file(file, None)
    calls.task.files = other_process(calls)
    assert lock(calls, fd, F_SETLK, F_WRLCK, 0, 1) == -errno.EAGAIN


def test_locks_of_a_description(calls: Calls, fd: int) -> None:
    second = calls.open(b"f", O_RDWR)
    assert lock(calls, fd, F_OFD_SETLK, F_WRLCK, 0, 10) == 0
    assert lock(calls, second, F_OFD_SETLK, F_RDLCK, 5, 1) == -errno.EAGAIN
    assert lock(calls, second, F_SETLK, F_RDLCK, 5, 1) == -errno.EAGAIN
    assert getlk(calls, second, F_RDLCK, 0, 0, F_OFD_GETLK) == (F_WRLCK, 0, 0, 10, -1)
    assert getlk(calls, fd, F_UNLCK, 0, 0, F_OFD_GETLK) == (F_WRLCK, 0, 0, 10, -1)
    calls.blocks("fcntl", second, F_OFD_SETLKW, calls.model.put(FLOCK.pack(F_WRLCK, 0, 0, 0, 0)))
    assert lock(calls, fd, F_OFD_SETLK, F_WRLCK, 0, 1, pid=7) == -errno.EINVAL
    duplicate = calls("dup", fd)
    calls("close", fd)
    assert lock(calls, second, F_OFD_SETLK, F_RDLCK, 5, 1) == -errno.EAGAIN
    calls("close", duplicate)
    assert lock(calls, second, F_OFD_SETLK, F_RDLCK, 5, 1) == 0


def test_waiting_and_deadlock(calls: Calls, fd: int) -> None:
    other = other_process(calls)
    lock(calls, fd, F_SETLK, F_WRLCK, 0, 1)
    mine = calls.task.files
    calls.task.files = other
    lock(calls, fd, F_SETLK, F_WRLCK, 1, 1)
    calls.blocks("fcntl", fd, F_SETLKW, calls.model.put(FLOCK.pack(F_WRLCK, 0, 0, 1, 0)))
    assert isinstance(calls.task.call_state, LockWait)
    sleeper = changed_copy(calls.task, pid=99)
    calls.model.kernel.tasks[99] = sleeper
    calls.task.files = mine
    assert lock(calls, fd, F_SETLKW, F_WRLCK, 1, 1) == -errno.EDEADLK
    calls.blocks("fcntl", fd, F_OFD_SETLKW, calls.model.put(FLOCK.pack(F_WRLCK, 0, 1, 1, 0)))


@pytest.mark.parametrize(("whence", "start", "length", "wanted"), [
    (0, -1, 1, errno.EINVAL),
    (3, 0, 1, errno.EINVAL),
    (0, 5, -6, errno.EINVAL),
    (0, OFFSET_MAX, 2, errno.EOVERFLOW),
    (2, OFFSET_MAX, 1, errno.EOVERFLOW),
    (2, -101, 1, errno.EINVAL),
    (0, OFFSET_MAX, 1, 0),
    (0, 5, -5, 0),
    (2, -1, 1, 0),
])  # fmt: skip
def test_ranges_that_are_none(calls: Calls, fd: int, whence: int, start: int, length: int, wanted: int) -> None:
    assert lock(calls, fd, F_SETLK, F_RDLCK, start, length, whence=whence) == -wanted


def test_where_a_range_starts_from(calls: Calls, fd: int) -> None:
    calls("lseek", fd, 40, 0)
    lock(calls, fd, F_SETLK, F_WRLCK, -10, 5, whence=1)
    lock(calls, fd, F_SETLK, F_WRLCK, 60, -5)
    lock(calls, fd, F_SETLK, F_WRLCK, 0, 0, whence=2)
    calls.task.files = other_process(calls)
    assert getlk(calls, fd, F_RDLCK, 0, 50)[2:4] == (30, 5)
    assert getlk(calls, fd, F_RDLCK, 50, 10)[2:4] == (55, 5)
    assert getlk(calls, fd, F_RDLCK, 90, 0)[2:4] == (100, 0)


def test_what_a_lock_needs(calls: Calls, fd: int) -> None:
    assert lock(calls, calls.open(b"f"), F_SETLK, F_WRLCK, 0, 1) == -errno.EBADF
    assert lock(calls, calls.open(b"f", O_WRONLY), F_SETLK, F_RDLCK, 0, 1) == -errno.EBADF
    assert lock(calls, calls.open(b"f"), F_SETLK, F_UNLCK, 0, 1) == 0
    assert lock(calls, fd, F_SETLK, 5, 0, 1) == -errno.EINVAL
    assert lock(calls, fd, F_GETLK, F_UNLCK, 0, 1) == -errno.EINVAL
    assert calls("fcntl", fd, F_SETLK, BAD) == -errno.EFAULT
    assert lock(calls, 99, F_SETLK, F_RDLCK, 0, 1) == -errno.EBADF


# -- flock(2) ---------------------------------------------------------------------------------------------------------
def test_flock(calls: Calls, fd: int) -> None:
    second = calls.open(b"f")
    assert calls("flock", fd, LOCK_SH) == 0
    assert calls("flock", second, LOCK_SH | LOCK_NB) == 0
    assert calls("flock", second, LOCK_EX | LOCK_NB) == -errno.EAGAIN
    assert calls("flock", fd, LOCK_EX | LOCK_NB) == 0
    assert calls("flock", second, LOCK_SH | LOCK_NB) == -errno.EAGAIN
    calls.blocks("flock", second, LOCK_SH)
    assert calls("flock", fd, LOCK_UN) == 0
    assert calls("flock", second, LOCK_EX) == 0
    assert calls("flock", fd, LOCK_UN) == 0


def test_flock_goes_with_the_description(calls: Calls, fd: int) -> None:
    second = calls.open(b"f")
    duplicate = calls("dup", fd)
    calls("flock", fd, LOCK_EX)
    calls("close", fd)
    assert calls("flock", second, LOCK_SH | LOCK_NB) == -errno.EAGAIN
    assert calls("flock", duplicate, LOCK_SH) == 0
    calls("close", duplicate)
    assert calls("flock", second, LOCK_EX | LOCK_NB) == 0


def test_flock_errors(calls: Calls, fd: int) -> None:
    for command in (0, 3, LOCK_SH | LOCK_EX, 16):
        assert calls("flock", fd, command) == -errno.EINVAL
    assert calls("flock", 99, LOCK_SH) == -errno.EBADF
    assert calls("flock", 99, 0) == -errno.EINVAL
    neither = calls("openat", AT_FDCWD, b"f", 3, 0)
    assert calls("flock", neither, LOCK_SH) == -errno.EBADF
    assert calls("flock", neither, LOCK_UN) == 0


def test_layout_is_the_one_in_use() -> None:
    assert FLOCK.size == Struct("<hhiqqii").size == 32
