"""Filters: what is taken as one, and what it returns. `tests/seccomp/naive.py` says the same in other words."""

from __future__ import annotations

from random import Random
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.seccomp.bpf import SockFilter, always_allows, check_filter, compile_filter, converted_length
from kernel_model.types import SyscallError
from tests.seccomp import naive, programs
from tests.seccomp.naive import ABS, ALU, IMM, JMP, JUMPS, LD, LEN, MEM, OPERATIONS, RET, ST, A, K, X

DATA = Struct("<II9Q")
AARCH64 = 0xC000_00B7
RETURN = (RET | A, 0, 0, 0)
WORDS = st.integers(0, (1 << 64) - 1) | st.sampled_from(
    [0, 1, 31, 32, 0xFFFF_FFFF, 1 << 32, 1 << 63, (1 << 64) - 1, 0xC000_003E_0000_1234]
)


def accepts(program: list[SockFilter], data_bytes: int = 64) -> bool:
    """Does the model take it? A refusal is EINVAL, always."""
    try:
        check_filter(program, data_bytes)
    except SyscallError as error:
        assert error.errno == errno.EINVAL
        return False
    return True


def run(program: list[SockFilter], words: list[int]) -> int:
    """What the model's filter returns. `words`: nr, arch, then those of 64 bits."""
    nr, arch, ip, *args = words
    a0, a1, a2, a3, a4, a5, start, end = args
    return compile_filter(tuple(program))(nr, arch, ip, (a0, a1, a2, a3, a4, a5), start, end)


def data(words: list[int]) -> bytes:
    return DATA.pack(*words)


def call(**values: int) -> list[int]:
    """nr, arch, ip, a0 to a5, start, end; 0 where nothing is said."""
    names = ("nr", "arch", "ip", "a0", "a1", "a2", "a3", "a4", "a5", "start", "end")
    return [values.get(name, 0) for name in names]


WORDS_OF_A_CALL = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1), *[WORDS] * 9).map(list)
ALL_OFFSETS = tuple(range(0, 80, 4))


@given(st.randoms(use_true_random=False), st.lists(WORDS_OF_A_CALL, min_size=1, max_size=4))
def test_a_filter_returns_what_it_says(random: Random, calls: list[list[int]]) -> None:
    program = programs.valid(random, offsets=ALL_OFFSETS)
    assert accepts(program, 80), program
    for words in calls:
        assert run(program, words) == naive.evaluate(program, data(words)), program
        if always_allows(program, words[0], words[1]):
            assert run(program, words) == programs.ALLOW, program


@given(st.integers(0, 1 << 32), st.lists(WORDS_OF_A_CALL, min_size=1, max_size=4))
def test_a_filter_whose_ways_meet_again_and_again(seed: int, calls: list[list[int]]) -> None:
    """Written out as a tree it would be endless."""
    random = Random(seed)
    program: list[SockFilter] = [(LD | ABS, 0, 0, random.choice(ALL_OFFSETS))]
    while len(program) < 150:
        for _ in range(random.randint(1, 3)):
            program += programs.valid(random, offsets=ALL_OFFSETS)[:-1]
        program.append((JMP | random.choice(tuple(JUMPS.values())) | random.choice((K, X)), 1, 0, 0xFFFF))
        program.append((ALU | OPERATIONS["xor"], 0, 0, programs.constant(random)))
    program.append(RETURN)
    assert accepts(program, 80)
    for words in calls:
        assert run(program, words) == naive.evaluate(program, data(words)), seed


@given(st.randoms(use_true_random=False))
def test_spoilt_programs_are_refused_for_what_the_rules_say(random: Random) -> None:
    program = programs.spoilt(random, programs.valid(random, offsets=ALL_OFFSETS))
    for data_bytes in (64, 80):
        assert accepts(program, data_bytes) == naive.accepts(program, data_bytes), program


def test_every_code() -> None:
    """Of 65,536 codes, those of the list are allowed and no other; seccomp has no MOD and no loads by byte or half."""
    good = 1, 0, 0, 0
    for code in range(1 << 16):
        program = [(ST, 0, 0, 0), (code, *good[1:3], 0 if code in (LD | ABS, LD | MEM, 0x61, JMP) else 1), RETURN]
        if code & 7 == JMP:
            program[1] = (code, 0, 0, 0)
        assert accepts(program) == (code in naive.CODES), hex(code)


