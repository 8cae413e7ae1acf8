"""From a number to a handler: `syscalls.tbl` read once, families imported when the first of their calls is made."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.syscalls.declare import REGISTRY, RawHandler, Syscall

if TYPE_CHECKING:
    from collections.abc import Iterable


class TableRow(NamedTuple):
    """One line of the data file. A number is None where the architecture lacks the call; `family` is empty for none."""

    name: str
    x86_64: int | None
    aarch64: int | None
    family: str


@cache
def rows() -> tuple[TableRow, ...]:
    """Every line of `syscalls.tbl`."""
    result = []
    with open(os.path.join(os.path.dirname(__file__), "syscalls.tbl"), encoding="ascii") as data:
        lines = data.read().splitlines()
    for line in lines:
        if line and line[0] != "#":
            name, x86_64, aarch64, family = line.split("\t")
            result.append(
                TableRow(
                    name,
                    None if x86_64 == "-" else int(x86_64),
                    None if aarch64 == "-" else int(aarch64),
                    "" if family == "-" else family,
                )
            )
    return tuple(result)


@cache
def names(arch: str) -> dict[int, TableRow]:
    """Number to table row for `arch` (aarch64 | x86_64)."""
    return {number: row for row in rows() if (number := getattr(row, arch)) is not None}


def declared(row: TableRow) -> Syscall | None:
    """The declaration of a call, its family imported if need be; None where the kernel model lacks the call."""
    if not row.family:
        return None
    import_module(f"kernel_model.syscalls.{row.family}")
    return REGISTRY.get(row.name)


class SyscallTable(dict[int, RawHandler]):
    """Number to compiled handler, filled on first use. A missing number raises KeyError."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self._rows = names(arch)
        self._dropped: frozenset[int] = frozenset()

    def drop(self, numbers: frozenset[int]) -> None:
        """Answer these as numbers that there are not; who asks for their names is told."""
        self._dropped = numbers

    def __missing__(self, number: int) -> RawHandler:
        """Make and keep the handler of `number`."""
        handler = self[number] = self.compile(number)
        return handler

    def compile(self, number: int) -> RawHandler:
        """Import and compile the handler of `number`."""
        call = None if number in self._dropped else declared(self._rows[number])
        if call is None:
            raise KeyError(number)
        return call.compile()

    def numbers(self) -> Iterable[int]:
        """All that the architecture has given out, whether the kernel model has the call or not."""
        return self._rows

    def numbers_of(self, *call_names: str) -> frozenset[int]:
        """The numbers of calls by name, those that the architecture has."""
        return frozenset(number for number, row in self._rows.items() if row.name in call_names)

    def name(self, number: int) -> str:
        """The call's name, or `syscall_0x...` as strace writes it."""
        row = self._rows.get(number)
        return row.name if row else f"syscall_{number:#x}"
