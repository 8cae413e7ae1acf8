"""Calls that are served in user space or by the vDSO's functions: what `compare` tells of them, and what is avoided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bounce.test_userspace import CALLS_A_ROUND, program
from tests.cli.test_compare import as_json, compare
from tests.harness import ROOT
from vdso_image.image import ARCHITECTURES

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
ROUNDS = 25


def demo(arch: str, name: str) -> Path:
    return ROOT / "guests" / "demo" / arch / name


def totals(document: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By ABI, the counts of all calls."""
    return {one["abi"]: one["total"] for one in document["runs"]}


@each_arch
def test_calls_that_are_served_are_the_programs(arch: str, tmp_path: Path) -> None:
    """They are the same calls with the same results and registers, and each has its costs under its own name."""
    abis = "bare,bounce,bounce:userspace"
    found = as_json("--abis", abis, "--check", "state", program("served", arch), str(ROUNDS), cwd=tmp_path)
    assert found["same"]
    bare, bounce, userspace = totals(found).values()
    assert bare["calls"] == bounce["calls"] == userspace["calls"]
    calls = ROUNDS * CALLS_A_ROUND
    assert (bounce["served"], bounce["entries_avoided"]) == (0, 0)
    assert userspace["served"] >= calls
    # on AArch64 the way back is an entry
    assert userspace["entries_avoided"] == {"aarch64": 0, "x86_64": userspace["served"]}[arch]
    assert userspace["kernel_entries"] == bounce["kernel_entries"] - userspace["entries_avoided"]
    umask = found["runs"][2]["syscalls"]["umask"]
    assert umask["calls"] == umask["old_style"] == umask["served"] == found["runs"][0]["syscalls"]["umask"]["calls"]
    assert umask["handler_instructions"] > 10 * umask["calls"] >= 10 * ROUNDS


def test_another_call_counts_as_the_programs(tmp_path: Path) -> None:
    found = as_json("--abis", "bare,bounce:userspace+legacy", "--check", "state", demo("x86_64", "demo"), cwd=tmp_path)
    assert found["same"]
    cost = found["runs"][1]["syscalls"]["open"]
    assert (cost["calls"], cost["by_another_call"], cost["served"], cost["kernel_entries"]) == (1, 1, 0, 2)
    assert "openat" not in found["runs"][1]["syscalls"]
    assert found["runs"][1]["syscalls"]["getpid"]["old_style"] == 0


@each_arch
def test_what_the_vdso_tells_is_no_call(arch: str, tmp_path: Path) -> None:
    """A program that asks a function of the vDSO enters the kernel less often than bare, with the same result."""
    found = as_json("--abis", "bare,bare:perthread,bounce:perthread", demo(arch, "percpu"), cwd=tmp_path)
    assert found["same"]
    bare, perthread, bounced = totals(found).values()
    assert perthread["kernel_entries"] < bare["kernel_entries"]
    assert perthread["entries_avoided"] == bare["kernel_entries"] - perthread["kernel_entries"]
    assert bounced["entries_avoided"] == perthread["entries_avoided"]


@each_arch
def test_the_table_of_entries(arch: str, tmp_path: Path) -> None:
    abis = ["bare", "bounce", "bounce:userspace"]
    seen = compare("--abis", ",".join(abis), program("served", arch), str(ROUNDS), cwd=tmp_path)
    lines = seen.stdout.decode().splitlines()
    assert max(map(len, lines[1:])) <= 80  # the first has the program's path
    heading = next(at for at, line in enumerate(lines) if "without" in line)
    rows = [line.split() for line in lines[heading + 1 : heading + 4]]
    assert [row[0] for row in rows] == abis
    for _, entries, bounces, real, others, served, avoided in rows:
        ways_back = int(served) - int(avoided)
        assert int(entries) == int(bounces) + int(real) + ways_back
        assert int(others) <= int(real)
    assert int(rows[2][5]) >= ROUNDS * CALLS_A_ROUND


def test_there_is_no_such_table_where_nothing_is_served(tmp_path: Path) -> None:
    seen = compare("--abis", "bare,bounce,bounce:legacy", demo("aarch64", "demo"), cwd=tmp_path)
    assert b"avoided" not in seen.stdout


def test_a_corpus_tells_of_each_program(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("".join(f"{program('served', arch)} 3\n" for arch in ARCHITECTURES))
    words = ("--abis", "bare,bounce,bounce:userspace+legacy+perthread", "--corpus", "corpus")
    seen = compare(*words, cwd=tmp_path)
    assert seen.status == 0, seen
    text = seen.stdout.decode()
    assert "+perthread\n" in text and " avoided\n" in text
    assert max(map(len, text.splitlines())) <= 80
    found = as_corpus(*words, cwd=tmp_path)
    for one in found["programs"]:
        assert set(one["calls"]) == {"bare", "bounce", "bounce:userspace+legacy+perthread"}
        assert one["calls"]["bounce"]["kernel_entries"] > one["calls"]["bare"]["kernel_entries"]


def as_corpus(*words: str, cwd: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(compare("--format", "json", *words, cwd=cwd).stdout)
    return document
