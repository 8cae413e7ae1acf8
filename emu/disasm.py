"""Disassembly through Capstone, imported when the first instruction is shown."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from capstone import Cs

X86_LONGEST: Final = 15


class Instruction(NamedTuple):
    """One line: where, its bytes, and its text."""

    address: int
    data: bytes
    text: str


class _Style(NamedTuple):
    """What differs between architectures: Capstone's numbers, and the step and size of an instruction (bytes)."""

    cs_arch: str
    cs_mode: str
    step: int
    longest: int


_STYLES: Final = {
    "aarch64": _Style("CS_ARCH_ARM64", "CS_MODE_LITTLE_ENDIAN", 4, 4),
    "x86_64": _Style("CS_ARCH_X86", "CS_MODE_64", 1, X86_LONGEST),
}


@cache
def _engine(arch: str) -> Cs:
    import capstone

    style = _STYLES[arch]
    return capstone.Cs(getattr(capstone, style.cs_arch), getattr(capstone, style.cs_mode))


def longest(arch: str) -> int:
    """The greatest length of an instruction, in bytes."""
    return _STYLES[arch].longest


def decode(arch: str, code: bytes, address: int) -> list[Instruction]:
    """The instructions of `code`, up to the first bytes that are none."""
    return [
        Instruction(at, code[at - address : at - address + size], f"{mnemonic} {operands}".rstrip())
        for at, size, mnemonic, operands in _engine(arch).disasm_lite(code, address)
    ]


def first(arch: str, code: bytes, address: int) -> Instruction | None:
    """The instruction that `code` begins with; None when that is none."""
    for _, size, mnemonic, operands in _engine(arch).disasm_lite(code, address, 1):
        return Instruction(address, code[:size], f"{mnemonic} {operands}".rstrip())
    return None


def before(arch: str, code: bytes, address: int, count: int) -> list[Instruction]:
    """The last `count` instructions in `code`, which ends just before `address`.

    Where instructions differ in length there is no sure way back: the longest run that ends exactly at `address` is
    taken. Give code from the start of a function, and it is exact.
    """
    step = _STYLES[arch].step
    for start in range(len(code) % step, len(code), step):
        found = decode(arch, code[start:], address - len(code) + start)
        if found and found[-1].address + len(found[-1].data) == address:
            return found[-count:]
    return []
