"""The story in docs/signals.md is what `uabi-emu trace` prints, but for the addresses and counts of that run."""

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


def test_the_signal_in_the_middle_of_a_bounce(tmp_path: Path) -> None:
    told = re.search(r"^```text\n(bounce .*?)\n```$", (ROOT / "docs" / "signals.md").read_text(), re.M | re.S)
    assert told
    guest = next(guest for guest in discover() if (guest.id, guest.arch) == ("signal/landing", "aarch64"))
    command = [word if word != "run" else "trace" for word in emulator()]
    stories = run([*command, "--only", "getppid", build(guest)], cwd=tmp_path).stderr.decode().split("\n\n")
    (at,) = (index for index, story in enumerate(stories) if "\n  rewind " in story)
    assert shape("\n\n".join(stories[at : at + 3])) == shape(told[1])
