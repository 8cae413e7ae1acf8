"""The options of `uabi-emu run`: one table, from which the parser and --help follow.

Not click's parser: it takes as long to import as the rest of a `hello` does, and lacks an option whose value
comes only after `=` (`--strace[=FILE]`). Everything after PROGRAM is the guest's, untouched.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from emu.cli.errors import CliError

FLAG, VALUE, REPEATED, AFTER_EQUALS = range(4)


class Option(NamedTuple):
    """One option. `shape`: FLAG, VALUE, REPEATED or AFTER_EQUALS; `choices`: its only values, if few."""

    shape: int
    metavar: str
    help: str
    choices: tuple[str, ...] = ()


OPTIONS: Final = {
    "--abi": Option(
        VALUE,
        "bare|bounce",
        "How calls reach the kernel: bare, the plain instruction (default), or bounced to the vDSO.",
        ("bare", "bounce"),
    ),
    "--root": Option(VALUE, "DIR", "Use DIR as the guest's / (a sysroot); what the guest writes stays in memory."),
    "--isolate": Option(FLAG, "", "Show the guest nothing of the host but PROGRAM."),
    "--bind": Option(
        REPEATED,
        "HOST:GUEST[:ro|rw]",
        "Show the host's HOST at GUEST; with rw what the guest writes there reaches the host. Repeatable.",
    ),
    "--env": Option(REPEATED, "NAME[=VALUE]", "Set a variable, or take the host's after --clear-env. Repeatable."),
    "--clear-env": Option(FLAG, "", "Start from an empty environment instead of the host's."),
    "--cwd": Option(VALUE, "DIR", "The guest's working directory (default: the one you are in)."),
    "--seed": Option(VALUE, "N", "Make random bytes and addresses the same in each run."),
    "--time": Option(
        VALUE,
        "host|virtual",
        "Whose clock the guest sees (default: host); on the virtual one sleeping takes no time.",
        ("host", "virtual"),
    ),
    "--memory": Option(VALUE, "SIZE", "The most memory the guest gets, as 512M or 4G (default: 4G)."),
    "--timeout": Option(VALUE, "SECONDS", "Kill the guest after that time; the status is 124."),
    "--strace": Option(AFTER_EQUALS, "FILE", "Print system calls as strace does, on stderr or to FILE."),
    "--stats": Option(VALUE, "FILE", "Write counters of the run to FILE as JSON; - is stderr."),
    "--debug": Option(FLAG, "", "Show a traceback when uabi-emu itself fails."),
    "--help": Option(FLAG, "", "Show this and do nothing else."),
}

_USAGE = "Usage: uabi-emu run [options] PROGRAM [ARGS]..."
_ABOUT = (
    "Run PROGRAM, a Linux program of AArch64 or x86-64. All words after it are the guest's. PROGRAM without "
    "a slash is looked for in the working directory, then along PATH."
)
_STATUS = (
    "The status is the guest's, or 128+n when signal n killed it; 124 after --timeout, 125 when uabi-emu "
    "failed, 126 when PROGRAM can't be run, 127 when it was not found."
)


class Parsed:
    """A command line taken apart: `values` by option name (the last one given), `repeated` in order."""

    __slots__ = ("flags", "repeated", "values", "words")

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.values: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}
        self.words: list[str] = []
        """PROGRAM and ARGS."""


def parse(words: list[str]) -> Parsed:
    """Take `words` (all after `uabi-emu run`) apart; CliError on a mistake, but not for a missing PROGRAM."""
    result = Parsed()
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-") or word == "-":
            break
        position += 1
        if word == "--":
            break
        name, equals, value = word.partition("=")
        name = "--help" if name == "-h" else name
        option = OPTIONS.get(name)
        if option is None:
            raise CliError(f"run: no such option '{name}'{_resembling(name)}: see 'uabi-emu run --help'")
        if option.shape == FLAG:
            if equals:
                raise CliError(f"{name}: it takes no value: write it without '={value}'")
            result.flags.add(name)
            continue
        if option.shape == AFTER_EQUALS:
            if equals and not value:
                raise CliError(f"{name}: no {option.metavar} after '=': name one, or leave '=' away for stderr")
            result.values[name] = value
            continue
        if not equals:
            if position == len(words):
                raise CliError(f"{name}: it needs a value: write {name} {option.metavar}")
            value = words[position]
            position += 1
        if option.choices and value not in option.choices:
            raise CliError(f"{name}: '{value}' is no choice: write {' or '.join(option.choices)}")
        if option.shape == REPEATED:
            result.repeated.setdefault(name, []).append(value)
        else:
            result.values[name] = value
    result.words = words[position:]
    return result


def _resembling(name: str) -> str:
    """`, did you mean --x?` for a slip of the finger."""
    from difflib import get_close_matches

    near = get_close_matches(name, OPTIONS, 1, 0.7)
    return f", did you mean {near[0]}?" if near else ""


def help_text(columns: int) -> str:
    """What --help prints, at most `columns` wide."""
    from functools import partial
    from textwrap import wrap as wrap_text

    wrap = partial(wrap_text, break_on_hyphens=False)
    width = min(max(columns, 40), 100)
    heads = []
    for name, option in OPTIONS.items():
        value = f"[={option.metavar}]" if option.shape == AFTER_EQUALS else f" {option.metavar}" * bool(option.metavar)
        heads.append(f"  {name}{value}")
    indent = min(max(map(len, heads)) + 2, width // 2)
    lines = [_USAGE, "", *wrap(_ABOUT, width), "", "Options:"]
    for head, option in zip(heads, OPTIONS.values(), strict=True):
        text = wrap(option.help, width - indent)
        if len(head) + 2 > indent:
            lines.append(head)
            head = ""
        lines.append(head.ljust(indent) + text[0])
        lines += [" " * indent + more for more in text[1:]]
    return "\n".join([*lines, "", *wrap(_STATUS, width)]) + "\n"
