"""Pipes and FIFOs: what pipe(7) and fifo(7) promise, and that the model agrees with the host on how much
fits.
"""

from __future__ import annotations

import fcntl
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.abi.errno import EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, EMFILE, ENOMEM, ENXIO, EPERM, EPIPE, ESPIPE
from kernel_model.abi.fcntl import O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.abi.termios import FIONREAD, TCGETS
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLOUT
from kernel_model.fs.pipe import Pipe
from kernel_model.mm.frames import FrameAllocator
from kernel_model.types import PAGE_SIZE, SyscallError
from kernel_model.wait import Blocked
from tests.filecalls.calls import BAD, Calls
from tests.filecalls.calls import calls as calls  # noqa: PLC0414 - a fixture
from tests.support.model import changed_copy

S_IFIFO = 0o010000
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
SIGPIPE_BIT = 1 << 12


def read(calls: Calls, fd: int, count: int) -> bytes | int:
    buffer = calls.model.alloc(max(count, 1))
    got = calls("read", fd, buffer, count)
    return got if got < 0 else calls.model.get(buffer, got)


def write(calls: Calls, fd: int, data: bytes) -> int:
    return calls("write", fd, calls.model.put(data), len(data))


def poll(calls: Calls, fd: int) -> int:
    return calls.task.files.fd[fd].poll(calls.task)


def test_bytes_come_out_in_order(calls: Calls) -> None:
    r, w = calls.pipe()
    assert write(calls, w, b"hello ") == 6
    assert write(calls, w, b"world") == 5
    assert read(calls, r, 7) == b"hello w"
    assert read(calls, r, 100) == b"orld"


def test_an_end_knows_its_direction(calls: Calls) -> None:
    r, w = calls.pipe()
    assert write(calls, r, b"x") == -EBADF
    assert read(calls, w, 1) == -EBADF
    assert calls("lseek", r, 0, 0) == -ESPIPE
    assert calls("pread64", r, calls.model.alloc(8), 8, 0) == -ESPIPE
    assert calls("ioctl", r, TCGETS, calls.model.alloc(64)) == -25


def test_an_empty_pipe_waits_for_its_writer(calls: Calls) -> None:
    r, w = calls.pipe()
    buffer = calls.model.alloc(8)
    calls.blocks("read", r, buffer, 8)
    write(calls, w, b"now")
    assert calls.again("read", r, buffer, 8) == 3
    calls("close", w)
    assert read(calls, r, 8) == b""


def test_a_read_of_nothing_does_not_wait(calls: Calls) -> None:
    r, _ = calls.pipe()
    assert read(calls, r, 0) == b""


def test_nonblocking(calls: Calls) -> None:
    r, w = calls.pipe(O_NONBLOCK)
    assert read(calls, r, 1) == -EAGAIN
    assert write(calls, w, bytes(70000)) == 65536
    assert write(calls, w, b"x") == -EAGAIN
    assert read(calls, r, 4096) == bytes(4096)
    assert write(calls, w, bytes(5000)) == 4096


def test_a_large_write_goes_on_where_it_stopped(calls: Calls) -> None:
    r, w = calls.pipe()
    data = os.urandom(150_000)
    source = calls.model.put(data)
    calls.blocks("write", w, source, len(data))
    got = b""
    while len(got) < len(data):
        piece = os_read(calls, r)
        got += piece
        try:
            assert calls.again("write", w, source, len(data)) == len(data)
            break
        except Blocked:
            pass
    while len(got) < len(data):
        got += os_read(calls, r)
    assert got == data


def os_read(calls: Calls, fd: int) -> bytes:
    """Read without touching what the blocked writer remembers."""
    file = calls.task.files.fd[fd]
    return file.read(calls.task, 65536)


def test_without_readers_a_write_is_a_signal_and_an_error(calls: Calls) -> None:
    r, w = calls.pipe()
    calls("close", r)
    assert poll(calls, w) & POLLERR
    assert write(calls, w, b"") == 0
    assert not calls.task.pending.mask
    assert write(calls, w, b"x") == -EPIPE
    assert calls.task.pending.mask == SIGPIPE_BIT


def test_what_was_written_survives_the_writer(calls: Calls) -> None:
    r, w = calls.pipe()
    write(calls, w, b"last words")
    calls("close", w)
    assert poll(calls, r) & (POLLIN | POLLHUP) == POLLIN | POLLHUP
    assert read(calls, r, 4) == b"last"
    assert read(calls, r, 100) == b" words"
    assert read(calls, r, 100) == b""
    assert poll(calls, r) == POLLHUP


