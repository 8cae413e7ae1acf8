"""How the command line fails: one line on stderr and a status of its own."""

from __future__ import annotations

import sys
from typing import Final

STATUS_TIMEOUT: Final = 124
STATUS_FAILED: Final = 125
STATUS_NOT_RUNNABLE: Final = 126
STATUS_NOT_FOUND: Final = 127
STATUS_SIGINT: Final = 130
STATUS_SIGPIPE: Final = 141


class CliError(Exception):
    """What a person did or met that ends the run: `message` is `what: where: what to do` on one line."""

    def __init__(self, message: str, status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Debug:
    """Whether --debug was given: only then is a failure of our own shown as a traceback."""

    wanted = False


def complain(message: str) -> None:
    """Say `uabi-emu: message` on stderr, as one line whatever bytes it holds, and never fail at it."""
    line = "uabi-emu: " + message.replace("\n", " ") + "\n"
    try:
        sys.stderr.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # stderr is closed or full; the status still tells
