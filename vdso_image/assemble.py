"""From sources to machine code: Keystone assembles, Capstone has to read back what was written.

Keystone's known mistakes shape this file: it knows no section, so data page, code and data are one piece laid out as
they will be mapped, and every reference is to a label inside it (references to anything else may come out as 0). It
tells no addresses, so a table of `.quad label` at the end does. And it can be silently wrong, so every instruction is
decoded and compared with its source: mnemonic, registers, numbers, and where a branch or an address leads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from struct import iter_unpack, pack_into
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdso_image.entry_table import pack_entries
from vdso_image.vvar import VVAR_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdso_image.source import Program

_U64_MASK: Final = (1 << 64) - 1


class AssemblyError(Exception):
    """The sources can't be assembled, or what came out is not what they say."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Machine code at its place. Addresses are offsets from the image's start, so `vvar` is negative."""

    text: bytes
    rodata: bytes
    rodata_offset: int
    marks: tuple[int, ...]
    labels: Mapping[str, int]


class _Style(NamedTuple):
    """What differs between architectures: the engines' names for them, and what fills up to an alignment."""

    ks_arch: str
    ks_mode: str
    cs_arch: str
    cs_mode: str
    fill: bytes


_STYLES: Final = {
    "aarch64": _Style(
        "KS_ARCH_ARM64", "KS_MODE_LITTLE_ENDIAN", "CS_ARCH_ARM64", "CS_MODE_LITTLE_ENDIAN", bytes.fromhex("1f2003d5")
    ),
    "x86_64": _Style("KS_ARCH_X86", "KS_MODE_64", "CS_ARCH_X86", "CS_MODE_64", b"\xcc"),
}


@cache
def _keystone(arch: str) -> Any:
    try:
        import keystone
    except ImportError as error:
        raise AssemblyError("Keystone is missing, which assembles the vDSO: pip install keystone-engine") from error
    style = _STYLES[arch]
    return keystone.Ks(getattr(keystone, style.ks_arch), getattr(keystone, style.ks_mode))


@cache
def _capstone(arch: str) -> Any:
    import capstone

    style = _STYLES[arch]
    return capstone.Cs(getattr(capstone, style.cs_arch), getattr(capstone, style.cs_mode))


def assemble(program: Program, text_offset: int) -> Assembled:
    """Machine code for `program` with .text at `text_offset` from the image's start; AssemblyError."""
    names = [f"mark_{number}" for number in range(program.marks)] + ["text_end", "data_start", "data_end"]
    names += program.labels
    lines = ["vvar:", f".space {VVAR_BYTES + text_offset}", *program.lines, "text_end:", ".balign 16", "data_start:"]
    for label, data in program.data:
        lines += [".balign 8", label + ":", *(f".byte {byte}" for byte in data)]
    lines += ["data_end:", ".balign 8", *(f".quad {name}" for name in names)]
    code = _assembled(program.arch, lines)
    table = len(code) - 8 * len(names)
    places = [place - VVAR_BYTES for (place,) in iter_unpack("<Q", code[table:])]
    labels = dict(zip(names, places, strict=True)) | {"vvar": -VVAR_BYTES}
    image = code[VVAR_BYTES:]
    result = Assembled(
        image[text_offset : labels["text_end"]],
        image[labels["data_start"] : labels["data_end"]],
        labels["data_start"],
        tuple(places[: program.marks]),
        {name: labels[name] for name in [*program.labels, "vvar"]},
    )
    check(program, result, text_offset)
    return replace(result, rodata=_with_tables(program, result))


def _with_tables(program: Program, result: Assembled) -> bytes:
    """.rodata with what its tables say of places: 0 for a word that is for no label."""
    rodata = bytearray(result.rodata)
    for name, base, words in program.tables:
        at = result.labels[name] - result.rodata_offset
        for index, label in enumerate(words):
            if label is not None:
                pack_into("<H", rodata, at + 2 * index, result.labels[label] - result.labels[base])
    places = [result.labels[table.label] for table in program.entry_tables]
    for table, place, following in zip(program.entry_tables, places, [*places, 0][1:], strict=True):
        ahead = following - place if following else 0
        offsets = [result.labels[label] - place if label else 0 for label in table.functions]
        packed = pack_entries(table.version, ahead, offsets)
        at = place - result.rodata_offset
        rodata[at : at + len(packed)] = packed
    return bytes(rodata)


