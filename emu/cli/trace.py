"""`uabi-emu trace [options] PROGRAM [ARGS...]`: each bounce of a program as a short story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import click

from emu.cli import values
from emu.cli.errors import CliError, complain
from emu.cli.machine_options import machine_options, machine_options_of, start
from emu.cli.options import OneOf, check_words, guest_words, program_command
from emu.cli.running import run_to_its_end

if TYPE_CHECKING:
    from emu.machine import Machine
    from emu.trace.output import Output
    from emu.trace.recorder import Recorder


@program_command(
    "The trace goes to stderr, the program's output where it always goes. The status is as that of run."
)
@machine_options_of
@click.option(
    "--only", metavar="CALLS", help="Tell of these calls only: names and numbers, as in read,openat,64, or legacy."
)
@click.option(
    "--limit", metavar="N", help="After N bounces (N lines with --instructions) the program runs on untraced."
)
@click.option(
    "--format",
    "form",
    type=OneOf(("text", "jsonl")),
    default="text",
    metavar="text|jsonl",
    help="Text for people (default), or JSON Lines for programs.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the trace to FILE instead of stderr; - is stdout.")
@click.option("--whole-handler", is_flag=True, help="Tell each instruction of a handler, however many it has.")
@click.option("--instructions", is_flag=True, help="Write every instruction of the program, a line each, instead.")
@click.option("--registers", is_flag=True, help="With --instructions: and the registers that each one changed.")
@guest_words
def trace(
    words: tuple[str, ...],
    only: str | None,
    limit: str | None,
    form: str,
    output: str | None,
    whole_handler: bool,
    instructions: bool,
    registers: bool,
    debug: bool,
    **given: Any,
) -> int:
    """Run PROGRAM and tell of each system call that bounces: where it was made, the frame, the handler's instructions,
    the real call, and where it returns."""
    check_words("trace", words, debug=debug)
    if registers and not instructions:
        raise CliError("--registers: it is for --instructions: give both, or none")
    if instructions and (only is not None or form != "text" or whole_handler):
        other = "--only" if only is not None else "--whole-handler" if whole_handler else "--format"
        raise CliError(f"{other}: it is for bounces: leave it or --instructions away")
    wanted = machine_options(words, **given)
    count = None if limit is None else values.count("--limit", limit)
    if only is not None:
        values.check_calls(only, "--only")
    file = _open(output)
    machine = start(wanted)
    tracer: Tracing
    between = None
    if instructions:
        from emu.trace.instructions import InstructionTrace

        tracer = lines = InstructionTrace(machine, file, count, registers=registers)
        between = lines.paused
    else:
        tracer = _recorder(machine, file, form, only, count, fold=not whole_handler)
    tracer.attach()
    try:
        status = run_to_its_end(machine, words[0], between)
    finally:
        tracer.close()
        file.flush()
    if file.broken is not None and not isinstance(file.broken, BrokenPipeError):
        complain(f"{file.name}: {file.broken.strerror}: the trace ends early")
    return status


class Tracing(Protocol):
    """A reader of a run."""

    def attach(self) -> None:
        """Begin."""

    def close(self) -> None:
        """The run is over."""


def _open(path: str | None) -> Output:
    """The file of -o, or stderr."""
    from emu.trace.output import Output

    try:
        return Output(path)
    except OSError as error:
        raise CliError(f"-o: {path}: {error.strerror}: name a file that can be written") from error


def _recorder(
    machine: Machine, file: Output, form: str, only: str | None, limit: int | None, *, fold: bool
) -> Recorder:
    """The reader that tells stories."""
    from emu.trace.recorder import Recorder, Teller

    numbers = None
    if only is not None:
        from kernel_model.syscalls import groups

        numbers = groups.numbers(only, machine.kernel.arch.NAME)
    teller: Teller
    if form == "jsonl":
        from emu.trace.jsonl import JsonTeller

        teller = JsonTeller(file.write)
    else:
        from emu.trace.text import TextTeller, wants_colour, width_of

        teller = TextTeller(file.write, colour=wants_colour(file.fd), width=width_of(file.fd), fold=fold)
    return Recorder(machine, teller, file, numbers, limit)
