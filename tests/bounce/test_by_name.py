"""Each test that docs/bounce-abi.md names at its end is there."""

from __future__ import annotations

import re

from tests.harness import EXPECTED, ROOT

_FUNCTION = re.compile(r"`(\w+/\w+\.py)::(\w+)`")
_GUEST = re.compile(r'guest `(\w+/[\w.]+)` ((?:"[^"]+"(?:, (?="))?)+)')


def _rows() -> dict[str, str]:
    table = (ROOT / "docs" / "bounce-abi.md").read_text().partition("## Tests that catch")[2]
    rows = [re.split(r"(?<!\\)\|", line)[1:3] for line in table.splitlines() if line.startswith("| ")]
    return {what.strip(): where.replace("\\|", "|") for what, where in rows[1:]}


def test_every_named_test_exists() -> None:
    rows = _rows()
    assert len(rows) == 20
    for what, where in rows.items():
        functions, guests = _FUNCTION.findall(where), _GUEST.findall(where)
        assert functions or guests, what
        for file, name in functions:
            assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), (what, name)
        for guest, names in guests:
            printed = (EXPECTED / f"{guest}.txt").read_text()
            for name in re.findall(r'"([^"]+)"', names):
                assert f"[{name}]\n" in printed, (what, name)
