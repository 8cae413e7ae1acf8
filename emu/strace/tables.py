"""Names of constants, read from `constants/*.tbl`.

A table begins with `[name PREFIX_???]`, the second word being what is said of an unknown value. Each line after it is
`NAME VALUE` or `NAME VALUE MASK`: with a mask it is a field of several bits, present when `number & MASK == VALUE`.
Order is the order in which a trace shows flags. Comments name the kernel header.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple


class Constant(NamedTuple):
    """One name. A flag has `mask` equal to its value; a plain zero has mask 0."""

    name: str
    value: int
    mask: int


class Table(NamedTuple):
    """The constants of one argument; `unknown` is shown for a value without a name."""

    unknown: str
    constants: tuple[Constant, ...]
    by_value: dict[int, str]


@cache
def all_tables() -> dict[str, Table]:
    """Every table by its name."""
    tables: dict[str, Table] = {}
    constants: list[Constant] = []
    for path in sorted((Path(__file__).parent / "constants").glob("*.tbl")):
        name = unknown = ""
        constants = []
        for line in [*path.read_text().splitlines(), "[ ]"]:
            if line.startswith("["):
                if name:
                    tables[name] = _table(unknown, constants)
                name, _, unknown = line[1:-1].partition(" ")
                constants = []
            elif line and not line.startswith("#"):
                word, value, *mask = line.split()
                number = int(value, 0)
                constants.append(Constant(word, number, int(mask[0], 0) if mask else number))
    parts = ("ioctl", "ioctl_fs", "ioctl_ns", "ioctl_random", "ioctl_seccomp")
    tables["ioctl"] = _table("???", [constant for part in parts for constant in tables[part].constants])
    return tables


def _table(unknown: str, constants: list[Constant]) -> Table:
    return Table(unknown, tuple(constants), {c.value: c.name for c in reversed(constants)})


def flags(name: str, number: int) -> str:
    """`A|B|0x8` of a set of flags; `0x8 /* X_??? */` when no part has a name; `0` when nothing is set."""
    table = all_tables()[name]
    words = []
    rest = number
    for constant in table.constants:
        mask = constant.mask
        if not mask:
            present = not number
        elif mask == constant.value:
            present = rest & mask == mask
        else:
            present = number & mask == constant.value
        if present:
            words.append(constant.name)
            rest &= ~mask
    if rest:
        words.append(f"{rest:#x}" if words else f"{rest:#x} /* {table.unknown} */")
    return "|".join(words) or "0"


def enum(name: str, number: int) -> str:
    """The name of one value, or `0x8 /* X_??? */`."""
    table = all_tables()[name]
    known = table.by_value.get(number)
    return known if known else f"{number & 0xFFFFFFFF:#x} /* {table.unknown} */"
