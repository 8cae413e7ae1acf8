"""The command line: a click group that imports a command when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from emu.cli.errors import Debug

# name: (module, one line for --help). The module has a click command of the same name.
COMMANDS = {
    "run": ("emu.cli.run", "Run a Linux program of AArch64 or x86-64."),
    "compare": ("emu.cli.compare", "Run a program under several ABIs: what differs, what it costs."),
    "step": ("emu.cli.step", "Run a program piece by piece, from bounce to bounce."),
    "trace": ("emu.cli.trace", "Run a program and tell each bounce of it as a story."),
    "syscalls": ("emu.cli.syscalls", "Show which system calls are there, and how much of each."),
    "vdso": ("emu.cli.vdso", "Build, show or check the vDSO images."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by `COMMANDS` and imports only the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, its module imported; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands for --help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """--version: ours, and that of the engine, for bug reports."""
    if not value:
        return
    from importlib.metadata import version

    click.echo(f"uabi-emu {version('uabi-emu')} (unicorn {version('unicorn')})")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    options_metavar="[options]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option("--debug", is_flag=True, help="Show a traceback when uabi-emu itself fails.")
def cli(debug: bool) -> None:
    """Run real Linux programs of AArch64 and x86-64 on a machine and a kernel of our own."""
    Debug.wanted = Debug.wanted or debug


def call(arguments: list[str]) -> int:
    """Carry out a command line; usage mistakes raise CliError as every other."""
    from emu.cli.errors import CliError

    try:
        with cli.make_context("uabi-emu", arguments) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "uabi-emu"
        words = error.format_message().rstrip(".")
        raise CliError(f"{words[:1].lower()}{words[1:]}: see '{command} --help'") from error
    except click.ClickException as error:
        raise CliError(error.format_message()) from error
    return status if isinstance(status, int) else 0
