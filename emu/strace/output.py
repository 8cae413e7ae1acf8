"""Where a trace goes: stderr, or a file; never a reason for the guest to stop."""

from __future__ import annotations

import os
from collections.abc import Callable


def open_output(path: str) -> Callable[[str], None]:
    """A function that writes text to the file at `path`, or to stderr for an empty one; raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666) if path else 2

    def write(text: str) -> None:
        """All of it, at once, so that a trace is whole up to the moment something goes wrong."""
        data = text.encode()
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError:
            pass  # nobody reads it, or the disk is full: the guest goes on

    return write