def test_poll(calls: Calls) -> None:
    r, w = calls.pipe()
    assert poll(calls, r) == 0
    assert poll(calls, w) & POLLOUT
    calls.task.files.fd[w].write(calls.task, bytes(65536))
    assert poll(calls, r) & POLLIN
    assert not poll(calls, w) & POLLOUT


def test_packets(calls: Calls) -> None:
    r, w = calls.pipe(calls.arch.open_flags_to_user(O_DIRECT))
    for packet in (b"one", b"three", b"x" * 5000):
        assert write(calls, w, packet) == len(packet)
    assert read(calls, r, 100) == b"one"
    assert read(calls, r, 2) == b"th"
    assert read(calls, r, 9000) == b"x" * 4096
    assert read(calls, r, 9000) == b"x" * 904


def test_fionread(calls: Calls) -> None:
    r, w = calls.pipe()
    write(calls, w, b"12345")
    answer = calls.model.alloc(4)
    assert calls("ioctl", r, FIONREAD, answer) == 0
    assert struct.unpack("<i", calls.model.get(answer, 4)) == (5,)
    assert calls("ioctl", r, FIONREAD, BAD) == -EFAULT


def test_what_the_calls_say_of_a_pipe(calls: Calls) -> None:
    r, w = calls.pipe(O_CLOEXEC)
    stat = calls.fstat(r)
    assert stat["st_mode"] == S_IFIFO | 0o600
    assert stat["st_size"] == 0
    assert stat["st_ino"] == calls.fstat(w)["st_ino"]
    assert stat["st_ino"] != calls.fstat(calls.pipe()[0])["st_ino"]
    assert {r, w} <= calls.task.files.cloexec
    text = calls.model.alloc(64)
    length = calls("readlinkat", -100, b"/proc/self/fd/%d" % r, text, 64)
    assert calls.model.get(text, length) == b"pipe:[%d]" % stat["st_ino"]


def test_bad_arguments(calls: Calls) -> None:
    fds = calls.model.alloc(8)
    assert calls("pipe2", fds, 1) == -EINVAL
    assert calls("pipe2", BAD, 0) == -EFAULT
    assert not calls.task.files.fd
    calls.task.signal.rlim[RLIMIT_NOFILE] = (1, 1)
    assert calls("pipe2", fds, 0) == -EMFILE
    assert not calls.task.files.fd


def test_opening_an_end_again_through_proc(calls: Calls) -> None:
    r, w = calls.pipe()
    again = calls.open(b"/proc/self/fd/%d" % r, O_WRONLY | O_NONBLOCK)
    assert write(calls, again, b"in by the back door") == 19
    calls("close", w)
    assert read(calls, r, 100) == b"in by the back door"
    assert poll(calls, r) == 0
    calls("close", again)
    assert poll(calls, r) == POLLHUP


def new_pipe(pages: int = 1024) -> Pipe:
    """A pipe in a machine with that much memory."""
    return Pipe(FrameAllocator(memoryview(bytearray(pages * PAGE_SIZE))))


# -- sizes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "got"), [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (65537, 131072), (1 << 20, 1 << 20)]
)
def test_capacity_is_a_power_of_two_of_pages(asked: int, got: int) -> None:
    pipe = new_pipe()
    assert pipe.set_size(asked, privileged=False) == got
    assert pipe.put(bytes(2 << 20), False) == got


def test_capacity_has_limits() -> None:
    pipe = new_pipe()
    pipe.put(bytes(10000), False)
    for size, privileged, error in ((4096, True, EBUSY), ((1 << 20) + 1, False, EPERM), (1 << 31 | 1, True, EINVAL)):
        with pytest.raises(SyscallError) as caught:
            pipe.set_size(size, privileged=privileged)
        assert caught.value.errno == error
    assert pipe.set_size((1 << 20) + 1, privileged=True) == 2 << 20


