"""The emulator's streams as the guest sees them, with real pipes, files and pseudoterminals behind them."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from emu.host.streams import HostStreams
from kernel_model.abi.errno import EACCES, EAGAIN, EBADF, EFAULT, EIO, ENOTTY, ENXIO, EPERM, EPIPE, ESPIPE, ESRCH
from kernel_model.abi.fcntl import O_APPEND, O_NONBLOCK, O_RDWR, O_WRONLY
from kernel_model.abi.termios import (
    FIONREAD,
    ICANON,
    TCGETA,
    TCGETS,
    TCGETS2,
    TCSETS,
    TIOCGPGRP,
    TIOCGSID,
    TIOCGWINSZ,
    TIOCNOTTY,
    TIOCSCTTY,
    TIOCSPGRP,
    TIOCSTI,
    TIOCSWINSZ,
)
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLOUT
from tests.fs.hosted import Machines
from tests.fs.hosted import hosted as hosted  # noqa: PLC0414 - a fixture

SIGPIPE_BIT = 1 << 12
SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2


def no_flags_changed(fd: int) -> bool:
    """The other side of a shared description must not find O_NONBLOCK set by us."""
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


# -- pipes ---------------------------------------------------------------------------------------------------
def test_bytes_pass_unbuffered(hosted: Machines) -> None:
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    machine = hosted(in_r, out_w)
    os.write(in_w, b"question")
    assert machine.read(0, 100) == b"question"
    assert machine.write(1, b"answer") == 6
    assert os.read(out_r, 100) == b"answer"
    assert no_flags_changed(in_r)
    assert no_flags_changed(out_w)
    os.close(in_w)
    assert machine.read(0, 100) == b""
    os.close(out_r)


def test_an_empty_stream_is_waited_for(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(r)
    buffer = machine.model.alloc(8)
    assert machine.blocks("read", 0, buffer, 8).read_fds == (0,)
    assert machine("fcntl", 0, 4, O_NONBLOCK) == 0
    assert machine("read", 0, buffer, 8) == -EAGAIN
    assert no_flags_changed(r)
    assert machine("fcntl", 0, 4, 0) == 0
    writer = threading.Timer(0.05, os.write, (w, b"late"))
    writer.start()
    assert machine.patiently("read", 0, buffer, 8) == 4
    writer.join()
    os.close(w)


def test_a_full_stream_takes_the_rest_later(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(stdout=w)
    data = os.urandom(300_000)
    got = bytearray()

    def drain() -> None:
        while len(got) < len(data):
            got.extend(os.read(r, 65536))

    reader = threading.Thread(target=drain)
    reader.start()
    assert machine.patiently("write", 1, machine.model.put(data), len(data)) == len(data)
    reader.join()
    assert bytes(got) == data
    assert no_flags_changed(w)
    os.close(r)


def test_a_full_stream_that_must_not_wait(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(stdout=w)
    machine("fcntl", 1, 4, O_NONBLOCK | O_WRONLY)
    assert machine.write(1, bytes(100_000)) == 65536
    assert machine.write(1, b"x") == -EAGAIN
    os.close(r)


def test_a_reader_that_went_away(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(stdout=w)
    os.close(r)
    assert machine.write(1, b"x") == -EPIPE
    assert machine.task.pending.mask == SIGPIPE_BIT
    assert machine.task.files.fd[1].poll(machine.task) & POLLERR


def test_closing_tells_the_other_end(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(stdout=w)
    copy = machine("dup", 1)
    assert machine("close", 1) == 0
    machine.write(copy, b"still open")
    assert os.read(r, 100) == b"still open"
    assert machine("close", copy) == 0
    assert os.read(r, 100) == b""
    os.close(r)


def test_what_a_pipe_looks_like(hosted: Machines) -> None:
    r, w = os.pipe()
    machine = hosted(r, w)
    mine = machine.fstat(0)
    host = os.fstat(r)
    assert (mine["st_mode"], mine["st_ino"]) == (host.st_mode, host.st_ino)
    assert machine.link(b"/proc/self/fd/0") == os.readlink(f"/proc/self/fd/{r}").encode()
    assert machine("lseek", 0, 0, SEEK_CUR) == -ESPIPE
    assert machine("ioctl", 0, TCGETS, machine.model.alloc(64)) == -ENOTTY
    os.write(w, b"123")
    assert machine.ioctl_ints(0, FIONREAD, "<i") == (3,)
    assert machine.task.files.fd[0].poll(machine.task) & (POLLIN | POLLHUP) == POLLIN
    assert machine.write(0, b"x") == -EBADF


def test_reopening_through_proc(hosted: Machines) -> None:
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    machine = hosted(in_r, out_w)
    fd = machine.open(b"/dev/stdout", O_WRONLY)
    assert machine.write(fd, b"by name") == 7
    assert os.read(out_r, 100) == b"by name"
    os.write(in_w, b"x")
    assert machine.read(machine.open(b"/proc/self/fd/0"), 10) == b"x"
    assert machine("openat", -100, b"/dev/stdin", O_WRONLY, 0) == -EACCES
    os.close(in_w)
    os.close(out_r)


def test_a_stream_that_is_not_there() -> None:
    streams = HostStreams((0, 1, 987))
    try:
        for call in (
            lambda: streams.stream_read(2, 1),
            lambda: streams.stream_write(2, b"x"),
            lambda: streams.stream_stat(2),
            lambda: streams.stream_flags(2),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == EBADF
        # the hole is filled, so that nothing of ours lands there
        assert os.fstat(987)
    finally:
        streams.close()
        os.close(987)


# -- files ---------------------------------------------------------------------------------------------------
def test_a_file_keeps_its_position_on_the_host(hosted: Machines, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 2, os.SEEK_SET)
    machine = hosted(fd)
    assert machine.read(0, 3) == b"234"
    assert os.lseek(fd, 0, os.SEEK_CUR) == 5
    assert machine("lseek", 0, -1, SEEK_END) == 9
    assert machine.read(0, 10) == b"9"
    buffer = machine.model.alloc(4)
    assert machine("pread64", 0, buffer, 4, 6) == 4
    assert machine.model.get(buffer, 4) == b"6789"
    assert machine.fstat(0)["st_size"] == 10
    assert machine.link(b"/proc/self/fd/0") == str(path).encode()


def test_appending_to_a_file(hosted: Machines, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    machine = hosted(stdout=os.open(path, os.O_WRONLY | os.O_APPEND))
    assert machine("fcntl", 1, 3, 0) & O_APPEND
    machine.write(1, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


def test_another_description_has_its_own_position(hosted: Machines, tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_bytes(b"abcdef")
    machine = hosted(os.open(path, os.O_RDWR))
    again = machine.open(b"/proc/self/fd/0", O_RDWR)
    assert machine.read(again, 3) == b"abc"
    assert machine.read(0, 2) == b"ab"
    assert machine.write(again, b"XY") == 2
    assert machine("lseek", again, 0, SEEK_CUR) == 5
    assert path.read_bytes() == b"abcXYf"
    assert machine("ftruncate", again, 4) == 0
    assert path.read_bytes() == b"abcX"


def test_a_file_can_be_mapped(hosted: Machines, tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(bytes(4096) + b"second page")
    machine = hosted(os.open(path, os.O_RDWR))
    address = machine("mmap", 0, 8192, 3, 1, 0, 0)
    assert machine.model.get(address + 4096, 11) == b"second page"
    private = machine("mmap", 0, 8192, 1, 2, 0, 4096)
    assert machine.model.get(private, 6) == b"second"
    r, w = os.pipe()
    os.close(w)
    assert hosted(r)("mmap", 0, 4096, 1, 2, 0, 0) == -19


# -- terminals -----------------------------------------------------------------------------------------------
class Screen:
    """A pseudoterminal: `fd` is the side of the person, `slave()` a new descriptor of the other."""

    def __init__(self) -> None:
        self.fd, self._slave = pty.openpty()
        self.name = os.ttyname(self._slave)

    def slave(self) -> int:
        return os.dup(self._slave)

    def shows(self, end: bytes) -> bytes:
        """What appears up to and including `end`."""
        seen = b""
        while end not in seen:
            seen += os.read(self.fd, 1000)
        return seen

    def close(self) -> None:
        os.close(self._slave)
        os.close(self.fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


def test_a_line_at_a_time(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave(), screen.slave(), screen.slave())
    os.write(screen.fd, b"unfinished")
    assert machine.blocks("read", 0, machine.model.alloc(100), 100).read_fds == (0,)
    os.write(screen.fd, b" line\n")
    assert machine.read(0, 100) == b"unfinished line\n"
    assert machine.write(1, b"shown\n") == 6
    assert b"shown\r\n" in screen.shows(b"shown\r\n")


def test_raw_mode_and_back(hosted: Machines, screen: Screen) -> None:
    before = termios.tcgetattr(screen.fd)
    machine = hosted(screen.slave(), screen.slave(), screen.slave())
    layout = "<4IB19s"
    pointer = machine.model.alloc(64)
    assert machine("ioctl", 0, TCGETS, pointer) == 0
    _, oflag, cflag, lflag, line, cc = struct.unpack(layout, machine.model.get(pointer, 36))
    assert lflag & ICANON
    raw = struct.pack(layout, 0, oflag, cflag, lflag & ~(ICANON | 0o10 | 1), line, cc)
    assert machine("ioctl", 1, TCSETS, machine.model.put(raw)) == 0
    os.write(screen.fd, b"\x03")
    assert machine.read(0, 10) == b"\x03"
    machine.host.close()
    assert termios.tcgetattr(screen.fd) == before


def test_the_older_layouts_agree(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave())
    pointer = machine.model.alloc(64)
    assert machine("ioctl", 0, TCGETS2, pointer) == 0
    new = struct.unpack("<4IB19sII", machine.model.get(pointer, 44))
    assert machine("ioctl", 0, TCGETA, pointer) == 0
    old = struct.unpack("<4HB8sx", machine.model.get(pointer, 18))
    assert old[:4] == tuple(flag & 0xFFFF for flag in new[:4])
    assert old[5] == new[5][:8]
    assert machine("ioctl", 0, TCGETS, 0x1000) == -EFAULT
    assert machine("ioctl", 0, TCSETS, 0x1000) == -EFAULT


def test_a_read_that_need_not_get_a_byte(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave())
    tty.setraw(screen.fd)
    mode = termios.tcgetattr(screen.fd)
    mode[6][termios.VMIN] = 0
    mode[6][termios.VTIME] = 0
    termios.tcsetattr(screen.fd, termios.TCSANOW, mode)
    assert machine.read(0, 10) == b""
    mode[6][termios.VTIME] = 2
    termios.tcsetattr(screen.fd, termios.TCSANOW, mode)
    buffer = machine.model.alloc(10)
    start = machine.model.kernel.clock.monotonic_ns()
    blocked = machine.blocks("read", 0, buffer, 10)
    assert blocked.deadline_ns is not None
    assert blocked.deadline_ns - start >= 200_000_000
    assert machine.model.kernel.clock.sleep_towards(blocked.deadline_ns) == 0
    assert machine.again("read", 0, buffer, 10) == 0


def test_window_size(hosted: Machines, screen: Screen) -> None:
    machine = hosted(stdout=screen.slave())
    fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 1, 2))
    assert machine.ioctl_ints(1, TIOCGWINSZ, "<4H") == (50, 132, 1, 2)
    assert machine.ioctl_ints(1, TIOCSWINSZ, "<4H", 24, 80, 0, 0) == (24, 80, 0, 0)
    assert struct.unpack("4H", fcntl.ioctl(screen.fd, termios.TIOCGWINSZ, bytes(8))) == (24, 80, 0, 0)


def test_a_terminal_by_name(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave(), screen.slave())
    name = screen.name.encode()
    assert machine.link(b"/proc/self/fd/0") == name
    here, there = machine.fstat(0), machine.stat(name)
    assert [here[key] for key in ("st_dev", "st_ino", "st_rdev")] == [
        there[key] for key in ("st_dev", "st_ino", "st_rdev")
    ]
    for path in (name, b"/dev/tty", b"/dev/stdin", b"/dev/fd/1"):
        fd = machine.open(path, O_RDWR)
        assert machine.ioctl_ints(fd, TIOCGPGRP, "<i") == (machine.task.signal.pgrp,), path
        machine("close", fd)


def test_no_controlling_terminal(hosted: Machines) -> None:
    machine = hosted()
    assert machine("openat", -100, b"/dev/tty", O_RDWR, 0) == -ENXIO
    assert machine("openat", -100, b"/dev/console", O_RDWR, 0) == -ENXIO


def test_job_control(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave())
    signals = machine.task.signal
    assert machine.ioctl_ints(0, TIOCGSID, "<i") == (signals.session,)
    assert machine.ioctl_ints(0, TIOCSPGRP, "<i", signals.pgrp) == (signals.pgrp,)
    assert machine.ioctl_ints(0, TIOCSPGRP, "<i", 999_999) == -ESRCH
    assert machine("ioctl", 0, TIOCSTI, machine.model.put(b"x")) == -EIO
    assert machine("ioctl", 0, 0x9999, 0) == -ENOTTY


def test_giving_the_terminal_up_and_taking_it_again(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave())
    assert machine("ioctl", 0, TIOCNOTTY, 0) == 0
    hangup_and_continue = 1 << signal.SIGHUP - 1
    assert machine.task.signal.shared_pending.mask & hangup_and_continue
    assert machine.ioctl_ints(0, TIOCGPGRP, "<i") == -ENOTTY
    assert machine("openat", -100, b"/dev/tty", O_RDWR, 0) == -ENXIO
    assert machine("ioctl", 0, TIOCSCTTY, 0) == 0
    assert machine.ioctl_ints(0, TIOCGPGRP, "<i") == (machine.task.signal.pgrp,)
    machine.task.signal.session = 1
    machine.task.cred = type(machine.task.cred).of(1000, 1000, ())
    assert machine("ioctl", 0, TIOCSCTTY, 0) == -EPERM


def test_poll_of_a_terminal(hosted: Machines, screen: Screen) -> None:
    machine = hosted(screen.slave(), screen.slave())
    file = machine.task.files.fd[0]
    assert file.poll(machine.task) & (POLLIN | POLLOUT) == POLLOUT
    os.write(screen.fd, b"\n")
    assert file.poll(machine.task) & POLLIN


# -- signals -------------------------------------------------------------------------------------------------
def test_signals_from_outside_end_a_wait() -> None:
    streams = HostStreams()
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        streams.on_signal = seen.append
        streams.watch_signals()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGUSR1)
        taken: list[int] = []
        while len(taken) < 2:
            streams.wait((), (), 10_000_000_000)
            taken += streams.take_signals()
        assert taken == [signal.SIGINT, signal.SIGUSR1]
        assert streams.take_signals() == []
    finally:
        streams.close()
    assert seen == [signal.SIGINT, signal.SIGUSR1]
    assert signal.getsignal(signal.SIGINT) is before


def test_ignored_signals_stay_ignored() -> None:
    streams = HostStreams()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        streams.watch_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGUSR2)
        streams.wait((), (), 10_000_000_000)
        while not (taken := streams.take_signals()):
            streams.wait((), (), 10_000_000_000)
        assert taken == [signal.SIGUSR2]
    finally:
        streams.close()
        signal.signal(signal.SIGHUP, before)


def test_a_wait_ends_by_itself() -> None:
    streams = HostStreams()
    try:
        streams.wait((), (), 1_000)
        streams.wait((), (), 0)
        streams.wake()
        streams.wait((), (), None)
    finally:
        streams.close()
