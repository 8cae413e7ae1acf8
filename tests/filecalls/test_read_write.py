"""read(2), write(2), their vector and positioned forms, lseek(2)."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_APPEND, O_CREAT, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDWR, O_TRUNC, O_WRONLY
from kernel_model.abi.fs import LLONG_MAX, RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT
from kernel_model.types import PAGE_SIZE
from tests.filecalls.calls import BAD, Calls

IOVEC = Struct("<QQ")


def iovec(calls: Calls, *segments: tuple[int, int]) -> int:
    return calls.model.put(b"".join(IOVEC.pack(base, length) for base, length in segments))


def test_what_is_written_is_read(calls: Calls) -> None:
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    data = bytes(range(256)) * 40
    assert calls("write", fd, calls.model.put(data), len(data)) == len(data)
    assert calls("lseek", fd, 0, 0) == 0
    buffer = calls.model.alloc(2 * len(data))
    assert calls("read", fd, buffer, 2 * len(data)) == len(data)
    assert calls.model.get(buffer, len(data)) == data
    assert calls("read", fd, buffer, 10) == 0


def test_a_long_transfer_is_more_than_one_piece(calls: Calls) -> None:
    size = (5 << 20) + 123
    data = bytes(1 << 20) + b"x" * (size - (1 << 20))
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    assert calls("write", fd, calls.model.put(data), size) == size
    buffer = calls.model.alloc(size + PAGE_SIZE)
    assert calls("pread64", fd, buffer, size + 100, 0) == size
    assert calls.model.get(buffer, size) == data


@pytest.mark.parametrize(("flags", "call"), [(O_WRONLY, "read"), (0, "write"), (3, "read"), (3, "write"),
                                             (O_PATH, "read"), (O_PATH, "write")])  # fmt: skip
def test_ebadf_when_not_open_for_that(calls: Calls, flags: int, call: str) -> None:
    calls.make(b"f", b"abc")
    fd = calls.open(b"f", flags)
    assert calls(call, fd, calls.model.alloc(8), 3) == -errno.EBADF
    assert calls(call, 99, calls.model.alloc(8), 3) == -errno.EBADF
    assert calls(call, -1, calls.model.alloc(8), 3) == -errno.EBADF


def test_a_bad_buffer_is_efault_or_the_part_before_it(calls: Calls) -> None:
    calls.make(b"f", b"a" * 10000)
    fd = calls.open(b"f", O_RDWR)
    assert calls("read", fd, BAD, 10) == -errno.EFAULT
    assert calls("lseek", fd, 0, 1) == 0
    page = calls.model.alloc(PAGE_SIZE)
    assert calls("read", fd, page + PAGE_SIZE - 100, 5000) == 100
    assert calls("lseek", fd, 0, 1) == 100
    assert calls("write", fd, page + PAGE_SIZE - 8, 100) == 8
    assert calls("write", fd, page + PAGE_SIZE, 100) == -errno.EFAULT
    assert calls("lseek", fd, 0, 1) == 108


def test_addresses_beyond_user_space(calls: Calls) -> None:
    calls.make(b"f", b"abc")
    fd = calls.open(b"f", O_RDWR)
    for address, count in ((1 << 62, 1), (1 << 63, 0), (8, -1), (calls.arch.TASK_SIZE - 1, 2), (BAD, 1 << 63)):
        assert calls("read", fd, address, count) == -errno.EFAULT
        assert calls("write", fd, address, count) == -errno.EFAULT


def test_nothing_to_move(calls: Calls) -> None:
    calls.make(b"f", b"abc")
    fd = calls.open(b"f", O_RDWR)
    assert calls("read", fd, BAD, 0) == 0
    assert calls("write", fd, BAD, 0) == 0
    assert calls("readv", fd, BAD, 0) == 0
    assert calls("pread64", fd, BAD, 0, 1) == 0
    assert calls("read", calls.open(b".", O_DIRECTORY), BAD, 0) == -errno.EISDIR


def test_pread_and_pwrite_leave_the_position(calls: Calls) -> None:
    calls.make(b"f", b"0123456789")
    fd = calls.open(b"f", O_RDWR)
    buffer = calls.model.alloc(16)
    assert calls("pread64", fd, buffer, 3, 4) == 3
    assert calls.model.get(buffer, 3) == b"456"
    assert calls("pwrite64", fd, calls.model.put(b"XY"), 2, 8) == 2
    assert calls("lseek", fd, 0, 1) == 0
    assert calls.contents(b"f") == b"01234567XY"
    assert calls("pread64", fd, buffer, 3, -1) == -errno.EINVAL
    assert calls("pwrite64", fd, buffer, 3, -1) == -errno.EINVAL
    assert calls("pread64", fd, buffer, 3, LLONG_MAX) == -errno.EINVAL


def test_a_pipe_has_no_positions(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    buffer = calls.model.alloc(16)
    assert calls("pread64", read_end, buffer, 1, 0) == -errno.ESPIPE
    assert calls("pwrite64", write_end, buffer, 1, 0) == -errno.ESPIPE
    assert calls("lseek", read_end, 0, 0) == -errno.ESPIPE
    assert calls("preadv", read_end, iovec(calls, (buffer, 1)), 1, 0, 0) == -errno.ESPIPE


def test_append(calls: Calls) -> None:
    calls.make(b"f", b"abc")
    fd = calls.open(b"f", O_WRONLY | O_APPEND)
    assert calls("write", fd, calls.model.put(b"def"), 3) == 3
    assert calls("pwrite64", fd, calls.model.put(b"ghi"), 3, 0) == 3
    assert calls.contents(b"f") == b"abcdefghi"


def test_vectors(calls: Calls) -> None:
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    model = calls.model
    parts = [(model.put(b"one"), 3), (0, 0), (model.put(b"two"), 3), (model.put(b"three"), 5)]
    assert calls("writev", fd, iovec(calls, *parts), 4) == 11
    calls("lseek", fd, 1, 0)
    a, b = model.alloc(8), model.alloc(8)
    assert calls("readv", fd, iovec(calls, (a, 4), (b, 8)), 2) == 10
    assert (model.get(a, 4), model.get(b, 6)) == (b"netw", b"othree")


def test_vector_limits(calls: Calls) -> None:
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    buffer = calls.model.alloc(64)
    many = iovec(calls, *[(buffer, 1)] * 1024)
    assert calls("writev", fd, many, 1024) == 1024
    assert calls("writev", fd, many, 1025) == -errno.EINVAL
    assert calls("writev", fd, iovec(calls, (buffer, 1 << 63)), 1) == -errno.EINVAL
    assert calls("writev", fd, BAD, 1) == -errno.EFAULT
    assert calls("writev", fd, iovec(calls, (1 << 62, 1)), 1) == -errno.EFAULT
    assert calls("writev", fd, iovec(calls, (1 << 62, 0)), 1) == -errno.EFAULT
    assert calls("writev", fd, iovec(calls, (1 << 62, 1), (buffer, -1 & (1 << 64) - 1)), 2) == -errno.EINVAL
    assert calls("readv", 99, BAD, 5000) == -errno.EBADF


def test_a_vector_stops_at_the_first_fault(calls: Calls) -> None:
    fd = calls.open(b"f", O_CREAT | O_RDWR)
    data = calls.model.put(b"abcdef")
    assert calls("writev", fd, iovec(calls, (data, 6), (BAD, 6), (data, 6)), 3) == 6
    assert calls("writev", fd, iovec(calls, (BAD, 6), (data, 6)), 2) == -errno.EFAULT
    out = calls.model.alloc(8)
    assert calls("preadv", fd, iovec(calls, (out, 2), (BAD, 2)), 2, 0, 0) == 2


def test_positioned_vectors(calls: Calls) -> None:
    calls.make(b"f", b"0123456789")
    fd = calls.open(b"f", O_RDWR)
    buffer = calls.model.alloc(8)
    vec = iovec(calls, (buffer, 2))
    assert calls("preadv", fd, vec, 1, 3, 0x1234) == 2
    assert calls.model.get(buffer, 2) == b"34"
    assert calls("preadv", fd, vec, 1, -1, 0) == -errno.EINVAL
    assert calls("preadv2", fd, vec, 1, -1, 0, 0) == 2
    assert calls("preadv2", fd, vec, 1, -1, 0, RWF_HIPRI) == 2
    assert calls.model.get(buffer, 2) == b"23"
    assert calls("preadv2", fd, vec, 1, -2, 0, 0) == -errno.EINVAL
    assert calls("pwritev2", fd, vec, 1, 9, 0, RWF_DSYNC) == 2
    assert calls.contents(b"f") == b"01234567823"


def test_flags_of_one_call(calls: Calls) -> None:
    calls.make(b"f", b"0123456789")
    fd = calls.open(b"f", O_RDWR)
    vec = iovec(calls, (calls.model.put(b"ab"), 2))
    assert calls("pwritev2", fd, vec, 1, 0, 0, RWF_APPEND) == 2
    assert calls("pwritev2", fd, vec, 1, 0, 0, RWF_NOAPPEND) == 2
    assert calls.contents(b"f") == b"ab23456789ab"
    assert calls("fcntl", fd, 3, 0) & O_APPEND == 0
    assert calls("pwritev2", fd, vec, 1, 0, 0, RWF_APPEND | RWF_NOAPPEND) == -errno.EINVAL
    for flags in (0x100, RWF_NOWAIT, -1):
        assert calls("preadv2", fd, vec, 1, 0, 0, flags) == -errno.EOPNOTSUPP
    read_end, write_end = calls.pipe()
    assert calls("preadv2", read_end, vec, 1, -1, 0, RWF_NOWAIT) == -errno.EAGAIN
    assert calls("fcntl", read_end, 3, 0) & O_NONBLOCK == 0
    assert calls("pwritev2", write_end, vec, 1, -1, 0, RWF_NOWAIT) == 2


def test_a_pipe_blocks_or_says_eagain(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    calls.blocks("read", read_end, calls.model.alloc(8), 8)
    calls("fcntl", read_end, 4, O_NONBLOCK)
    assert calls("read", read_end, calls.model.alloc(8), 8) == -errno.EAGAIN
    assert calls("write", write_end, calls.model.put(b"abc"), 3) == 3
    assert calls("read", read_end, calls.model.alloc(8), 8) == 3
    calls("close", write_end)
    assert calls("read", read_end, calls.model.alloc(8), 8) == 0


def test_a_fault_at_a_pipe(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    page = calls.model.alloc(PAGE_SIZE)
    edge = page + PAGE_SIZE
    assert calls("write", write_end, calls.model.put(b"abcdef"), 6) == 6
    assert calls("read", read_end, edge, 3) == -errno.EFAULT
    assert calls("read", read_end, edge - 2, 5) == 2
    assert calls("read", read_end, page, 10) == 4
    assert calls.model.get(page, 4) == b"cdef"
    assert calls("write", write_end, edge - 2, 3) == -errno.EFAULT
    assert calls("write", write_end, page, 5000) == PAGE_SIZE
    assert calls("read", read_end, page, PAGE_SIZE) == PAGE_SIZE


def test_a_write_that_blocks_remembers_what_it_wrote(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    size = 100_000
    buffer = calls.model.put(bytes(size))
    blocked = calls.blocks("write", write_end, buffer, size)
    assert blocked.on_signal is not None
    assert blocked.on_signal() == 65536
    sink = calls.model.alloc(65536)
    state = calls.task.call_state
    assert calls("read", read_end, sink, 65536) == 65536
    calls.task.call_state = state
    assert calls.again("write", write_end, buffer, size) == size
    assert calls("read", read_end, sink, 65536) == size - 65536
    calls("fcntl", write_end, 4, O_NONBLOCK)
    assert calls("write", write_end, buffer, size) == 65536
    assert calls("write", write_end, buffer, size) == -errno.EAGAIN


def test_epipe(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    calls("close", read_end)
    assert calls("write", write_end, calls.model.put(b"x"), 1) == -errno.EPIPE
    assert calls.task.pending.mask >> 12 & 1


def test_seeking(calls: Calls) -> None:
    calls.make(b"f", b"0123456789")
    fd = calls.open(b"f", O_RDWR)
    assert calls("lseek", fd, 4, 0) == 4
    assert calls("lseek", fd, 3, 1) == 7
    assert calls("lseek", fd, -2, 2) == 8
    assert calls("lseek", fd, 100, 0) == 100
    assert calls("write", fd, calls.model.put(b"!"), 1) == 1
    assert calls.contents(b"f") == b"0123456789" + bytes(90) + b"!"
    assert calls("lseek", fd, -1, 0) == -errno.EINVAL
    assert calls("lseek", fd, 0, 5) == -errno.EINVAL
    assert calls("lseek", fd, 1000, 3) == -errno.ENXIO
    assert calls("lseek", fd, 0, 4) == 101
    assert calls("lseek", 99, 0, 77) == -errno.EBADF


def test_size_limit(calls: Calls) -> None:
    calls.task.signal.rlim[1] = (100, 100)
    fd = calls.open(b"f", O_CREAT | O_RDWR | O_TRUNC)
    buffer = calls.model.put(bytes(200))
    assert calls("write", fd, buffer, 200) == 100
    assert calls("write", fd, buffer, 1) == -errno.EFBIG
    assert calls.task.pending.mask >> 24 & 1
    assert calls("ftruncate", fd, 101) == -errno.EFBIG
    assert calls("ftruncate", fd, 50) == 0
