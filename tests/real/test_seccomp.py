"""Which programs run when their calls come back as SIGSYS: as the table in docs/seccomp.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, ROOT, Outcome, emulator, judge, run
from tests.real.cases import ARCHES, REAL, Case, load, missing, need, run_case
from tests.real.test_runtimes import ENVIRONMENT, FIXTURES

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the reference is the native x86-64 build"),
]

ABIS = ("seccomp", "dispatch")
LISTS = {"applets.tsv": "applets", "applets_single.tsv": "applets_single", "real.tsv": "real"}
# Each case once: a filter on one architecture, user dispatch on the other.
CASES = [(name, case) for name in LISTS for case in load(name)]
PAIRS = (("aarch64", "seccomp"), ("x86_64", "dispatch"))
PIPELINE = "ls /bin/busybox /etc/passwd | sort -r | while read f; do echo \"<$f>\"; done; umask 077; umask; (exit 3)"
SIGSEGV = 128 + 11


def table() -> dict[str, dict[str, str]]:
    """The table of the document: program to (architecture, what comes of it)."""
    text = (ROOT / "docs" / "seccomp.md").read_text().partition("\n## Which programs run\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    names = rows[0][2:]
    return {row[0].strip("`"): dict(zip(names, row[2:], strict=True)) for row in rows if row[0][:1] == "`"}


TABLE = table()


@pytest.mark.parametrize(("arch", "abi"), PAIRS)
@pytest.mark.parametrize(("name", "case"), CASES, ids=lambda value: value.name if isinstance(value, Case) else "")
def test_case(name: str, case: Case, arch: str, abi: str, base: Path) -> None:
    more = name == "applets_single.tsv"
    wanted = run_case(case, HOST_ARCH, "native", base, more=more)
    judge(LISTS[name], case.name, run_case(case, arch, abi, base, more=more), wanted)


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
def test_pipeline(arch: str, abi: str, tmp_path: Path) -> None:
    busybox = need("busybox", arch)
    options = ("--abi", abi, "--bind", f"{busybox}:/bin/busybox", "--check-leaks")
    seen = run([*emulator(*options), busybox, "sh", "-c", PIPELINE], cwd=tmp_path, env={"PATH": "/bin"})
    assert (seen.status, seen.stdout) == (3, b"</etc/passwd>\n</bin/busybox>\n0077\n"), str(seen)


def _program(program: str, arch: str, abi: str, work: Path) -> tuple[Outcome, Outcome]:
    """What it says on our machine, and what it must say."""
    if program.startswith("go_"):
        wanted = run([need(program, HOST_ARCH)], cwd=work)
        return run([*emulator("--abi", abi), need(program, arch)], cwd=work), wanted
    for needed in {arch, HOST_ARCH}:
        if f"sysroot {needed}" in missing():
            pytest.skip(f"no sysroot for {needed}: {missing()[f'sysroot {needed}']}")
    root = REAL / "sysroot" / arch
    runtime = "/usr/bin/python3" if program.endswith(".py") else "/bin/bash"
    options = ["--root", str(root), "--bind", f"{FIXTURES}:/scripts", "--cwd", "/scripts"]

    def ours(how: str) -> Outcome:
        command = [*emulator(*options, "--abi", how), runtime, program]
        return run(command, cwd=FIXTURES, env=ENVIRONMENT, timeout=150)

    return ours(abi), ours("bare")


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("program", [name for name in TABLE if name.endswith((".py", ".sh")) or name[:3] == "go_"])
def test_program(program: str, arch: str, abi: str, tmp_path: Path) -> None:
    seen, wanted = _program(program, arch, abi, tmp_path)
    if TABLE[program][arch] == "runs":
        assert seen == wanted, f"{seen}\n--- wanted\n{wanted}"
    else:
        assert (TABLE[program][arch], seen.status) == ("SIGSEGV", SIGSEGV), str(seen)


def test_the_table_has_every_program() -> None:
    programs = {case.program for _, case in CASES}
    scripts = {path.name for path in FIXTURES.glob("*.[ps][yh]")}
    assert set(TABLE) == programs | scripts | {"go_work", "go_clock"}
    assert {TABLE[program][arch] for program in programs for arch in ARCHES} == {"runs"}
