"""`uabi-emu step [options] PROGRAM [ARGS...]`: run a program piece by piece."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from emu.cli.errors import STATUS_TIMEOUT, CliError
from emu.cli.machine_options import machine_options, machine_options_of, start
from emu.cli.options import check_words, guest_words, program_command

if TYPE_CHECKING:
    from typing import TextIO

_STATUS_COMMAND_FAILED = 1


@program_command(
    "Commands come from the terminal, or line by line from any other standard input; the program reads "
    "/dev/null, or the file of --stdin. 'help' lists the commands. The status is 0, 1 when a command failed (for "
    "example an 'expect' that did not hold), 124 after --timeout, 125 to 127 as for run."
)
@machine_options_of
@click.option("-x", "script", metavar="FILE", help="Take commands from FILE; on a terminal the rest is typed.")
@click.option("--stdin", default=os.devnull, metavar="FILE", help="What the program reads (default: /dev/null).")
@guest_words
def step(words: tuple[str, ...], script: str | None, stdin: str, debug: bool, **given: Any) -> int:
    """Run PROGRAM instruction by instruction, or from bounce to bounce, and look at it in between. All words after it
    are the program's."""
    check_words("step", words, debug=debug)
    wanted = machine_options(words, **given)

    from emu.step.host import StepHost
    from emu.step.prompt import Prompt
    from emu.step.session import Session

    commands = _open_script(script)
    try:
        host = StepHost(stdin)
    except OSError as error:
        where = error.filename or "a standard stream"
        raise CliError(f"--stdin: {where}: {error.strerror}: name a file that can be read") from error
    machine = start(wanted, host)
    prompt = Prompt(host, words[0])
    session = Session(machine, host, prompt)
    prompt.attach(session, commands)
    session.run()
    if machine.timed_out:
        return STATUS_TIMEOUT
    return _STATUS_COMMAND_FAILED if prompt.failed else 0


def _open_script(path: str | None) -> TextIO | None:
    """The file of -x."""
    if path is None:
        return None
    try:
        return open(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise CliError(f"-x: {path}: {error.strerror}: name a file of commands") from error
