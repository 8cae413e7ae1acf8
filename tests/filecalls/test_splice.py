"""sendfile(2), splice(2), tee(2), vmsplice(2), copy_file_range(2), and what brings data to where it lives."""

from __future__ import annotations

from pathlib import Path
from struct import Struct

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_FDCWD, O_APPEND, O_CREAT, O_NONBLOCK, O_RDWR, O_WRONLY
from kernel_model.abi.fs import SPLICE_F_NONBLOCK
from kernel_model.fs.mount import Bind, bind
from kernel_model.mm.uaccess import copy_to_user
from tests.filecalls.calls import BAD, Calls

LOFF = Struct("<q")


def offset(calls: Calls, pos: int) -> int:
    return calls.out(LOFF, pos)


def value(calls: Calls, pointer: int) -> int:
    return int(LOFF.unpack(calls.model.get(pointer, 8))[0])


def files(calls: Calls) -> tuple[int, int]:
    """(one to read, with contents; one to write)."""
    return calls.open(calls.make(b"in", b"0123456789")), calls.open(b"out", O_CREAT | O_RDWR)


def taken(calls: Calls, fd: int, count: int = 100) -> bytes:
    buffer = calls.model.alloc(count)
    size = calls("read", fd, buffer, count)
    assert size >= 0
    return calls.model.get(buffer, size)


# -- sendfile ---------------------------------------------------------------------------------------------------------
def test_sendfile_moves_positions(calls: Calls) -> None:
    source, target = files(calls)
    assert calls("sendfile", target, source, 0, 4) == 4
    assert calls("lseek", source, 0, 1) == calls("lseek", target, 0, 1) == 4
    pos = offset(calls, 7)
    assert calls("sendfile", target, source, pos, 100) == 3
    assert value(calls, pos) == 10
    assert calls("lseek", source, 0, 1) == 4
    assert calls.contents(b"out") == b"0123789"
    assert calls("sendfile", target, source, pos, 100) == 0


def test_sendfile_of_much(calls: Calls) -> None:
    data = bytes(range(256)) * 4096
    source = calls.open(calls.make(b"big", data))
    target = calls.open(b"out", O_CREAT | O_RDWR)
    assert calls("sendfile", target, source, 0, 1 << 31) == len(data)
    assert calls.contents(b"out") == data


def test_sendfile_into_a_pipe_sends_what_fits(calls: Calls) -> None:
    source = calls.open(calls.make(b"big", bytes(200_000)))
    read_end, write_end = calls.pipe()
    assert calls("sendfile", write_end, source, 0, 200_000) == 65536
    assert calls("lseek", source, 0, 1) == 65536
    calls.blocks("sendfile", write_end, source, 0, 200_000)
    assert calls("lseek", source, 0, 1) == 65536
    setfl(calls, write_end, O_NONBLOCK)
    assert calls("sendfile", write_end, source, 0, 200_000) == -errno.EAGAIN
    calls("close", read_end)
    assert calls("sendfile", write_end, source, 0, 200_000) == -errno.EPIPE


def setfl(calls: Calls, fd: int, flags: int) -> None:
    assert calls("fcntl", fd, 4, flags) == 0


def test_sendfile_errors(calls: Calls) -> None:
    source, target = files(calls)
    read_end, write_end = calls.pipe()
    assert calls("sendfile", target, 99, 0, 1) == -errno.EBADF
    assert calls("sendfile", 99, source, 0, 1) == -errno.EBADF
    assert calls("sendfile", source, source, 0, 1) == -errno.EBADF
    assert calls("sendfile", target, read_end, 0, 1) == -errno.EINVAL
    assert calls("sendfile", target, read_end, offset(calls, 0), 1) == -errno.ESPIPE
    assert calls("sendfile", target, calls.open(b"."), 0, 1) == -errno.EINVAL
    assert calls("sendfile", target, source, offset(calls, -1), 1) == -errno.EINVAL
    assert calls("sendfile", target, source, BAD, 1) == -errno.EFAULT
    assert calls("sendfile", calls.open(b"out", O_WRONLY | O_APPEND), source, 0, 1) == -errno.EINVAL
    assert calls("sendfile", write_end, source, 0, 1) == 1


# -- splice -----------------------------------------------------------------------------------------------------------
def test_splice_through_a_pipe(calls: Calls) -> None:
    source, target = files(calls)
    read_end, write_end = calls.pipe()
    pos = offset(calls, 2)
    assert calls("splice", source, pos, write_end, 0, 5, 0) == 5
    assert value(calls, pos) == 7
    assert calls("splice", read_end, 0, target, 0, 3, 0) == 3
    out = offset(calls, 10)
    assert calls("splice", read_end, 0, target, out, 100, 0) == 2
    assert value(calls, out) == 12
    assert calls.contents(b"out") == b"234" + bytes(7) + b"56"
    calls.blocks("splice", read_end, 0, target, 0, 1, 0)
    assert calls("splice", read_end, 0, target, 0, 1, SPLICE_F_NONBLOCK) == -errno.EAGAIN
    calls("close", write_end)
    assert calls("splice", read_end, 0, target, 0, 1, 0) == 0


