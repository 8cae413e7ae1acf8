"""The race by hand, as docs/data-pages.md has it: on both architectures, and the mistakes that one can make."""

from __future__ import annotations

import subprocess

import pytest

from guests.build import ARCHES, DEMO
from tests.harness import emulator

RESULT = {"aarch64": "w0", "x86_64": "eax"}
READS_OFFSET = {"aarch64": 1, "x86_64": 3}
"""How many instructions it takes to know where the data are."""


def step(arch: str, variant: str, commands: str, *arguments: str) -> str:
    """What is printed when these commands are given."""
    options = ["--seed", "1", "--cpus", "2", "--vdso-data", variant]
    command = [*emulator()[:-1], "step", *options, str(DEMO / arch / "percpu"), *arguments]
    return subprocess.run(command, input=commands, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize(("variant", "right"), [("percpu-racy", 0), ("percpu", 1), ("perthread", 1)])
@pytest.mark.parametrize("arch", ARCHES)
def test_moved_between_offset_and_data(arch: str, variant: str, right: int) -> None:
    check = f"{RESULT[arch]} == pid"
    seen = step(
        arch, variant, f"break __kernel_getpid\nc\ndelete all\nstep {READS_OFFSET[arch]}\npreempt 1\nfinish\n"
        f"print {check}\nc\n",
    )  # fmt: skip
    assert f"{check} = {right:#x}\n" in seen, seen
    assert f"the program exited with status {1 - right}\n" in seen
    assert (" had not read its data yet at __kernel_getpid+0x" in seen) == (variant == "percpu"), seen


@pytest.mark.parametrize("places", [1, 3, 7])
@pytest.mark.parametrize("arch", ARCHES)
def test_who_reads_again_needs_no_help(arch: str, places: int) -> None:
    check = f"{RESULT[arch]} == pid"
    seen = step(
        arch, "percpu-racy", f"break __kernel_getpid_retry\nc\ndelete all\nstep {places}\npreempt 1\nfinish\n"
        f"print {check}\nc\n", "again",
    )  # fmt: skip
    assert f"{check} = 0x1\n" in seen, seen
    assert "the program exited with status 0\n" in seen


def test_what_preempt_refuses() -> None:
    seen = step("aarch64", "percpu", "preempt\nbreak __kernel_getpid\nc\npreempt 2\npreempt nowhere\npreempt -1\n")
    assert "preempt: no other task could run now: 'tasks' lists them\n" in seen
    assert seen.count("preempt: the task may not run on CPU ") == 2
    assert "preempt: there is no register, function or value called 'nowhere'\n" in seen
