"""Classic BPF as seccomp allows it: which programs the kernel takes, and what they compute.

A program is checked by `check_filter` and made a Python function by `compile_filter`. Jumps only go forward, so a
program is an acyclic graph. It is written out as a tree of `if`, with the code that several paths share repeated: a
filter's paths mostly end soon. A program whose tree would be large is written out block after block instead, each
behind the question whether it is next, so that the code is never longer than the program times a constant.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from kernel_model.abi import errno
from kernel_model.abi import seccomp as abi
from kernel_model.seccomp import codes
from kernel_model.types import SyscallError

SockFilter = tuple[int, int, int, int]
"""`struct sock_filter`: code, jt, jf, k."""
Program = tuple[SockFilter, ...]
Evaluate = Callable[[int, int, int, tuple[int, int, int, int, int, int], int, int], int]
"""(nr, arch, instruction pointer, arguments, start of the vDSO, end of the vDSO) to the 32-bit action."""

_OPERATIONS: Final = {
    codes.ALU_ADD: "{a} + {b} & 4294967295",
    codes.ALU_SUB: "{a} - {b} & 4294967295",
    codes.ALU_MUL: "{a} * {b} & 4294967295",
    codes.ALU_DIV: "{a} // {b}",
    codes.ALU_AND: "{a} & {b}",
    codes.ALU_OR: "{a} | {b}",
    codes.ALU_XOR: "{a} ^ {b}",
    codes.ALU_LSH: "{a} << {b} & 4294967295",
    codes.ALU_RSH: "{a} >> {b}",
}
"""What an operation makes of A and its operand, as Python: unsigned words of 32 bits."""
_CONDITIONS: Final = {
    codes.JMP_JEQ: ("{a} == {b}", "{a} != {b}"),
    codes.JMP_JGT: ("{a} > {b}", "{a} <= {b}"),
    codes.JMP_JGE: ("{a} >= {b}", "{a} < {b}"),
    codes.JMP_JSET: ("{a} & {b}", "not {a} & {b}"),
}
"""When a jump is taken, and when it is not."""
_ARITHMETIC: Final = frozenset(_OPERATIONS) | {code | codes.X for code in _OPERATIONS}
_BRANCHES: Final = frozenset(_CONDITIONS) | {code | codes.X for code in _CONDITIONS}
_SHIFTS: Final = (codes.ALU_LSH, codes.ALU_RSH)
_STORES: Final = (codes.ST, codes.STX)
_MEMORY_LOADS: Final = (codes.LD_MEM, codes.LDX_MEM)
_ALLOWED: Final = _ARITHMETIC | _BRANCHES | {
    codes.LD_W_ABS, codes.LD_W_LEN, codes.LDX_W_LEN, codes.LD_IMM, codes.LDX_IMM, codes.LD_MEM,
    codes.LDX_MEM, codes.ST, codes.STX, codes.ALU_NEG, codes.JMP_JA, codes.RET_K, codes.RET_A,
    codes.MISC_TAX, codes.MISC_TXA,
}  # fmt: skip
"""kernel/seccomp.c:seccomp_check_filter(). Sockets' filters have more: loads by byte and by half, MOD."""
_WORDS: Final = {
    0: "nr", 4: "arch", 8: "(ip & 4294967295)", 12: "(ip >> 32)",
    **{16 + 8 * i: f"(args[{i}] & 4294967295)" for i in range(6)},
    **{20 + 8 * i: f"(args[{i}] >> 32)" for i in range(6)},
    64: "(vdso_start & 4294967295)", 68: "(vdso_start >> 32)", 72: "(vdso_end & 4294967295)", 76: "(vdso_end >> 32)",
}  # fmt: skip
"""Offset in `struct seccomp_data` to the word there, as Python."""
_ARCH_OFFSET: Final = 4
_TESTS: Final[dict[int, Callable[[int, int], object]]] = {
    codes.JMP_JEQ: operator.eq,
    codes.JMP_JGT: operator.gt,
    codes.JMP_JGE: operator.ge,
    codes.JMP_JSET: operator.and_,
}
_HEAD: Final = "def evaluate(nr, arch, ip, args, vdso_start, vdso_end):\n"
_DEPTH_MAX: Final = 40
_KEPT: Final = 32
"""So many compiled programs are kept: what starts often installs the same one each time."""


