"""Stepping as a user does it: through a pipe, or on a terminal."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from functools import cache
from pathlib import Path
from types import TracebackType

from guests.build import DEMO, cache_dir, compile_to
from tests.harness import ROOT, Outcome, emulator

SOURCE = Path(__file__).parent / "walk.c"
FLAGS = ("-static", "-O1", "-g0", "-std=gnu17", "-fno-sanitize=all", "-fno-omit-frame-pointer", "-Wall", "-Wextra")
QUIET = ("--seed", "1", "--time", "virtual", "--clear-env")


def stepper(*words: str | Path) -> list[str]:
    """The command line of `uabi-emu step` with these words."""
    launch = emulator()
    assert launch[-1] == "run"
    return [*launch[:-1], "step", *map(str, words)]


@cache
def walk(arch: str) -> Path:
    """`walk.c`, built unless it is there; its symbols are kept."""
    key = hashlib.sha256(SOURCE.read_bytes() + repr(FLAGS).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "step" / f"walk-{key}"
    if not path.exists():
        compile_to(SOURCE, f"{arch}-linux-musl", FLAGS, path)
    return path


def getppid(arch: str) -> str:
    """The program of the lab, as it is called in the repository's folder."""
    return str((DEMO / arch / "getppid").relative_to(ROOT))


def transcript(*words: str | Path, commands: str, timeout: float = 60) -> Outcome:
    """What a run prints that gets `commands`, one a line, through a pipe."""
    done = subprocess.run(
        stepper(*words), input=commands.encode(), cwd=ROOT, capture_output=True, timeout=timeout,
        env={"PATH": os.environ.get("PATH", "")},
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A run on a pseudo-terminal."""

    def __init__(self, *words: str | Path, columns: int = 80, env: dict[str, str] | None = None) -> None:
        # setsid(1) makes the terminal the controlling one, so that Ctrl-C is a signal
        self._command = ["setsid", "--ctty", "--wait", *stepper(*words)]
        self._columns = columns
        self._env = {"PATH": os.environ.get("PATH", ""), "TERM": "xterm", "NO_COLOR": "1", **(env or {})}
        self.text = ""

    def __enter__(self) -> Terminal:
        self._fd, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 30, self._columns, 0, 0))
        self._process = subprocess.Popen(
            self._command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=self._env,
        )  # fmt: skip
        os.close(slave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def expect(self, pattern: str, timeout: float = 30) -> str:
        """Read until `pattern` has come; what came up to and with it, which is not looked at again."""
        end = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.text)
            if found is not None:
                seen, self.text = self.text[: found.end()], self.text[found.end() :]
                return seen
            left = end - time.monotonic()
            assert left > 0, f"{pattern!r} did not come:\n{self.text}"
            if select.select([self._fd], [], [], left)[0]:
                try:
                    data = os.read(self._fd, 4096)
                except OSError:
                    data = b""
                assert data, f"it ended before {pattern!r}:\n{self.text}"
                text = data.decode().replace("\r\n", "\n").replace("\a", "")
                self.text += re.sub(r"\033\[\?2004[hl]\r?", "", text)  # bracketed paste, switched by readline

    def prompt(self) -> str:
        """What came up to the next prompt."""
        return self.expect(r"\(step\) ")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def command(self, line: str) -> str:
        """Give a command at the prompt; what it says."""
        self.type(line + "\n")
        return self.prompt()

    def status(self) -> int:
        """Wait for the end."""
        while True:
            try:
                data = os.read(self._fd, 4096)
            except OSError:
                data = b""
            if not data:
                return self._process.wait(timeout=30)
            self.text += data.decode()
