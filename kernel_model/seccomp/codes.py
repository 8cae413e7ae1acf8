"""The instructions of classic BPF that seccomp allows, as sums: class, operation or size, operand or mode.

include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h.
"""

from __future__ import annotations

from typing import Final

LD_W_ABS: Final = 0x20
LD_W_LEN: Final = 0x80
LDX_W_LEN: Final = 0x81
LD_IMM: Final = 0x00
LDX_IMM: Final = 0x01
LD_MEM: Final = 0x60
LDX_MEM: Final = 0x61
ST: Final = 0x02
STX: Final = 0x03
ALU_ADD: Final = 0x04
ALU_SUB: Final = 0x14
ALU_MUL: Final = 0x24
ALU_DIV: Final = 0x34
ALU_OR: Final = 0x44
ALU_AND: Final = 0x54
ALU_LSH: Final = 0x64
ALU_RSH: Final = 0x74
ALU_NEG: Final = 0x84
ALU_XOR: Final = 0xA4
X: Final = 0x08
"""Added to an operation or a jump: with X instead of k."""
JMP_JA: Final = 0x05
JMP_JEQ: Final = 0x15
JMP_JGT: Final = 0x25
JMP_JGE: Final = 0x35
JMP_JSET: Final = 0x45
RET_K: Final = 0x06
RET_A: Final = 0x16
MISC_TAX: Final = 0x07
MISC_TXA: Final = 0x87
