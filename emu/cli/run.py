"""`uabi-emu run [options] PROGRAM [ARGS...]`: build a machine, attach the readers asked for, run."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import click

from emu.cli import values
from emu.cli.errors import CliError, Debug, complain
from emu.cli.options import AfterEquals, OneOf, RunCommand

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.machine import MachineOptions
    from emu.stats import StatisticsFile


@click.command(
    cls=RunCommand,
    options_metavar="[options]",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    epilog="The status is the guest's, or 128+n when signal n killed it; 124 after --timeout, 125 when uabi-emu "
    "failed, 126 when PROGRAM can't be run, 127 when it was not found.",
)
@click.option(
    "--abi",
    type=OneOf(("bare", "bounce")),
    default="bare",
    metavar="bare|bounce",
    help="How calls reach the kernel: bare, the plain instruction (default), or bounced to the vDSO.",
)
@click.option(
    "--root", metavar="DIR", help="Use DIR as the guest's / (a sysroot); what the guest writes stays in memory."
)
@click.option("--isolate", is_flag=True, help="Show the guest nothing of the host but PROGRAM.")
@click.option(
    "--bind",
    multiple=True,
    metavar="HOST:GUEST[:ro|rw]",
    help="Show the host's HOST at GUEST; with rw what the guest writes there reaches the host. Repeatable.",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, or take the host's after --clear-env. Repeatable.",
)
@click.option("--clear-env", is_flag=True, help="Start from an empty environment instead of the host's.")
@click.option("--cwd", metavar="DIR", help="The guest's working directory (default: the one you are in).")
@click.option("--seed", metavar="N", help="Make random bytes and addresses the same in each run.")
@click.option(
    "--time",
    type=OneOf(("host", "virtual")),
    default="host",
    metavar="host|virtual",
    help="Whose clock the guest sees (default: host); on the virtual one sleeping takes no time.",
)
@click.option(
    "--memory", default="4G", metavar="SIZE", help="The most memory the guest gets, as 512M or 4G (default: 4G)."
)
@click.option("--timeout", metavar="SECONDS", help="Kill the guest after that time; the status is 124.")
@click.option(
    "--strace", cls=AfterEquals, metavar="FILE", help="Print system calls as strace does, on stderr or to FILE."
)
@click.option("--stats", metavar="FILE", help="Write counters of the run to FILE as JSON; - is stderr.")
@click.option("--debug", is_flag=True, help="Show a traceback when uabi-emu itself fails.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
def run(words: tuple[str, ...], strace: str | None, stats: str | None, debug: bool, **given: Any) -> int:
    """Run PROGRAM, a Linux program of AArch64 or x86-64. All words after it are the guest's. PROGRAM without a slash is
    looked for in the working directory, then along PATH."""
    Debug.wanted = Debug.wanted or debug
    if not words:
        raise CliError("run: no PROGRAM: say which program to run; see 'uabi-emu run --help'")
    wanted = machine_options(words, **given)

    from emu.machine import Machine, StartError
    from emu.report import FaultReporter

    statistics = _open_statistics(stats)
    trace = _open_trace(strace)
    try:
        machine = Machine(wanted)
    except StartError as error:
        raise CliError(error.message, error.status) from error
    if trace is not None:
        from emu.strace.tracer import Tracer

        Tracer(machine.kernel, trace).attach(machine.task, wanted.program, len(wanted.env))
    report = FaultReporter(machine.kernel, words[0])
    gc.freeze()
    gc.enable()
    status = machine.run()
    report.print()
    if machine.timed_out:
        complain(f"{words[0]}: killed after {wanted.timeout_s:g} s, as --timeout says")
    if statistics is not None:
        statistics.write(machine, status)
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
        return open_output(path)
    except OSError as error:
        raise CliError(f"--strace: {path}: {error.strerror}: name a file that can be written") from error


def machine_options(
    words: tuple[str, ...],
    *,
    abi: str,
    root: str | None,
    isolate: bool,
    bind: tuple[str, ...],
    env: tuple[str, ...],
    clear_env: bool,
    cwd: str | None,
    seed: str | None,
    time: str,
    memory: str,
    timeout: str | None,
) -> MachineOptions:
    """What the command line means for the machine."""
    from emu.machine import MachineOptions

    if root is not None and isolate:
        raise CliError("--isolate: it leaves nothing of --root to show: give one of the two")
    variables = values.environment(env, values.host_environment(), clear=clear_env)
    if root is not None:
        root = values.directory("--root", root)
    elif cwd is not None and not isolate:
        cwd = os.path.join(os.getcwd(), cwd)  # the guest has the host's tree, and so the place we mean
    wanted = MachineOptions(
        program=words[0],
        argv=[os.fsencode(word) for word in words],
        env=variables,
        cwd=cwd,
        root=root,
        isolate=isolate,
        binds=[values.bind(text) for text in bind],
        seed=None if seed is None else values.seed(seed),
        virtual_time=time == "virtual",
        memory_bytes=values.memory_size(memory),
        timeout_s=None if timeout is None else values.timeout_seconds(timeout),
        abi=abi,
        debug=Debug.wanted,
    )
    start = cwd or ("/" if root else os.getcwd())
    program = values.program(wanted.program, variables.get(b"PATH"), root or "/", start)
    return wanted._replace(program=os.path.abspath(program) if isolate else program)
