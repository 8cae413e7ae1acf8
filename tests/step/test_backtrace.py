"""From every instruction of every handler the backtrace leads through the program to main."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guests.build import ARCHES, compile_to
from tests.step.driver import FLAGS, QUIET, getppid, transcript, walk

VARIANTS = [
    (arch, options)
    for arch in ARCHES
    for options in ((), ("--bounce-frame", "task-page"), ("--bounce-return", "user"))
    if (arch, options[-1:]) != ("aarch64", ("user",))
]


def backtraces(text: str) -> list[list[str]]:
    """The names of each `bt` in a transcript."""
    parts = text.split("(step) bt\n")[1:]
    return [re.findall(r"^#\d+ +\w+  ([\w.]+)", part.split("(step)")[0], re.M) for part in parts]


@pytest.mark.parametrize(("arch", "options"), VARIANTS)
def test_from_each_instruction_of_a_bounce_to_main(arch: str, options: tuple[str, ...]) -> None:
    commands = "break main\nc\nbounce\n" + "bt\np pc >= vdso && pc < vdso_end\nstep\n" * 16
    seen = transcript(*QUIET, *options, getppid(arch), commands=commands).stdout.decode()
    found = [names for names in backtraces(seen) if names[0].startswith("__kernel_bounce")]
    assert len(found) >= 2
    for names in found:
        assert names[1:] == ["getppid", "main", "_start"], seen


@pytest.mark.parametrize("arch", ARCHES)
def test_from_each_instruction_of_the_program_to_main(arch: str) -> None:
    """Prologues, leaf functions and epilogues too: the tables tell."""
    commands = "break main\nc\n" + "bt\nstep\n" * 24
    found = backtraces(transcript(*QUIET, getppid(arch), commands=commands).stdout.decode())
    assert len(found) == 24
    within = [names for names in found if names[0] in ("main", "getppid")]
    assert len(within) > 10
    for names in within:
        assert names in (["main", "_start"], ["getppid", "main", "_start"])


@pytest.mark.parametrize("arch", ARCHES)
def test_through_a_signal_handler(arch: str) -> None:
    seen = transcript(*QUIET, walk(arch), "signal", commands="break handler\nc\nbt\n").stdout.decode()
    names = backtraces(seen)[0]
    assert names[:2] in (["handler", "__restore"], ["handler", "__restore_rt"])
    assert "<signal>" in seen
    assert "raise" in names
    assert "main" in names


def test_by_frame_records_through_a_signal(tmp_path: Path) -> None:
    program = tmp_path / "record"
    compile_to(Path(__file__).parent / "record.c", "aarch64-linux-musl", FLAGS, program)
    commands = "break handler\nc\nbt\nbreak syscall getppid\nc\nbt\n"
    first, second = backtraces(transcript(*QUIET, program, commands=commands).stdout.decode())
    assert "main" in first
    assert second[second.index("handler") :] == first


@pytest.mark.parametrize("arch", ARCHES)
def test_within_a_c_library(arch: str) -> None:
    seen = transcript(*QUIET, walk(arch), "echo", commands="break syscall read\nc\nbt\n").stdout.decode()
    assert "main" in backtraces(seen)[0], seen
