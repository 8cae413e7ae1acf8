"""`uabi-emu compare [options] PROGRAM [ARGS...]`: the same program under several ABIs, and what each call costs."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from emu.cli import values
from emu.cli.errors import STATUS_TIMEOUT, CliError, complain
from emu.cli.machine_options import machine_options, machine_options_of
from emu.cli.options import OneOf, check_words, guest_words, program_command

if TYPE_CHECKING:
    from emu.compare.report import Report
    from emu.compare.run import Run
    from emu.machine import MachineOptions

STATUS_DIFFERENT = 1
_WIDTH = 80


@program_command(
    "The status is 0 when the program did the same under each ABI, 1 when it did not; 124 after --timeout, 125 "
    "when uabi-emu failed, 126 when PROGRAM can't be run, 127 when it was not found."
)
@click.option(
    "--abis",
    default="bare,bounce",
    metavar="LIST",
    help="What to compare, the others with the first: bare, bounce, or variants such as bounce:task-page+legacy "
    "(default: bare,bounce).",
)
@click.option(
    "--entry-ns",
    default="100",
    metavar="NS",
    help="What one entry into the kernel is reckoned to cost (default: 100).",
)
@click.option(
    "--instruction-ns",
    default="0.3",
    metavar="NS",
    help="What one instruction of a handler is reckoned to cost (default: 0.3).",
)
@click.option(
    "--format",
    "form",
    type=OneOf(("text", "json")),
    default="text",
    metavar="text|json",
    help="A report for people (default), or for programs.",
)
@click.option(
    "--check",
    type=OneOf(("ends", "calls", "state")),
    default="calls",
    metavar="ends|calls|state",
    help="What must be the same: what the program printed and left; its system calls too (default); or registers and "
    "memory around SP after each of these as well.",
)
@click.option("--show-output", is_flag=True, help="Print what the program printed, once, before the report.")
@machine_options_of
@guest_words
def compare(
    words: tuple[str, ...],
    abis: str,
    entry_ns: str,
    instruction_ns: str,
    form: str,
    show_output: bool,
    check: str,
    debug: bool,
    **given: Any,
) -> int:
    """Run PROGRAM once under each ABI. Tell what it did not do the same, then what its system calls cost on their way
    into the kernel. All words after PROGRAM are the guest's."""
    check_words("compare", words, debug=debug)
    costs_ns = values.nanoseconds("--entry-ns", entry_ns), values.nanoseconds("--instruction-ns", instruction_ns)
    machines = machines_of(abis, words, given)

    from emu.compare.report import Model, Report
    from emu.compare.run import Check, run_all
    from emu.compare.streams import SharedInput
    from emu.machine import StartError

    gc.enable()
    try:
        runs, differences = run_all(machines, SharedInput(), Check(check))
    except StartError as error:
        raise CliError(error.message, error.status) from error
    late = [run.name for run in runs if run.timed_out]
    if late:
        complain(f"{words[0]}: killed after {machines[0][1].timeout_s:g} s under {late[0]}, as --timeout says")
        return STATUS_TIMEOUT
    if show_output:
        _show(runs[0])
    first = machines[0][1]
    model = Model(*costs_ns)
    _print(Report(words[0], runs, differences, model, first.seed, first.virtual_time), form)
    return STATUS_DIFFERENT if differences else 0


def _adapt_options() -> None:
    """The machine's options are those of `run`, but that runs are to be the same unless somebody says otherwise."""
    compare.params = [param for param in compare.params if param.name != "abi"]
    for param in compare.params:
        if isinstance(param, click.Option) and param.name == "seed":
            param.default = "1"
            param.help = "What random bytes and addresses are made of, the same in each run (default: 1)."
        elif isinstance(param, click.Option) and param.name == "time":
            param.default = "virtual"
            param.help = "Whose clock the guest sees (default: virtual); on the host's no two runs are the same."


_adapt_options()


def machines_of(abis: str, words: tuple[str, ...], given: dict[str, Any]) -> list[tuple[str, MachineOptions]]:
    """Name and options of each machine."""
    from emu.compare.abis import NoSuchAbi, parse

    try:
        wanted = parse(abis)
    except NoSuchAbi as error:
        raise CliError(f"--abis: {error}") from error
    machines = [(abi.name, machine_options(words, abi=abi.abi, **abi.applied(given))) for abi in wanted]
    for _, options in machines:
        for host, guest, writable in options.binds:
            if writable:
                raise CliError(f"--bind: {host}:{guest}:rw: a run would see what the one before it wrote: bind it ro")
    return machines


def _show(run: Run) -> None:
    """What the program printed, where it would have."""
    for fd, output in sorted(run.outputs.items()):
        data = bytes(output.kept)
        while data:
            data = data[os.write(fd, data) :]
        if output.size_bytes > len(output.kept):
            complain(f"the first {len(output.kept)} of {output.size_bytes} bytes: the rest was not kept")


def _print(report: Report, form: str) -> None:
    if form == "json":
        from emu.compare.report import as_json

        sys.stdout.write(as_json(report) + "\n")
        return
    from rich.console import Console

    from emu.compare.report import print_text

    console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH, color_system=None)
    elif console.width < _WIDTH:
        console.width = _WIDTH  # a terminal wraps lines better than a table can be made narrower
    print_text(report, console)
