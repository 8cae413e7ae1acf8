"""The image of an architecture, built from its sources: the ELF file and the description that goes beside it."""

from __future__ import annotations

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
from vdso_image.source import LINUX_VERSION, OWN_VERSION, SOURCES, read_sources

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


def build(arch: str, sources: Path = SOURCES) -> Built:
    """Build the image of `arch`; SourceError, AssemblyError or CfiError says what is wrong with the sources."""
    program = read_sources(arch, sources)
    layout = _layout(program, assemble(program, _FIRST_GUESS))
    assembled = assemble(program, layout.find(".text").offset)
    final = _layout(program, assembled)
    elf = final.write()
    return Built(elf, _describe(program, assembled, final, elf), _frames(program, assembled))


def write(arch: str, directory: Path = BUILT) -> Built:
    """Build and put the two files into `directory`."""
    built = build(arch)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{arch}.so").write_bytes(built.elf)
    (directory / f"{arch}.txt").write_text(built.description, encoding="ascii")
    return built


def _symbols(program: Program, assembled: Assembled) -> list[Symbol]:
    marks = assembled.marks
    out = []
    for func in program.functions:
        start, size = marks[func.start], marks[func.end] - marks[func.start]
        out.append(Symbol(func.name, start, size, func.version))
        out += [Symbol(alias, start, size, func.version, weak=True) for alias in func.aliases]
    return out


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
    symbols = DynamicSymbols(_symbols(program, assembled), [LINUX_VERSION[arch], OWN_VERSION])
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


def _describe(program: Program, assembled: Assembled, layout: Layout, elf: bytes) -> str:
    """What `vdso_image.image.parse` reads."""
    marks = assembled.marks
    text = layout.find(".text")
    note = layout.find(".note.gnu.build-id")
    build_id = elf[note.offset + len(note.data) - BUILD_ID_BYTES : note.offset + len(note.data)]
    lines = [
        f"# Describes {program.arch}.so. Generated by `uabi-emu vdso build`: don't edit.",
        f"build-id {build_id.hex()}",
        f"text {text.offset:#x} {text.offset + len(text.data):#x}",
    ]
    lines += [f"handler {kind} {marks[mark]:#x}" for kind, mark in program.handlers.items()]
    lines += [f"restart {kind} {marks[start]:#x} {marks[commit]:#x}" for kind, start, commit in program.restarts]
    lines += [f"again {marks[start]:#x} {marks[done]:#x}" for start, done in program.data_ranges]
    lines += [f"{kind} {marks[start]:#x} {marks[end]:#x} {words}".rstrip() for kind, start, end, words in program.undo]
    if program.tables:
        lines.append(f"plain {assembled.labels['userspace_plain']:#x}")
    if "glue_returns" in assembled.labels:
        lines.append(f"glue-returns {assembled.labels['glue_returns']:#x}")
    if program.sigreturn is not None:
        lines.append(f"sigreturn {marks[program.sigreturn]:#x}")
    lines += [
        f"symbol {symbol.name} {symbol.value:#x}"
        for symbol in sorted(_symbols(program, assembled), key=lambda symbol: (symbol.value, symbol.weak))
    ]
    return "\n".join(lines) + "\n"