def test_splice_from_pipe_to_pipe(calls: Calls) -> None:
    a_read, a_write = calls.pipe()
    b_read, b_write = calls.pipe()
    calls("write", a_write, calls.model.put(b"hello"), 5)
    assert calls("splice", a_read, 0, b_write, 0, 3, 0) == 3
    assert taken(calls, b_read) == b"hel"
    assert taken(calls, a_read) == b"lo"


def test_splice_errors(calls: Calls) -> None:
    source, target = files(calls)
    read_end, write_end = calls.pipe()
    pos = offset(calls, 0)
    assert calls("splice", source, 0, target, 0, 1, 0) == -errno.EINVAL
    assert calls("splice", read_end, pos, target, 0, 1, 0) == -errno.ESPIPE
    assert calls("splice", source, 0, write_end, pos, 1, 0) == -errno.ESPIPE
    assert calls("splice", read_end, 0, write_end, 0, 1, 0) == -errno.EINVAL
    assert calls("splice", 99, 0, write_end, 0, 1, 0) == -errno.EBADF
    assert calls("splice", 99, 0, 99, 0, 0, 0) == 0
    assert calls("splice", write_end, 0, target, 0, 1, 0) == -errno.EBADF
    assert calls("splice", source, 0, write_end, 0, 1, 0x10) == -errno.EINVAL
    assert calls("splice", source, BAD, write_end, 0, 1, 0) == -errno.EFAULT
    assert calls("splice", read_end, 0, calls.open(b"out", O_WRONLY | O_APPEND), 0, 1, 0) == -errno.EINVAL
    assert calls("splice", calls.open(b"."), 0, write_end, 0, 1, 0) == -errno.EINVAL


def test_a_full_pipe(calls: Calls) -> None:
    source = calls.open(calls.make(b"big", bytes(200_000)))
    read_end, write_end = calls.pipe()
    assert calls("splice", source, 0, write_end, 0, 200_000, 0) == 65536
    calls.blocks("splice", source, 0, write_end, 0, 1, 0)
    assert calls("splice", source, 0, write_end, 0, 1, SPLICE_F_NONBLOCK) == -errno.EAGAIN
    calls("close", read_end)
    assert calls("splice", source, 0, write_end, 0, 1, 0) == -errno.EPIPE


def test_tee(calls: Calls) -> None:
    a_read, a_write = calls.pipe()
    b_read, b_write = calls.pipe()
    calls("write", a_write, calls.model.put(b"hello"), 5)
    assert calls("tee", a_read, b_write, 4, 0) == 4
    assert taken(calls, b_read) == b"hell"
    assert taken(calls, a_read) == b"hello"
    calls.blocks("tee", a_read, b_write, 4, 0)
    assert calls("tee", a_read, b_write, 4, SPLICE_F_NONBLOCK) == -errno.EAGAIN
    assert calls("tee", a_read, a_write, 4, 0) == -errno.EINVAL
    assert calls("tee", a_read, calls.open(b"x", O_CREAT | O_RDWR), 4, 0) == -errno.EINVAL
    assert calls("tee", b_write, a_read, 4, 0) == -errno.EBADF
    assert calls("tee", a_read, b_write, 4, 0x10) == -errno.EINVAL


def test_vmsplice(calls: Calls) -> None:
    read_end, write_end = calls.pipe()
    iovec = Struct("<QQQQ")
    data = calls.model.put(b"hello")
    vec = calls.out(iovec, data, 2, data + 2, 3)
    assert calls("vmsplice", write_end, vec, 2, 0) == 5
    assert calls("vmsplice", read_end, vec, 1, 0) == 2
    assert taken(calls, read_end) == b"llo"
    calls.blocks("vmsplice", read_end, vec, 1, 0)
    assert calls("vmsplice", read_end, vec, 1, SPLICE_F_NONBLOCK) == -errno.EAGAIN
    assert calls("vmsplice", write_end, calls.out(iovec, BAD, 2, 0, 0), 1, 0) == -errno.EFAULT
    assert calls("vmsplice", write_end, BAD, 1, 0) == -errno.EFAULT
    assert calls("vmsplice", write_end, vec, 1025, 0) == -errno.EINVAL
    assert calls("vmsplice", calls.open(b"f", O_CREAT | O_RDWR), vec, 1, 0) == -errno.EBADF


