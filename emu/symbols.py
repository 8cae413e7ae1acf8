"""The names of the functions in an ELF file, from its own symbol table.

The file may be anything a guest made of it: every number is checked by the length of what can be read there. The
loader's reader is for program headers alone, and pyelftools takes seconds over a large table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from struct import Struct, error
from typing import Final, NamedTuple

from emu.printable import printable

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
_END: Final = 1 << 64


class Symbol(NamedTuple):
    """A function, and how far into it the place is (bytes)."""

    name: str
    offset: int


class SymbolTable:
    """The functions of one ELF file, read once; empty when it is no such file, or says nothing of functions."""

    def __init__(self, read: Read) -> None:
        self._segments: list[tuple[int, int, int]] = []
        self._tables: list[_Functions] = []
        try:
            self._load(read)
        except error:
            pass  # not an ELF file, or a broken one

    def _load(self, read: Read) -> None:
        header = _EHDR.unpack(read(0, _EHDR.size))
        ident, phoff, shoff, phnum, shnum = header[0], header[5], header[6], header[10], header[12]
        if ident[:5] != b"\x7fELF\x02":
            return
        for segment in _PHDR.iter_unpack(read(phoff, phnum * _PHDR.size)):
            kind, _, offset, vaddr, _, size, _, _ = segment
            if kind == _PT_LOAD:
                self._segments.append((offset, vaddr, size))
        sections = list(_SHDR.iter_unpack(read(shoff, shnum * _SHDR.size)))
        for wanted in (_SHT_SYMTAB, _SHT_DYNSYM):
            table = next((section for section in sections if section[1] == wanted and section[6] < len(sections)), None)
            if table is not None:
                strings = sections[table[6]]
                self._tables.append(
                    _Functions(
                        read(table[4], min(table[5], _TABLE_LIMIT_BYTES)),
                        read(strings[4], min(strings[5], _TABLE_LIMIT_BYTES)),
                    )
                )

    def find(self, file_offset: int) -> Symbol | None:
        """The function that covers `file_offset`; None where nothing says."""
        address = None
        for offset, vaddr, size in self._segments:
            if offset <= file_offset < offset + size:
                address = vaddr + file_offset - offset
        if address is not None:
            for table in self._tables:
                found = table.find(address)
                if found is not None:
                    return found
        return None

    def named(self, name: str) -> int | None:
        """Where in the file the function called `name` begins; None when there is none."""
        for table in self._tables:
            address = table.named(name)
            if address is not None:
                for offset, vaddr, size in self._segments:
                    if vaddr <= address < vaddr + size:
                        return offset + address - vaddr
        return None


class _Functions:
    """The functions of one symbol table, by address.

    Names with `$` are marks of the assembler (AAELF64, "Mapping symbols"). One without a size reaches as far as the
    next. Of several names of a place the one with the fewest underscores before it is what people know.
    """

    def __init__(self, table: bytes, strings: bytes) -> None:
        self._strings = strings
        found: dict[int, tuple[int, int]] = {}
        for name, info, _, section, value, size in _SYM.iter_unpack(table[: len(table) // _SYM.size * _SYM.size]):
            if section and info & 0xF in _FUNCTION_TYPES and strings[name : name + 1] not in (b"", b"\0", b"$"):
                known = found.get(value)
                if known is None or self._underscores(name) < self._underscores(known[0]):
                    found[value] = (name, value + size if size else _END)
        self._starts = sorted(found)
        self._names = [found[start][0] for start in self._starts]
        self._ends = [found[start][1] for start in self._starts]
        self._reach = list(accumulate(self._ends, max))
        """The furthest end of a function and all before it: where a search need not go on."""

    def _underscores(self, name: int) -> int:
        return next((i for i, byte in enumerate(self._strings[name : name + 8]) if byte != ord("_")), 8)

    def _text(self, name: int) -> str:
        return printable(self._strings[name : name + _NAME_LIMIT_BYTES].partition(b"\0")[0])

    def find(self, address: int) -> Symbol | None:
        """The function at `address`; of several the one that begins last."""
        position = bisect_right(self._starts, address) - 1
        while position >= 0 and self._reach[position] > address:
            if self._ends[position] > address:
                return Symbol(self._text(self._names[position]), address - self._starts[position])
            position -= 1
        return None

    def named(self, name: str) -> int | None:
        """The address of the function called `name`, which need not be the name that `find` tells."""
        wanted = name.encode("utf-8", "surrogateescape")
        return next(
            (start for start, at in zip(self._starts, self._names, strict=True)
             if self._strings.startswith(wanted + b"\0", at)), None,
        )  # fmt: skip
