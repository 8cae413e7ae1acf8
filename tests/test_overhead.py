"""docs/overhead.md: its tables are those of bench/overhead.json, and this is what programs do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import overhead
from vdso_image.image import ARCHITECTURES

KEPT: dict[str, Any] = json.loads(overhead.KEPT.read_text())
ROWS: dict[tuple[str, str], dict[str, Any]] = {(one["arch"], one["name"]): one for one in KEPT["programs"]}
COUNTED = overhead.FIELDS[:-1]
"""Without the handlers' instructions: who changes a handler need not run the whole corpus again."""


@pytest.fixture
def here() -> Iterator[None]:
    """A program is run from its own folder; afterwards we are where we were."""
    place = os.getcwd()
    yield
    os.chdir(place)


def counted(line: dict[str, Any]) -> dict[str, Any]:
    """What must be the same each time that a program is run."""
    counts = [dict(zip(COUNTED, one, strict=False)) for one in line["counts"]]
    return {"counts": counts, "instructions": line["instructions"], "verdicts": line["verdicts"]}


def test_the_document_is_made_of_what_is_kept() -> None:
    text = overhead.DOCUMENT.read_text()
    for name, body in overhead.parts(KEPT).items():
        found = text.partition(overhead.BEGIN.format(name))[2].partition(overhead.END)[0]
        assert found == f"\n\n{body}\n\n", f"'{name}' is another: run python -m bench.overhead --from-json"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_rows_are_what_programs_do(arch: str, tmp_path: Path, here: None) -> None:
    for job in overhead.jobs([arch], (), tmp_path):
        assert counted(overhead.measure(job)) == counted(ROWS[arch, job.name]), f"{job.name}: run make overhead"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_samples_are_what_they_do(arch: str, tmp_path: Path, here: None) -> None:
    overhead.jobs([arch], (), tmp_path)  # makes the tree
    lines = ("hello", "datapage 1000")
    kept = [one for one in KEPT["samples"] if one["arch"] == arch and one["name"] in lines]
    entries = overhead.FIELDS.index("entries")
    bounces = overhead.FIELDS.index("old_style")
    for pair, wanted in zip(overhead.samples([arch], tmp_path, lines), kept, strict=True):
        found = overhead.measure_sample(pair)
        for kind in ("old", "new"):
            if wanted[kind] is not None:
                assert [one[entries] for one in found[kind]] == [one[entries] for one in wanted[kind]], wanted["name"]
        if found["new"]:  # no call of its own comes back, and there are fewer entries than bare
            assert [one[bounces] for one in found["new"]] == [0, 0]
            assert found["new"][0][entries] <= found["old"][0][entries]


def test_counts_agree_with_each_other() -> None:
    """An entry for each call that is made, for each bounce, and for ways back that only the kernel has."""
    for line in KEPT["programs"]:
        bare, bounce, userspace = (dict(zip(overhead.FIELDS, one, strict=True)) for one in line["counts"][:3])
        assert (bare["entries"], bare["old_style"], bare["instructions"]) == (bare["calls"], 0, 0)
        assert bounce["calls"] == bare["calls"], line["name"]
        assert bounce["entries"] == bounce["calls"] + bounce["old_style"]
        ways_back = userspace["entries"] - (userspace["calls"] - userspace["served"]) - userspace["old_style"]
        most = userspace["glue"] + (userspace["served"] if line["arch"] == "aarch64" else 0)
        assert 0 <= ways_back <= most, line["name"]


def test_the_model() -> None:
    line = {
        "instructions": 10_000,
        "counts": [[10, 10, 0, 0, 0, 0], [10, 19, 9, 0, 0, 18], [10, 15, 9, 4, 1, 100], [], [10, 12, 2, 0, 1, 20]],
    }
    assert overhead.modelled(line, 0, 100) == 1000
    assert overhead.overhead_ns(line, 1, 100) == pytest.approx(900 + 18 * 0.3)
    assert overhead.percent(line, 2, 100) == pytest.approx(100 * (500 + 30) / (10_000 * 0.3 + 1000))


def test_every_program_of_the_corpus_has_a_row() -> None:
    for arch in ARCHITECTURES:
        names = [name for of, name in ROWS if of == arch]
        assert len(names) == 116 + len(overhead.DEMOS)
