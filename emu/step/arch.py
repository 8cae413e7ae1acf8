"""What stepping must know of an architecture: the names of registers, of instructions, and how unwinding reads them."""

from __future__ import annotations

from typing import Final, NamedTuple

from vdso_image.cfi import COLUMNS


class Style(NamedTuple):
    """One architecture.

    `number`, `flags`, `sp`, `pc`, `frame_pointer`, `link`: registers by name (`link` is empty where calls push).
    `syscalls`, `calls`, `returns`: mnemonics. `prologue`: the instruction after which the frame pointer's chain holds.
    `sigreturn`: what the code that a signal handler returns to begins with; `sigframe_gregs`: how far above SP the
    interrupted registers are then (bytes), in the order of `Arch.GREG_NAMES`; `sigframe_mark`: what follows them at the
    next multiple of 16, empty where the frame pointer's chain tells SP.
    `columns`: DWARF's numbers of registers. `first`: registers that are shown before the others.
    """

    number: str
    flags: str
    sp: str
    pc: str
    frame_pointer: str
    link: str
    syscalls: tuple[str, ...]
    calls: tuple[str, ...]
    returns: tuple[str, ...]
    prologue: str
    sigreturn: tuple[bytes, ...]
    sigframe_gregs: int
    sigframe_mark: bytes
    columns: dict[int, str]
    first: tuple[str, ...]
    halves: dict[str, str]
    """Names of the lower 32 bits of a register."""


def _columns(arch: str) -> dict[int, str]:
    return {column: name for name, column in COLUMNS[arch].items()}


_X86_OLD: Final = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")

STYLES: Final = {
    "aarch64": Style(
        number="x8",
        flags="pstate",
        sp="sp",
        pc="pc",
        frame_pointer="x29",
        link="x30",
        syscalls=("svc",),
        calls=("bl", "blr"),
        returns=("ret",),
        prologue="stp x29, x30",
        sigreturn=(bytes.fromhex("681180d2 010000d4"),),  # mov x8, #139; svc #0
        sigframe_gregs=312,  # siginfo 128, ucontext up to uc_mcontext 176, fault_address 8
        sigframe_mark=bytes.fromhex("01805046 10020000"),  # FPSIMD_MAGIC, and the record's size
        columns=_columns("aarch64"),
        first=(),
        halves={f"w{number}": f"x{number}" for number in range(31)},
    ),
    "x86_64": Style(
        number="rax",
        flags="rflags",
        sp="rsp",
        pc="rip",
        frame_pointer="rbp",
        link="",
        syscalls=("syscall",),
        calls=("call",),
        returns=("ret",),
        prologue="mov rbp, rsp",
        sigreturn=(
            bytes.fromhex("48c7c00f000000 0f05"),  # mov rax, 15; syscall
            bytes.fromhex("b80f000000 0f05"),  # mov eax, 15; syscall
        ),
        sigframe_gregs=40,  # uc_flags, uc_link, uc_stack; the return address is popped already
        sigframe_mark=b"",
        columns=_columns("x86_64"),
        first=("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
        halves={f"e{name}": f"r{name}" for name in (*_X86_OLD, "flags")}
        | {f"r{number}d": f"r{number}" for number in range(8, 16)},
    ),
}


def mnemonic(text: str) -> str:
    """The first word of an instruction."""
    return text.partition(" ")[0]
