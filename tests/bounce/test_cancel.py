"""pthread_cancel does under bounces what it does without, with either C library and before every instruction."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.bounce.injection import CALLS, observe_cancel, run_apart
from tests.bounce.test_injection import as_under_bare, each_machine
from tests.harness import EXPECTED, emulator, run
from tests.support.glibc import glibc_guest
from vdso_image.image import ARCHITECTURES


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


@pytest.mark.parametrize("abi", ["bare", "bounce"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_glibc_cancels(arch: str, abi: str, tmp_path: Path) -> None:
    seen = run([*emulator("--abi", abi), glibc_guest("signal", "cancel", arch)], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "signal" / "cancel.txt").read_text(), str(seen)
