"""Where a trace goes: a file, stdout, or stderr."""

from __future__ import annotations

import os
from typing import Final

_BUFFER_CHARACTERS: Final = 1 << 16


class Output:
    """A file that is written in large pieces, or a standard stream, which gets each text at once.

    A trace is never a reason for the guest to stop: when nothing can be written any more, it ends (`broken`).
    """

    def __init__(self, path: str | None) -> None:
        """`path`: the file; "-" for stdout, None for stderr. Raises OSError."""
        self.name = {None: "stderr", "-": "stdout"}.get(path, path)
        self._limit = 0
        if path is None or path == "-":
            self.fd = 2 if path is None else 1
        else:
            self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._limit = _BUFFER_CHARACTERS
        self._parts: list[str] = []
        self._length = 0
        self.broken: OSError | None = None

    def write(self, text: str) -> None:
        """Add `text`."""
        self._parts.append(text)
        self._length += len(text)
        if self._length >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Write out what is there."""
        data = "".join(self._parts).encode("utf-8", "surrogateescape")
        self._parts.clear()
        self._length = 0
        try:
            while data and self.broken is None:
                data = data[os.write(self.fd, data) :]
        except OSError as error:
            self.broken = error
