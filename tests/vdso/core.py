"""A core file of one stopped task, as the kernel writes it (fs/binfmt_elf.c), as far as gdb wants it."""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINES = {"x86_64": 62, "aarch64": 183}
# the order of struct user_regs_struct; a 0 stands for what is not there
ORDERS = {
    "x86_64": "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi rax rip cs eflags rsp ss 0 0 0 0 0 0".split(),
    "aarch64": [*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"],
}
AT_SYSINFO_EHDR = 33
NT_PRSTATUS, NT_AUXV = 1, 6


def _note(kind: int, data: bytes) -> bytes:
    return pack("<III8s", 5, len(data), kind, b"CORE") + data + bytes(-len(data) % 4)


def write_core(arch: str, registers: Mapping[str, int], memory: Mapping[int, bytes], vdso: int) -> bytes:
    """The file. `memory`: address to contents, whole pages."""
    values = {"cs": 0x33, "ss": 0x2B, "0": 0} | dict(registers)
    gregs = [values[name] & (1 << 64) - 1 for name in ORDERS[arch]]
    status = bytes(12) + pack("<HxxQQIIII64x", 11, 0, 0, 1, 0, 1, 1) + pack(f"<{len(gregs)}Q", *gregs) + bytes(8)
    notes = _note(NT_PRSTATUS, status) + _note(NT_AUXV, pack("<4Q", AT_SYSINFO_EHDR, vdso, 0, 0))
    count = len(memory) + 1
    offset = 64 + 56 * count
    headers = pack("<IIQQQQQQ", 4, 4, offset, 0, 0, len(notes), 0, 4)
    body = notes + bytes(-(offset + len(notes)) % 4096)
    for address, data in sorted(memory.items()):
        headers += pack("<IIQQQQQQ", 1, 7, offset + len(body), address, 0, len(data), len(data), 4096)
        body += data
    ehdr = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + pack(
        "<HHIQQQI6H", 4, MACHINES[arch], 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )
    return ehdr + headers + body
