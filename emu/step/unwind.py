"""Who called whom: from PC to main, by the unwind tables of the files and the vDSO, else by frame pointers."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from io import BytesIO
from struct import Struct, error
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from emu.places import read_file
from emu.step.arch import STYLES, mnemonic
from kernel_model.mm.vma import VM_EXEC
from kernel_model.types import PAGE_SHIFT, U64_MASK
from kernel_model.vdso import VDSO_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.places import Places
    from emu.symbols import Read
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.mm.vma import Vma

FRAMES_MAX: Final = 64
_PT_LOAD: Final = 1
_PT_GNU_EH_FRAME: Final = 0x6474_E550
_EHDR: Final = Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = Struct("<IIQQQQQQ")
_HEADER: Final = Struct("<4BiI")
_HEADER_FORM: Final = (1, 0x1B, 0x03, 0x3B)
"""Version 1, sdata4 from here, udata4, sdata4 from the header: what every linker writes."""
_PAIR: Final = Struct("<ii")
_U32: Final = Struct("<I")
_ENTRIES_MAX: Final = 1 << 20
_ENTRY_BYTES_MAX: Final = 1 << 16
_ENTRY_WORK_MAX: Final = 1 << 18
"""Instructions of an entry times registers that they speak of: so much is copied, at worst, to read it."""
_NO_COLUMN: Final = frozenset((0x01, 0x02, 0x03, 0x04, 0x0E, 0x0F, 0x13, 0x2E, 0x40))
"""Instructions whose first operand is no register (DWARF 5, table 7.29): locations, offsets, an expression, a size."""
_PROLOGUE_BYTES: Final = 4096
_STACK_MAX: Final = 64
_SIGFRAME_SEARCH_BYTES: Final = 64 << 10


class Frame(NamedTuple):
    """One call. `registers` are those that are known in it; `by`: what led here (table | frame pointer | link |
    stack | signal), empty for the innermost. `place`: an address that its function covers."""

    pc: int
    registers: dict[str, int]
    by: str
    place: int


class Unknown(Exception):
    """There is no rule, or it asks for what is not there."""


class Unwinder:
    """Backtraces in one kernel's address spaces."""

    def __init__(self, kernel: Kernel, places: Places) -> None:
        self._kernel = kernel
        self._places = places
        self._style = STYLES[kernel.arch.NAME]
        self._decoded: dict[tuple[int, bytes, bytes], Any] = {}

    def walk(self, mm: MemoryMap, registers: dict[str, int]) -> list[Frame]:
        """From the innermost call outwards, up to where nothing leads on."""
        style = self._style
        frames = [Frame(registers[style.pc], dict(registers), "", registers[style.pc])]
        while len(frames) < FRAMES_MAX:
            caller = self._caller(mm, frames)
            if caller is None or not self._is_code(mm, caller.place):
                break
            before = frames[-1].registers
            if (caller.pc, caller.registers.get(style.sp)) == (frames[-1].pc, before.get(style.sp)):
                break
            if self._is_restorer(mm, caller.pc):
                caller = caller._replace(place=caller.pc)  # nobody called it, so there need not be a function before it
            frames.append(caller)
        return frames

    def _is_restorer(self, mm: MemoryMap, pc: int) -> bool:
        """Is that the code that a signal handler returns to?"""
        code = self._places.peek(mm, pc, max(map(len, self._style.sigreturn)))
        return any(code.startswith(wanted) for wanted in self._style.sigreturn)

    @staticmethod
    def _is_handler(mm: MemoryMap, frame: Frame) -> bool:
        """Is it in the vDSO? What a bounce came from may be any instruction of its function."""
        return mm.vdso <= frame.pc < mm.vdso_end

    def _is_code(self, mm: MemoryMap, address: int) -> bool:
        vma = mm.vmas.lookup(address)
        return vma is not None and bool(vma.vm_flags & VM_EXEC)

    def _caller(self, mm: MemoryMap, frames: list[Frame]) -> Frame | None:
        inner = frames[-1]
        interrupted = self._interrupted(mm, inner)
        if interrupted is not None:
            return interrupted
        try:
            return self._by_table(mm, inner)
        except Unknown:
            bare = len(frames) == 1 or inner.by == "signal" or self._is_handler(mm, frames[-2])
            return self._by_chain(mm, inner, innermost=bare)

    def _word(self, mm: MemoryMap, address: int) -> int:
        data = self._places.peek(mm, address & U64_MASK, 8)
        if len(data) < 8:
            raise Unknown
        return int.from_bytes(data, "little")

    # -- signal frames ------------------------------------------------------------------------------------------------
    def _interrupted(self, mm: MemoryMap, inner: Frame) -> Frame | None:
        """At the code that a signal handler returns to: what the signal interrupted."""
        style = self._style
        sp = inner.registers.get(style.sp)
        if sp is None or not self._is_restorer(mm, inner.pc):
            return None
        names = self._kernel.arch.GREG_NAMES
        if inner.by == "frame pointer" and style.sigframe_mark:
            sp = self._signal_frame(mm, sp, inner.registers[style.frame_pointer])
        data = self._places.peek(mm, sp + style.sigframe_gregs, 8 * len(names))
        if len(data) < 8 * len(names):
            return None
        values = dict(zip(names, Struct(f"<{len(names)}Q").unpack(data), strict=True))
        return Frame(values[style.pc], values, "signal", values[style.pc])

    def _signal_frame(self, mm: MemoryMap, start: int, end: int) -> int:
        """Where the signal's frame begins, from `start` (an address on the stack) on; `start` if it is not found.

        A frame record may lie anywhere in its function's part of the stack, so it does not tell SP. The kernel builds
        a signal's frame right below the record that the handler's frame pointer led to, `end`
        (arch/arm64/kernel/signal.c:get_sigframe()).
        """
        style = self._style
        mark_at = style.sigframe_gregs + 8 * len(self._kernel.arch.GREG_NAMES) + 15 & -16
        data = self._places.peek(mm, start, min(max(end - start, 0), _SIGFRAME_SEARCH_BYTES))
        found = data.find(style.sigframe_mark, mark_at)
        while found >= 0 and found % 16:
            found = data.find(style.sigframe_mark, found + 1)
        return start + found - mark_at if found >= 0 else start

    # -- frame pointers -----------------------------------------------------------------------------------------------
    def _by_chain(self, mm: MemoryMap, inner: Frame, *, innermost: bool) -> Frame | None:
        """Without a table: the frame pointer's chain, but for a function that is not (or no longer) on it."""
        style = self._style
        registers = dict(inner.registers)
        try:
            pushed = self._pushed(mm, inner) if innermost else None
            if pushed is None:
                base = registers[style.frame_pointer]
                registers[style.frame_pointer] = self._word(mm, base)
                pc, registers[style.sp] = self._word(mm, base + 8), base + 16
                by = "frame pointer"
            elif style.link:
                pc, by = registers[style.link], "link"
            else:
                pc, by = self._word(mm, registers[style.sp] + pushed), "stack"
                registers[style.sp] += pushed + 8
        except (Unknown, KeyError):
            return None
        registers[style.pc] = pc
        return Frame(pc, registers, by, pc - 1 & U64_MASK)

    def _pushed(self, mm: MemoryMap, inner: Frame) -> int | None:
        """Bytes between SP and the return address of a function before its prologue, or without one; None after it."""
        symbol = self._places.symbol(mm, inner.pc)
        if symbol is None or symbol.offset > _PROLOGUE_BYTES:
            return None
        pushed = 0
        for line in self._places.disassemble(mm, inner.pc - symbol.offset, symbol.offset):
            if line.address >= inner.pc:
                break
            if line.text.startswith(self._style.prologue):
                here = self._places.disassemble(mm, inner.pc, 1)
                returning = bool(here) and mnemonic(here[0].text) in self._style.returns
                return 0 if returning else None
            pushed += 8 * line.text.startswith("push ") - 8 * line.text.startswith("pop ")
        return pushed

    # -- tables -------------------------------------------------------------------------------------------------------
    def _by_table(self, mm: MemoryMap, inner: Frame) -> Frame:
        """By the rules for `inner`; Unknown."""
        row, return_column, is_signal = self._rules(mm, inner.place)
        names = self._style.columns
        if return_column not in names:
            raise Unknown
        old = inner.registers
        cfa = self._cfa(mm, row["cfa"], old)
        new = dict(old)
        for column, rule in row.items():
            if not isinstance(column, int):
                continue
            name = names.get(column)
            if name is None:
                continue
            value = self._rule(mm, rule, cfa, old.get(name), old)
            if value is None:
                new.pop(name, None)
            else:
                new[name] = value
        pc = new.get(names[return_column])
        if not pc:
            raise Unknown
        if names[return_column] != self._style.pc and return_column in row and names[return_column] != self._style.link:
            new.pop(names[return_column])  # a column that stands for the return address is no register of the caller's
        new[self._style.sp], new[self._style.pc] = cfa, pc
        return Frame(pc, new, "signal" if is_signal else "table", pc if is_signal else pc - 1 & U64_MASK)

    def _cfa(self, mm: MemoryMap, rule: Any, registers: dict[str, int]) -> int:
        if rule.expr is not None:
            return self._expression(mm, rule.expr, registers, None)
        name = self._style.columns.get(rule.reg, "")
        if name not in registers or rule.offset is None:
            raise Unknown
        return int(registers[name] + rule.offset) & U64_MASK

    def _rule(self, mm: MemoryMap, rule: Any, cfa: int, same: int | None, registers: dict[str, int]) -> int | None:
        """The value of one register in the caller; None when it is lost."""
        kind, argument = rule.type, rule.arg
        if kind == "UNDEFINED":
            return None
        if kind == "OFFSET":
            return self._word(mm, cfa + argument)
        if kind == "VAL_OFFSET":
            return int(cfa + argument) & U64_MASK
        if kind == "REGISTER":
            return registers.get(self._style.columns.get(argument, ""))
        if kind == "EXPRESSION":
            return self._word(mm, self._expression(mm, argument, registers, cfa))
        if kind == "VAL_EXPRESSION":
            return self._expression(mm, argument, registers, cfa)
        return same

    def _expression(self, mm: MemoryMap, code: list[int], registers: dict[str, int], start: int | None) -> int:
        """What a DWARF expression comes to. There are no jumps in it, so that it ends."""
        from elftools.common.exceptions import ELFParseError
        from elftools.dwarf.dwarf_expr import DWARFExprParser

        stack = [] if start is None else [start]
        try:
            parser: Any = DWARFExprParser(_structs())
            for operation in parser.parse_expr(code):
                self._operate(mm, operation.op_name.removeprefix("DW_OP_"), operation.args, registers, stack)
                if len(stack) > _STACK_MAX:
                    raise Unknown
            return stack[-1]
        except (IndexError, KeyError, ValueError, RecursionError, ELFParseError):
            raise Unknown from None

    def _operate(
        self, mm: MemoryMap, name: str, arguments: list[Any], registers: dict[str, int], stack: list[int]
    ) -> None:
        if name.startswith("breg"):
            register = registers[self._style.columns[int(name.removeprefix("breg"))]]
            stack.append(register + arguments[0] & U64_MASK)
        elif name.startswith("lit"):
            stack.append(int(name.removeprefix("lit")))
        elif name.startswith("const"):
            stack.append(arguments[0] & U64_MASK)
        elif name == "deref":
            stack.append(self._word(mm, stack.pop()))
        elif name == "plus_uconst":
            stack.append(stack.pop() + arguments[0] & U64_MASK)
        elif name == "dup":
            stack.append(stack[-1])
        else:
            second, first = stack.pop(), stack.pop()
            stack.append(_DYADIC[name](first, second) & U64_MASK)

    # -- finding a rule -----------------------------------------------------------------------------------------------
    def _rules(self, mm: MemoryMap, address: int) -> tuple[dict[Any, Any], int, bool]:
        """(row, column of the return address, is it a signal frame) for `address`; Unknown."""
        vma = mm.vmas.lookup(address)
        read = self._reader(vma) if vma is not None else None
        if vma is None or read is None:
            raise Unknown
        offset = address - vma.vm_start + (vma.vm_pgoff << PAGE_SHIFT)
        try:
            at, entry = _entry(read, offset)
        except (error, IndexError):
            raise Unknown from None
        key = (at, *entry)
        if key not in self._decoded:
            self._decoded[key] = _decode(*key)
        fde = self._decoded[key]
        if fde is None:
            raise Unknown
        virtual = _virtual(read, offset)
        start = fde.header["initial_location"]
        if not start <= virtual < start + fde.header["address_range"]:
            raise Unknown
        # An entry without instructions of its own has no row: then the common entry's last one holds.
        rows = [*fde.cie.get_decoded().table[-1:], *fde.get_decoded().table]
        if not rows:
            raise Unknown
        chosen = rows[0]
        for row in rows[1:]:
            if row["pc"] > virtual:
                break
            chosen = row
        return chosen, fde.cie.header["return_address_register"], b"S" in fde.cie.header["augmentation"]

    def _reader(self, vma: Vma) -> Read | None:
        """How to read the file that `vma` shows."""
        vdso = self._kernel.vdso
        if vma.name == VDSO_NAME and vdso is not None:
            elf = vdso.image.elf
            return lambda offset, count: elf[offset : offset + count]
        mapping = vma.mapping
        if mapping is None or vma.vm_file is None:
            return None
        return lambda offset, count: read_file(mapping, offset, count)


