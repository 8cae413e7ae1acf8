"""Classic BPF for seccomp once more, as plainly as possible: what the kernel takes, and what a program returns."""

from __future__ import annotations

from struct import unpack_from

from kernel_model.seccomp.bpf import SockFilter

WORD = 0xFFFF_FFFF
# class | size or operation | mode or operand, as include/uapi/linux/bpf_common.h has them
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = (mode << 5 for mode in range(6))
OPERATIONS = {"add": 0x00, "sub": 0x10, "mul": 0x20, "div": 0x30, "or": 0x40, "and": 0x50, "lsh": 0x60, "rsh": 0x70,
              "xor": 0xA0}  # fmt: skip
NEG = 0x80
JUMPS = {"jeq": 0x10, "jgt": 0x20, "jge": 0x30, "jset": 0x40}
K, X, A = 0x00, 0x08, 0x10
TAX, TXA = 0x00, 0x80
LOADS = (LD | ABS, LD | LEN, LDX | LEN, LD | IMM, LDX | IMM, LD | MEM, LDX | MEM)
CODES = (
    *LOADS, ST, STX, ALU | NEG, JMP, RET | K, RET | A, MISC | TAX, MISC | TXA,
    *(ALU | operation | operand for operation in OPERATIONS.values() for operand in (K, X)),
    *(JMP | jump | operand for jump in JUMPS.values() for operand in (K, X)),
)  # fmt: skip


def _successors(program: list[SockFilter], at: int) -> list[int]:
    code, jt, jf, k = program[at]
    if code == JMP:
        return [at + 1 + k]
    if code & 7 == JMP:
        return [at + 1 + jt, at + 1 + jf]
    # The kernel's check of the scratch memory goes on behind a RET.
    return [at + 1]


def accepts(program: list[SockFilter], data_bytes: int) -> bool:
    """Does Linux take the program as a filter?"""
    if not 1 <= len(program) <= 4096 or program[-1][0] not in (RET | K, RET | A):
        return False
    for at, (code, _, _, k) in enumerate(program):
        if code not in CODES:
            return False
        if code == LD | ABS and (k % 4 != 0 or k >= data_bytes):
            return False
        if code in (LD | MEM, LDX | MEM, ST, STX) and k > 15:
            return False
        if code == ALU | OPERATIONS["div"] | K and k == 0:
            return False
        if code in (ALU | OPERATIONS["lsh"] | K, ALU | OPERATIONS["rsh"] | K) and k > 31:
            return False
        if code & 7 == JMP and max(_successors(program, at)) >= len(program):
            return False
    return _memory_is_written_first(program)


def _memory_is_written_first(program: list[SockFilter]) -> bool:
    """On every way to a load of M[k] there is a store to it."""
    ways: list[list[set[int]]] = [[] for _ in program]
    ways[0].append(set())
    for at, (code, _, _, k) in enumerate(program):
        written = set.intersection(*ways[at]) if ways[at] else set(range(16))
        if code in (ST, STX):
            written = written | {k}
        if code in (LD | MEM, LDX | MEM) and k not in written:
            return False
        for after in _successors(program, at):
            if after < len(program):
                ways[after].append(written)
    return True


def evaluate(program: list[SockFilter], data: bytes) -> int:
    """What a valid program returns for these bytes of `struct seccomp_data`; 0 when it divides by zero."""
    return execute(program, data) or 0


def execute(program: list[SockFilter], data: bytes) -> int | None:
    """As `evaluate`, but None when it divides by zero."""
    a = x = at = 0
    memory = [0] * 16
    told = 80 if any(code == LD | ABS and k >= 64 for code, _, _, k in program) else 64
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind = code & 7
        if kind == RET:
            return a if code & A else k
        if kind in (LD, LDX):
            mode = code & 0xE0
            value = {IMM: k, LEN: told, MEM: memory[k & 15]}.get(mode)
            if value is None:
                value = unpack_from("<I", data, k)[0]
            a, x = (value, x) if kind == LD else (a, value)
        elif kind in (ST, STX):
            memory[k] = a if kind == ST else x
        elif kind == MISC:
            a, x = (x, x) if code & TXA else (a, a)
        elif kind == JMP:
            operand = x if code & X else k
            jump = code & 0xF0
            if jump == 0:
                at += k
            else:
                taken = {0x10: a == operand, 0x20: a > operand, 0x30: a >= operand, 0x40: a & operand != 0}[jump]
                at += jt if taken else jf
        else:
            operand = x if code & X else k
            operation = code & 0xF0
            if operation == NEG:
                a = -a & WORD
            elif operation == OPERATIONS["div"]:
                if operand == 0:
                    return None
                a //= operand
            elif operation == OPERATIONS["lsh"]:
                a = a << operand % 32 & WORD
            elif operation == OPERATIONS["rsh"]:
                a >>= operand % 32
            else:
                a = {0x00: a + operand, 0x10: a - operand, 0x20: a * operand, 0x40: a | operand, 0x50: a & operand,
                     0xA0: a ^ operand}[operation] & WORD  # fmt: skip
