"""The name of the function at a place in an ELF file, from its own symbol table.

The file may be anything a guest made of it: every number is checked by the length of what can be read there. The
loader's reader is for program headers alone, and pyelftools takes seconds over a large table.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, error
from typing import Final, NamedTuple

Read = Callable[[int, int], bytes]
"""(offset, count) -> bytes of the file there, fewer at its end."""

_EHDR: Final = Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = Struct("<IIQQQQQQ")
_SHDR: Final = Struct("<IIQQQQIIQQ")
_SYM: Final = Struct("<IBBHQQ")
_PT_LOAD: Final = 1
_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_FUNCTION_TYPES: Final = (0, 2, 10)
"""STT_NOTYPE (what assembly has without .type), STT_FUNC, STT_GNU_IFUNC."""
_TABLE_LIMIT_BYTES: Final = 64 << 20
_NAME_LIMIT_BYTES: Final = 200


class Symbol(NamedTuple):
    """A function, and how far into it the place is (bytes)."""

    name: str
    offset: int


def find(read: Read, file_offset: int) -> Symbol | None:
    """The function that covers `file_offset` of the ELF file that `read` reads; None where nothing says."""
    try:
        return _find(read, file_offset)
    except error:
        return None  # not an ELF file, or a broken one


def _find(read: Read, file_offset: int) -> Symbol | None:
    header = _EHDR.unpack(read(0, _EHDR.size))
    ident, phoff, shoff, phnum, shnum = header[0], header[5], header[6], header[10], header[12]
    if ident[:5] != b"\x7fELF\x02":
        return None
    address = None
    for segment in _PHDR.iter_unpack(read(phoff, phnum * _PHDR.size)):
        kind, _, offset, vaddr, _, size, _, _ = segment
        if kind == _PT_LOAD and offset <= file_offset < offset + size:
            address = vaddr + file_offset - offset
    if address is None:
        return None
    sections = list(_SHDR.iter_unpack(read(shoff, shnum * _SHDR.size)))
    for wanted in (_SHT_SYMTAB, _SHT_DYNSYM):
        table = next((section for section in sections if section[1] == wanted and section[6] < len(sections)), None)
        if table is None:
            continue
        strings = sections[table[6]]
        found = _nearest(
            read(table[4], min(table[5], _TABLE_LIMIT_BYTES)),
            read(strings[4], min(strings[5], _TABLE_LIMIT_BYTES)),
            address,
        )
        if found is not None:
            return found
    return None


def _nearest(table: bytes, strings: bytes, address: int) -> Symbol | None:
    """The function at `address`, or the last that begins before it and has no size.

    Names with `$` are marks of the assembler (AAELF64, "Mapping symbols").
    """
    name_at, start = 0, -1
    for name, info, _, section, value, size in _SYM.iter_unpack(table[: len(table) // _SYM.size * _SYM.size]):
        if start < value <= address < value + (size or address + 1) and section and info & 0xF in _FUNCTION_TYPES:
            if strings[name : name + 1] not in (b"", b"\0", b"$"):
                name_at, start = name, value
    if start < 0:
        return None
    text = strings[name_at : name_at + _NAME_LIMIT_BYTES].partition(b"\0")[0]
    return Symbol(text.decode("ascii", "backslashreplace"), address - start)
