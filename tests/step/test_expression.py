"""Expressions: C's arithmetic on 64 bits, and nothing that a person types can do harm."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.step.expression import ExpressionError, evaluate

MASK = (1 << 64) - 1
NAMES = {"x0": 5, "sp": 0x1000, "main": 0x400}
MEMORY = bytes(range(16))


def peek(address: int, count: int) -> bytes:
    return MEMORY[address - 0x1000 : address - 0x1000 + count] if 0x1000 <= address < 0x1010 else b""


def value(text: str) -> int:
    return evaluate(text, NAMES.get, peek)


WORDS = st.integers(0, MASK)
OPERATIONS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip


@given(WORDS, st.sampled_from(sorted(OPERATIONS)), WORDS, st.sampled_from(sorted(OPERATIONS)), WORDS)
def test_arithmetic_is_that_of_64_bits(a: int, first: str, b: int, second: str, c: int) -> None:
    wanted = OPERATIONS[second](OPERATIONS[first](a, b), c) & MASK
    assert value(f"({a:#x} {first} {b}) {second} {c:#x}") == wanted


@given(WORDS, st.integers(0, MASK))
def test_shifts(a: int, count: int) -> None:
    assert value(f"{a} << {count}") == (a << min(count, 64)) & MASK
    assert value(f"{a} >> {count}") == a >> min(count, 64)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$x0 + 1", 6),
        ("u64[sp]", 0x0706050403020100),
        ("[sp + 8]", 0x0F0E0D0C0B0A0908),
        ("u16[sp + 2] == 0x302 && x0 != 4", 1),
        ("x0 < 5 || main == 0x400", 1),
        ("-1", MASK),
        ("~0 >> 60", 15),
        ("1 < x0 < 9", 1),
        ("7 / 2 + 7 % 4", 6),
        ("not x0", 0),
    ],
)
def test_values(text: str, wanted: int) -> None:
    assert value(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "x1", "1 +", "1 / 0", "5 % 0", "u64[0]", "u64[sp + 12]", "main()", "x0.real", "'a'", "1.5", "2 ** 9 ** 9 ** 9",
     "[x for x in y]", "lambda: 0", "u128[sp]", "(" * 300, "-" * 3000 + "1", "1 in 2", "\0", "__import__('os')"],
)  # fmt: skip
def test_what_is_none_says_so(text: str) -> None:
    with pytest.raises(ExpressionError):
        value(text)


@given(st.text(max_size=60))
def test_anything_typed_is_a_value_or_an_error(text: str) -> None:
    try:
        assert 0 <= value(text) <= MASK
    except ExpressionError as error:
        assert str(error)
