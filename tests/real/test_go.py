"""Go programs, which bring no C library: their clock, goroutines, children, signals, and threads that end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, emulator, judge, run
from tests.real.cases import ARCHES, need

pytestmark = pytest.mark.real

WAYS = {
    "bare": ["--abi", "bare"],
    "bounce": ["--abi", "bounce"],
    "task-page": ["--bounce-frame", "task-page"],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arch", ARCHES)
def test_work(arch: str, way: str, tmp_path: Path) -> None:
    seen = run([*emulator(*WAYS[way]), need("go_work", arch)], cwd=tmp_path)
    wanted = run([need("go_work", HOST_ARCH)], cwd=tmp_path)
    assert wanted.stdout.endswith(b"ok\n")
    judge("go", f"work {arch} {way}", seen, wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arch", ARCHES)
def test_clock(arch: str, way: str, tmp_path: Path) -> None:
    """Go 1.19 looks for arm64's clock function by the hash of x86's name, and so finds it on no kernel."""
    stats = tmp_path / "stats"
    seen = run([*emulator(*WAYS[way], "--stats", str(stats)), need("go_clock", arch)], cwd=tmp_path)
    judge("go", f"clock {arch} {way}", (seen.status, seen.stdout), (0, b"backwards: 0 year: true elapsed: true\n"))
    calls = json.loads(stats.read_text())["syscalls"]
    assert ("clock_gettime" in calls) == (arch == "aarch64")
