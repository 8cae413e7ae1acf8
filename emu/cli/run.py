"""`uabi-emu run [options] PROGRAM [ARGS...]`: build a machine, attach the readers asked for, run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emu.cli.errors import STATUS_FAILED, CliError, complain
from emu.cli.machine_options import machine_options, machine_options_of, start
from emu.cli.options import AfterEquals, check_words, guest_words, program_command
from emu.cli.running import run_to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.stats import StatisticsFile


@program_command(
    "The status is the guest's, or 128+n when signal n killed it; 124 after --timeout, 125 when uabi-emu "
    "failed, 126 when PROGRAM can't be run, 127 when it was not found."
)
@machine_options_of
@click.option(
    "--strace", cls=AfterEquals, metavar="FILE", help="Print system calls as strace does, on stderr or to FILE."
)
@click.option("--stats", metavar="FILE", help="Write counters of the run to FILE as JSON; - is stderr.")
@guest_words
def run(words: tuple[str, ...], strace: str | None, stats: str | None, debug: bool, **given: Any) -> int:
    """Run PROGRAM, a Linux program of AArch64 or x86-64. All words after it are the guest's. PROGRAM without a slash is
    looked for in the working directory, then along PATH."""
    check_words("run", words, debug=debug)
    wanted = machine_options(words, **given)

    statistics = _open_statistics(stats)
    trace = _open_trace(strace)
    machine = start(wanted)
    if trace is not None:
        from emu.strace.tracer import Tracer

        Tracer(machine.kernel, trace).attach(machine.task, wanted.program, len(wanted.env))
    status = run_to_its_end(machine, words[0])
    if statistics is not None:
        try:
            statistics.write(machine, status)
        except OSError as error:
            complain(f"--stats: {stats}: {error.strerror}: the counters are lost")
            return STATUS_FAILED
    return status


def _open_statistics(path: str | None) -> StatisticsFile | None:
    """The file of --stats, opened before the run."""
    if path is None:
        return None
    from emu.stats import StatisticsFile

    try:
        return StatisticsFile(path)
    except OSError as error:
        raise CliError(f"--stats: {path}: {error.strerror}: name a file that can be written") from error


def _open_trace(path: str | None) -> Callable[[str], None] | None:
    """The file of --strace, or stderr."""
    if path is None:
        return None
    from emu.strace.output import open_output

    try:
        return open_output(path, lambda error: _ends_early(path, error))
    except OSError as error:
        raise CliError(f"--strace: {path}: {error.strerror}: name a file that can be written") from error


def _ends_early(path: str, error: OSError) -> None:
    """Tell that the trace is not whole, unless nobody wants it any more."""
    if not isinstance(error, BrokenPipeError):
        complain(f"{path or 'stderr'}: {error.strerror}: the trace ends early")
