"""A small writer of ELF64 shared objects of the kind a vDSO is: one segment to read and execute, nothing to relocate.

Sections come in the file as listed, each at the address that is its offset. The table of sections and their names
follow, and the file is filled up to whole pages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = 4096
SONAME: Final = "linux-vdso.so.1"
BUILD_ID_BYTES: Final = 20
EHDR_BYTES: Final = 64
PHDR_BYTES: Final = 56
SHDR_BYTES: Final = 64
MACHINE: Final = {"aarch64": 183, "x86_64": 62}

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
PF_X, PF_R = 1, 4
SHT_PROGBITS, SHT_STRTAB, SHT_HASH, SHT_DYNAMIC, SHT_NOTE, SHT_DYNSYM = 1, 3, 5, 6, 7, 11
SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERSYM = 0x6FFFFFF6, 0x6FFFFFFD, 0x6FFFFFFF
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STB_GLOBAL, STB_WEAK = 1, 2
STT_FUNC: Final = 2
VER_FLG_BASE: Final = 1
VERSYM_HIDDEN: Final = 0x8000
_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 0, 4, 5, 6, 10, 11, 14
_DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function that others find by name. `value` is its offset from the image's start, `size` in bytes.

    `hidden`: another version of the name is the one that is meant where none is asked for.
    """

    name: str
    value: int
    size: int
    version: str
    weak: bool = False
    hidden: bool = False


@dataclass(slots=True)
class Section:
    """A section: its contents, or while the sizes are being found out as many zeros; `offset` once it is placed."""

    name: str
    type: int
    align: int
    data: bytes
    link: str = ""
    info: int = 0
    entry_bytes: int = 0
    flags: int = SHF_ALLOC
    offset: int = 0


def elf_hash(name: bytes) -> int:
    """The System V hash of a symbol or version name."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF000_0000
        value = (value ^ high >> 24) & ~high
    return value


def gnu_hash(name: bytes) -> int:
    """The GNU hash of a symbol name."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFF_FFFF
    return value


class StringTable:
    """Strings one after the other, each once."""

    def __init__(self) -> None:
        self.data = b"\0"
        self._places: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        """Where `text` is, put in if it was not there."""
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._places[text]


