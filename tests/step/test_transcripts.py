"""Whole sessions over a pipe, as a lab gets them: what is printed is what `expected/` says, and the exit status.

After a wanted change: `python -m tests.step.test_transcripts` writes the files anew; read the difference.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from guests.build import ARCHES
from tests.harness import Outcome
from tests.step.driver import QUIET, getppid, transcript, walk

EXPECTED = Path(__file__).parent / "expected"


class Case(NamedTuple):
    """A session: options, the word for `walk` (None: the lab's program), and what is typed."""

    options: tuple[str, ...]
    word: str | None
    commands: str


CASES = {
    "bounce": Case(
        (), None, "break main\nc\nbounce\nstack\nregisters\ninfo\nstep\n"
        "expect number == __NR_getppid | redirect\nbt\nfinish\nexpect result == 0\ninfo\ndisassemble\ncontinue\n"),
    "task_page": Case(("--bounce-frame", "task-page"), None, "bounce\ninfo\nstack 2\nstep\nnext\ninfo\n"),
    "userspace": Case(("--vdso", "userspace"), None, "bounce\ninfo\nstack 2\nnext\ninfo\n"),
    "bare": Case(
        ("--abi", "bare"), None, "bounce\nuntil getppid\nstep\nstep\nbreak syscall getppid\nc\nc\n"),
    "next": Case(
        (), None, "until main\nnext\nnext\nnext\nnext\nnext\nfinish\nstep 3\nstep\nstep\nstep\n"),
    "breaks": Case(
        (), None, "break getppid\nbreak syscall getppid\nbreak bounce exit_group getppid\nbreak nowhere\n"
        "break main + 4\nbreak syscall nosuch\nbreak\nc\nc\nc\ndelete 1 2\ndelete 9\nbreak\nc\ndelete all\n"
        "break\nc\n"),
    "mistakes": Case(
        (), None, "# a comment\n\nfrobnicate\ns 0\nstep -1\ndelete\nuntil\nmemory\nmemory 0\nregisters x99\n"
        "disassemble 0x10\nfinish\nexpect 1 == 2\nprint\nprint nobody\nn 4\nhelp nothing\nd 99999\n"
        "b main\nbt 3\nbreak 0\nbreak main+\nbreak nowhere\ninfo nothing\nprint frame\nexpect result == 0\n"),
    "fault": Case((), "fault", "c\nexpect u64[sp] || 1\nstep\nstep\n"),
    "thread": Case((), "thread", "break in_thread\nc\ntasks\ndelete all\nbreak syscall futex\nc\nstep\nc\n"),
    "preempt": Case((), "thread", "preempt\nbreak syscall futex\nc\npreempt 0\nc\nc\n"),
    "fork": Case((), "fork", "break syscall wait4\nc\ntasks\nnext\nc\n"),
    "exec": Case((), "exec", "break main\nc\nbreak syscall execve\nc\nstep\nc\nc\nhelp\n"),
    "signal": Case((), "signal", "break handler\nc\nfinish\nc\n"),
}  # fmt: skip


def unplaced(text: str) -> str:
    """Without the places that chance and the vDSO's build decide; functions and offsets beside them still tell."""
    text = re.sub(r"(__kernel_bounce_userspace) .*", r"\1 ...", text)
    return re.sub(r"(7f|ffff)[0-9a-f]{8,10}(?![0-9a-f])", lambda found: f"{found[1]:.<12}", text)


def session(name: str, arch: str) -> Outcome:
    case = CASES[name]
    if case.word is None:
        return transcript(*QUIET, *case.options, getppid(arch), commands=case.commands)
    program = walk(arch)
    # called by its name alone: where it lies would change lengths and addresses on the stack
    options = ("--root", program.parent, "--bind", f"{program}:/walk")
    return transcript(*QUIET, *options, *case.options, "/walk", case.word, commands=case.commands)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", CASES)
def test_transcript(name: str, arch: str) -> None:
    seen = session(name, arch)
    assert seen.stderr == b""
    assert unplaced(seen.text()) == (EXPECTED / f"{name}.{arch}.txt").read_text()


def test_eof_and_quit_end_a_session_early() -> None:
    for commands in ("", "step\n", "step\nquit\nbogus\n"):
        assert transcript(*QUIET, getppid("aarch64"), commands=commands).status == 0


def test_a_script_and_the_guests_own_input(tmp_path: Path) -> None:
    script, given = tmp_path / "script", tmp_path / "given"
    script.write_text("break syscall read\nc\nc\n")
    given.write_text("from the file\n")
    seen = transcript("-x", script, "--stdin", given, walk("x86_64"), "echo", commands="bogus\n")
    assert seen.status == 0, seen
    assert b"\nfrom the file\n" in seen.stdout
    assert b"bogus" not in seen.stdout
    assert transcript(walk("x86_64"), "echo", commands="c\nc\n").stdout.count(b"exited with status 0") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-x", "/nonexistent", getppid("aarch64")), "-x: /nonexistent: No such file or directory"),
        (("--stdin", "/nonexistent", getppid("aarch64")), "--stdin: /nonexistent: No such file or directory"),
        ((), "no PROGRAM"),
        (("/nonexistent",), "/nonexistent"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(words: tuple[str, ...], complaint: str) -> None:
    seen = transcript(*words, commands="")
    assert seen.status in (125, 127)
    assert complaint in seen.stderr.decode()
    assert seen.stderr.count(b"\n") == 1


def test_digits_that_are_no_numbers() -> None:
    commands = f"disassemble ²\ndelete ²\nbreak syscall {'9' * 5000}\nmemory sp ²\n"
    seen = transcript(getppid("aarch64"), commands=commands)
    assert (seen.status, seen.stderr) == (1, b"")


def test_a_program_that_takes_too_long() -> None:
    seen = transcript(*QUIET, "--timeout", "0.5", walk("aarch64"), "spin", commands="c\n")
    assert seen.status == 124
    assert "the program was killed, as --timeout says" in seen.stdout.decode()


if __name__ == "__main__":
    EXPECTED.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        for arch in ARCHES:
            (EXPECTED / f"{name}.{arch}.txt").write_text(unplaced(session(name, arch).text()))