def _segments(read: Read) -> list[tuple[int, ...]]:
    header = _EHDR.unpack(read(0, _EHDR.size))
    if header[0][:5] != b"\x7fELF\x02":
        raise Unknown
    return list(_PHDR.iter_unpack(read(header[5], header[10] * _PHDR.size)))


def _virtual(read: Read, offset: int) -> int:
    """The file's own address of what lies at `offset` of it."""
    for kind, _, start, address, _, size, _, _ in _segments(read):
        if kind == _PT_LOAD and start <= offset < start + size:
            return address + offset - start
    raise Unknown


def _offset(read: Read, virtual: int) -> int:
    for kind, _, start, address, _, size, _, _ in _segments(read):
        if kind == _PT_LOAD and address <= virtual < address + size:
            return virtual - address + start
    raise Unknown


def _entry(read: Read, offset: int) -> tuple[int, tuple[bytes, bytes]]:
    """(the file's own address of the FDE, (its CIE, itself)) for the code at `offset` of a file."""
    header = next((segment for segment in _segments(read) if segment[0] == _PT_GNU_EH_FRAME), None)
    if header is None:
        raise Unknown
    _, _, header_offset, header_address, _, _, _, _ = header
    *form, _, count = _HEADER.unpack(read(header_offset, _HEADER.size))
    if tuple(form) != _HEADER_FORM or count > _ENTRIES_MAX:
        raise Unknown
    pairs = list(_PAIR.iter_unpack(read(header_offset + _HEADER.size, count * _PAIR.size)))
    wanted = _virtual(read, offset) - header_address
    position = bisect_right(pairs, wanted, key=lambda pair: pair[0]) - 1
    if position < 0:
        raise Unknown
    at = header_address + pairs[position][1]
    place = _offset(read, at)
    fde = _block(read, place)
    cie = _block(read, place + 4 - _U32.unpack_from(fde, 4)[0])
    return at, (cie, fde)


