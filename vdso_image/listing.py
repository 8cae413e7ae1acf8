"""A built image as text for a person: symbols, sections, code with its remarks and unwind rules, the data page.

All of it is read from the built file, with pyelftools and Capstone, so it shows what is there; only the remarks beside
instructions come from the sources.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdso_image import data_pages, vvar
from vdso_image.assemble import disassemble
from vdso_image.cfi import CODE_ALIGN, COLUMNS
from vdso_image.elf_writer import VERSYM_HIDDEN
from vdso_image.source import Program, read_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vdso_image.data_pages import DataLayout
    from vdso_image.image import VdsoImage

_BYTES_WIDTH: Final = {"aarch64": 8, "x86_64": 26}
_INDENT: Final = "  "
_NOTE_WIDTH: Final = 78


class Function(NamedTuple):
    """A function of the image; `names` begins with one that is not weak, whose version is `version`.

    A name that means another version where none is asked for is here as `name@version`.
    """

    names: tuple[str, ...]
    version: str
    start: int
    size: int
    versions: tuple[str, ...]
    """Of each name."""

    @property
    def plain_name(self) -> str:
        """The first name, as it is without a version."""
        return self.names[0].partition("@")[0]


def elf_file(elf: bytes) -> Any:
    """pyelftools' view of an image."""
    from elftools.elf.elffile import ELFFile

    return ELFFile(BytesIO(elf))


def functions(elf: bytes) -> list[Function]:
    """The functions of an image, by address."""
    file = elf_file(elf)
    versions = {
        verdef["vd_ndx"]: next(names).name
        for verdef, names in file.get_section_by_name(".gnu.version_d").iter_versions()
    }
    numbers = file.get_section_by_name(".gnu.version")
    found: dict[int, list[tuple[bool, bool, str, str, int]]] = {}
    for index, symbol in enumerate(file.get_section_by_name(".dynsym").iter_symbols()):
        if index:
            weak = symbol["st_info"]["bind"] == "STB_WEAK"
            number = numbers.get_symbol(index)["ndx"]
            hidden = number & VERSYM_HIDDEN != 0
            version = versions[number & ~VERSYM_HIDDEN]
            name = f"{symbol.name}@{version}" if hidden else symbol.name
            found.setdefault(symbol["st_value"], []).append((weak, hidden, version, name, symbol["st_size"]))
    return [
        Function(tuple(s[3] for s in same), same[0][2], start, same[0][4], tuple(s[2] for s in same))
        for start, same in sorted((start, sorted(same)) for start, same in found.items())
    ]


# -- unwind rules -----------------------------------------------------------------------------------------------------
def _expression(arch: str, operations: Any, expression: list[int]) -> str:
    """A DWARF expression in the notation of `vdso_image.cfi`."""
    names = {number: name for name, number in COLUMNS[arch].items()}
    text = ""
    counts: list[int] = []
    for operation in operations.parse_expr(expression):
        name, arguments = operation.op_name, operation.args
        if name.startswith("DW_OP_breg"):
            text = names[int(name[10:])] + (f"+{arguments[0]}" if arguments[0] else "")
        elif name.startswith("DW_OP_lit"):
            counts.append(int(name[9:]))
        elif name == "DW_OP_const1u":
            counts.append(arguments[0])
        elif name in ("DW_OP_shr", "DW_OP_shl"):
            text += (">>" if name == "DW_OP_shr" else "<<") + str(counts.pop())
        elif name == "DW_OP_plus_uconst":
            text += f"+{arguments[0]}"
        elif name == "DW_OP_deref":
            text = f"*({text})"
        else:
            raise ValueError(f"an operation that no rule here uses: {name}")
    return text


def _row_text(arch: str, row: dict[Any, Any], operations: Any) -> str:
    """A decoded row in the notation of `vdso_image.cfi`."""
    names = {number: name for name, number in COLUMNS[arch].items()}
    cfa = row["cfa"]
    place = f"{names[cfa.reg]}+{cfa.offset}" if cfa.expr is None else _expression(arch, operations, cfa.expr)
    words = [f"cfa={place}"]
    for column, rule in row.items():
        if column in ("cfa", "pc") or rule.type == "SAME_VALUE":
            continue
        if rule.type == "UNDEFINED":
            value = "undefined"
        elif rule.type == "OFFSET":
            value = f"cfa{rule.arg:+d}"
        elif rule.type == "REGISTER":
            value = names[rule.arg]
        elif rule.type == "EXPRESSION":
            value = f"*({_expression(arch, operations, rule.arg)})"
        else:
            raise ValueError(f"a rule that nothing here uses: {rule.type}")
        words.append(f"{names[column]}={value}")
    return " ".join(words)


