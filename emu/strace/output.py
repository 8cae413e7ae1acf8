"""Where a trace goes: stderr, or a file; never a reason for the guest to stop."""

from __future__ import annotations

import os
from collections.abc import Callable


def open_output(path: str, failed: Callable[[OSError], None]) -> Callable[[str], None]:
    """A function that writes text to the file at `path`, or to stderr for an empty one; raises OSError.

    `failed` is called once, when something can't be written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666) if path else 2
    broken = False

    def write(text: str) -> None:
        """All of it, at once, so that a trace is whole up to the moment something goes wrong."""
        nonlocal broken
        data = text.encode()
        try:
            while data and not broken:
                data = data[os.write(fd, data) :]
        except OSError as error:
            broken = True  # nobody reads it, or the disk is full: the guest goes on
            failed(error)

    return write
