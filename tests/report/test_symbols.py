"""Names of functions, from files that are sound and files that are not."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from emu.symbols import SymbolTable
from guests.build import ARCHES, FLAGS, compile_to

SOURCE = """
__attribute__((noinline)) static int inner(int x) { return x * 3; }
__attribute__((noinline)) int outer(int x) { return inner(x) + 1; }
int main(int argc, char **argv) { (void)argv; return outer(argc); }
"""


@pytest.fixture(scope="module", params=ARCHES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program with a symbol table."""
    folder = tmp_path_factory.mktemp("symbols")
    (folder / "program.c").write_text(SOURCE)
    flags = [flag for flag in FLAGS if flag != "-s"]
    compile_to(folder / "program.c", f"{request.param}-linux-musl", flags, folder / "program")
    return Path(folder / "program").read_bytes()


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """What `SymbolTable` reads by."""
    return lambda offset, count: data[offset : offset + count]


def test_every_function_is_found_by_pyelftools_word(program: bytes) -> None:
    elf = ELFFile(BytesIO(program))
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    found = set()
    for symbol in table.iter_symbols():
        if symbol["st_info"]["type"] != "STT_FUNC" or symbol["st_shndx"] == "SHN_UNDEF" or not symbol["st_size"]:
            continue
        offset = next(elf.address_offsets(symbol["st_value"]), None)
        if offset is None or not symbol.name:
            continue
        seen = SymbolTable(reader(program)).find(offset + symbol["st_size"] - 1)
        assert seen is not None
        assert seen.offset == symbol["st_size"] - 1
        if seen.name == symbol.name:  # one place may have several names
            found.add(seen.name)
    assert found >= {"main", "outer"}
    assert len(found) > 10


def test_places_outside_are_nobodys(program: bytes) -> None:
    assert SymbolTable(reader(program)).find(len(program) + 5) is None
    assert SymbolTable(reader(b"")).find(0) is None
    assert SymbolTable(reader(b"\x7fELF" + bytes(200))).find(0) is None


@given(data=st.data())
def test_a_broken_file_is_no_accident(program: bytes, data: st.DataObject) -> None:
    broken = bytearray(program[: data.draw(st.integers(0, len(program)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if broken:
            # the headers at either end are where it hurts
            place = data.draw(st.integers(0, min(200, len(broken) - 1)) | st.integers(1, min(2000, len(broken))).map(
                lambda back: len(broken) - back
            ))  # fmt: skip
            broken[place] = data.draw(st.integers(0, 255))
    found = SymbolTable(reader(bytes(broken))).find(data.draw(st.integers(0, 1 << 20)))
    assert found is None or found.offset >= 0


def test_a_function_is_found_by_its_name(program: bytes) -> None:
    table = SymbolTable(reader(program))
    place = table.named("outer")
    assert place is not None
    assert table.find(place) == ("outer", 0)
    assert table.named("oute") is None
