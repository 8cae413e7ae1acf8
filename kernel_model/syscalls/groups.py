"""Sets of calls: what `--bounce-set` chooses from."""

from __future__ import annotations

import os

from kernel_model.syscalls.table import names, rows

MAX_NUMBER = (1 << 29) - 1
"""The largest number that can bounce: above it are REDIRECT and what Linux never gives out."""


def replaced() -> dict[str, str]:
    """The calls of `legacy.tbl`, and what replaces each: `-` for those whose number is empty."""
    result = {}
    with open(os.path.join(os.path.dirname(__file__), "legacy.tbl"), encoding="ascii") as data:
        for line in data:
            if line[0] not in "#\n":
                name, _, successor = line.rstrip().partition("\t")
                result[name] = successor
    return result


def words_of(text: str) -> list[str]:
    """The words of a comma-separated list."""
    return [word.strip() for word in text.split(",")]


def number_of(word: str) -> int | None:
    """The number that a word is, decimal or 0x; None when it is none that could bounce."""
    try:
        number = int(word, 0)
    except ValueError:
        return None
    return number if 0 <= number <= MAX_NUMBER else None


def is_call(word: str) -> bool:
    """Is it a number, or the name of a call of any architecture?"""
    return number_of(word) is not None or any(row.name == word for row in rows())


def numbers(text: str, arch: str) -> frozenset[int] | None:
    """The calls that `text` says (all | legacy | names and numbers) as `arch` numbers them; None for all.

    A name that only another architecture has says nothing here.
    """
    if text == "all":
        return None
    wanted = set(replaced()) if text == "legacy" else set(words_of(text))
    found = {number for number, row in names(arch).items() if row.name in wanted}
    return frozenset(found.union(number for word in wanted if (number := number_of(word)) is not None))
