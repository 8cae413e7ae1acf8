"""`uabi-emu run [options] PROGRAM [ARGS...]`: build a machine, attach the readers asked for, run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from emu.cli import options, values
from emu.cli.errors import CliError, Debug

if TYPE_CHECKING:
    from emu.machine import MachineOptions


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

    try:
        machine = Machine(wanted)
    except StartError as error:
        raise CliError(error.message, error.status) from error
    return machine.run()


def machine_options(given: options.Parsed) -> MachineOptions:
    """What the command line means for the machine."""
    from emu.machine import MachineOptions

    if "--root" in given.values and "--isolate" in given.flags:
        raise CliError("--isolate: it leaves nothing of --root to show: give one of the two")
    root, seed, timeout = (given.values.get(name) for name in ("--root", "--seed", "--timeout"))
    return MachineOptions(
        program=given.words[0],
        argv=[os.fsencode(word) for word in given.words],
        env=values.environment(
            given.repeated.get("--env", ()), os.environb, clear="--clear-env" in given.flags
        ),
        cwd=given.values.get("--cwd"),
        root=None if root is None else values.directory("--root", root),
        isolate="--isolate" in given.flags,
        binds=[values.bind(text) for text in given.repeated.get("--bind", ())],
        seed=None if seed is None else values.seed(seed),
        virtual_time=given.values.get("--time") == "virtual",
        memory_bytes=values.memory_size(given.values.get("--memory", "4G")),
        timeout_s=None if timeout is None else values.timeout_seconds(timeout),
        abi=given.values.get("--abi", "bare"),
        debug=Debug.wanted,
    )
