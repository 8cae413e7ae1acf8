"""What Hack #1 breaks, as the table in docs/seccomp.md says, and that nothing of it breaks under a bounce.

The guests are those of `guests/src/breaks`; `tests/test_guests.py` runs them natively, under `bare` and under `bounce`,
where each must be right.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guests.build import ARCHES, discover
from tests.harness import ROOT, Outcome, emulator
from tests.test_guests import run_guest

pytestmark = pytest.mark.usefixtures("guests_built")
OPTIONS = {
    "careful": ("--abi", "seccomp"),
    "slide": ("--abi", "seccomp", "--handler", "slide"),
    "hiding": ("--abi", "seccomp", "--handler", "hiding"),
    "dispatch": ("--abi", "dispatch"),
}
ENDED_BY = {"SIGSEGV": 128 + 11, "SIGSYS": 128 + 31}
GUESTS = {(guest.name, guest.arch): guest for guest in discover() if guest.area == "breaks"}


def table() -> dict[str, dict[str, str]]:
    """The table of the document: guest to (handler or ABI, what comes of it)."""
    text = (ROOT / "docs" / "seccomp.md").read_text().partition("\n## What breaks\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    names = rows[0][2:]
    return {row[0]: dict(zip(names, row[2:], strict=True)) for row in rows[2:]}


TABLE = table()


def test_each_guest_has_a_row_and_each_row_a_guest() -> None:
    assert set(TABLE) == {name for name, _ in GUESTS}
    assert all(set(row) == set(OPTIONS) for row in TABLE.values())


def matches(said: str, seen: Outcome) -> bool:
    """Is this what a cell of the table says?"""
    lines = seen.stdout.decode().splitlines()
    right = seen.status == 0 and lines[-1:] == ["ok"]
    if said == "runs":
        return right
    if said == "crashes":
        return not right and not any(line.startswith("FAIL") for line in lines)
    if said in ENDED_BY:
        return seen.status == ENDED_BY[said]
    failed = re.fullmatch(r"`(.+)`", said)
    assert failed, f"the table says {said!r}"
    return seen.status == 1 and any(line.startswith("FAIL") and failed[1] in line for line in lines)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("how", OPTIONS)
@pytest.mark.parametrize("name", TABLE)
def test_it_breaks_as_the_table_says(name: str, how: str, arch: str, tmp_path: Path) -> None:
    seen = run_guest(GUESTS[name, arch], emulator(*OPTIONS[how], "--check-leaks"), tmp_path)
    assert matches(TABLE[name][how], seen), f"{TABLE[name][how]} wanted\n{seen}"
    assert b"Traceback" not in seen.stderr