# -- what the kernel takes --------------------------------------------------------------------------------------------
def check_filter(program: Sequence[SockFilter], data_bytes: int) -> None:
    """EINVAL unless seccomp takes the program, whose loads must lie within `data_bytes` of `struct seccomp_data`.

    net/core/filter.c:bpf_check_classic() and kernel/seccomp.c:seccomp_check_filter().
    """
    length = len(program)
    if not 0 < length <= abi.BPF_MAXINSNS:
        raise SyscallError(errno.EINVAL)
    for at, (code, jt, jf, k) in enumerate(program):
        if code not in _ALLOWED:
            raise SyscallError(errno.EINVAL)
        rest = length - at - 1
        if code == codes.LD_W_ABS:
            bad = k >= data_bytes or bool(k & 3)
        elif code in _BRANCHES:
            bad = jt >= rest or jf >= rest
        elif code == codes.JMP_JA:
            bad = k >= rest
        elif code in _STORES or code in _MEMORY_LOADS:
            bad = k >= abi.BPF_MEMWORDS
        else:
            bad = (code == codes.ALU_DIV and not k) or (code in _SHIFTS and k >= 32)
        if bad:
            raise SyscallError(errno.EINVAL)
    if program[-1][0] not in (codes.RET_K, codes.RET_A):
        raise SyscallError(errno.EINVAL)
    _check_load_and_stores(program)


def _check_load_and_stores(program: Sequence[SockFilter]) -> None:
    """EINVAL when a word of M[] is read that some path has not written (net/core/filter.c:check_load_and_stores()).

    What follows a RET is seen as if the RET were not there, as there.
    """
    every = (1 << abi.BPF_MEMWORDS) - 1
    masks = [every] * len(program)
    valid = 0
    for at, (code, jt, jf, k) in enumerate(program):
        valid &= masks[at]
        if code in _STORES:
            valid |= 1 << k
        elif code in _MEMORY_LOADS:
            if not valid >> k & 1:
                raise SyscallError(errno.EINVAL)
        elif code == codes.JMP_JA:
            masks[at + 1 + k] &= valid
            valid = every
        elif code in _BRANCHES:
            masks[at + 1 + jt] &= valid
            masks[at + 1 + jf] &= valid
            valid = every


def converted_length(program: Sequence[SockFilter]) -> int:
    """How many instructions of eBPF Linux makes of a program, which is what the limit on a task's filters counts.

    net/core/filter.c:bpf_convert_filter().
    """
    length = 3  # A, X and the context are set first
    for code, jt, jf, k in program:
        length += 1
        if code == codes.RET_K:
            length += 1
        elif code == codes.ALU_DIV | codes.X:
            length += 4
        elif code in _BRANCHES:
            if not code & codes.X and k >> 31:
                length += 1  # a constant that would be negative goes through a register
            if jf and (jt or code & ~codes.X == codes.JMP_JSET):
                length += 1
    return length


def data_length(program: Sequence[SockFilter]) -> int:
    """What BPF_LEN tells a program: the size of `struct seccomp_data` that it was written for (bytes)."""
    if any(code == codes.LD_W_ABS and k >= abi.SECCOMP_DATA_BYTES for code, _, _, k in program):
        return abi.SECCOMP_DATA_WITH_BOUNDS_BYTES
    return abi.SECCOMP_DATA_BYTES


def always_allows(program: Sequence[SockFilter], number: int, arch: int) -> bool:
    """Does the program return ALLOW for that number whatever else a call is like, and is that quickly seen?

    kernel/seccomp.c:seccomp_is_const_allow().
    """
    a = at = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == codes.LD_W_ABS and k <= _ARCH_OFFSET:
            a = arch if k else number
        elif code in _TESTS:
            at += jt if _TESTS[code](a, k) else jf
        elif code == codes.JMP_JA:
            at += k
        elif code == codes.ALU_AND:
            a &= k
        else:
            return code == codes.RET_K and k == abi.SECCOMP_RET_ALLOW


