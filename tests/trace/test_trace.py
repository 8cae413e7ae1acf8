"""`uabi-emu trace`: stories as text and as JSON Lines, and what ends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guests.build import ARCHES
from tests.harness import ROOT, emulator, run

DEMO = ROOT / "guests" / "demo"


def trace(*words: str | Path) -> list[str | Path]:
    """The command line of a trace that is the same in every run."""
    return [*emulator()[:-1], "trace", "--seed", "1", "--time", "virtual", *words]


def records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("arch", ARCHES)
def test_the_program_says_what_it_says_without(arch: str, tmp_path: Path) -> None:
    seen = run(trace("-o", tmp_path / "out", DEMO / arch / "demo"), cwd=tmp_path)
    wanted = run([*emulator("--seed", "1", "--time", "virtual"), DEMO / arch / "demo"], cwd=tmp_path)
    assert str(seen) == str(wanted)
    assert max(map(len, (tmp_path / "out").read_text().splitlines())) <= 80
