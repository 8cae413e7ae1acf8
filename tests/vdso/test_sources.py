"""Reading sources, assembling and checking back, unwind rules: what is right, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdso_image import assemble as assembler
from vdso_image.assemble import AssemblyError, assemble
from vdso_image.cfi import CfiError, FrameEntry, Row, eh_frame, parse_row, sleb, uleb
from vdso_image.image import ARCHITECTURES
from vdso_image.source import SOURCES, Program, SourceError, read_sources

if TYPE_CHECKING:
    from pathlib import Path

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)


def program(scratch: Path, text: str, arch: str = "aarch64") -> Program:
    """A program of one file."""
    (scratch / arch).mkdir(exist_ok=True)
    (scratch / arch / "a.S").write_text(text)
    return read_sources(arch, scratch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ret // back", "a.S:1: an instruction outside a function"),
        (".func f UABI_1\nret", "a.S:2: an instruction without a remark"),
        (".func f UABI_1\nret // back", "a.S: the file ends inside a function"),
        (".func f UABI_1\n.func g UABI_1", "a.S:2: a function inside a function"),
        (".func f UABI_9", "a.S:1: no version UABI_9"),
        (".func f UABI_1\nmov x0, #NONSENSE // what", "a.S:2: unknown constant NONSENSE"),
        (".func f UABI_1\na:\na:", "a.S:3: a is there twice"),
        (".section .text", "a.S:1: unknown directive .section"),
        (".func f UABI_1\n.commit", "a.S:2: .commit without .restart"),
        (".func f UABI_1\n.done", "a.S:2: .done without .again"),
        (".func f UABI_1\n.again\n.endfunc", "a.S: the file ends inside a function"),
        (".answers\n.func f UABI_1", "a.S: the file ends before .endanswers"),
        (".endanswers", "a.S:1: .endanswers without .answers"),
        (".answers\n.func f UABI_1\nmov x0, #1 // one\n.endfunc\n.endanswers", "a.S:5: f is there twice"),
        (".cfi normal", "a.S:1: outside a function"),
        (".func f", "a.S:1: "),
    ],
)
def test_sources_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        program(tmp_path, text)


@each_arch
def test_every_instruction_has_a_remark_and_a_source_line_is_short(arch: str) -> None:
    assert all(insn.remark for insn in read_sources(arch).insns)
    for path in (SOURCES / arch).rglob("*.*"):
        assert [line for line in path.read_text().splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("text", ["frobnicate x0", "mov x0, y9", "ldr x0, [x1, #3"])
def test_what_keystone_refuses_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=re.escape(text)):
        assemble(program(tmp_path, f".func f UABI_1\n{text} // never\nret // back\n.endfunc"), 0x100)


class Liar:
    """An assembler that swaps bytes of what it makes."""

    def __init__(self, arch: str, old: str, new: str) -> None:
        self._engine = assembler._keystone(arch)
        self._old, self._new = bytes.fromhex(old), bytes.fromhex(new)

    def asm(self, *arguments: Any, **more: Any) -> tuple[bytes, int]:
        code, count = self._engine.asm(*arguments, **more)
        assert self._old in code
        return code.replace(self._old, self._new, 1), count


@pytest.mark.parametrize(
    ("arch", "old", "new"),
    [
        ("aarch64", "08010332", "08010232"),  # orr w8, w8, #0x40000000 for #0x20000000
        ("aarch64", "2820a0d2", "00000000"),  # nothing at all
        ("x86_64", "8d8000000020", "8d8000000010"),
        ("x86_64", "488b4c2410", "488b4c2418"),
    ],
)
def test_code_that_is_not_the_sources_is_found(arch: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read_sources(arch)
    if new == "00000000":
        old = "010000d4"
    liar = Liar(arch, old, new)
    monkeypatch.setattr(assembler, "_keystone", lambda _arch: liar)
    with pytest.raises(AssemblyError):
        assemble(text, 0x800)


@each_arch
def test_the_distance_to_the_data_page_is_part_of_the_check(arch: str) -> None:
    """The same code for another place is not the same code."""
    text = read_sources(arch)
    first, second = assemble(text, 0x800), assemble(text, 0x900)
    assert first.text != second.text
    assert len(first.text) == len(second.text)
    moved = assembler.Assembled(first.text, second.rodata, second.rodata_offset, second.marks, second.labels)
    with pytest.raises(AssemblyError, match="vvar"):
        assembler.check(text, moved, 0x900)


@given(st.integers(0, 1 << 70))
def test_uleb(value: int) -> None:
    data = uleb(value)
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data)) == value
    assert [byte >> 7 for byte in data] == [1] * (len(data) - 1) + [0]


@given(st.integers(-(1 << 70), 1 << 70))
def test_sleb(value: int) -> None:
    data = sleb(value)
    raw = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data))
    assert (raw - (1 << 7 * len(data)) if data[-1] & 0x40 else raw) == value


@pytest.mark.parametrize(
    "text", ["", "rip=*(rsp)", "cfa=*(rsp+8) xyz=undefined", "cfa=rsp+8 rip", "cfa=rsp+8 pc=cfa-8"]
)
def test_rows_that_are_refused(text: str) -> None:
    with pytest.raises(CfiError):
        parse_row("x86_64", text)


@pytest.mark.parametrize(
    "row", [Row("nobody+8", {}), Row("*(rsp-8)", {}), Row("rsp+8", {16: "somewhere"}), Row("rsp+8", {16: "*(rsp>>3)"})]
)
def test_rules_that_are_refused(row: Row) -> None:
    with pytest.raises(CfiError):
        eh_frame("x86_64", [FrameEntry(0, 16, [(0, row)])], 0)


@pytest.mark.parametrize("distance", [0x3F, 0x40, 0xFF, 0x100, 0xFFFF])
def test_rows_far_apart(distance: int) -> None:
    """Each form in which a distance is written is read back by pyelftools."""
    from io import BytesIO

    from elftools.dwarf.callframe import FDE, CallFrameInfo
    from elftools.dwarf.structs import DWARFStructs

    rows = [(0x1000, parse_row("x86_64", "normal")), (0x1000 + distance, parse_row("x86_64", "cfa=rsp+16 rip=cfa-8"))]
    data, _ = eh_frame("x86_64", [FrameEntry(0x1000, 0x1_0000, rows)], 0x2000)
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    entries = CallFrameInfo(BytesIO(data), len(data), 0x2000, structs, for_eh_frame=True).get_entries()
    table = next(entry for entry in entries if isinstance(entry, FDE)).get_decoded().table
    assert [(row["pc"], row["cfa"].offset) for row in table] == [(0x1000, 8), (0x1000 + distance, 16)]
