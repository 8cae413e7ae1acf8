"""Unwind rules: how the sources write them, and `.eh_frame` and `.eh_frame_hdr` made of them.

A row is a list of rules, each `what=where`:

    cfa=sp+16         the frame's address (the caller's SP) by register
    cfa=*(sp+8)       or read from memory
    rip=*(rsp+16)     a register of the caller's, read from memory at that address
    rip=cfa-8         the same, at an address counted from the CFA
    rip=rcx           it is in another register now
    rcx=undefined     it is lost

An address is a register, perhaps with some of its bits taken out (`x8>>32<<16`), plus a number. A register that a row
does not name is the caller's as it is. `normal` is a C function's row at its start, `none` the end of the chain.

A function's first row is in its common entry (CIE), shared with all that begin like it: LLVM's libunwind looks at a
function's own entry (FDE) only for the rules of instructions *before* the PC, so at a function's first instruction it
sees nothing else. For the same reason a row that changes in mid-function must hold one instruction longer than it
is said to.

The return address is in the link register's column on AArch64; in that of x17 for the handlers, whose frame the kernel
pushed. No entry is marked as a signal frame: the saved PC is after an instruction, like that of a call. And no rule
may name a column that one unwinder lacks: LLVM's refuses the whole entry then (x86-64: beyond 32; so no rflags).
"""

from __future__ import annotations

import re
from struct import pack
from typing import Final, NamedTuple

_AARCH64_COLUMNS: Final = {f"x{number}": number for number in range(31)} | {"sp": 31, "pc": 32}
_X86_64_ORDER: Final = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip"
_X86_64_COLUMNS: Final = {name: number for number, name in enumerate(_X86_64_ORDER.split())}
COLUMNS: Final = {"aarch64": _AARCH64_COLUMNS, "x86_64": _X86_64_COLUMNS}
NORMAL: Final = {"aarch64": "cfa=sp+0", "x86_64": "cfa=rsp+8 rip=cfa-8"}
NONE: Final = {"aarch64": "cfa=sp+0 x17=undefined pc=undefined", "x86_64": "cfa=rsp+0 rip=undefined"}
CODE_ALIGN: Final = {"aarch64": 4, "x86_64": 1}
DATA_ALIGN: Final = -8
AUGMENTATION = b"zR"
RETURN_COLUMN: Final = {"aarch64": 30, "x86_64": 16}
HANDLER_RETURN_COLUMN: Final = {"aarch64": 17, "x86_64": 16}

_PE_PCREL_SDATA4: Final = 0x1B
_PE_DATAREL_SDATA4: Final = 0x3B
_PE_UDATA4: Final = 0x03
_OP_DEREF, _OP_CONST1U, _OP_PLUS_UCONST, _OP_SHL, _OP_SHR = 0x06, 0x08, 0x23, 0x24, 0x25
_OP_LIT0, _OP_BREG0 = 0x30, 0x70
_CFA_NOP, _CFA_ADVANCE1, _CFA_ADVANCE2, _CFA_UNDEFINED, _CFA_SAME, _CFA_REGISTER = 0x00, 0x02, 0x03, 0x07, 0x08, 0x09
_CFA_DEF, _CFA_DEF_EXPRESSION, _CFA_EXPRESSION, _CFA_OFFSET_EXTENDED = 0x0C, 0x0F, 0x10, 0x05
_CFA_ADVANCE, _CFA_OFFSET = 0x40, 0x80
_ADDRESS: Final = re.compile(r"(\w+)(?:>>(\d+)<<(\d+))?(?:\+(\d+))?")


class CfiError(ValueError):
    """A rule that can't be understood; the text says which."""


class Row(NamedTuple):
    """How to unwind from some instructions: `cfa`, and by column the text of each rule's right side."""

    cfa: str
    rules: dict[int, str]


class FrameEntry(NamedTuple):
    """A function's unwind rules: where it is, its size (bytes), and rows with the addresses they start at."""

    start: int
    size: int
    rows: list[tuple[int, Row]]


def parse_row(arch: str, text: str) -> Row:
    """A row as a source writes it; CfiError."""
    text = {"normal": NORMAL, "none": NONE}.get(text, {}).get(arch, text)
    columns = COLUMNS[arch]
    rules: dict[int, str] = {}
    cfa = ""
    for word in text.split():
        name, equals, value = word.partition("=")
        if name == "cfa":
            cfa = value if "+" in value or value.startswith("*") else value + "+0"
        elif name in columns and equals:
            rules[columns[name]] = value
        else:
            raise CfiError(f"no rule: {word}")
    if not cfa:
        raise CfiError(f"no CFA: {text}")
    return Row(cfa, rules)


