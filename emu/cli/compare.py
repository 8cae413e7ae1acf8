"""`uabi-emu compare [options] PROGRAM [ARGS...]`: the same program under several ABIs, and what each call costs.

With `--corpus FILE`, that for each of many programs.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from emu.cli import values
from emu.cli.errors import STATUS_TIMEOUT, CliError, Debug, complain
from emu.cli.machine_options import machine_options, machine_options_of
from emu.cli.options import OneOf, check_words, guest_words, program_command

if TYPE_CHECKING:
    from rich.console import Console

    from emu.compare.corpus import Command, Outcome
    from emu.compare.differences import Difference
    from emu.compare.report import Model
    from emu.compare.run import Run
    from emu.machine import MachineOptions

STATUS_DIFFERENT: Final = 1
_WIDTH: Final = 80


@program_command(
    "The status is 0 when the program did the same under each ABI, 1 when it did not; 124 after --timeout, 125 "
    "when uabi-emu failed, 126 when PROGRAM can't be run, 127 when it was not found."
)
@click.option(
    "--abis",
    default="bare,bounce",
    metavar="LIST",
    help="What to compare, the others with the first: bare, bounce, seccomp, dispatch, or variants such as "
    "bounce:userspace+legacy (default: bare,bounce).",
)
@click.option(
    "--corpus",
    metavar="FILE",
    help="Compare each command of FILE, one on a line, and tell which of them survive under each ABI.",
)
@click.option(
    "--calibration",
    default="shipped",
    metavar="FILE|NAME",
    help="What entries and signals' frames cost: one that comes with uabi-emu (default: shipped), or a file that "
    "python -m bench.native_calibrate wrote.",
)
@click.option(
    "--entry-ns",
    metavar="NS",
    help="What one entry into the kernel is reckoned to cost under each ABI (default: as the calibration has it).",
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
    corpus: str | None,
    calibration: str,
    entry_ns: str | None,
    instruction_ns: str,
    form: str,
    show_output: bool,
    check: str,
    debug: bool,
    **given: Any,
) -> int:
    """Run PROGRAM once under each ABI. Tell what it did not do the same, then what its system calls cost on their way
    into the kernel. All words after PROGRAM are the guest's."""
    Debug.wanted = Debug.wanted or debug
    if corpus is not None:
        if words:
            raise CliError(f"--corpus: it names the programs, and {words[0]} is one more: leave one of the two away")
        if show_output:
            raise CliError("--show-output: it is for one program: leave it or --corpus away")
    else:
        check_words("compare", words, debug=debug)
    model = _model(calibration, entry_ns, instruction_ns)
    gc.enable()
    if corpus is not None:
        return _compare_many(corpus, abis, model, form, check, given)
    machines = machines_of(abis, words, given)

    from emu.compare.corpus import kept
    from emu.compare.report import Report, as_json, print_text

    runs, differences = _run_all(machines, check)
    late = [run.name for run in runs if run.timed_out]
    if late:
        complain(f"{words[0]}: killed after {machines[0][1].timeout_s:g} s under {late[0]}, as --timeout says")
        return STATUS_TIMEOUT
    if show_output:
        _show(runs[0])
    first = machines[0][1]
    report = Report(words[0], runs, differences, model, first.seed, first.virtual_time, kept())
    if form == "json":
        sys.stdout.write(as_json(report) + "\n")
    else:
        print_text(report, _console())
    return STATUS_DIFFERENT if differences else 0


def _model(calibration: str, entry_ns: str | None, instruction_ns: str) -> Model:
    """What costs are reckoned with."""
    from emu.compare.calibration import BadCalibration, load
    from emu.compare.report import Model

    entry = None if entry_ns is None else values.nanoseconds("--entry-ns", entry_ns)
    try:
        return Model(load(calibration), entry, values.nanoseconds("--instruction-ns", instruction_ns))
    except BadCalibration as error:
        raise CliError(f"--calibration: {error}") from error


def _run_all(
    machines: list[tuple[str, MachineOptions]], check: str, stdin: int = 0, *, patient: bool = False
) -> tuple[list[Run], list[Difference]]:
    """See `emu.compare.run.run_all`; `stdin`: the descriptor that they read."""
    from emu.compare.run import Check, run_all
    from emu.compare.streams import SharedInput
    from emu.machine import StartError

    try:
        return run_all(machines, SharedInput(stdin), Check(check), patient=patient)
    except StartError as error:
        raise CliError(error.message, error.status) from error


def _compare_many(path: str, abis: str, model: Model, form: str, check: str, given: dict[str, Any]) -> int:
    """Each command of a corpus."""
    from emu.compare.corpus import BadCorpus, read
    from emu.compare.survivors import as_json, print_text

    try:
        commands = read(path)
    except BadCorpus as error:
        raise CliError(f"--corpus: {error}") from error
    outcomes = [_compare_one(command, abis, check, given) for command in commands]
    if form == "json":
        sys.stdout.write(as_json(path, outcomes, model) + "\n")
    else:
        print_text(path, outcomes, model, _console())
    return 0 if all(one.survives(name) for one in outcomes for name in one.verdicts) else STATUS_DIFFERENT


def _compare_one(command: Command, abis: str, check: str, given: dict[str, Any]) -> Outcome:
    """One of them."""
    from emu.compare.corpus import outcome

    machines = machines_of(abis, command.words, given)
    try:
        stdin = os.open(command.stdin, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"--corpus: {command.stdin}: {error.strerror}: name a file that can be read") from error
    try:
        return outcome(command, *_run_all(machines, check, stdin, patient=True))
    finally:
        os.close(stdin)


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


def _console() -> Console:
    """Where reports go."""
    from rich.console import Console

    console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if not console.is_terminal:
        return Console(highlight=False, width=_WIDTH, color_system=None)
    console.width = max(console.width, _WIDTH)  # a terminal wraps lines better than a table can be made narrower
    return console
