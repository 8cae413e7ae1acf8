"""A trace of calls with senseless arguments: a line for each, never an exception, never a flood."""

from __future__ import annotations

import pytest

from emu.strace.tracer import Tracer
from guests.build import ARCHES
from kernel_model.syscalls.table import declared, names
from tests import test_hostile

ROUNDS = 25
LONGEST = 20_000


class TracedBench(test_hostile.Bench):
    """The same, with a tracer on each new machine."""

    def fresh(self) -> None:
        """See `Bench`."""
        self.text = ""
        super().fresh()
        self.model.kernel.events.subscribe(Tracer(self.model.kernel, self._write))

    def _write(self, text: str) -> None:
        self.text += text


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("part", range(4))
def test_senseless_arguments(arch: str, part: int) -> None:
    bench = TracedBench(arch, part)
    for number, row in sorted(names(arch).items()):
        if number % 4 != part or row.name in test_hostile._GONE:
            continue
        for _ in range(ROUNDS if declared(row) else 2):
            args = tuple(bench.value() for _ in range(6))
            bench.text = ""
            try:
                bench.call(number, args)
            except Exception as error:
                error.add_note(f"{row.name}({', '.join(map(hex, args))})")
                raise
            assert f"{row.name}(" in bench.text
            assert len(bench.text) < LONGEST
            if bench.model.task.exit_code is not None:
                bench.fresh()