# -- what it computes -------------------------------------------------------------------------------------------------
@lru_cache(maxsize=_KEPT)
def compile_filter(program: Program) -> Evaluate:
    """A function that evaluates a program that `check_filter` takes."""
    try:
        source = _Tree(program).source()
    except _TooLarge:
        source = _blocks(program)
    scope: dict[str, Evaluate] = {}
    exec(source, {"__builtins__": {}}, scope)
    return scope["evaluate"]


class _TooLarge(Exception):
    """The tree of a program has too many statements, or goes too deep."""


class _State:
    """What the registers hold on one path: a constant, a variable's name, or how a word of the data is read."""

    __slots__ = ("a", "memory", "x")

    def __init__(self, a: str, x: str, memory: dict[int, str]) -> None:
        self.a = a
        self.x = x
        self.memory = memory

    def copy(self) -> _State:
        return _State(self.a, self.x, dict(self.memory))


class _Tree:
    """Writes a program out as a tree: every path has its own code from where it parted from the others."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._lines: list[str] = []
        self._room = 4 * len(program) + 64
        self._variables = 0
        self._data_length = data_length(program)
        self._live = _live(program)

    def source(self) -> str:
        """The function's text; _TooLarge."""
        self._path(0, _State("0", "0", {}), 1)
        return _HEAD + "\n".join(self._lines)

    def _emit(self, depth: int, text: str) -> None:
        self._room -= 1
        if self._room < 0:
            raise _TooLarge
        self._lines.append(" " * depth + text)

    def _keep(self, depth: int, value: str) -> str:
        """The name of a new variable of that value."""
        self._variables += 1
        name = f"v{self._variables}"
        self._emit(depth, f"{name} = {value}")
        return name

    def _path(self, at: int, state: _State, depth: int) -> None:
        """Write out what happens from instruction `at` on."""
        if depth > _DEPTH_MAX:
            raise _TooLarge
        while True:
            code, jt, jf, k = self._program[at]
            if code == codes.RET_K:
                self._emit(depth, f"return {k}")
                return
            if code == codes.RET_A:
                self._emit(depth, f"return {state.a}")
                return
            at += 1
            if code == codes.JMP_JA:
                at += k
            elif code in _BRANCHES:
                at = self._branch(at, (code, jt, jf, k), state, depth)
            else:
                self._straight(code, k, state, depth)

    def _branch(self, at: int, instruction: SockFilter, state: _State, depth: int) -> int:
        """Write out a jump, and what is farther away; where the path itself goes on."""
        code, jt, jf, k = instruction
        if jt == jf:
            return at + jt
        live = self._live[at + jt] | self._live[at + jf]
        if live & 1 and state.a[0] == "(":
            state.a = self._keep(depth, state.a)
        if live & 2 and state.x[0] == "(":
            state.x = self._keep(depth, state.x)
        taken, not_taken = _CONDITIONS[code & ~codes.X]
        condition, far, near = (taken, jt, jf) if jt > jf else (not_taken, jf, jt)
        operand = state.x if code & codes.X else str(k)
        self._emit(depth, f"if {condition.format(a=state.a, b=operand)}:")
        self._path(at + far, state.copy(), depth + 1)
        return at + near

    def _straight(self, code: int, k: int, state: _State, depth: int) -> None:
        """Write out what is no jump."""
        if code == codes.LD_W_ABS:
            state.a = _WORDS[k]
        elif code == codes.LD_IMM:
            state.a = str(k)
        elif code == codes.LDX_IMM:
            state.x = str(k)
        elif code == codes.LD_W_LEN:
            state.a = str(self._data_length)
        elif code == codes.LDX_W_LEN:
            state.x = str(self._data_length)
        elif code == codes.MISC_TAX:
            state.x = state.a
        elif code == codes.MISC_TXA:
            state.a = state.x
        elif code == codes.ST:
            state.memory[k] = state.a
        elif code == codes.STX:
            state.memory[k] = state.x
        elif code == codes.LD_MEM:
            state.a = state.memory[k]
        elif code == codes.LDX_MEM:
            state.x = state.memory[k]
        elif code == codes.ALU_NEG:
            state.a = self._keep(depth, f"-{state.a} & 4294967295")
        else:
            if code == codes.ALU_DIV | codes.X:
                self._emit(depth, f"if not {state.x}: return 0")
            state.a = self._keep(depth, _arithmetic(code, state.a, state.x if code & codes.X else str(k)))


