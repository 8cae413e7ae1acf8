"""Rows of the table in docs/overhead.md are what third-party programs do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import overhead
from tests.real.cases import ARCHES, missing
from tests.test_overhead import ROWS, counted

pytestmark = pytest.mark.real

EVERY = 9
"""One program in so many."""


@pytest.mark.parametrize("arch", ARCHES)
def test_rows_are_what_programs_do(arch: str, tmp_path: Path) -> None:
    absent = [what for what in missing() if what.split() in (["busybox", arch], ["bash-static", arch])]
    if absent:
        pytest.skip(f"could not be fetched: {', '.join(absent)}")
    place = os.getcwd()
    try:
        for job in overhead.jobs([arch], ("applets.tsv",), tmp_path)[::EVERY]:
            assert counted(overhead.measure(job)) == counted(ROWS[arch, job.name]), f"{job.name}: run make overhead"
    finally:
        os.chdir(place)