def _block(read: Read, place: int) -> bytes:
    length = _U32.unpack(read(place, 4))[0]
    if not 4 <= length < _ENTRY_BYTES_MAX:
        raise Unknown
    return read(place, 4 + length)


@lru_cache(maxsize=1)
def _structs() -> Any:
    from elftools.dwarf.structs import DWARFStructs

    return DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)


def _decode(at: int, cie: bytes, fde: bytes) -> Any:
    """The FDE at the file's own address `at` as pyelftools reads it; None when it can't.

    It gets the two entries alone, one behind the other: to read all of a large file's would take seconds.
    """
    from elftools.dwarf.callframe import CallFrameInfo

    together = cie + fde[:4] + _U32.pack(len(cie) + 4) + fde[8:]
    try:
        frames: Any = CallFrameInfo(BytesIO(together), len(together), at - len(cie), _structs(), for_eh_frame=True)
        decoded = frames.get_entries()[1]
        instructions = [*decoded.cie.instructions, *decoded.instructions]
        columns = {one.args[0] for one in instructions if one.args and _opcode(one) not in _NO_COLUMN}
        if len(instructions) * len(columns) > _ENTRY_WORK_MAX:
            return None
        decoded.get_decoded()
    except Exception:  # noqa: BLE001 (a guest's file may hold anything, and pyelftools raises whatever it meets)
        return None
    return decoded


def _opcode(instruction: Any) -> int:
    """The number of a rule's instruction, which pyelftools has as an enumeration from 0.33 on."""
    return int(getattr(instruction.opcode, "value", instruction.opcode))


_DYADIC: Final[dict[str, Callable[[int, int], int]]] = {
    "plus": lambda first, second: first + second,
    "minus": lambda first, second: first - second,
    "mul": lambda first, second: first * second,
    "and": lambda first, second: first & second,
    "or": lambda first, second: first | second,
    "xor": lambda first, second: first ^ second,
    "shl": lambda first, second: first << min(second, 64),
    "shr": lambda first, second: first >> min(second, 64),
    "ge": lambda first, second: int(first >= second),
}