def _assembled(arch: str, lines: list[str]) -> bytes:
    engine = _keystone(arch)
    from keystone import KsError

    try:
        code, _ = engine.asm("\n".join(lines), 0, as_bytes=True)
    except KsError as error:
        raise AssemblyError(f"{arch}: Keystone says: {error}{_culprit(arch, lines)}") from error
    if not isinstance(code, bytes):
        raise AssemblyError(f"{arch}: Keystone made nothing of the sources")
    return code


def _culprit(arch: str, lines: list[str]) -> str:
    """The first line that Keystone refuses by itself (it names none); labels are given to it as 0."""
    from keystone import KsError

    for line in lines:
        if line.endswith(":") or line.startswith("."):
            continue
        try:
            _keystone(arch).asm(line, 0)
        except KsError as error:
            if "SYMBOL" not in str(error):
                return f": {line}"
    return ""


def disassemble(arch: str, code: bytes, address: int) -> list[tuple[int, int, str]]:
    """(address, size, text) of each instruction in `code`."""
    return [
        (at, size, f"{mnemonic} {operands}".rstrip())
        for at, size, mnemonic, operands in _capstone(arch).disasm_lite(code, address)
    ]


def check(program: Program, result: Assembled, text_offset: int) -> None:
    """Read the code back with Capstone and compare it, instruction by instruction, with its source; AssemblyError."""
    for number, insn in enumerate(program.insns):
        address = result.marks[insn.mark]
        following = program.insns[number + 1 : number + 2]
        limit = result.marks[following[0].mark] if following else text_offset + len(result.text)
        code = result.text[address - text_offset : limit - text_offset]
        found = next(_capstone(program.arch).disasm_lite(code, address, 1), None)
        if found is None:
            raise AssemblyError(f"{insn.text}: no instruction came out: {code.hex()}")
        _, size, mnemonic, operands = found
        wanted = _canonical_source(insn.text, result.labels)
        got = _canonical_code(f"{mnemonic} {operands}", address + size)
        if wanted != got:
            raise AssemblyError(f"{insn.text}: Capstone reads {mnemonic} {operands} ({code[:size].hex()})")
        if code[size:].replace(_STYLES[program.arch].fill, b""):
            raise AssemblyError(f"{insn.text}: more than an instruction came out: {code.hex()}")


def _canonical_source(text: str, labels: Mapping[str, int]) -> str:
    """A source's instruction with labels as addresses and numbers in decimal."""
    address = re.fullmatch(r"(.*\[)rip \+ (\w+)((?: \+ \w+)?)(\].*)", text)
    if address:
        before, label, more, after = address.groups()
        place = labels[label] + (int(more[3:], 0) if more else 0)
        text = f"{before}@{place}{after}"
    else:
        text = re.sub(r"[a-z_]\w*", lambda word: _address(labels, word.group()), text)
    return _plain(text)


def _address(labels: Mapping[str, int], word: str) -> str:
    return str(labels[word] & _U64_MASK) if word in labels else word


def _canonical_code(text: str, after: int) -> str:
    """Capstone's words in the same form; `after`: where the next instruction is."""
    text = _plain(text)
    relative = re.search(r"\[rip([+-])(\d+)\]", text)
    if relative:
        distance = int(relative.group(2))
        place = after + (distance if relative.group(1) == "+" else -distance)
        text = text.replace(relative.group(), f"[@{place}]")
    return text


def _plain(text: str) -> str:
    """Without what means nothing: `#`, blanks, the base of numbers, a displacement of 0."""
    mnemonic, _, operands = text.replace("#", "").partition(" ")
    operands = re.sub(r"0x[0-9a-f]+|\b\d+\b", lambda number: str(int(number.group(), 0)), operands)
    operands = re.sub(r"[,+]0\]", "]", operands.replace(" ", ""))
    return f"{mnemonic} {operands}"
