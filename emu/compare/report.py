"""What `uabi-emu compare` prints: differences first, then what each call cost; as text or as JSON (docs/compare.md)."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from emu.compare.costs import CallCost, total
from emu.compare.differences import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.table import Table

    from emu.compare.calibration import Calibration
    from emu.compare.corpus import Survival
    from emu.compare.differences import Difference
    from emu.compare.run import Run

FORMAT_VERSION: Final = 2
DIFFERENCES_SHOWN: Final = 20
_NAME_WIDTH, _NUMBER_WIDTH, _GROUP_WIDTH = 20, 10, 33
_ABI_WIDTH: Final = 16
_SERVED_ABI_WIDTH: Final = 32
_NOTHING: Final = CallCost()
_TALK: Final = "2-4x"
"""By how much the base overhead of a call grows, as the talk has it (Linux Plumbers 2019, "Hack #2: Any good?")."""


class Model(NamedTuple):
    """What a way into the kernel is reckoned to take."""

    calibration: Calibration
    entry_ns: float | None
    """One entry into the kernel and the way back, under all ABIs; None: as the calibration has it."""
    instruction_ns: float

    def entry(self, abi: str) -> float:
        """One entry into the kernel under `abi`, and the way back."""
        return self.calibration.entry_ns(abi) if self.entry_ns is None else self.entry_ns

    def frame(self, abi: str) -> float:
        """A signal's frame that a trapped call pushes, there and back."""
        return self.calibration.frame_ns(abi)

    def time_ns(self, abi: str, cost: CallCost) -> float:
        """What the calls took on their way, without their own work."""
        return (
            cost.entries * self.entry(abi) + cost.frames * self.frame(abi) + cost.instructions * self.instruction_ns
        )

    def times(self, abi: str, cost: CallCost, base_abi: str, base: CallCost) -> float | None:
        """How much longer the way is than another; None where that takes no time."""
        whole = self.time_ns(base_abi, base)
        return self.time_ns(abi, cost) / whole if whole else None

    def times_each(self, abi: str, cost: CallCost, base_abi: str) -> float | None:
        """How much longer the way of one old-style call is than one entry under another ABI."""
        if not cost.old_style or not self.entry(base_abi):
            return None
        direct_ns = cost.direct * self.entry(abi)
        return (self.time_ns(abi, cost) - direct_ns) / cost.old_style / self.entry(base_abi)


class Report(NamedTuple):
    """All that there is to say. The first run is the one that the others are compared with."""

    program: str
    runs: Sequence[Run]
    differences: Sequence[Difference]
    model: Model
    seed: int | None
    virtual_time: bool
    survival: Survival | None = None
    """What is known of a corpus."""

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
        group = _cells(report.model, run, every[run.name], base, whole)
        for title, footer in zip(("entries", "instr", "stack", "cost"), group, strict=True):
            head = Text(f"{run.name if title == 'entries' else ''}\n{title}")
            table.add_column(head, footer, justify="right", no_wrap=True)
    for name in report.names():
        if not any(name in run.costs for run in (base, *runs)):
            continue
        own = base.costs.get(name, _NOTHING)
        cells = [name, str(own.calls), str(own.entries)]
        for run in runs:
            cells += _cells(report.model, run, run.costs.get(name, _NOTHING), base, own)
        table.add_row(*map(Text, cells))
    print_table(table, console)


def print_table(table: Table, console: Console) -> None:
    """Without the spaces at the ends of its lines."""
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def _cells(model: Model, run: Run, cost: CallCost, base: Run, own: CallCost) -> list[str]:
    times = _shown(model.times(run.abi, cost, base.abi, own))
    return [str(cost.entries), str(cost.instructions), str(cost.stack_bytes_max), times]


def _shown(times: float | None) -> str:
    return "-" if times is None else f"{times:.2f}x"


class Line(NamedTuple):
    """What the table of ABIs is made of, for one of them."""

    name: str
    abi: str
    """What it is a variant of."""
    calls: CallCost
    """All calls together."""
    whole: CallCost
    """And what libraries did at their start."""
    survive: str
    serves: bool
    """Does its vDSO do anything without the kernel?"""


def avoided(cost: CallCost, base: CallCost) -> int:
    """Kernel entries that `cost` has fewer than one for each bounce, and one for each call that `base` has."""
    return base.calls + cost.old_style - cost.entries if not cost.frames else 0


def abi_lines(report: Report) -> list[Line]:
    """A line for each run."""
    survival, arch = report.survival, report.runs[0].arch
    return [
        Line(
            run.name, run.abi, run.costs.of_calls(), total(run.costs.values()),
            survival.text(arch, run.name) if survival else "-", run.serves,
        )
        for run in report.runs
    ]  # fmt: skip


