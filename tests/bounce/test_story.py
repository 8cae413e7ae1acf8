"""The stories in docs/signals.md are what `uabi-emu trace` prints, but for the addresses and counts of that run."""

from __future__ import annotations

import re
from pathlib import Path

from guests.build import build, discover
from tests.harness import ROOT, emulator, run

_NUMBER = re.compile(r"\b(?:0x)?[0-9a-f]{6,}\b|\b\d{3,}\b|\b0x[0-9a-f]+\b")


def shape(text: str) -> str:
    """The text with each number as the how manieth of all different ones it is."""
    seen: dict[int, int] = {}

    def token(match: re.Match[str]) -> str:
        return f"<{seen.setdefault(int(match[0], 16), len(seen))}>"

    return _NUMBER.sub(token, re.sub(r"landing(-[0-9a-f]+)?", "landing", text))


def examples(begin: str) -> list[str]:
    """The blocks of the document that begin so."""
    text = (ROOT / "docs" / "signals.md").read_text()
    return re.findall(rf"^```text\n({begin}.*?)\n```$", text, re.M | re.S)


def stories(arch: str, folder: Path, *options: str) -> list[str]:
    """What is told of the calls of getppid that the guest makes."""
    guest = next(guest for guest in discover() if (guest.id, guest.arch) == ("signal/landing", arch))
    command = [word if word != "run" else "trace" for word in emulator(*options, "--only", "getppid")]
    return run([*command, build(guest)], cwd=folder).stderr.decode().split("\n\n")


def test_the_signal_in_the_middle_of_a_call_that_is_served(tmp_path: Path) -> None:
    (told,) = examples("  stop ")
    seen = "\n\n".join(stories("x86_64", tmp_path, "--vdso", "userspace"))
    found = re.findall(r"^  stop .*?has the CPU again$", seen, re.M | re.S)
    assert found

    def words(text: str) -> str:
        return re.sub(r"\((serve|userspace|__kernel)_\w+\)", "(part)", " ".join(shape(text).split()))

    assert words(told) in [words(story) for story in found]


def test_the_signal_in_the_middle_of_a_bounce(tmp_path: Path) -> None:
    (told,) = examples("bounce ")
    seen = stories("aarch64", tmp_path)
    (at,) = (index for index, story in enumerate(seen) if "\n  rewind " in story)
    assert shape("\n\n".join(seen[at : at + 3])) == shape(told)
