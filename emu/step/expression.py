"""Expressions over registers, functions and memory: `sp + 16`, `u64[frame]`, `x8 == __NR_getppid | redirect`.

Numbers are 64 bits wide and unsigned, as registers are. Python's own parser reads them; its operators are the ones
that C has too.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Final

from kernel_model.types import U64_MASK

_LONGEST: Final = 400
_BINARY: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: lambda value, count: value << min(count, 64),
    ast.RShift: lambda value, count: value >> min(count, 64),
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[int], int]]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: lambda value: int(not value),
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[int, int], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIZES: Final = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


class ExpressionError(Exception):
    """It can't be evaluated; the text says why, in a few words."""


Lookup = Callable[[str], int | None]
"""The value of a name; None when there is no such name."""
Peek = Callable[[int, int], bytes]
"""(address, count) -> the guest's bytes there, fewer where nothing is mapped."""


def evaluate(text: str, lookup: Lookup, peek: Peek) -> int:
    """The value of an expression: unsigned, 64 bits. ExpressionError."""
    source = text.strip().replace("$", "").replace("&&", " and ").replace("||", " or ")
    if not source:
        raise ExpressionError("it needs an expression: write for example sp + 16, or u64[frame]")
    if len(source) > _LONGEST:
        raise ExpressionError(f"it is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ExpressionError(f"'{text.strip()}' is no expression: write for example sp + 16, or u64[frame]") from None
    return _value(tree.body, lookup, peek) & U64_MASK


def _value(node: ast.expr, lookup: Lookup, peek: Peek) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return int(node.value) & U64_MASK
    if isinstance(node, ast.Name):
        value = lookup(node.id)
        if value is None:
            raise ExpressionError(f"there is no register, function or value called '{node.id}'")
        return value & U64_MASK
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left, lookup, peek), _value(node.right, lookup, peek)
        try:
            return _BINARY[type(node.op)](left, right) & U64_MASK
        except ZeroDivisionError:
            raise ExpressionError("it divides by zero") from None
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, lookup, peek)) & U64_MASK
    if isinstance(node, ast.Compare):
        return int(_holds(node, lookup, peek))
    if isinstance(node, ast.BoolOp):
        values = (_value(value, lookup, peek) for value in node.values)
        return int(all(values) if isinstance(node.op, ast.And) else any(values))
    return _memory(node, lookup, peek)


def _holds(node: ast.Compare, lookup: Lookup, peek: Peek) -> bool:
    left = _value(node.left, lookup, peek)
    for operation, comparator in zip(node.ops, node.comparators, strict=True):
        if type(operation) not in _COMPARISONS:
            raise ExpressionError("only == != < <= > >= compare")
        right = _value(comparator, lookup, peek)
        if not _COMPARISONS[type(operation)](left, right):
            return False
        left = right
    return True


def _memory(node: ast.expr, lookup: Lookup, peek: Peek) -> int:
    """`u32[address]`, or `[address]` for eight bytes."""
    if isinstance(node, ast.List) and len(node.elts) == 1:
        size, address = 8, node.elts[0]
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _SIZES:
        size, address = _SIZES[node.value.id], node.slice
    else:
        raise ExpressionError("it has something else in it than numbers, names, operators and u64[ADDRESS]")
    at = _value(address, lookup, peek)
    data = peek(at, size)
    if len(data) < size:
        raise ExpressionError(f"nothing is mapped at {at:#x}")
    return int.from_bytes(data, "little")