def test_what_a_pipe_holds_is_the_guests_memory() -> None:
    pipe = new_pipe(pages=6)
    free = pipe.frames.free_frames
    assert pipe.put(bytes(1 << 16), False) == free * PAGE_SIZE
    with pytest.raises(SyscallError) as caught:
        pipe.put(b"x", False)
    assert caught.value.errno == ENOMEM
    pipe.take(1 << 16)
    assert pipe.frames.free_frames == free
    pipe.get_end(O_RDWR)
    pipe.put(b"left behind", False)
    pipe.put_end(O_RDWR)
    assert pipe.frames.free_frames == free


def test_fcntl_sizes(calls: Calls) -> None:
    r, w = calls.pipe()
    assert calls("fcntl", r, F_GETPIPE_SZ, 0) == 65536
    assert calls("fcntl", w, F_SETPIPE_SZ, 5000) == 8192
    assert calls("fcntl", r, F_GETPIPE_SZ, 0) == 8192


sizes = st.one_of(st.integers(1, 300), st.integers(3000, 5000), st.sampled_from((4095, 4096, 4097, 8192, 70000)))
steps = st.lists(st.one_of(st.tuples(st.just("w"), sizes), st.tuples(st.just("r"), sizes)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(steps, st.booleans())
def test_as_much_fits_as_on_the_host(steps: list[tuple[str, int]], packets: bool) -> None:
    r, w = os.pipe2(os.O_NONBLOCK | (O_DIRECT if packets else 0))
    pipe = new_pipe()
    try:
        fcntl.fcntl(w, F_SETPIPE_SZ, 32768)
        pipe.set_size(32768, privileged=False)
        number = 0
        for what, size in steps:
            if what == "w":
                number += 1
                data = bytes((number + i) & 0xFF for i in range(size))
                try:
                    taken = os.write(w, data)
                except BlockingIOError:
                    taken = 0
                assert pipe.put(data, packets) == taken
            else:
                try:
                    got = os.read(r, size)
                except BlockingIOError:
                    got = b""
                assert pipe.take(size) == got
    finally:
        os.close(r)
        os.close(w)


# -- FIFOs ---------------------------------------------------------------------------------------------------
@pytest.fixture
def fifo(calls: Calls) -> bytes:
    assert calls("mknodat", -100, b"/tmp/fifo", S_IFIFO | 0o666, 0) == 0
    return b"/tmp/fifo"


def test_opening_a_fifo_without_waiting(calls: Calls, fifo: bytes) -> None:
    assert calls("openat", -100, fifo, O_WRONLY | O_NONBLOCK, 0) == -ENXIO
    r = calls.open(fifo, O_RDONLY | O_NONBLOCK)
    assert poll(calls, r) == 0
    assert read(calls, r, 1) == b""
    w = calls.open(fifo, O_WRONLY | O_NONBLOCK)
    assert write(calls, w, b"through") == 7
    calls("close", w)
    assert poll(calls, r) & POLLHUP
    assert read(calls, r, 100) == b"through"


def test_a_fifo_open_both_ways(calls: Calls, fifo: bytes) -> None:
    fd = calls.open(fifo, O_RDWR)
    assert write(calls, fd, b"echo") == 4
    assert read(calls, fd, 100) == b"echo"
    calls.blocks("read", fd, calls.model.alloc(1), 1)


def test_a_fifo_forgets_when_nobody_has_it_open(calls: Calls, fifo: bytes) -> None:
    fd = calls.open(fifo, O_RDWR)
    write(calls, fd, b"lost")
    calls("close", fd)
    fd = calls.open(fifo, O_RDONLY | O_NONBLOCK)
    assert read(calls, fd, 100) == b""


def test_reader_and_writer_of_a_fifo_wait_for_each_other(calls: Calls, fifo: bytes) -> None:
    name = calls.model.put_string(fifo)
    calls.blocks("openat", -100, name, O_RDONLY, 0)
    other = changed_copy(calls.task, pid=calls.task.pid + 1, call_state=None)
    place = calls.task.kernel.mounts.path_of(fifo)
    file = place.inode.open(place, O_WRONLY | O_NONBLOCK, other)
    assert file.write(other, b"hi") == 2
    fd = calls.again("openat", -100, name, O_RDONLY, 0)
    assert read(calls, fd, 10) == b"hi"


def test_an_interrupted_open_leaves_no_reader_behind(calls: Calls, fifo: bytes) -> None:
    calls.blocks("openat", -100, calls.model.put_string(fifo), O_RDONLY, 0)
    calls.task.call_state = None
    assert calls("openat", -100, fifo, O_WRONLY | O_NONBLOCK, 0) == -ENXIO
