"""The same text as strace(1), on both architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import ARCHES
from tests.harness import HOST_ARCH
from tests.strace.programs import EXPECTED, PROGRAMS, RECORDED_WITH, native, normalised, ours, strace_version


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_same_text_as_strace(name: str, arch: str, tmp_path: Path) -> None:
    outcome, text = ours(name, arch, tmp_path)
    assert outcome.status == (139 if name == "signals" else 0), outcome
    assert normalised(text).splitlines() == (EXPECTED / f"{name}.txt").read_text().splitlines()


@pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the recorded traces are of x86-64")
@pytest.mark.skipif(strace_version() != RECORDED_WITH, reason=f"strace {RECORDED_WITH} is not here, or may not trace")
@pytest.mark.parametrize("name", PROGRAMS)
def test_expectation_is_what_strace_prints(name: str, tmp_path: Path) -> None:
    assert normalised(native(name, tmp_path)).splitlines() == (EXPECTED / f"{name}.txt").read_text().splitlines()