def uleb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sleb(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def _address(arch: str, text: str) -> bytes:
    """A DWARF expression for an address."""
    match = _ADDRESS.fullmatch(text)
    if match is None or match[1] not in COLUMNS[arch]:
        raise CfiError(f"no address: {text}")
    column, offset = COLUMNS[arch][match[1]], int(match[4] or 0)
    if match[2] is None:
        return bytes([_OP_BREG0 + column]) + sleb(offset)
    out = bytes([_OP_BREG0 + column, 0])
    for count, operation in ((int(match[2]), _OP_SHR), (int(match[3]), _OP_SHL)):
        literal = [_OP_LIT0 + count] if count < 32 else [_OP_CONST1U, count]
        out += bytes([*literal, operation])
    return out + (bytes([_OP_PLUS_UCONST]) + uleb(offset) if offset else b"")


def _memory(text: str) -> str | None:
    """What is between `*(` and `)`; None for another kind of rule."""
    return text[2:-1] if text.startswith("*(") and text.endswith(")") else None


def _encode_cfa(arch: str, value: str) -> bytes:
    """The instruction that says what the CFA is."""
    inner = _memory(value)
    if inner is not None:
        expression = _address(arch, inner) + bytes([_OP_DEREF])
        return bytes([_CFA_DEF_EXPRESSION]) + uleb(len(expression)) + expression
    name, _, offset = value.partition("+")
    if name not in COLUMNS[arch]:
        raise CfiError(f"no CFA: {value}")
    return bytes([_CFA_DEF]) + uleb(COLUMNS[arch][name]) + uleb(int(offset or 0))


def _encode_rule(arch: str, column: int, value: str) -> bytes:
    """The instruction that says where a register of the caller is."""
    inner = _memory(value)
    if inner is not None:
        expression = _address(arch, inner)
        return bytes([_CFA_EXPRESSION]) + uleb(column) + uleb(len(expression)) + expression
    if value == "undefined":
        return bytes([_CFA_UNDEFINED]) + uleb(column)
    if value.startswith("cfa-"):
        factored = int(value[4:]) // -DATA_ALIGN
        if column < 0x40:
            return bytes([_CFA_OFFSET | column]) + uleb(factored)
        return bytes([_CFA_OFFSET_EXTENDED]) + uleb(column) + uleb(factored)
    if value in COLUMNS[arch]:
        return bytes([_CFA_REGISTER]) + uleb(column) + uleb(COLUMNS[arch][value])
    raise CfiError(f"no rule: {value}")


def _encode_change(arch: str, before: Row | None, after: Row) -> bytes:
    """What leads from one row to the next."""
    out = b""
    if before is None or before.cfa != after.cfa:
        out += _encode_cfa(arch, after.cfa)
    old = before.rules if before else {}
    for column, value in after.rules.items():
        if old.get(column) != value:
            out += _encode_rule(arch, column, value)
    for column in old:
        if column not in after.rules:
            out += bytes([_CFA_SAME]) + uleb(column)
    return out


def _advance(count: int) -> bytes:
    if count < 0x40:
        return bytes([_CFA_ADVANCE | count]) if count else b""
    return bytes([_CFA_ADVANCE1, count]) if count < 0x100 else bytes([_CFA_ADVANCE2]) + pack("<H", count)


def _padded(body: bytes) -> bytes:
    """A CIE or FDE with its length in front, a multiple of 8 bytes in all."""
    body += bytes([_CFA_NOP]) * (-(len(body) + 4) % 8)
    return pack("<I", len(body)) + body


def _cie(arch: str, return_column: int, instructions: bytes) -> bytes:
    head = b"\x01" + AUGMENTATION + b"\0" + uleb(CODE_ALIGN[arch]) + sleb(DATA_ALIGN) + uleb(return_column)
    return _padded(pack("<I", 0) + head + b"\x01" + bytes([_PE_PCREL_SDATA4]) + instructions)


def is_handler_row(arch: str, row: Row) -> bool:
    """Whether the return address is where only a handler has it."""
    value = row.rules.get(HANDLER_RETURN_COLUMN[arch], "cfa-8")
    return not value.startswith("cfa-")


def eh_frame(arch: str, entries: list[FrameEntry], address: int) -> tuple[bytes, list[tuple[int, int]]]:
    """The section for functions `entries`, itself at `address`; and (function, entry) addresses for `eh_frame_hdr`."""
    out = b""
    cies: dict[bytes, int] = {}
    table: list[tuple[int, int]] = []
    for entry in sorted(entries):
        row = entry.rows[0][1]
        column = (HANDLER_RETURN_COLUMN if is_handler_row(arch, row) else RETURN_COLUMN)[arch]
        cie = _cie(arch, column, _encode_change(arch, None, row))
        if cie not in cies:
            cies[cie] = len(out)
            out += cie
        here = address + len(out)
        instructions = b""
        place = entry.start
        for at, next_row in entry.rows[1:]:
            instructions += _advance((at - place) // CODE_ALIGN[arch]) + _encode_change(arch, row, next_row)
            row, place = next_row, at
        body = pack("<IiIB", len(out) + 4 - cies[cie], entry.start - (here + 8), entry.size, 0)
        out += _padded(body + instructions)
        table.append((entry.start, here))
    return out + pack("<I", 0), table


def eh_frame_hdr(table: list[tuple[int, int]], address: int, frame_address: int) -> bytes:
    """The sorted table by which an unwinder finds a function's entry; itself at `address`."""
    out = bytes([1, _PE_PCREL_SDATA4, _PE_UDATA4, _PE_DATAREL_SDATA4])
    out += pack("<iI", frame_address - (address + 4), len(table))
    for function, entry in sorted(table):
        out += pack("<ii", function - address, entry - address)
    return out
