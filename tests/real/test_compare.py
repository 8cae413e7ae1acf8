"""Third-party programs do the same calls, with the same results, whether these bounce or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import ROOT, emulator, run
from tests.real.cases import ARCHES, need

pytestmark = pytest.mark.real

PROGRAMS = {
    "busybox": ("sort", "/etc/passwd"),
    "bash-static": ("-c", "for i in 1 2 3; do echo $i | (read x; echo $x); done; (exit 3)"),
    "glibc_static": ("one", "two"),
    "rg": ("-n", "def", str(ROOT / "emu" / "cli")),
}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, arch: str, tmp_path: Path) -> None:
    options = ("--abis", "bare,bounce,bounce:task-page", "--format", "json")
    command: list[str | Path] = [*emulator()[:-1], "compare", *options, need(program, arch), *PROGRAMS[program]]
    document = json.loads(run(command, cwd=tmp_path).stdout)
    assert document["differences"] == []
    bounced = document["runs"][1]["total"]
    assert bounced["old_style"] > bounced["calls"] // 2
