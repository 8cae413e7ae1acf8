"""The table of entry points, for programs that will not read ELF: `AT_UABI` in the auxiliary vector leads there.

    struct uabi_table {
        uint32_t magic;    UABI_MAGIC
        uint32_t version;  the n of UABI_n, whose functions these are
        uint32_t count;    how many entries follow
        int32_t next;      from this table to that of the next version, in bytes; 0 behind the last
        int32_t entry[];   by the call's number: from this table to the function, in bytes; 0 for none
    };

The vector leads to version 1. A program takes the table of the version that it was made for, and never a later one.
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC: Final = 0x49424155
"""The bytes `UABI` in memory."""
HEADER: Final = Struct("<IIIi")
ENTRY_BYTES: Final = 4


class EntryTable(NamedTuple):
    """A table in the making: its label in .rodata, its version, and the label of each number's function, or None."""

    label: str
    version: int
    functions: list[str | None]

    @property
    def size_bytes(self) -> int:
        """How much room it takes."""
        return HEADER.size + ENTRY_BYTES * len(self.functions)


def pack_entries(version: int, following: int, offsets: Sequence[int]) -> bytes:
    """A table. `following`: from it to the next one, in bytes; `offsets`: likewise to the functions; 0 for none."""
    return HEADER.pack(MAGIC, version, len(offsets), following) + pack(f"<{len(offsets)}i", *offsets)


def read_tables(elf: bytes, place: int) -> dict[int, dict[int, int]]:
    """The tables of an image, from offset `place` on: version to number to the function's offset in the image."""
    found: dict[int, dict[int, int]] = {}
    while True:
        _, version, count, following = HEADER.unpack_from(elf, place)
        offsets = unpack_from(f"<{count}i", elf, place + HEADER.size)
        found[version] = {number: place + offset for number, offset in enumerate(offsets) if offset}
        if not following:
            return found
        place += following
