"""`uabi-emu`, the console script: from the words after it to an exit status, and one line per failure."""

from __future__ import annotations

import errno
import gc
import os
import sys

from emu.cli.errors import STATUS_FAILED, STATUS_SIGINT, STATUS_SIGPIPE, CliError, Debug, complain

_OUTPUT_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What writing to a file of the user's may answer; anything else is a fault of ours."""


def main() -> None:
    """Ends the process with the status that README's table says."""
    gc.disable()  # what starting up makes is there to stay; `run` collects from then on
    status = _flushed(_guarded(sys.argv[1:]))
    # All is written and closed. To take the interpreter apart piece by piece would cost a short run a tenth more.
    os._exit(status)


def _guarded(arguments: list[str]) -> int:
    """Carry out one command line; every failure has become a line on stderr and a status."""
    try:
        from emu.cli.group import call

        return call(arguments)
    except CliError as error:
        complain(error.message)
        return error.status
    except KeyboardInterrupt:
        return STATUS_SIGINT
    except BrokenPipeError:
        return STATUS_SIGPIPE
    except Exception as error:
        if Debug.wanted:
            raise
        if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
            return _unwritable(error)
        kind = type(error).__name__
        complain(f"internal error: {kind}: {error}: please report it with what --debug prints")
        return STATUS_FAILED


def _unwritable(error: OSError) -> int:
    """The status when our own output can't be written: 141 without a reader, else 125 and a line."""
    if error.errno == errno.EPIPE:
        return STATUS_SIGPIPE
    complain(f"what is to be printed can't be written: {error.strerror}")
    return STATUS_FAILED


def _flushed(status: int) -> int:
    """`status`, or another when what was printed can't be written, which is no reason for a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return status or _unwritable(error)
    return status


if __name__ == "__main__":
    main()