def _arithmetic(code: int, a: str, operand: str) -> str:
    """The new A. A shift by X takes five bits of it (kernel/bpf/core.c:___bpf_prog_run())."""
    operation = code & ~codes.X
    if operation in _SHIFTS and code & codes.X:
        operand = f"({operand} & 31)"
    return _OPERATIONS[operation].format(a=a, b=operand)


def _live(program: Program) -> list[int]:
    """For each instruction, which of A (1) and X (2) are still read from there on."""
    live = [0] * len(program)
    for at in range(len(program) - 1, -1, -1):
        code, jt, jf, k = program[at]
        if code == codes.RET_K:
            continue
        if code == codes.RET_A:
            live[at] = 1
            continue
        after = live[at + 1]
        if code == codes.JMP_JA:
            after = live[at + 1 + k]
        elif code in _BRANCHES:
            after = live[at + 1 + jt] | live[at + 1 + jf] | (3 if code & codes.X else 1)
        elif code in _ARITHMETIC:
            after |= 3 if code & codes.X else 1
        elif code == codes.MISC_TAX:
            after = 1 | (after & 1)
        elif code == codes.MISC_TXA:
            after = 2 | (after & 2)
        elif code in (codes.ST, codes.ALU_NEG):
            after |= 1
        elif code == codes.STX:
            after |= 2
        elif code in (codes.LDX_IMM, codes.LDX_MEM, codes.LDX_W_LEN):
            after &= 1
        else:
            after &= 2
        live[at] = after
    return live


def _blocks(program: Program) -> str:
    """A program block after block: `at` is the instruction to go on at."""
    length = data_length(program)
    targets = {0}
    for at, (code, jt, jf, k) in enumerate(program, 1):
        if code == codes.JMP_JA:
            targets.add(at + k)
        elif code in _BRANCHES:
            targets |= {at + jt, at + jf}
    lines = [" a = x = at = 0"]
    ended = False  # nothing comes here but by a jump
    for at, (code, jt, jf, k) in enumerate(program):
        if at in targets:
            lines.append(f" if at <= {at}:")
            ended = False
        if ended:
            continue
        if code in _BRANCHES:
            condition = _CONDITIONS[code & ~codes.X][0].format(a="a", b="x" if code & codes.X else k)
            lines.append(f"  at = {at + 1 + jt} if {condition} else {at + 1 + jf}")
        elif code == codes.JMP_JA:
            lines.append(f"  at = {at + 1 + k}")
        else:
            lines.append("  " + _statement(code, k, length))
        ended = code in _BRANCHES or code in (codes.JMP_JA, codes.RET_K, codes.RET_A)
    return _HEAD + "\n".join(lines)


def _statement(code: int, k: int, length: int) -> str:
    """One instruction that is no jump, on the variables a, x and m0 to m15."""
    if code in _ARITHMETIC:
        text = f"a = {_arithmetic(code, 'a', 'x' if code & codes.X else str(k))}"
        return f"if not x: return 0\n  {text}" if code == codes.ALU_DIV | codes.X else text
    if code == codes.LD_W_ABS:
        return f"a = {_WORDS[k]}"
    return _STATEMENTS[code].format(k=k, length=length)


_STATEMENTS: Final = {
    codes.RET_K: "return {k}",
    codes.RET_A: "return a",
    codes.LD_IMM: "a = {k}",
    codes.LDX_IMM: "x = {k}",
    codes.LD_W_LEN: "a = {length}",
    codes.LDX_W_LEN: "x = {length}",
    codes.LD_MEM: "a = m{k}",
    codes.LDX_MEM: "x = m{k}",
    codes.ST: "m{k} = a",
    codes.STX: "m{k} = x",
    codes.MISC_TAX: "x = a",
    codes.MISC_TXA: "a = x",
    codes.ALU_NEG: "a = -a & 4294967295",
}
