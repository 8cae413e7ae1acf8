"""What `uabi-emu compare` prints: differences first, then what each call cost; as text or as JSON (docs/compare.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from emu.compare.differences import ended
from emu.compare.meter import CallCost, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from emu.compare.differences import Difference
    from emu.compare.run import Run

FORMAT_VERSION: Final = 1
DIFFERENCES_SHOWN: Final = 20
_NAME_WIDTH, _NUMBER_WIDTH, _GROUP_WIDTH = 20, 10, 32
_NOTHING: Final = CallCost()
_TALK: Final = "2-4x"
"""By how much the base overhead of a call grows, as the talk has it (Linux Plumbers 2019, "Hack #2: Any good?")."""


class Model(NamedTuple):
    """What a way into the kernel is reckoned to take."""

    entry_ns: float
    """One entry into the kernel and the way back."""
    instruction_ns: float

    def time_ns(self, cost: CallCost) -> float:
        """What the calls took on their way, without their own work."""
        return cost.entries * self.entry_ns + cost.instructions * self.instruction_ns


class Report(NamedTuple):
    """All that there is to say. The first run is the one that the others are compared with."""

    program: str
    runs: Sequence[Run]
    differences: Sequence[Difference]
    model: Model
    seed: int | None
    virtual_time: bool

    def names(self) -> list[str]:
        """The calls of all runs, those made most often first."""
        first = self.runs[0].costs
        every = {name for run in self.runs for name in run.costs}
        return sorted(every, key=lambda name: (-first.get(name, _NOTHING).calls, name))


# -- text --------------------------------------------------------------------------------------------------------------
def print_text(report: Report, console: Console) -> None:
    """For a person, as wide as the console."""
    first = report.runs[0]
    if report.differences:
        _print_differences(report, console)
    else:
        names = ", ".join(run.name for run in report.runs)
        _say(console, f"{report.program} ({first.arch}) did the same under {names}:")
        outputs = ", ".join(f"{first.outputs[fd].size_bytes} bytes on {name}" for fd, name in _STREAMS)
        _say(console, f"{total(first.costs.values()).calls} system calls, {outputs}, {ended(first)}")
    others = report.runs[1:]
    groups = max(1, (console.width - _NAME_WIDTH - 2 * _NUMBER_WIDTH) // _GROUP_WIDTH)
    for start in range(0, len(others), groups):
        console.print()
        _print_table(report, others[start : start + groups], console)
    console.print()
    _print_summary(report, console)


_STREAMS: Final = ((1, "stdout"), (2, "stderr"))


def _say(console: Console, text: str) -> None:
    """A line as it is, whatever is in it."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_differences(report: Report, console: Console) -> None:
    first = report.runs[0].name
    count = len(report.differences)
    _say(console, f"{report.program} did not do the same: {count} difference{'' if count == 1 else 's'}")
    for difference in report.differences[:DIFFERENCES_SHOWN]:
        where = difference.what
        if difference.task is not None:
            where = f"task {difference.task}, call {difference.entry}, {difference.what}"
        _say(console, f"  {difference.abi} against {first}: {where}: {difference.text}")
    if count > DIFFERENCES_SHOWN:
        _say(console, f"  ... and {count - DIFFERENCES_SHOWN} more")


def _print_table(report: Report, runs: Sequence[Run], console: Console) -> None:
    """One row for each call, a group of columns for each of `runs`, and the total."""
    from rich.table import Table
    from rich.text import Text

    base = report.runs[0]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_footer=True)
    table.add_column("\ncall", "total", overflow="fold", max_width=_NAME_WIDTH)
    every = {run.name: total(run.costs.values()) for run in (base, *runs)}
    whole = every[base.name]
    table.add_column("\ncalls", str(whole.calls), justify="right", no_wrap=True)
    table.add_column(Text(f"{base.name}\nentries"), str(whole.entries), justify="right", no_wrap=True)
    for run in runs:
        group = _cells(report.model, every[run.name], whole)
        for title, footer in zip(("entries", "instr", "stack", "cost"), group, strict=True):
            head = Text(f"{run.name if title == 'entries' else ''}\n{title}")
            table.add_column(head, footer, justify="right", no_wrap=True)
    for name in report.names():
        own = base.costs.get(name, _NOTHING)
        cells = [name, str(own.calls), str(own.entries)]
        for run in runs:
            cells += _cells(report.model, run.costs.get(name, _NOTHING), own)
        table.add_row(*map(Text, cells))
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def _cells(model: Model, cost: CallCost, own: CallCost) -> list[str]:
    return [str(cost.entries), str(cost.instructions), str(cost.stack_bytes_max), _times(model, cost, own)]


def _times(model: Model, cost: CallCost, own: CallCost) -> str:
    """How much longer the way is."""
    whole = model.time_ns(own)
    return f"{model.time_ns(cost) / whole:.2f}x" if whole else "-"


def _print_summary(report: Report, console: Console) -> None:
    """What the columns mean, and the talk's figure beside ours."""
    model = report.model
    base = total(report.runs[0].costs.values())
    entry, instruction = f"{model.entry_ns:g} ns for an entry", f"{model.instruction_ns:g} ns for an instruction"
    _say(console, f"cost, by a model: {entry}, {instruction} of a handler")
    _say(console, f"(the talk: the base overhead of a call increases by {_TALK})")
    for run in report.runs[1:]:
        mine = total(run.costs.values())
        text = f"{run.name}: {mine.bounces} of {mine.calls} calls bounced"
        if mine.bounces and model.entry_ns:
            added = (model.time_ns(mine) - model.time_ns(base)) / mine.bounces
            text += f", at {1 + added / model.entry_ns:.2f}x; all calls: {_times(model, mine, base)}"
        _say(console, text)


# -- JSON --------------------------------------------------------------------------------------------------------------
def as_json(report: Report) -> str:
    """The same for a program, and all of the differences."""
    document = {
        "version": FORMAT_VERSION,
        "program": report.program,
        "arch": report.runs[0].arch,
        "seed": report.seed,
        "time": "virtual" if report.virtual_time else "host",
        "entry_ns": report.model.entry_ns,
        "instruction_ns": report.model.instruction_ns,
        "same": not report.differences,
        "differences": [difference._asdict() for difference in report.differences],
        "runs": [_run(report, run) for run in report.runs],
    }
    return json.dumps(document, indent=2)


def _run(report: Report, run: Run) -> dict[str, Any]:
    base = report.runs[0].costs
    return {
        "abi": run.name,
        "exit_status": run.status,
        "signal": run.signal,
        **{
            name: {"bytes": run.outputs[fd].size_bytes, "sha256": run.outputs[fd].sha256} for fd, name in _STREAMS
        },
        "total": _cost(report.model, total(run.costs.values()), total(base.values())),
        "syscalls": {
            name: _cost(report.model, run.costs[name], base.get(name, _NOTHING))
            for name in report.names()
            if name in run.costs
        },
    }


def _cost(model: Model, cost: CallCost, own: CallCost) -> dict[str, int | float | None]:
    whole = model.time_ns(own)
    return {
        "calls": cost.calls,
        "bounces": cost.bounces,
        "kernel_entries": cost.entries,
        "handler_instructions": cost.instructions,
        "user_stack_bytes_max": cost.stack_bytes_max,
        "modelled_ns": round(model.time_ns(cost), 3),
        "times": round(model.time_ns(cost) / whole, 4) if whole else None,
    }
