"""`uabi-emu run [options] PROGRAM [ARGS...]`: build a machine, attach the readers asked for, run."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from emu.cli import options, values
from emu.cli.errors import CliError, Debug, complain

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.machine import MachineOptions
    from emu.stats import StatisticsFile


def run(words: list[str]) -> int:
    """Carry out `uabi-emu run` with `words` after it; the status for the shell."""
    given = options.parse(words)
    Debug.wanted = Debug.wanted or "--debug" in given.flags
    if "--help" in given.flags:
        from shutil import get_terminal_size

        sys.stdout.write(options.help_text(get_terminal_size().columns))
        return 0
    if not given.words:
        raise CliError("run: no PROGRAM: say which program to run; see 'uabi-emu run --help'")
    wanted = machine_options(given)

    from emu.machine import Machine, StartError
    from emu.report import FaultReporter

    statistics = _open_statistics(given.values.get("--stats"))
    trace = _open_trace(given.values.get("--strace"))
    try:
        machine = Machine(wanted)
    except StartError as error:
        raise CliError(error.message, error.status) from error
    if trace is not None:
        from emu.strace.tracer import Tracer

        Tracer(machine.kernel, trace).attach(machine.task, wanted.program, len(wanted.env))
    report = FaultReporter(machine.kernel, given.words[0])
    gc.freeze()
    gc.enable()
    status = machine.run()
    report.print()
    if machine.timed_out:
        complain(f"{given.words[0]}: killed after {wanted.timeout_s:g} s, as --timeout says")
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


def machine_options(given: options.Parsed) -> MachineOptions:
    """What the command line means for the machine."""
    from emu.machine import MachineOptions

    if "--root" in given.values and "--isolate" in given.flags:
        raise CliError("--isolate: it leaves nothing of --root to show: give one of the two")
    root, cwd, seed, timeout = (given.values.get(name) for name in ("--root", "--cwd", "--seed", "--timeout"))
    isolate = "--isolate" in given.flags
    clear = "--clear-env" in given.flags
    env = values.environment(given.repeated.get("--env", ()), values.host_environment(), clear=clear)
    if root is not None:
        root = values.directory("--root", root)
    elif cwd is not None and not isolate:
        cwd = os.path.join(os.getcwd(), cwd)  # the guest has the host's tree, and so the place we mean
    wanted = MachineOptions(
        program=given.words[0],
        argv=[os.fsencode(word) for word in given.words],
        env=env,
        cwd=cwd,
        root=root,
        isolate=isolate,
        binds=[values.bind(text) for text in given.repeated.get("--bind", ())],
        seed=None if seed is None else values.seed(seed),
        virtual_time=given.values.get("--time") == "virtual",
        memory_bytes=values.memory_size(given.values.get("--memory", "4G")),
        timeout_s=None if timeout is None else values.timeout_seconds(timeout),
        abi=given.values.get("--abi", "bare"),
        debug=Debug.wanted,
    )
    start = cwd or ("/" if root else os.getcwd())
    program = values.program(wanted.program, env.get(b"PATH"), root or "/", start)
    return wanted._replace(program=os.path.abspath(program) if isolate else program)