# -- copy_file_range --------------------------------------------------------------------------------------------------
def test_copy_file_range(calls: Calls) -> None:
    source, target = files(calls)
    assert calls("copy_file_range", source, 0, target, 0, 4, 0) == 4
    here, there = offset(calls, 8), offset(calls, 6)
    assert calls("copy_file_range", source, here, target, there, 100, 0) == 2
    assert (value(calls, here), value(calls, there)) == (10, 8)
    assert calls.contents(b"out") == b"0123\0\x0089"
    assert calls("lseek", source, 0, 1) == calls("lseek", target, 0, 1) == 4
    assert calls("copy_file_range", source, here, target, there, 100, 0) == 0


def test_copy_within_a_file(calls: Calls) -> None:
    calls.make(b"f", b"0123456789")
    fd = calls.open(b"f", O_RDWR)
    assert calls("copy_file_range", fd, offset(calls, 0), fd, offset(calls, 5), 5, 0) == 5
    assert calls.contents(b"f") == b"0123401234"
    assert calls("copy_file_range", fd, offset(calls, 0), fd, offset(calls, 2), 5, 0) == -errno.EINVAL


def test_copy_file_range_errors(calls: Calls) -> None:
    source, target = files(calls)
    assert calls("copy_file_range", source, 0, target, 0, 1, 1) == -errno.EINVAL
    assert calls("copy_file_range", 99, 0, target, 0, 1, 1) == -errno.EBADF
    assert calls("copy_file_range", calls.open(b"."), 0, target, 0, 1, 0) == -errno.EISDIR
    assert calls("copy_file_range", calls.pipe()[0], 0, target, 0, 1, 0) == -errno.EINVAL
    assert calls("copy_file_range", source, 0, source, 0, 1, 0) == -errno.EBADF
    assert calls("copy_file_range", source, 0, calls.open(b"out", O_WRONLY | O_APPEND), 0, 1, 0) == -errno.EBADF
    assert calls("copy_file_range", source, BAD, target, 0, 1, 0) == -errno.EFAULT
    assert calls("copy_file_range", source, offset(calls, -1), target, 0, 1, 0) == -errno.EOVERFLOW
    assert calls("copy_file_range", source, offset(calls, -5), target, 0, 1, 0) == -errno.EINVAL
    assert calls("copy_file_range", source, offset(calls, (1 << 63) - 1), target, 0, 1, 0) == 0
    memfd = calls("memfd_create", b"m", 0)
    assert calls("copy_file_range", source, 0, memfd, 0, 1, 0) == -errno.EXDEV


# -- to where it lives ------------------------------------------------------------------------------------------------
def test_sync_family(calls: Calls) -> None:
    fd, _ = files(calls)
    read_end, _ = calls.pipe()
    assert calls("sync") == 0
    for call in ("fsync", "fdatasync"):
        assert calls(call, fd) == 0
        assert calls(call, calls.open(b".")) == 0
        assert calls(call, read_end) == -errno.EINVAL
        assert calls(call, 99) == -errno.EBADF
    assert calls("syncfs", fd) == 0
    assert calls("syncfs", 99) == -errno.EBADF
    assert calls("sync_file_range", fd, 0, 0, 7) == 0
    assert calls("sync_file_range", fd, 0, 0, 8) == -errno.EINVAL
    assert calls("sync_file_range", fd, -1, 0, 0) == -errno.EINVAL
    assert calls("sync_file_range", fd, 1, -1, 0) == -errno.EINVAL
    assert calls("sync_file_range", read_end, 0, 0, 7) == -errno.ESPIPE


def test_sync_brings_what_a_mapping_changed_to_the_host(calls: Calls, tmp_path: Path) -> None:
    host = tmp_path / "f"
    host.write_bytes(b"before")
    bind(calls.model.kernel, Bind(str(tmp_path), "/bound", writable=True))
    fd = calls.open(b"/bound/f", O_RDWR)
    address = calls("mmap", 0, 4096, 3, 1, fd, 0)
    assert address > 0
    for call, text in (
        (("sync",), b"first."),
        (("syncfs", fd), b"second"),
        (("sync_file_range", fd, 0, 0, 7), b"third."),
    ):
        copy_to_user(calls.task.mm, address, text)
        assert calls(*call) == 0
        assert host.read_bytes() == text


def test_advice(calls: Calls) -> None:
    fd, target = files(calls)
    read_end, _ = calls.pipe()
    assert calls("fadvise64", fd, 0, 0, 3) == 0
    assert calls("fadvise64", fd, 0, 0, 6) == -errno.EINVAL
    assert calls("fadvise64", fd, 0, -1, 0) == -errno.EINVAL
    assert calls("fadvise64", read_end, 0, 0, 0) == -errno.ESPIPE
    assert calls("fadvise64", 99, 0, 0, 0) == -errno.EBADF
    assert calls("readahead", fd, 0, 100) == 0
    assert calls("readahead", read_end, 0, 100) == -errno.EINVAL
    assert calls("readahead", calls.open(b"out", O_WRONLY), 0, 100) == -errno.EBADF
    assert target >= 0 and calls("newfstatat", AT_FDCWD, b"in", BAD, 0) == -errno.EFAULT
