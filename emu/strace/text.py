"""Text of strings, numbers and times, in strace's manner."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

STRING_LIMIT: Final = 32
"""How many bytes of a string are shown (strace's -s)."""
_NAMED: Final = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def quote(data: bytes, *, more: bool = False) -> str:
    """`"data"`, with C's escapes, and `...` when `more` of it was left out."""
    words = []
    for position, byte in enumerate(data):
        if byte in _NAMED:
            words.append(_NAMED[byte])
        elif 32 <= byte < 127:
            words.append(chr(byte))
        elif data[position + 1 : position + 2].isdigit():
            words.append(f"\\{byte:03o}")  # the next character must not be taken for a part of the number
        else:
            words.append(f"\\{byte:o}")
    return f'"{"".join(words)}"{"..." if more else ""}'


def quote_hex(data: bytes, *, more: bool = False) -> str:
    """The same with every byte as `\\x..`, for what is noise anyway."""
    digits = "".join("\\x%02x" % byte for byte in data)  # noqa: UP031 - no backslash in an f-string before 3.12
    return f'"{digits}"{"..." if more else ""}'


def pointer(value: int) -> str:
    """An address."""
    return f"{value:#x}" if value else "NULL"


def hexadecimal(value: int) -> str:
    """A number in hex; zero is just `0`."""
    return f"{value:#x}" if value else "0"


def octal(value: int) -> str:
    """A number with a leading 0, three digits or more."""
    return f"0{value:02o}"


def date(seconds: int, fraction: str = "") -> str:
    """` /* 2023-11-14T22:13:20+0000 */` of a time since the epoch; nothing for 0 and off the calendar."""
    if not seconds and not fraction:
        return ""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return ""
    return f" /* {moment:%Y-%m-%dT%H:%M:%S}{fraction}+0000 */"
