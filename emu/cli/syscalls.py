"""`uabi-emu syscalls`: the coverage table, for a person, a program or a document."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from emu.cli.options import OneOf
from emu.coverage import ARCHITECTURES, LEVELS, Entry, entries, summary, totals

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command(options_metavar="[options]")
@click.option(
    "--arch", type=OneOf(ARCHITECTURES), metavar="|".join(ARCHITECTURES), help="Only that architecture (default: both)."
)
@click.option("--only", type=OneOf(LEVELS), metavar="|".join(LEVELS), help="Only calls of which that much is there.")
@click.option(
    "--format",
    "form",
    type=OneOf(("table", "json", "markdown")),
    default="table",
    metavar="table|json|markdown",
    help="A table (default), or one of the others.",
)
def syscalls(arch: str | None, only: str | None, form: str) -> None:
    """Show which of Linux's system calls are there: full, partial (and what is missing), or none."""
    whole = {name: entries(name) for name in ([arch] if arch else ARCHITECTURES)}
    shown = {name: [e for e in of if only in (None, e.level)] for name, of in whole.items()}
    summaries = [summary(name, of) for name, of in whole.items()]
    if form == "json":
        text = _json(whole, shown)
    elif form == "markdown":
        text = _markdown(shown, summaries)
    elif sys.stdout.isatty():
        _print_table(shown, summaries)
        return
    else:
        text = _plain(shown, summaries)
    sys.stdout.write(text)


def _json(whole: Mapping[str, list[Entry]], shown: Mapping[str, list[Entry]]) -> str:
    import json

    document = {
        name: {"totals": totals(whole[name]), "calls": [entry._asdict() for entry in of]} for name, of in shown.items()
    }
    return json.dumps(document, indent=2) + "\n"


def _plain(shown: Mapping[str, list[Entry]], summaries: list[str]) -> str:
    """One line for each call, for grep and awk: architecture, number, name, level, what is missing."""
    lines = [
        f"{name}\t{entry.number}\t{entry.name}\t{entry.level}\t{entry.missing}".rstrip()
        for name, of in shown.items()
        for entry in of
    ]
    return "\n".join([*lines, *(f"# {line}" for line in summaries)]) + "\n"


def _by_name(shown: Mapping[str, list[Entry]]) -> list[tuple[str, dict[str, Entry]]]:
    """(name, entry by architecture), in alphabetical order."""
    merged: dict[str, dict[str, Entry]] = {}
    for arch, of in shown.items():
        for entry in of:
            merged.setdefault(entry.name, {})[arch] = entry
    return sorted(merged.items())


def _row(name: str, by_arch: dict[str, Entry], architectures: list[str]) -> list[str]:
    entry = next(iter(by_arch.values()))
    numbers = [str(by_arch[arch].number) if arch in by_arch else "-" for arch in architectures]
    return [name, *numbers, entry.level, entry.missing]


def _markdown(shown: Mapping[str, list[Entry]], summaries: list[str]) -> str:
    architectures = list(shown)
    head = ["call", *architectures, "support", "what is missing"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(architectures)}---|---|"]
    lines += [f"| {' | '.join(_row(name, by_arch, architectures))} |" for name, by_arch in _by_name(shown)]
    return "\n".join([*lines, "", *(f"- {line}" for line in summaries)]) + "\n"


def markdown() -> str:
    """The whole table for a document."""
    whole = {name: entries(name) for name in ARCHITECTURES}
    return _markdown(whole, [summary(name, of) for name, of in whole.items()])


def _print_table(shown: Mapping[str, list[Entry]], summaries: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    colours = {"full": "green", "partial": "yellow", "none": "red"}
    architectures = list(shown)
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    table.add_column("call", no_wrap=True)
    for arch in architectures:
        table.add_column(arch, justify="right", no_wrap=True)
    table.add_column("support", no_wrap=True)
    table.add_column("what is missing")
    for name, by_arch in _by_name(shown):
        *cells, level, missing = _row(name, by_arch, architectures)
        table.add_row(*cells, Text(level, style=colours[level]), Text(missing))
    console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    console.print(table)
    for line in summaries:
        console.print(line)
