"""Names that a guest chose, made fit for a person's terminal."""

from __future__ import annotations


def printable(name: bytes) -> str:
    """`name` as UTF-8, with what is no UTF-8 or no character to be printed as `\\xnn` or `\\n`."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
