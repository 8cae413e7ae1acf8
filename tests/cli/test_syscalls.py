"""The coverage table: each form tells the same, and tells the truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from emu import coverage
from guests.build import ARCHES
from kernel_model.syscalls.table import declared, names
from tests.harness import emulator, run


def printed(*words: str, cwd: Path) -> str:
    """What `uabi-emu syscalls` prints into a pipe."""
    seen = run([*emulator()[:-1], "syscalls", *words], cwd=cwd)
    assert seen.status == 0, seen
    assert seen.stderr == b""
    return seen.stdout.decode()


@pytest.mark.parametrize("arch", ARCHES)
def test_every_call_of_the_architecture_is_told(arch: str) -> None:
    entries = coverage.entries(arch)
    assert {entry.number: entry.name for entry in entries} == {n: row.name for n, row in names(arch).items()}
    for entry in entries:
        call = declared(names(arch)[entry.number])
        assert (entry.level == "none") == (call is None)
        assert (entry.level == "partial") == bool(entry.missing)
        assert entry.missing == "" or re.fullmatch(r"[A-Z].*\.", entry.missing), f"{entry.name}: one sentence"
    assert sum(coverage.totals(entries)[level] for level in coverage.LEVELS) == len(entries)


def test_forms_agree(tmp_path: Path) -> None:
    document = json.loads(printed("--format", "json", cwd=tmp_path))
    lines = [line.split("\t") for line in printed(cwd=tmp_path).splitlines() if not line.startswith("#")]
    assert set(document) == set(ARCHES)
    for arch in ARCHES:
        told = [(str(call["number"]), call["name"], call["level"]) for call in document[arch]["calls"]]
        assert told == [(line[1], line[2], line[3]) for line in lines if line[0] == arch]
    rows = [line for line in printed("--format", "markdown", cwd=tmp_path).splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len({call["name"] for arch in ARCHES for call in document[arch]["calls"]})


def test_a_choice(tmp_path: Path) -> None:
    lines = printed("--arch", "aarch64", "--only", "partial", cwd=tmp_path).splitlines()
    assert lines[-1].startswith("# aarch64: ")
    assert len(lines) > 5
    assert all(line.split("\t")[0] == "aarch64" and line.split("\t")[3] == "partial" for line in lines[:-1])