def print_abis(lines: Sequence[Line], model: Model, console: Console) -> None:
    """One line for each ABI: what an old-style call takes there, and the model's figure for it and for all calls."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("\nabi", overflow="fold", max_width=_ABI_WIDTH)
    for title in ("old-\nstyle", "\nentries", "\nframes", "\ninstr", "\nstack", "\ncorpus", "cost\neach", "\nall"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    base = lines[0]
    for line in lines:
        cost = line.calls
        cells = [line.name, "-", "1.00", "0", "0", "0"]
        times = model.times_each(line.abi, cost, base.abi)
        if cost.old_style:
            each = (cost.entries - cost.direct, cost.frames, cost.instructions)
            entries, frames, instructions = (count / cost.old_style for count in each)
            cells = [line.name, str(cost.old_style), f"{entries:.2f}", f"{frames:.2f}", f"{instructions:.1f}"]
            cells.append(str(cost.stack_bytes_max))
        elif model.entry(base.abi):
            times = model.entry(line.abi) / model.entry(base.abi)
        whole = model.times(line.abi, line.whole, base.abi, base.whole)
        table.add_row(*map(Text, (*cells, line.survive, _shown(times), _shown(whole))))
    print_table(table, console)


def print_served(lines: Sequence[Line], console: Console) -> None:
    """Where kernel entries are from and which are avoided, if a vDSO avoids any; then an empty line."""
    from rich.table import Table
    from rich.text import Text

    if not any(line.serves for line in lines):
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("\nabi", overflow="fold", max_width=_SERVED_ABI_WIDTH)
    for title in ("\nentries", "\nbounces", "real\ncalls", "of these\nothers", "served\nwithout", "entries\navoided"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    base = lines[0].calls
    for line in lines:
        cost = line.calls
        counts = (
            cost.entries, cost.old_style, cost.calls - cost.served, cost.glue, cost.served, avoided(cost, base)
        )  # fmt: skip
        table.add_row(*map(Text, (line.name, *map(str, counts))))
    print_table(table, console)
    console.print()


def print_model(abis: Sequence[str], model: Model, console: Console) -> None:
    """What the model reckons with, and the talk's figure beside ours."""
    entry, instruction = _by_abi(abis, model.entry), f"{model.instruction_ns:g} ns"
    lines = [f"cost, by a model: {entry} for an entry, {instruction} for an instruction of a handler"]
    if frames := _by_abi(abis, model.frame):
        lines[0] += f", {frames} for a signal's frame"
    lines.append(f"calibration '{model.calibration.name}': {model.calibration.host}")
    for abi, source in model.calibration.borrowed(abis):
        lines.append(f"{abi} was not measured there: taken from calibration '{source}', scaled")
    lines.append(f"(the talk: the base overhead of a call increases by {_TALK})")
    for line in lines:
        _wrapped(console, line)


def _wrapped(console: Console, text: str) -> None:
    """Words, in as many lines as it takes."""
    for line in wrap(text, console.width, break_long_words=False, break_on_hyphens=False):
        _say(console, line)


def _by_abi(abis: Sequence[str], price: Callable[[str], float]) -> str:
    """`345 ns`, or what it is under each: `2544 (seccomp), 2401 (dispatch) ns`; nothing where it is nothing."""
    prices: dict[float, list[str]] = {}
    for abi in abis:
        prices.setdefault(price(abi), []).append(abi)
    if len(prices) == 1:
        return f"{next(iter(prices)):.4g} ns" if next(iter(prices)) else ""
    return ", ".join(f"{ns:.4g} ({', '.join(names)})" for ns, names in prices.items() if ns) + " ns"


def _print_summary(report: Report, console: Console) -> None:
    """The table of ABIs, and what it is made of."""
    lines = abi_lines(report)
    print_abis(lines, report.model, console)
    console.print()
    print_served(lines, console)
    print_model(list(dict.fromkeys(run.abi for run in report.runs)), report.model, console)
    if report.survival is not None:
        _wrapped(console, report.survival.words(report.runs[0].arch))


# -- JSON --------------------------------------------------------------------------------------------------------------
def as_json(report: Report) -> str:
    """The same for a program, and all of the differences."""
    document = {
        "version": FORMAT_VERSION,
        "program": report.program,
        "arch": report.runs[0].arch,
        "seed": report.seed,
        "time": "virtual" if report.virtual_time else "host",
        "calibration": report.model.calibration.name,
        "instruction_ns": report.model.instruction_ns,
        "same": not report.differences,
        "differences": [difference._asdict() for difference in report.differences],
        "runs": [_run(report, run) for run in report.runs],
    }
    return json.dumps(document, indent=2)


def _run(report: Report, run: Run) -> dict[str, Any]:
    base = report.runs[0]
    return {
        "abi": run.name,
        "entry_ns": report.model.entry(run.abi),
        "frame_ns": report.model.frame(run.abi),
        "exit_status": run.status,
        "signal": run.signal,
        **{
            name: {"bytes": run.outputs[fd].size_bytes, "sha256": run.outputs[fd].sha256} for fd, name in _STREAMS
        },
        "total": cost_as_json(report.model, run.abi, total(run.costs.values()), base.abi, total(base.costs.values())),
        "syscalls": {
            name: cost_as_json(report.model, run.abi, run.costs[name], base.abi, base.costs.get(name, _NOTHING))
            for name in report.names()
            if name in run.costs
        },
    }


def cost_as_json(model: Model, abi: str, cost: CallCost, base_abi: str, base: CallCost) -> dict[str, Any]:
    """A cost, beside what the first run's is."""
    times, each = model.times(abi, cost, base_abi, base), model.times_each(abi, cost, base_abi)
    return {
        "calls": cost.calls,
        "old_style": cost.old_style,
        "direct": cost.direct,
        "served": cost.served,
        "by_another_call": cost.glue,
        "kernel_entries": cost.entries,
        "entries_avoided": avoided(cost, base),
        "signal_frames": cost.frames,
        "handler_instructions": cost.instructions,
        "user_stack_bytes_max": cost.stack_bytes_max,
        "modelled_ns": round(model.time_ns(abi, cost), 3),
        "times": None if times is None else round(times, 4),
        "times_old_style": None if each is None else round(each, 4),
    }
