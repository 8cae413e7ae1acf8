"""Standard streams, terminals and signals from outside reach the guest as they would reach a native program."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from guests.build import ARCHES, binary_path, discover
from tests.harness import HOST_ARCH, emulator

pytestmark = pytest.mark.usefixtures("guests_built")

RUNNERS = [*(f"ours-{arch}" for arch in ARCHES), *(["native"] if HOST_ARCH in ARCHES else [])]


def _command(runner: str, guest: str, *args: str) -> list[str]:
    arch = HOST_ARCH if runner == "native" else runner.partition("-")[2]
    binary = next(binary_path(g) for g in discover() if g.id == guest and g.arch == arch)
    prefix = [] if runner == "native" else emulator()
    return [*prefix, str(binary), *args]


@contextmanager
def started(command: list[str], cwd: Path, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A running program with pipes; killed at the end if it still runs."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={},
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def _read_until(fd: int, wanted: bytes, seconds: float = 30) -> bytes:
    """What comes out of a descriptor until the wanted text was among it."""
    seen, until = b"", time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, until - time.monotonic()))
        assert ready, f"no {wanted!r} within {seconds} s after {seen!r}"
        part = os.read(fd, 4096)
        assert part, f"the end, and no {wanted!r} after {seen!r}"
        seen += part
    return seen


def _status(process: subprocess.Popen[bytes], seconds: float = 15) -> int:
    """The status as a shell shows it."""
    code = process.wait(seconds)
    return code if code >= 0 else 128 - code


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("what", ["spin", "wait"])
def test_ctrl_c_ends_the_guest_at_once(what: str, runner: str, tmp_path: Path) -> None:
    with started(_command(runner, "stream/flow", what), tmp_path) as process:
        assert process.stdout is not None
        _read_until(process.stdout.fileno(), what.encode() + b"\n")
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert _status(process) == 128 + signal.SIGINT
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("runner", RUNNERS)
def test_sigterm_ends_a_compute_loop(runner: str, tmp_path: Path) -> None:
    with started(_command(runner, "stream/flow", "spin"), tmp_path) as process:
        assert process.stdout is not None
        _read_until(process.stdout.fileno(), b"spin\n")
        process.send_signal(signal.SIGTERM)
        assert _status(process) == 128 + signal.SIGTERM


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(("what", "status"), [("flood", 128 + signal.SIGPIPE), ("flood-ignoring", 9)])
def test_a_closed_pipe(what: str, status: int, runner: str, tmp_path: Path) -> None:
    """SIGPIPE kills, or EPIPE is returned when the guest ignores it. man 2 write"""
    with started(_command(runner, "stream/flow", what), tmp_path) as process:
        assert process.stdout is not None
        _read_until(process.stdout.fileno(), what.encode())
        process.stdout.close()
        assert _status(process) == status


@pytest.mark.parametrize("runner", RUNNERS)
def test_streams_are_not_buffered(runner: str, tmp_path: Path) -> None:
    """Each byte that goes in comes out before the next is sent."""
    with started(_command(runner, "stream/flow", "pass"), tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        _read_until(process.stdout.fileno(), b"pass\n")
        for byte in (b"a", b"\0", b"\n", b"\xff"):
            process.stdin.write(byte)
            assert _read_until(process.stdout.fileno(), byte) == byte
        process.stdin.close()
        _read_until(process.stdout.fileno(), b"ok\n")
        assert _status(process) == 0


@pytest.mark.parametrize("how", ["epoll", "epoll-edge"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_epoll_waits_for_input(how: str, runner: str, tmp_path: Path) -> None:
    """What comes, when it comes, and the end of it, each told once to one who reads all there is."""
    with started(_command(runner, "stream/flow", how), tmp_path) as process:
        assert process.stdin
        assert process.stdout
        assert _read_until(process.stdout.fileno(), b"wait\n").endswith(b"add 0\nwait\n")
        for text in (b"one\n", b"three\n"):
            process.stdin.write(text)
            seen = _read_until(process.stdout.fileno(), b"wait\n")
            assert seen == b"events 1 1\nread %d\nwait\n" % len(text)
        process.stdin.close()
        assert process.stdout.read() == b"events 1 10\nok\n"


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_terminal(runner: str, tmp_path: Path) -> None:
    """Size, line mode, raw mode with Ctrl-C as a byte, and the settings as before at the end."""
    ours, theirs = pty.openpty()
    ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    before = termios.tcgetattr(theirs)
    try:
        with started(_command(runner, "stream/terminal", "terminal"), tmp_path, stdin=theirs) as process:
            assert process.stdout is not None
            out = process.stdout.fileno()
            assert b"33 rows, 99 columns" in _read_until(out, b"line?\n")
            os.write(ours, b"typed\x7fd\n")
            assert b"6 bytes, ends with newline: 1" in _read_until(out, b"key?\n")
            os.write(ours, b"\x03")
            assert b"FAIL " not in _read_until(out, b"ok\n")
            assert _status(process) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