REFUSED: dict[str, list[SockFilter]] = {
    "nothing": [],
    "no RET at the end": [(LD | IMM, 0, 0, 0)],
    "a RET, but not at the end": [(RET | K, 0, 0, 0), (LD | IMM, 0, 0, 0)],
    "RET X": [(RET | X, 0, 0, 0)],
    "a load that is not aligned": [(LD | ABS, 0, 0, 2), RETURN],
    "a load past the data": [(LD | ABS, 0, 0, 64), RETURN],
    "a load far past the data": [(LD | ABS, 0, 0, 0xFFFF_FFFC), RETURN],
    "a socket's ancillary word": [(LD | ABS, 0, 0, 0xFFFF_F000), RETURN],
    "a half": [(LD | 0x08 | ABS, 0, 0, 0), RETURN],
    "a byte": [(LD | 0x10 | ABS, 0, 0, 0), RETURN],
    "a double word": [(LD | 0x18 | ABS, 0, 0, 0), RETURN],
    "an indirect load": [(LD | 0x40, 0, 0, 0), RETURN],
    "an IP header's length": [(0xB1, 0, 0, 0), RETURN],
    "a load of X from the data": [(0x21, 0, 0, 0), RETURN],
    "a length of a byte": [(LD | 0x10 | LEN, 0, 0, 0), RETURN],
    "MOD": [(ALU | 0x90, 0, 0, 1), RETURN],
    "MOD X": [(ALU | 0x90 | X, 0, 0, 0), RETURN],
    "an operation that is none": [(ALU | 0xB0, 0, 0, 1), RETURN],
    "NEG X": [(ALU | 0x80 | X, 0, 0, 0), RETURN],
    "division by zero": [(ALU | OPERATIONS["div"], 0, 0, 0), RETURN],
    "LSH 32": [(ALU | OPERATIONS["lsh"], 0, 0, 32), RETURN],
    "RSH 32": [(ALU | OPERATIONS["rsh"], 0, 0, 32), RETURN],
    "M[16] read": [(LD | MEM, 0, 0, 16), RETURN],
    "M[16] written": [(ST, 0, 0, 16), RETURN],
    "M[0] never written": [(LD | MEM, 0, 0, 0), RETURN],
    "M[0] written on one way only": [(JMP | JUMPS["jeq"], 1, 0, 0), (ST, 0, 0, 0), (LD | MEM, 0, 0, 0), RETURN],
    "M[0] jumped over": [(JMP, 0, 0, 1), (ST, 0, 0, 0), (LD | MEM, 0, 0, 0), RETURN],
    "JA past the end": [(JMP, 0, 0, 1), RETURN],
    "JA back": [(JMP, 0, 0, 0xFFFF_FFFF), RETURN],
    "true past the end": [(JMP | JUMPS["jeq"], 1, 0, 0), RETURN],
    "false past the end": [(JMP | JUMPS["jeq"], 0, 1, 0), RETURN],
    "a jump that is none": [(JMP | 0x50, 0, 0, 0), RETURN],
    "an instruction too many": [(LD | IMM, 0, 0, 0)] * 4096 + [RETURN],
}


@pytest.mark.parametrize("program", REFUSED.values(), ids=REFUSED)
def test_refused(program: list[SockFilter]) -> None:
    assert not accepts(program)
    assert not naive.accepts(program, 64)


def test_the_longest_programs() -> None:
    assert run([(LD | IMM, 0, 0, 7)] * 4095 + [RETURN], call()) == 7
    chain = [(LD | ABS, 0, 0, 0)]
    for value in range(2047):
        chain += [(JMP | JUMPS["jeq"], 0, 1, value), (RET | K, 0, 0, value + 1)]
    chain.append(RETURN)
    assert len(chain) == 4096
    assert [run(chain, call(nr=nr)) for nr in (0, 1000, 2046, 2047)] == [1, 1001, 2047, 2047]
    ladder = [(LD | ABS, 0, 0, 0)]
    for bit in range(2047):
        ladder += [(JMP | JUMPS["jset"], 0, 1, 1 << bit % 32), (ALU | OPERATIONS["add"], 0, 0, bit)]
    ladder.append(RETURN)
    for nr in (0, 0x5555_5555, 0xFFFF_FFFF):
        assert accepts(ladder)
        assert run(ladder, call(nr=nr)) == naive.evaluate(ladder, data(call(nr=nr)))


def test_the_talks_filter_allows_the_vdso_and_traps_the_rest() -> None:
    start, end = 0xFFFF_94D8_D000, 0xFFFF_94D8_F000
    program = list(programs.slide(AARCH64))
    assert len(program) == 22
    assert accepts(program, 80)
    assert not accepts(program, 64), "Linux's seccomp_data has no bounds"
    allowed = (start, start + 4, end - 4, end - 1)
    for ip in (*allowed, start - 4, start - 1, end, end + 4, 0, start - (1 << 32), start + (1 << 32), (1 << 64) - 1):
        words = call(arch=AARCH64, ip=ip, start=start, end=end)
        assert run(program, words) == (programs.ALLOW if ip in allowed else programs.TRAP), hex(ip)
    assert run(program, call(arch=0xC000_003E, ip=start, start=start, end=end)) == programs.TRAP
    # A vDSO that lies across a 4 GiB boundary, and none at all
    across = call(arch=AARCH64, ip=0x7_0000_0010, start=0x6_FFFF_F000, end=0x7_0000_1000)
    assert run(program, across) == programs.ALLOW
    assert run(program, call(arch=AARCH64, ip=0x1000)) == programs.TRAP


def test_a_program_is_told_the_length_that_it_was_written_for() -> None:
    told = [(LD | LEN, 0, 0, 0), RETURN]
    assert run(told, call()) == 64
    assert run([(LD | ABS, 0, 0, 60), *told], call()) == 64
    assert run([(LD | ABS, 0, 0, 64), *told], call()) == 80


def test_the_length_that_counts_is_that_of_the_converted_program() -> None:
    allow = (RET | K, 0, 0, programs.ALLOW)
    assert converted_length([allow]) == 5
    assert converted_length([RETURN]) == 4
    jumps = {
        (JMP | JUMPS["jeq"], 0, 0, 0): 1, (JMP | JUMPS["jeq"], 1, 0, 0): 1, (JMP | JUMPS["jeq"], 0, 1, 0): 1,
        (JMP | JUMPS["jeq"], 1, 1, 0): 2, (JMP | JUMPS["jset"], 0, 1, 0): 2, (JMP | JUMPS["jset"], 1, 0, 0): 1,
        (JMP | JUMPS["jeq"], 1, 1, 1 << 31): 3, (JMP | JUMPS["jeq"] | X, 1, 1, 1 << 31): 2,
        (ALU | OPERATIONS["div"] | X, 0, 0, 0): 5, (ALU | OPERATIONS["div"], 0, 0, 1): 1,
    }  # fmt: skip
    for instruction, length in jumps.items():
        assert converted_length([instruction, RETURN, RETURN]) == 3 + length + 2, instruction