def unwind_rows(arch: str, elf: bytes) -> dict[int, str]:
    """Address to the rules that hold from there on, for every row of .eh_frame; an empty text where a function ends."""
    from elftools.dwarf.callframe import FDE
    from elftools.dwarf.dwarf_expr import DWARFExprParser

    dwarf = elf_file(elf).get_dwarf_info()
    rows: dict[int, str] = {}
    for entry in dwarf.EH_CFI_entries():
        if isinstance(entry, FDE):
            operations = DWARFExprParser(entry.structs)
            start = entry["initial_location"]
            rows.setdefault(start + entry["address_range"], "")
            for row in entry.get_decoded().table:
                rows[row["pc"]] = _row_text(arch, row, operations)
    return rows


# -- listings ---------------------------------------------------------------------------------------------------------
def _remarks(program: Program) -> dict[tuple[str, str], list[str]]:
    """Name and version of a function to the remarks beside its instructions, in order."""
    return {
        (func.name, func.version): [insn.remark for insn in program.insns if func.start < insn.mark < func.end]
        for func in program.functions
    }


def _marks(image: VdsoImage) -> dict[int, list[str]]:
    """Address to what the kernel knows of the instruction there, and of those that follow."""
    marks: dict[int, list[str]] = {}
    for kind, offset in image.handlers.items():
        marks.setdefault(offset, []).append(f"a bounce begins here ({kind})")
    for start, commit, kind in image.restart_ranges:
        marks.setdefault(start, []).append(f"can be started over up to {commit:#x} ({kind})")
        marks.setdefault(commit, []).append(f"can't be started over any more ({kind})")
    for start, done in image.data_ranges:
        marks.setdefault(start, []).append(f"a task that loses its CPU before {done:#x} begins here again")
    for start, end, finished, frame_at, saved in image.undo_ranges:
        text = f"a signal before {end:#x} finds the task {'behind' if finished else 'at'} its own instruction"
        if frame_at:
            text += f"; the frame is at SP{frame_at:+d}"
        if saved:
            text += "; beside the frame: " + " ".join(f"{name}={at}" for name, at in saved)
        marks.setdefault(start, []).append(text)
    for start, end in image.tails:
        marks.setdefault(start, []).append(f"a signal before {end:#x} waits: results are on their way to memory")
    for start, end, target in image.fault_exits:
        marks.setdefault(start, []).append(f"a fault before {end:#x} leads to {target:#x}")
    for offset, saved in image.restores.items():
        marks.setdefault(offset, []).append(
            "behind a flagged call; its program gets back: " + " ".join(f"{name}={at}" for name, at in saved)
        )
    if image.undo_ranges:
        marks.setdefault(image.plain, []).append("the call is made as the program made it")
    for offset in image.glue_returns:
        marks.setdefault(offset, []).append("a call that was made in its place comes back here")
    return marks


