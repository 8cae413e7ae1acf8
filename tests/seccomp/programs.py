"""Programs to try: random ones, valid and spoilt, and the one of the talk."""

from __future__ import annotations

from random import Random

from kernel_model.seccomp.bpf import SockFilter
from tests.seccomp import naive
from tests.seccomp.naive import (
    ABS,
    ALU,
    IMM,
    JMP,
    JUMPS,
    LD,
    LDX,
    LEN,
    MEM,
    MISC,
    NEG,
    OPERATIONS,
    RET,
    ST,
    STX,
    A,
    K,
    X,
)

ALLOW, TRAP, ERRNO = 0x7FFF_0000, 0x0003_0000, 0x0005_0000
CONSTANTS = (0, 1, 2, 3, 7, 31, 32, 33, 255, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xC000_003E, 0x1234)


def slide(arch: int) -> tuple[SockFilter, ...]:
    """The filter of the talk, instruction for instruction, for an AUDIT_ARCH_*."""
    tax = (MISC | naive.TAX, 0, 0, 0)

    def load(offset: int) -> SockFilter:
        return (LD | ABS, 0, 0, offset)

    def jump(name: str, *, true: int = 0, false: int = 0) -> SockFilter:
        return (JMP | JUMPS[name] | X, true, false, 0)

    return (
        load(4), (JMP | JUMPS["jeq"], 0, 19, arch),
        load(12), tax, load(68), jump("jgt", true=15), jump("jge", false=4),
        load(8), tax, load(64), jump("jgt", true=10),
        load(12), tax, load(76), jump("jge", false=6), jump("jgt", true=4),
        load(8), tax, load(72), jump("jgt", false=1),
        (RET | K, 0, 0, ALLOW),
        (RET | K, 0, 0, TRAP),
    )  # fmt: skip


def constant(random: Random) -> int:
    """A word that something may hinge on."""
    return random.choice(CONSTANTS) if random.random() < 0.7 else random.getrandbits(32)


def valid(random: Random, *, offsets: tuple[int, ...], returns_constants: bool = True) -> list[SockFilter]:
    """A program that the kernel takes and that loads only the words at `offsets`."""
    stored = random.sample(range(16), random.randint(0, 3))
    body: list[SockFilter] = []
    for word in stored:
        body += [(LD | ABS, 0, 0, random.choice(offsets)), (random.choice((ST, STX)), 0, 0, word)]
    length = len(body) + random.randint(0, 24)
    while len(body) < length:
        body.append(_instruction(random, length - len(body), offsets, stored, returns_constants))
    constantly = returns_constants and random.random() < 0.5
    body.append((RET | K, 0, 0, constant(random)) if constantly else (RET | A, 0, 0, 0))
    return body


def _instruction(
    random: Random, rest: int, offsets: tuple[int, ...], stored: list[int], returns_constants: bool
) -> SockFilter:
    """One instruction with `rest` more behind it."""
    kind = random.randrange(20)
    far = min(rest, 256) - 1
    if kind < 5:
        return (LD | ABS, 0, 0, random.choice(offsets))
    if kind < 9:
        jump = random.choice(tuple(JUMPS.values())) | random.choice((K, X))
        return (JMP | jump, random.randint(0, far), random.choice((0, random.randint(0, far))), constant(random))
    if kind < 13:
        name = random.choice(tuple(OPERATIONS))
        operand = random.choice((K, X))
        k = random.randrange(32) if name in ("lsh", "rsh") else constant(random)
        return (ALU | OPERATIONS[name] | operand, 0, 0, k or (1 if name == "div" else 0))
    if kind == 13:
        return (JMP, 0, 0, random.randint(0, far))
    if kind == 14 and random.random() < 0.3:
        return (RET | K, 0, 0, constant(random)) if returns_constants else (RET | A, 0, 0, 0)
    if kind == 15:
        return (random.choice((ST, STX)), 0, 0, random.randrange(16))
    if kind == 16 and stored:
        return (random.choice((LD | MEM, LDX | MEM)), 0, 0, random.choice(stored))
    if kind == 17:
        return (random.choice((LD | IMM, LDX | IMM, LD | LEN, LDX | LEN)), 0, 0, constant(random))
    return (random.choice((MISC | naive.TAX, MISC | naive.TXA, ALU | NEG)), 0, 0, 0)


def spoilt(random: Random, program: list[SockFilter]) -> list[SockFilter]:
    """The program with something changed, so that it may be no good any more."""
    program = list(program)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(program))
        code, jt, jf, k = program[at]
        change = random.randrange(6)
        if change == 0:
            code = random.choice((*naive.CODES, random.randrange(256), random.randrange(1 << 16)))
        elif change == 1:
            k = random.choice((*CONSTANTS, 15, 16, 60, 62, 64, 76, 80, len(program) - at - 1, len(program) - at - 2))
        elif change == 2:
            jt = random.choice((255, max(0, min(255, len(program) - at - random.randint(1, 2)))))
        elif change == 3:
            jf = random.choice((255, max(0, min(255, len(program) - at - random.randint(1, 2)))))
        elif change == 4:
            code = random.choice((LD | MEM, LDX | MEM))
            k &= 15
        elif len(program) > 1:
            del program[random.choice((-1, at))]
            continue
        if at < len(program):
            program[at] = (code, jt, jf, k & 0xFFFF_FFFF)
    return program
