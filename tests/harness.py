"""Run one program on the host itself, under qemu-user, or on our machine, and see what came out."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = ROOT / "guests" / "expected"
HOST_ARCH = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())

# The guest gets the host's environment, so a run must need none itself: the path to our packages goes in
# by the program text instead of PYTHONPATH.
_LAUNCH = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from emu.cli.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Outcome:
    """What can be seen of a run from outside. Death by signal n shows as status 128+n, as in a shell."""

    status: int
    stdout: bytes
    stderr: bytes = field(default=b"", compare=False)

    def text(self) -> str:
        """The form in which an expected outcome is kept."""
        return self.stdout.decode("utf-8", "surrogateescape") + f"[status {self.status}]\n"

    def __str__(self) -> str:
        tail = self.stderr[-2000:].decode("utf-8", "replace")
        return self.text() + (f"--- stderr\n{tail}" if tail else "")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    timeout: float = 60,
) -> Outcome:
    """Run a command with nothing but the given environment; no output is ever shown on the terminal."""
    with (stdin or Path(os.devnull)).open("rb") as source:
        try:
            done = subprocess.run(
                [str(word) for word in command],
                cwd=cwd,
                env=dict(env or {}),
                stdin=source,
                capture_output=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as late:
            return Outcome(-1, late.stdout or b"", (late.stderr or b"") + b"\n[timed out]")
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Outcome(status, done.stdout, done.stderr)


def emulator(*options: str) -> list[str]:
    """The command line that runs a program on our machine; the program and its arguments follow."""
    # -P: a guest's working directory may hold files that are called like modules
    return [sys.executable, "-P", "-c", _LAUNCH, "run", *options]


@cache
def qemu(arch: str) -> str | None:
    """The path of qemu-user for an architecture, if it is installed."""
    return shutil.which(f"qemu-{arch}") or shutil.which(f"qemu-{arch}-static")


@cache
def _lists() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "expected_failures.toml").read_text())


def listed(section: str) -> dict[str, str]:
    """The cases that are known not to pass, by name, with the reason."""
    return _lists().get(section, {})


def judge(section: str, case: str, seen: object, wanted: object) -> None:
    """Compare; a case that is listed must fail, so that the list can only shrink."""
    reason = listed(section).get(case)
    if reason is None:
        assert seen == wanted, f"{case}\n--- seen\n{seen}\n--- wanted\n{wanted}"
    elif seen == wanted:
        pytest.fail(f"{case} passes now: take it off [{section}] in tests/expected_failures.toml")
    else:
        pytest.xfail(reason)
