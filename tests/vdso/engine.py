"""The image, and what it needs around it, on a bare Unicorn: no kernel, flat memory, calls answered by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import unicorn as uc
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

from vdso_image.vvar import VVAR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdso_image.image import VdsoImage

VDSO = 0x7000_0000
STACK = 0x6000_0000
STACK_BYTES = 0x1_0000
STACK_ARGUMENT = STACK + STACK_BYTES - 256
"""Where C's seventh argument is on x86-64: above the return address."""
RETURN = 0x5000_0000
"""Where a called function returns to."""
DATA = 0x5100_0000
"""A page for what functions write."""
PAGE = 4096
U64_MASK = (1 << 64) - 1

BINDING: Any = uc  # which has no types
Fault = BINDING.UcError

AARCH64 = {f"x{n}": getattr(arm, f"UC_ARM64_REG_X{n}") for n in range(31)} | {
    "sp": arm.UC_ARM64_REG_SP,
    "pc": arm.UC_ARM64_REG_PC,
    "pstate": arm.UC_ARM64_REG_NZCV,
}
X86_64_NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi rip rsp"
X86_64 = {name: getattr(x86, f"UC_X86_REG_{name.upper()}") for name in X86_64_NAMES.split()} | {
    "eflags": x86.UC_X86_REG_EFLAGS
}
REGISTERS = {"aarch64": AARCH64, "x86_64": X86_64}
PC = {"aarch64": "pc", "x86_64": "rip"}
SP = {"aarch64": "sp", "x86_64": "rsp"}
NUMBER = {"aarch64": "x8", "x86_64": "rax"}
FLAGS = {"aarch64": "pstate", "x86_64": "eflags"}
ARGUMENTS = {"aarch64": ["x0", "x1", "x2"], "x86_64": ["rdi", "rsi", "rdx"]}
RESULT = {"aarch64": "x0", "x86_64": "rax"}
SAVED = {
    "aarch64": [f"x{n}" for n in range(18, 30)] + ["sp"],
    "x86_64": ["rbx", "rbp", "r12", "r13", "r14", "r15", "rsp"],
}


class Engine:
    """One CPU with the image mapped, the data page before it, and a stack."""

    def __init__(self, image: VdsoImage, vvar: bytes = b"") -> None:
        self.arch = arch = image.arch
        self.image = image
        self.registers = REGISTERS[arch]
        self.uc: Any
        if arch == "aarch64":
            self.uc = BINDING.Uc(uc.UC_ARCH_ARM64, uc.UC_MODE_LITTLE_ENDIAN)
            self.uc.hook_add(uc.UC_HOOK_INTR, self._aarch64_trap)
        else:
            self.uc = BINDING.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
            self.uc.hook_add(uc.UC_HOOK_INSN, self._x86_64_call, None, 1, 0, x86.UC_X86_INS_SYSCALL)
        self.uc.mem_map(VDSO - VVAR_BYTES, VVAR_BYTES, uc.UC_PROT_READ)
        self.uc.mem_map(VDSO, len(image.elf), uc.UC_PROT_READ | uc.UC_PROT_EXEC)
        self.uc.mem_map(STACK, STACK_BYTES, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
        self.uc.mem_map(RETURN, PAGE)
        self.uc.mem_map(DATA, PAGE, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
        self.uc.mem_write(VDSO, image.elf)
        self.uc.mem_write(VDSO - VVAR_BYTES, vvar.ljust(VVAR_BYTES, b"\0"))
        self.calls: list[tuple[int, ...]] = []
        """Number and first two arguments of each system call."""
        self.answer: Callable[[], int] = lambda: 0

    def __getitem__(self, name: str) -> int:
        value: int = self.uc.reg_read(self.registers[name])
        return value & U64_MASK

    def __setitem__(self, name: str, value: int) -> None:
        self.uc.reg_write(self.registers[name], value)

    def _call(self) -> None:
        arch = self.arch
        self.calls.append((self[NUMBER[arch]] & 0xFFFF_FFFF, *(self[name] for name in ARGUMENTS[arch][:2])))
        self[RESULT[arch]] = self.answer() & U64_MASK

    def _aarch64_trap(self, engine: Any, number: int, data: object) -> None:
        if number != 2:
            raise AssertionError(f"exception {number} at {self['pc']:#x}")
        self._call()

    def _x86_64_call(self, engine: Any, data: object) -> None:
        self["rcx"], self["r11"] = self["rip"] + 2, self["eflags"]
        self._call()

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the image as C would; its result. What C's callee must keep is checked."""
        arch = self.arch
        sp = STACK_ARGUMENT
        for number, register in enumerate(SAVED[arch][:-1]):
            self[register] = 0x1111 * (number + 1)
        if arch == "aarch64":
            self["x30"] = RETURN
        else:
            sp -= 8
            self.uc.mem_write(sp, RETURN.to_bytes(8, "little"))
        self[SP[arch]] = sp
        for register, value in zip(ARGUMENTS[arch], arguments, strict=False):
            self[register] = value & U64_MASK
        before = [self[register] for register in SAVED[arch]]
        self.uc.emu_start(VDSO + self.image.symbols[name], RETURN, count=5000)
        assert self[PC[arch]] == RETURN, "it did not return"
        after = [self[register] for register in SAVED[arch]]
        if arch == "x86_64":
            after[-1] -= 8
        assert after == before, "a register that belongs to the caller"
        return self[RESULT[arch]]
