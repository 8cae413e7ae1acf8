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


TRAPPED = (
    ("busybox", ("ls", "-l", "/")),
    ("busybox", ("sh", "-c", "for i in 3 1 2; do echo $i; done | sort | (read x; echo $x; cat); (exit 3)")),
    ("bash-static", ("-c", "trap 'echo got' USR1; kill -USR1 $$; for i in 1 2; do echo $i | (read x; echo $x); done")),
    ("tini-static", ("-s", "--", "/bin/sh", "-c", "exit 9")),
)
"""What the first hack runs well."""


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, arch: str, tmp_path: Path) -> None:
    options = ("--abis", "bare,bounce,bounce:task-page", "--format", "json")
    command: list[str | Path] = [*emulator()[:-1], "compare", *options, need(program, arch), *PROGRAMS[program]]
    document = json.loads(run(command, cwd=tmp_path).stdout)
    assert document["differences"] == []
    bounced = document["runs"][1]["total"]
    assert bounced["old_style"] > bounced["calls"] // 2


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("program", "words"), TRAPPED, ids=lambda value: value if isinstance(value, str) else value[0])
def test_calls_that_come_back_as_signals(program: str, words: tuple[str, ...], arch: str, tmp_path: Path) -> None:
    """The same calls with the same results; what they cost is in one table with a line for each ABI."""
    abis = ["bare", "bounce", "seccomp", "dispatch"]
    binds = ("--bind", f"{need('busybox', arch)}:/bin/sh")
    command: list[str | Path] = [*emulator()[:-1], "compare", *binds, "--abis", ",".join(abis), need(program, arch)]
    seen = run([*command, *words], cwd=tmp_path)
    assert seen.status == 0, seen
    lines = seen.stdout.decode().splitlines()
    heading = next(at for at, line in enumerate(lines) if line.startswith("abi "))
    table = {cells[0]: cells[1:] for cells in (line.split() for line in lines[heading + 1 : heading + 5])}
    assert list(table) == abis
    for name, entries, frames, least in (("bounce", 2, 0, 160), ("seccomp", 3, 1, 1000), ("dispatch", 3, 1, 1000)):
        old_style, found_entries, found_frames, _, stack, *_ = table[name]
        assert int(old_style) > 10
        assert abs(float(found_entries) - entries) < 1
        assert float(found_frames) == frames
        assert int(stack) >= least
