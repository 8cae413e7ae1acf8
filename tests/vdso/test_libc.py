"""C libraries find the vDSO's clocks by themselves: musl, glibc linked statically, glibc with its dynamic linker."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from guests.build import cache_dir, compile_to
from tests.harness import emulator, run
from vdso_image.image import ARCHITECTURES

SOURCE = Path(__file__).parent / "clocks.c"
CLOCK_CALLS = ("clock_gettime", "gettimeofday", "time")


def program(arch: str, libc: str) -> Path:
    """The program linked with that library; skips where there is no compiler for it."""
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:20]
    path = cache_dir() / arch / "vdso" / f"clocks-{libc}-{key}"
    if path.exists():
        return path
    if libc == "musl":
        compile_to(SOURCE, f"{arch}-linux-musl", ("-O1", "-static"), path)
        return path
    native = arch == platform.machine()
    compiler = shutil.which(f"{arch.replace('_', '-')}-linux-gnu-gcc") or (shutil.which("gcc") if native else None)
    if not compiler:
        pytest.skip(f"no gcc for {arch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    static = ["-static"] if libc == "glibc-static" else []
    subprocess.run([compiler, "-O1", *static, "-o", new, SOURCE], check=True)
    new.replace(path)
    return path


def guest_command(arch: str, libc: str, path: Path) -> list[str | Path]:
    """Options and words that run it; a dynamic linker of another architecture comes from the cross compiler's tree."""
    if libc != "glibc-dynamic" or arch == platform.machine():
        return [path]
    root = f"/usr/{arch.replace('_', '-')}-linux-gnu"
    if not Path(root, "lib").is_dir():
        pytest.skip("no dynamic linker of that architecture on this host")
    return ["--root", root, "--bind", f"{path.parent}:/program", f"/program/{path.name}"]


@pytest.mark.parametrize("abi", ["bare", "bounce"])
@pytest.mark.parametrize("libc", ["musl", "glibc-static", "glibc-dynamic"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_time_needs_no_call(arch: str, libc: str, abi: str, tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    words = guest_command(arch, libc, program(arch, libc))
    seen = run([*emulator("--abi", abi, "--stats", str(stats)), *words], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, b"ok\n"), seen
    calls = json.loads(stats.read_text())["syscalls"]
    assert {name: calls[name] for name in CLOCK_CALLS if name in calls} == {}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_virtual_time_is_asked_for(arch: str, tmp_path: Path) -> None:
    """Each look at the clock is a kernel entry then, which is what makes that time go on."""
    stats = tmp_path / "stats"
    seen = run([*emulator("--time", "virtual", "--stats", str(stats)), program(arch, "musl")], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, b"ok\n"), seen
    calls = json.loads(stats.read_text())["syscalls"]
    assert sum(calls.get(name, 0) for name in CLOCK_CALLS) == 900
