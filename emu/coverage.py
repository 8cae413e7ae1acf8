"""Which system calls are there, per architecture, from `syscalls.tbl` and the declarations alone."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from kernel_model.syscalls.table import declared, rows

ARCHITECTURES: Final = ("aarch64", "x86_64")
LEVELS: Final = ("full", "partial", "none")


class Entry(NamedTuple):
    """One call of one architecture. `level`: full | partial | none; `missing`: what a partial one lacks."""

    name: str
    number: int
    level: str
    missing: str


def entries(arch: str) -> list[Entry]:
    """Every call that Linux has on `arch`, by number."""
    result = []
    for row in rows():
        number = getattr(row, arch)
        if number is None:
            continue
        call = declared(row)
        level = "none" if call is None else "partial" if call.partial else "full"
        result.append(Entry(row.name, number, level, call.partial if call else ""))
    return sorted(result, key=lambda entry: entry.number)


def totals(of: list[Entry]) -> dict[str, int]:
    """How many of each level, and how many in all."""
    counts = Counter(entry.level for entry in of)
    return {**{level: counts[level] for level in LEVELS}, "all": len(of)}


def summary(arch: str, of: list[Entry]) -> str:
    """`aarch64: 230 full, 12 partial, 80 none of 322`."""
    counts = totals(of)
    return f"{arch}: {', '.join(f'{counts[level]} {level}' for level in LEVELS)} of {counts['all']}"
