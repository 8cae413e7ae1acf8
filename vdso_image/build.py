"""The image of an architecture, built from its sources: the ELF file and the description that goes beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdso_image.assemble import Assembled, assemble
from vdso_image.cfi import FrameEntry, eh_frame, eh_frame_hdr, parse_row
from vdso_image.elf_writer import (
    BUILD_ID_BYTES,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_DYNAMIC,
    SHT_DYNSYM,
    SHT_GNU_HASH,
    SHT_GNU_VERDEF,
    SHT_GNU_VERSYM,
    SHT_HASH,
    SHT_NOTE,
    SHT_PROGBITS,
    SHT_STRTAB,
    DynamicSymbols,
    Layout,
    Section,
    Symbol,
    build_id_note,
)
from vdso_image.image import file_name
from vdso_image.source import LINUX_VERSION, OWN_VERSIONS, SOURCES, read_sources

if TYPE_CHECKING:
    from vdso_image.source import Program

BUILT: Final = Path(__file__).parent / "built"
_FIRST_GUESS: Final = 0x1000
"""Where .text is while the sizes are found out: none of them depends on it."""


class Built(NamedTuple):
    """What a build makes: the two files that `vdso_image.image.load` reads, and the unwind rules that went in."""

    elf: bytes
    description: str
    frames: list[FrameEntry]


def build(arch: str, sources: Path = SOURCES, kind: str = "plain") -> Built:
    """Build the image of `arch`; SourceError, AssemblyError or CfiError says what is wrong with the sources."""
    program = read_sources(arch, sources, kind)
    layout = _layout(program, assemble(program, _FIRST_GUESS))
    assembled = assemble(program, layout.find(".text").offset)
    final = _layout(program, assembled)
    elf = final.write()
    return Built(elf, _describe(file_name(arch, kind), program, assembled, final, elf), _frames(program, assembled))


def write(arch: str, directory: Path = BUILT, kind: str = "plain") -> Built:
    """Build and put the two files into `directory`."""
    built = build(arch, kind=kind)
    directory.mkdir(parents=True, exist_ok=True)
    name = file_name(arch, kind)
    (directory / f"{name}.so").write_bytes(built.elf)
    (directory / f"{name}.txt").write_text(built.description, encoding="ascii")
    return built


def _symbols(program: Program, assembled: Assembled) -> list[Symbol]:
    """All names. Of versions of one name the default is Linux's, else the last."""
    marks = assembled.marks
    out = []
    for func in program.functions:
        start, size = marks[func.start], marks[func.end] - marks[func.start]
        out += [Symbol(name, start, size, version) for name, version in ((func.name, func.version), *func.others)]
        out += [Symbol(alias, start, size, func.version, weak=True) for alias in func.aliases]
    order = (*OWN_VERSIONS, LINUX_VERSION[program.arch])
    default: dict[str, int] = {}
    for symbol in out:
        default[symbol.name] = max(default.get(symbol.name, 0), order.index(symbol.version))
    return [
        symbol if order[default[symbol.name]] == symbol.version else replace(symbol, hidden=True) for symbol in out
    ]


def _frames(program: Program, assembled: Assembled) -> list[FrameEntry]:
    marks = assembled.marks
    out = []
    for func in program.functions:
        if func.unwind:
            rows = [(marks[mark], parse_row(program.arch, text)) for mark, text in func.cfi]
            start = marks[func.start]
            if not rows or rows[0][0] != start:
                rows.insert(0, (start, parse_row(program.arch, "normal")))
            out.append(FrameEntry(start, marks[func.end] - start, rows))
    return out