class DynamicSymbols:
    """The symbols in the order the GNU hash table wants, and the tables that belong to them."""

    def __init__(self, symbols: list[Symbol], versions: list[str], parents: Mapping[str, str]) -> None:
        """`parents`: of a version, the one that it goes on from."""
        self.bucket_count = len(symbols) | 1  # odd: System V's hash of names that end alike differs little below
        self.symbols = sorted(symbols, key=lambda s: (gnu_hash(s.name.encode()) % self.bucket_count, s.name, s.hidden))
        self._parents = parents
        self.strings = StringTable()
        self.versions = [SONAME, *versions]
        for text in (*self.versions, *(symbol.name for symbol in self.symbols)):
            self.strings.add(text)

    def dynsym(self, text_index: int) -> bytes:
        """.dynsym; all symbols are in section `text_index`."""
        out = bytes(24)
        for symbol in self.symbols:
            info = (STB_WEAK if symbol.weak else STB_GLOBAL) << 4 | STT_FUNC
            out += pack("<IBBHQQ", self.strings.add(symbol.name), info, 0, text_index, symbol.value, symbol.size)
        return out

    def hash(self) -> bytes:
        """.hash: System V's table."""
        buckets = [0] * self.bucket_count
        chain = [0] * (len(self.symbols) + 1)
        for index, symbol in enumerate(self.symbols, 1):
            slot = elf_hash(symbol.name.encode()) % self.bucket_count
            chain[index], buckets[slot] = buckets[slot], index
        words = [self.bucket_count, len(chain), *buckets, *chain]
        return pack(f"<{len(words)}I", *words)

    def gnu_hash(self) -> bytes:
        """.gnu.hash; a word of its Bloom filter is for 32 symbols at most."""
        shift = 6
        bloom = [0] * (1 << (len(self.symbols) // 32).bit_length())
        buckets = [0] * self.bucket_count
        chain: list[int] = []
        hashes = [gnu_hash(symbol.name.encode()) for symbol in self.symbols]
        for index, value in enumerate(hashes):
            bloom[value // 64 % len(bloom)] |= 1 << value % 64 | 1 << (value >> shift) % 64
            slot = value % self.bucket_count
            buckets[slot] = buckets[slot] or index + 1
            last = index + 1 == len(hashes) or hashes[index + 1] % self.bucket_count != slot
            chain.append(value & ~1 | last)
        form = f"<4I{len(bloom)}Q{len(buckets) + len(chain)}I"
        return pack(form, self.bucket_count, 1, len(bloom), shift, *bloom, *buckets, *chain)

    def versym(self) -> bytes:
        """.gnu.version: for each symbol the number of its version, and whether it is hidden."""
        numbers = [self.versions.index(s.version) + 1 | (VERSYM_HIDDEN if s.hidden else 0) for s in self.symbols]
        return pack(f"<{1 + len(numbers)}H", 0, *numbers)

    def verdef(self) -> bytes:
        """.gnu.version_d: the versions, the first of them the object itself, each with its parent behind it."""
        out = b""
        for number, name in enumerate(self.versions, 1):
            flags = VER_FLG_BASE if number == 1 else 0
            parent = self._parents.get(name)
            count = 1 if parent is None else 2
            following = 20 + 8 * count if number < len(self.versions) else 0
            out += pack("<HHHHIII", 1, flags, number, count, elf_hash(name.encode()), 20, following)
            out += pack("<II", self.strings.add(name), 0 if parent is None else 8)
            if parent is not None:
                out += pack("<II", self.strings.add(parent), 0)
        return out


@dataclass(slots=True)
class Layout:
    """Sections at their places, and what the writer puts around them."""

    arch: str
    sections: list[Section]

    def place(self) -> None:
        """Give each section its offset."""
        offset = EHDR_BYTES + PHDR_BYTES * 4
        for section in self.sections:
            offset = (offset + section.align - 1) & -section.align
            section.offset = offset
            offset += len(section.data)

    def find(self, name: str) -> Section:
        """The section called `name`."""
        return next(section for section in self.sections if section.name == name)

    def index(self, name: str) -> int:
        """Its number in the table of sections; 0 for no name."""
        return 1 + [section.name for section in self.sections].index(name) if name else 0

    def dynamic(self, dynamic_symbols: DynamicSymbols) -> bytes:
        """.dynamic: where the tables are."""
        entries = [
            (_DT_SONAME, dynamic_symbols.strings.add(SONAME)),
            (_DT_HASH, self.find(".hash").offset),
            (_DT_GNU_HASH, self.find(".gnu.hash").offset),
            (_DT_STRTAB, self.find(".dynstr").offset),
            (_DT_SYMTAB, self.find(".dynsym").offset),
            (_DT_STRSZ, len(dynamic_symbols.strings.data)),
            (_DT_SYMENT, 24),
            (_DT_VERSYM, self.find(".gnu.version").offset),
            (_DT_VERDEF, self.find(".gnu.version_d").offset),
            (_DT_VERDEFNUM, len(dynamic_symbols.versions)),
            (_DT_NULL, 0),
        ]
        return b"".join(pack("<QQ", tag, value) for tag, value in entries)

    def write(self) -> bytes:
        """The file, whole pages of it; its build id is a hash of all the rest."""
        names = StringTable()
        headers = bytes(SHDR_BYTES)
        body = bytearray(EHDR_BYTES + PHDR_BYTES * 4)
        for section in self.sections:
            body += bytes(section.offset - len(body)) + section.data
            headers += self._shdr(section, names)
        name_section = Section(".shstrtab", SHT_STRTAB, 1, b"", flags=0, offset=len(body))
        names.add(name_section.name)
        name_section.data = names.data
        headers += self._shdr(name_section, names)
        body += names.data
        body += bytes(-len(body) % 8)
        headers_offset = len(body)
        body += headers
        body += bytes(-len(body) % PAGE)
        body[:EHDR_BYTES] = self._ehdr(headers_offset, len(headers) // SHDR_BYTES)
        body[EHDR_BYTES : EHDR_BYTES + PHDR_BYTES * 4] = self._phdrs(len(body))
        note = self.find(".note.gnu.build-id")
        at = note.offset + len(note.data) - BUILD_ID_BYTES
        body[at : at + BUILD_ID_BYTES] = hashlib.sha256(body).digest()[:BUILD_ID_BYTES]
        return bytes(body)

    def _ehdr(self, sections_offset: int, section_count: int) -> bytes:
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        sizes = (EHDR_BYTES, PHDR_BYTES, 4, SHDR_BYTES, section_count, section_count - 1)
        return ident + pack("<HHIQQQI6H", 3, MACHINE[self.arch], 1, 0, EHDR_BYTES, sections_offset, 0, *sizes)

    def _phdrs(self, size: int) -> bytes:
        out = pack("<IIQQQQQQ", PT_LOAD, PF_R | PF_X, 0, 0, 0, size, size, PAGE)
        for kind, name in (
            (PT_DYNAMIC, ".dynamic"),
            (PT_NOTE, ".note.gnu.build-id"),
            (PT_GNU_EH_FRAME, ".eh_frame_hdr"),
        ):
            section = self.find(name)
            place, length = section.offset, len(section.data)
            out += pack("<IIQQQQQQ", kind, PF_R, place, place, place, length, length, section.align)
        return out

    def _shdr(self, section: Section, names: StringTable) -> bytes:
        address = section.offset if section.flags & SHF_ALLOC else 0
        return pack(
            "<IIQQQQIIQQ",
            names.add(section.name), section.type, section.flags, address, section.offset, len(section.data),
            self.index(section.link), section.info, section.align, section.entry_bytes,
        )  # fmt: skip


def build_id_note() -> bytes:
    """.note.gnu.build-id with zeros for the id, which `Layout.write` puts in."""
    return pack("<III", 4, BUILD_ID_BYTES, 3) + b"GNU\0" + bytes(BUILD_ID_BYTES)
