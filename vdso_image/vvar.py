"""The `[vvar]` page: its layout, written down once, for the assembler, the kernel that fills it, and people.

It is the 4 KiB before the image in every address space, read-only there. The idea is Linux's (include/vdso/datapage.h,
lib/vdso/gettimeofday.c): a sequence count that is odd while the kernel writes, and for each clock the time at a certain
count of the CPU's counter. A reader computes

    ns = base_nsec[clock] + ((counter - cycle_last) & mask) * mult,  then  ns >> shift

with 128 bits in between, so that a page that has not been renewed for hours still tells the right time. On x86-64 a
counter behind `cycle_last` counts as `cycle_last`. The coarse clocks are the fine ones rounded down to `tick_ns`.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

VVAR_BYTES: Final = 4096
CLOCKS: Final = 12
"""Clock ids 0 .. CLOCK_TAI (11); the page has a base for each, used or not."""

CLOCKMODE_NONE: Final = 0
"""The page tells no time: every clock function makes a real call."""
CLOCKMODE_COUNTER: Final = 1
"""Time goes on with CNTVCT_EL0, or the time-stamp counter."""
CLOCKMODE_FROZEN: Final = 2
"""The bases are the time; the counter is not looked at."""

FIELDS: Final = (
    ("seq", "I", "odd while the kernel writes"),
    ("clock_mode", "I", "0: make a real call; 1: go on with the counter; 2: the bases are the time"),
    ("cycle_last", "Q", "the counter at the bases, in cycles"),
    ("mask", "Q", "the counter's bits"),
    ("mult", "I", "a cycle, in ns << shift"),
    ("shift", "I", "1 to 63"),
    ("hrtimer_res", "I", "what clock_getres says of a fine clock, in ns"),
    ("tick_ns", "I", "what the coarse clocks are rounded to, and their clock_getres, in ns"),
    ("tz_minuteswest", "i", "minutes west of Greenwich, for gettimeofday"),
    ("tz_dsttime", "i", "kind of daylight saving time, for gettimeofday"),
    ("cpu", "I", "the CPU, for getcpu"),
    ("node", "I", "its NUMA node"),
)
"""(name, `struct` format, what it is), one after the other from offset 0; then `CLOCKS` times BASE_FIELDS."""
BASE_FIELDS: Final = (
    ("base_sec", "Q", "the clock at cycle_last: whole seconds"),
    ("base_nsec", "Q", "and the rest, in ns << shift"),
)

_HEAD: Final = "".join(code for _, code, _ in FIELDS)
VVAR: Final = Struct("<" + _HEAD + "".join(code for _, code, _ in BASE_FIELDS) * CLOCKS)


def pack_vvar(
    *,
    seq: int,
    clock_mode: int,
    base: Sequence[tuple[int, int]],
    cycle_last: int = 0,
    mask: int = (1 << 64) - 1,
    mult: int = 0,
    shift: int = 32,
    hrtimer_res: int = 1,
    tick_ns: int = 4_000_000,
    timezone: tuple[int, int] = (0, 0),
    cpu: int = 0,
    node: int = 0,
) -> bytes:
    """What belongs at the page's start. `base`: for each of the `CLOCKS` ids (seconds, nanoseconds << shift)."""
    flat = [value for pair in base for value in pair]
    return VVAR.pack(
        seq, clock_mode, cycle_last, mask, mult, shift, hrtimer_res, tick_ns, *timezone, cpu, node, *flat
    )  # fmt: skip


def offsets() -> dict[str, int]:
    """Where each field is in the page, in bytes; `base_sec` and `base_nsec` are those of clock 0."""
    found = {}
    place = 0
    for name, code, _ in (*FIELDS, *BASE_FIELDS):
        size = Struct(code).size
        if place % size:
            raise ValueError(f"{name} is not aligned")
        found[name] = place
        place += size
    return found