def _layout(program: Program, assembled: Assembled) -> Layout:
    """All sections in place, for code that may lie elsewhere still: sizes are final, contents once .text is right."""
    arch = program.arch
    named = _symbols(program, assembled)
    versions = [v for v in (LINUX_VERSION[arch], *OWN_VERSIONS) if any(symbol.version == v for symbol in named)]
    parents = dict(zip(OWN_VERSIONS[1:], OWN_VERSIONS, strict=False))
    symbols = DynamicSymbols(named, versions, parents)
    frames = _frames(program, assembled)
    code = SHF_ALLOC | SHF_EXECINSTR
    layout = Layout(
        arch,
        [
            Section(".hash", SHT_HASH, 8, symbols.hash(), ".dynsym", entry_bytes=4),
            Section(".gnu.hash", SHT_GNU_HASH, 8, symbols.gnu_hash(), ".dynsym"),
            Section(".dynsym", SHT_DYNSYM, 8, symbols.dynsym(0), ".dynstr", info=1, entry_bytes=24),
            Section(".dynstr", SHT_STRTAB, 1, symbols.strings.data),
            Section(".gnu.version", SHT_GNU_VERSYM, 2, symbols.versym(), ".dynsym", entry_bytes=2),
            Section(".gnu.version_d", SHT_GNU_VERDEF, 8, symbols.verdef(), ".dynstr", info=len(symbols.versions)),
            Section(".note.gnu.build-id", SHT_NOTE, 4, build_id_note()),
            Section(".eh_frame_hdr", SHT_PROGBITS, 4, bytes(12 + 8 * len(frames))),
            Section(".eh_frame", SHT_PROGBITS, 8, eh_frame(arch, frames, 0)[0]),
            Section(".dynamic", SHT_DYNAMIC, 8, bytes(16 * 11), ".dynstr", entry_bytes=16),
            Section(".text", SHT_PROGBITS, 16, assembled.text, flags=code),
        ],
    )
    if assembled.rodata:
        layout.sections.append(Section(".rodata", SHT_PROGBITS, 16, assembled.rodata))
    layout.place()
    frame, header = layout.find(".eh_frame"), layout.find(".eh_frame_hdr")
    frame.data, table = eh_frame(arch, frames, frame.offset)
    header.data = eh_frame_hdr(table, header.offset, frame.offset)
    layout.find(".dynsym").data = symbols.dynsym(layout.index(".text"))
    layout.find(".dynamic").data = layout.dynamic(symbols)
    return layout


def _inner_labels(program: Program, assembled: Assembled) -> list[tuple[str, int]]:
    """The places in the handler that serves calls which have a name, by address."""
    marks = assembled.marks
    begin = marks[program.handlers["userspace"]] if "userspace" in program.handlers else -1
    end = next((marks[func.end] for func in program.functions if marks[func.start] == begin), begin)
    return sorted(
        ((name, at) for name, at in assembled.labels.items() if begin <= at < end), key=lambda label: label[1]
    )


def _placed(words: str, assembled: Assembled) -> str:
    """What a range says, with the address of the label to which a fault leads."""
    return re.sub(r"(?<=fault=)\w+", lambda label: f"{assembled.labels[label.group()]:#x}", words)


def _describe(name: str, program: Program, assembled: Assembled, layout: Layout, elf: bytes) -> str:
    """What `vdso_image.image.parse` reads."""
    marks = assembled.marks
    text = layout.find(".text")
    note = layout.find(".note.gnu.build-id")
    build_id = elf[note.offset + len(note.data) - BUILD_ID_BYTES : note.offset + len(note.data)]
    lines = [
        f"# Describes {name}.so. Generated by `uabi-emu vdso build`: don't edit.",
        f"build-id {build_id.hex()}",
        f"text {text.offset:#x} {text.offset + len(text.data):#x}",
    ]
    lines += [f"handler {kind} {marks[mark]:#x}" for kind, mark in program.handlers.items()]
    lines += [f"restart {kind} {marks[start]:#x} {marks[commit]:#x}" for kind, start, commit in program.restarts]
    lines += [f"again {marks[start]:#x} {marks[done]:#x}" for start, done in program.data_ranges]
    lines += [
        f"{kind} {marks[start]:#x} {marks[end]:#x} {_placed(words, assembled)}".rstrip()
        for kind, start, end, words in program.undo
    ]
    if program.tables:
        lines.append(f"plain {assembled.labels['userspace_plain']:#x}")
    lines += [f"returns {marks[mark]:#x}" for mark in program.returns]
    lines += [f"untimed {marks[mark]:#x}" for mark in program.untimed]
    lines += [f"restores {marks[mark]:#x} {words}" for mark, words in program.restores]
    lines += [f"carries {number}" for number in program.carried]
    if labels := _inner_labels(program, assembled):
        lines.append("labels " + " ".join(f"{name} {place:#x}" for name, place in labels))
    if program.sigreturn is not None:
        lines.append(f"sigreturn {marks[program.sigreturn]:#x}")
    if program.entry_tables:
        lines.append(f"table {assembled.labels[program.entry_tables[0].label]:#x}")
    lines += [
        f"symbol {symbol.name}{'@' + symbol.version if symbol.hidden else ''} {symbol.value:#x}"
        for symbol in sorted(_symbols(program, assembled), key=lambda s: (s.value, s.weak, s.hidden))
    ]
    return "\n".join(lines) + "\n"
