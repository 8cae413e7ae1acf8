"""The exact address of a faulting access: Unicorn tells only the page, so the instruction at PC is decoded.

Capstone is imported here and only when a fault has really happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = 4096
_U64 = (1 << 64) - 1
_PAIRS = frozenset(("ldp", "stp", "ldnp", "stnp", "ldpsw", "ldxp", "ldaxp"))


@cache
def _disassembler(arch: str) -> Any:
    import capstone

    if arch == "aarch64":
        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    else:
        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


def _decode(arch: str, code: bytes, pc: int) -> Any:
    """The instruction at `pc`, or None where Capstone knows none."""
    return next(_disassembler(arch).disasm(code, pc, 1), None)


def pick(page: int, candidates: Iterator[int]) -> int:
    """The address in `page` that an access starting at one of `candidates` met first; the page's start if none fits.

    An access that begins in the page before and crosses into this one faults at this page's first byte.
    """
    for address in candidates:
        if address & -_PAGE == page:
            return address
    return page


def aarch64(page: int, code: bytes, pc: int, register: Callable[[str], int]) -> int:
    """The faulting data address of the AArch64 instruction `code` at `pc`. `register`: a register's value by name."""
    from capstone import arm64_const as c

    instruction = _decode("aarch64", code, pc)
    if instruction is None:
        return page

    def candidates() -> Iterator[int]:
        memory = [op for op in instruction.operands if op.type == c.ARM64_OP_MEM]
        for op in memory:
            address = register(instruction.reg_name(op.mem.base)) + op.mem.disp
            if op.mem.index:
                address += _extended(register(instruction.reg_name(op.mem.index)), op)
            address &= (1 << 56) - 1
            yield address
            if instruction.mnemonic in _PAIRS:
                yield address + _pair_step(instruction)
        if not memory:
            for op in instruction.operands:
                if op.type == c.ARM64_OP_IMM:
                    yield op.imm & _U64
                elif op.type == c.ARM64_OP_REG:
                    yield register(instruction.reg_name(op.reg)) & (1 << 56) - 1

    return pick(page, candidates()) if instruction.operands else page


def _pair_step(instruction: Any) -> int:
    """How far the second access of a pair is from the first (bytes)."""
    return {"w": 4, "s": 4, "x": 8, "d": 8, "q": 16}.get(instruction.op_str[:1], 8)


def _extended(value: int, op: Any) -> int:
    """An index register's value as the addressing mode extends and shifts it."""
    from capstone import arm64_const as c

    if op.ext in (c.ARM64_EXT_UXTW, c.ARM64_EXT_SXTW):
        value &= 0xFFFF_FFFF
        if op.ext == c.ARM64_EXT_SXTW:
            value = (value ^ 1 << 31) - (1 << 31)
    shifted: int = value << op.shift.value
    return shifted


def x86_64(
    page: int, code: bytes, pc: int, register: Callable[[str], int], segment_base: Callable[[str], int]
) -> int:
    """The faulting data address of the x86-64 instruction `code` at `pc`. `segment_base`: of `fs` or `gs`."""
    return pick(page, (address for address, _ in _x86_accesses(code, pc, register, segment_base)))


def is_of_stack(
    page: int, code: bytes, pc: int, register: Callable[[str], int], segment_base: Callable[[str], int]
) -> bool:
    """Does the x86-64 instruction `code` at `pc` access `page` through the stack segment?

    What goes by rsp or rbp does, unless it says fs or gs (Intel SDM volume 1, 3.7.4): #SS takes the place of #GP.
    """
    accesses = _x86_accesses(code, pc, register, segment_base)
    return next((of_stack for address, of_stack in accesses if address & -_PAGE == page), False)


def _x86_accesses(
    code: bytes, pc: int, register: Callable[[str], int], segment_base: Callable[[str], int]
) -> Iterator[tuple[int, bool]]:
    """Where the instruction accesses memory, in its order; and is it through the stack segment?"""
    import capstone
    from capstone import x86_const as c

    instruction = _decode("x86_64", code, pc)
    if instruction is None:
        return
    for op in instruction.operands:
        if op.type != c.X86_OP_MEM:
            continue
        address = op.mem.disp
        of_stack = False
        if op.mem.base:
            name = instruction.reg_name(op.mem.base)
            address += pc + instruction.size if name == "rip" else register(name)
            of_stack = name in ("rsp", "rbp", "esp", "ebp")
        if op.mem.index:
            address += register(instruction.reg_name(op.mem.index)) * op.mem.scale
        if op.mem.segment in (c.X86_REG_FS, c.X86_REG_GS):
            address += segment_base(instruction.reg_name(op.mem.segment))
            of_stack = False
        yield address & _U64, of_stack
    sp = register("rsp")
    if instruction.group(capstone.CS_GRP_CALL) or instruction.mnemonic.startswith(("push", "enter")):
        yield sp - 8 & _U64, True
        yield sp - 2 & _U64, True
    elif instruction.group(capstone.CS_GRP_RET) or instruction.mnemonic.startswith(("pop", "leave", "iret")):
        yield register("rbp") if instruction.mnemonic == "leave" else sp, True
