"""What the commands that run a program need beyond click's own.

Mistakes are told as all others, and a value may come only after `=`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from emu.cli.errors import CliError, Debug

if TYPE_CHECKING:
    from collections.abc import Callable

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class OneOf(click.Choice[str]):
    """One of a few words."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType`."""
        if value not in self.choices:
            assert param is not None
            words = ", ".join(self.choices[:-1])
            raise CliError(f"{param.opts[0]}: '{value}' is no choice: write {words} or {self.choices[-1]}")
        return value


class AfterEquals(click.Option):
    """`--name[=VALUE]`: the value is empty when there is none, and never the next word."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """See `click.Option`."""
        return f"{self.opts[0]}[={self.metavar}]", self.help or ""


class ProgramCommand(click.Command):
    """A command whose options end at its first other word: all from there on is the guest's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`; CliError on a mistake."""
        try:
            return super().parse_args(ctx, self._with_equals(args))
        except click.NoSuchOption as error:
            from difflib import get_close_matches

            name = error.option_name
            near = get_close_matches(name, [name for param in self.params for name in param.opts], 1, 0.7)
            hint = f", did you mean {near[0]}?" if near else ""
            raise CliError(f"{self.name}: no such option '{name}'{hint}: see 'uabi-emu {self.name} --help'") from error
        except click.BadOptionUsage as error:
            name = error.option_name
            option = next(param for param in self.params if name in param.opts)
            if isinstance(option, click.Option) and option.is_flag:
                value = next(word for word in args if word.startswith(f"{name}="))[len(name) :]
                raise CliError(f"{name}: it takes no value: write it without '{value}'") from error
            raise CliError(f"{name}: it needs a value: write {name} {option.metavar}") from error

    def _with_equals(self, args: list[str]) -> list[str]:
        """`args` with an `=` behind each bare `AfterEquals` of ours, so that click takes no word for its value."""
        options = {name: param for param in self.params for name in param.opts if isinstance(param, click.Option)}
        result = list(args)
        position = 0
        while position < len(result) and result[position].startswith("-") and result[position] not in ("-", "--"):
            name, equals, value = result[position].partition("=")
            option = options.get(name)
            if isinstance(option, AfterEquals):
                if equals and not value:
                    raise CliError(f"{name}: no {option.metavar} after '=': name one, or leave '=' away for stderr")
                result[position] = f"{name}={value}"
            elif option is not None and not option.is_flag and not equals:
                position += 1
            position += 1
        return result


def program_command(epilog: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function the command of its name that runs a program; `epilog` says which statuses it has."""
    return click.command(
        cls=ProgramCommand,
        options_metavar="[options]",
        context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
        epilog=epilog,
    )


def guest_words(function: _Function) -> _Function:
    """Give a command its last option, --debug, and PROGRAM with its arguments: `debug` and `words`."""
    function = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")(function)
    return click.option("--debug", is_flag=True, help="Show a traceback when uabi-emu itself fails.")(function)


def check_words(command: str, words: tuple[str, ...], *, debug: bool) -> None:
    """See that there is a PROGRAM for `command`; `debug`: whether --debug was given."""
    Debug.wanted = Debug.wanted or debug
    if not words:
        raise CliError(f"{command}: no PROGRAM: say which program to {command}; see 'uabi-emu {command} --help'")
