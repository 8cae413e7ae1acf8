"""pthread_cancel does under bounces what it does without, with either C library and before every instruction."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from guests.build import SOURCES, cache_dir
from tests.bounce.injection import CALLS, observe_cancel, run_apart
from tests.bounce.test_injection import as_under_bare, each_machine
from tests.harness import EXPECTED, HOST_ARCH, emulator, run
from vdso_image.image import ARCHITECTURES

SOURCE = SOURCES / "signal" / "cancel.c"
FLAGS = ("-static", "-O1", "-pthread", "-std=gnu17", f"-I{SOURCES}")


@pytest.mark.parametrize("call", CALLS)
@each_machine
def test_musl_cancels_before_every_instruction(arch: str, variant: str, call: str) -> None:
    """musl cancels only where PC is between its __cp_begin and __cp_end, the call's own instruction included."""
    wanted = {seen.place: seen for seen in observe_cancel(arch, "bare")[call]}
    assert {place.where for place in wanted if place} >= {"before", "site"}
    trials = observe_cancel(arch, variant)[call]
    assert {seen.place.where for seen in trials if seen.place} >= {"before", "site", "handler"}
    for seen in trials:
        place = as_under_bare(seen.place)
        assert seen._replace(place=place) == wanted[place], str(seen.place)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_remains_is_a_handler_of_several_calls(arch: str, tmp_path: Path) -> None:
    """Between two calls there is no way back, and PC is the vDSO's: musl cancels later, but the second call sleeps."""
    done = run_apart("cancel, two calls", arch, "redirect", str(tmp_path / "report"))
    status = 128 + signal.SIGALRM
    assert f"the guest ended with status {status}, injected last at leaving" in done.stderr


def _with_glibc(arch: str) -> Path:
    """The guest that ends threads in many places, with the C library of the host's compiler."""
    compiler = shutil.which("gcc" if arch == HOST_ARCH else f"{arch.replace('_', '-')}-linux-gnu-gcc")
    if not compiler:
        pytest.skip(f"no gcc for {arch}")
    key = hashlib.sha256(SOURCE.read_bytes() + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "bounce" / f"cancel-glibc-{key}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        subprocess.run([compiler, *FLAGS, "-o", new, SOURCE], check=True)
        new.replace(path)
    return path


@pytest.mark.parametrize("abi", ["bare", "bounce"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_glibc_cancels(arch: str, abi: str, tmp_path: Path) -> None:
    seen = run([*emulator("--abi", abi), _with_glibc(arch)], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "signal" / "cancel.txt").read_text(), str(seen)