def _note(text: str) -> list[str]:
    """A line about the code: in 80 columns with what it may be indented by."""
    indent = _INDENT + "   "
    return wrap(
        f"{_INDENT}-- {text}", _NOTE_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def code(image: VdsoImage, function: Function, rows: dict[int, str], remarks: list[str]) -> Iterator[str]:
    """A function, an instruction a line, with the unwind rules and what the kernel knows of it where these change."""
    yield f"{function.plain_name}@{function.version}:"
    marks = _marks(image)
    parts = {offset: label for label, offset in image.labels.items()}
    width = _BYTES_WIDTH[image.arch]
    place = function.start
    body = image.elf[place : place + function.size]
    for number, (address, size, text) in enumerate(disassemble(image.arch, body, place)):
        if address in parts:
            yield f"{_INDENT}{parts[address]}:"
        for mark in marks.get(address, ()):
            yield from _note(mark)
        if rows.get(address):
            yield from _note(f"unwind: {rows[address]}")
        data = body[address - place : address - place + size]
        shown = f"{int.from_bytes(data, 'little'):08x}" if CODE_ALIGN[image.arch] == 4 else data.hex(" ")
        remark = f"; {remarks[number]}" if number < len(remarks) else ""
        yield f"{_INDENT}{address:#06x}  {shown:{width}}  {text:41} {remark}".rstrip()


def all_code(image: VdsoImage, wanted: tuple[str, ...]) -> list[str]:
    """The functions called `wanted`, each with an empty line after it. KeyError names one that is not there."""
    by_name = {name: function for function in functions(image.elf) for name in function.names}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise KeyError(missing[0])
    rows = unwind_rows(image.arch, image.elf)
    remarks = _remarks(read_sources(image.arch, kind=image.kind))
    lines: list[str] = []
    for name in wanted:
        function = by_name[name]
        known = remarks.get((function.plain_name, function.version), [])
        lines += [*code(image, function, rows, known), ""]
    return lines


def symbol_table(image: VdsoImage) -> list[str]:
    """Every symbol with its place, size and version."""
    lines = ["offset   size  version       name"]
    for function in functions(image.elf):
        others = "".join(
            f" (also {alias if version == function.version or '@' in alias else f'{alias}@{version}'})"
            for alias, version in zip(function.names[1:], function.versions[1:], strict=True)
        )
        lines.append(f"{function.start:#06x}  {function.size:5}  {function.version:12}  {function.plain_name}{others}")
    return lines


def section_table(image: VdsoImage) -> list[str]:
    """Every section that is mapped, with its place and size."""
    mapped = [section for section in elf_file(image.elf).iter_sections() if section["sh_flags"]]
    return ["offset   size  section"] + [f"{s['sh_offset']:#06x}  {s['sh_size']:5}  {s.name}" for s in mapped]


def vvar_table() -> list[str]:
    """The data page, field by field."""
    places = vvar.offsets()
    lines = ["offset   size  field"]
    for name, form, text in (*vvar.FIELDS, *vvar.BASE_FIELDS):
        size = {"I": 4, "i": 4, "Q": 8}[form]
        lines.append(f"{places[name]:#06x}  {size:5}  {name:15} {text}")
    step = places["base_nsec"] - places["base_sec"] + 8
    lines.append(f"               the last two again every {step} bytes, for the clock ids 0 to {vvar.CLOCKS - 1}")
    return lines


def data_table(layout: DataLayout) -> list[str]:
    """One of the structs that tell a task about itself, field by field."""
    places = layout.offsets()
    lines = ["offset   size  field"]
    lines += [f"{places[name]:#06x}  {Struct(form).size:5}  {name:15} {text}" for name, form, text in layout.fields]
    return lines


def handler_names(image: VdsoImage) -> tuple[str, ...]:
    """The functions of the bounce, by address."""
    return tuple(f.names[0] for f in functions(image.elf) if f.names[0].startswith("__kernel_bounce"))


def overview(image: VdsoImage) -> str:
    """All there is to say, but the code of what is not a handler."""

    def part(title: str, lines: list[str]) -> list[str]:
        return [title, *(_INDENT + line if line else "" for line in lines), ""]

    kind = "" if image.kind == "plain" else f", {image.kind}"
    lines = [
        f"vDSO of {image.arch}{kind}: {len(image.elf)} bytes, build id {image.build_id.hex()}",
        "",
        *part("Symbols", symbol_table(image)),
        *part("Sections", section_table(image)),
        *part("Handlers", all_code(image, handler_names(image))[:-1]),
    ]
    if image.sigreturn:
        lines += [f"Signal handlers return to {image.sigreturn:#x}.", ""]
    lines += part(f"Data page, {vvar.VVAR_BYTES} bytes before the image", vvar_table())
    for layout in data_pages.LAYOUTS:
        title = f"struct {layout.name}, one every {layout.stride_bytes} bytes of {layout.mapping}"
        lines += part(f"{title}, before the data page", data_table(layout))
    return "\n".join(lines)


def remarks_by_offset(image: VdsoImage) -> dict[int, str]:
    """The remark beside each instruction, by its place in the image; nothing for code that is not the sources'."""
    remarks = _remarks(read_sources(image.arch, kind=image.kind))
    found: dict[int, str] = {}
    for function in functions(image.elf):
        texts = remarks.get((function.plain_name, function.version), [])
        places = disassemble(image.arch, image.elf[function.start : function.start + function.size], function.start)
        if len(texts) == len(places):
            found |= {address: text for (address, _, _), text in zip(places, texts, strict=True)}
    return found
