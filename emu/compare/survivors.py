"""What `uabi-emu compare --corpus` prints: each program's verdict under each ABI, then one line for each ABI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from emu.compare.costs import total
from emu.compare.report import FORMAT_VERSION, Line, cost_as_json, print_abis, print_model, print_served, print_table
from emu.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from emu.compare.corpus import Outcome
    from emu.compare.report import Model

_VERDICT_WIDTH: Final = 11
_NARROWEST: Final = 30


def _lines(outcomes: Sequence[Outcome]) -> list[Line]:
    """One for each ABI."""
    found = []
    for name in outcomes[0].verdicts:
        survivors = sum(one.survives(name) for one in outcomes)
        abi = name.partition(":")[0]
        # Only of the programs that survive under each ABI, or the costs would be those of different programs.
        costs = [one.costs[name] for one in outcomes if all(map(one.survives, one.verdicts))]
        calls, whole = total(cost for cost, _ in costs), total(cost for _, cost in costs)
        found.append(Line(name, abi, calls, whole, f"{survivors}/{len(outcomes)}", name in outcomes[0].serving))
    return found


def print_text(path: str, outcomes: Sequence[Outcome], model: Model, console: Console) -> None:
    """For a person."""
    from rich.table import Table
    from rich.text import Text

    first, *others = outcomes[0].verdicts
    console.print(f"{path}: {len(outcomes)} programs, against {first}:", markup=False, highlight=False, soft_wrap=True)
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    heads = [name.replace(":", ":\n").replace("+", "\n+") for name in others]
    taken = sum(max(_VERDICT_WIDTH, *map(len, head.split("\n"))) + 2 for head in heads)
    width = max(_NARROWEST, console.width - taken - 2)
    table.add_column("program", no_wrap=True, overflow="ellipsis", max_width=width)
    for head in heads:
        table.add_column(Text(head), no_wrap=True)
    for one in outcomes:
        text = printable(one.command.text.encode("utf-8", "surrogateescape"))
        table.add_row(*map(Text, (text, *(one.verdicts[name] for name in others))))
    print_table(table, console)
    console.print()
    lines = _lines(outcomes)
    print_abis(lines, model, console)
    console.print()
    print_served(lines, console)
    print_model(list(dict.fromkeys(line.abi for line in lines)), model, console)


def as_json(path: str, outcomes: Sequence[Outcome], model: Model) -> str:
    """The same for a program."""
    lines = _lines(outcomes)
    base = lines[0]
    document = {
        "version": FORMAT_VERSION,
        "corpus": path,
        "calibration": model.calibration.name,
        "instruction_ns": model.instruction_ns,
        "programs": [_program(one, model) for one in outcomes],
        "abis": [
            {
                "abi": line.name,
                "survive": sum(one.survives(line.name) for one in outcomes),
                "entry_ns": model.entry(line.abi),
                "frame_ns": model.frame(line.abi),
                "total": cost_as_json(model, line.abi, line.whole, base.abi, base.whole),
                "calls": cost_as_json(model, line.abi, line.calls, base.abi, base.calls),
            }
            for line in lines
        ],
    }
    return json.dumps(document, indent=2)


def _program(one: Outcome, model: Model) -> dict[str, Any]:
    costs = {name: cost for name, (cost, _) in one.costs.items()}
    first = next(iter(costs))
    base = costs[first]
    return {
        "command": printable(one.command.text.encode("utf-8", "surrogateescape")),
        "arch": one.arch,
        "verdicts": one.verdicts,
        "calls": {
            name: cost_as_json(model, name.partition(":")[0], cost, first.partition(":")[0], base)
            for name, cost in costs.items()
        },
    }
