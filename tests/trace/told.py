"""How the tests of `uabi-emu trace` run it and read what it writes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from emu.trace import jsonl
from tests.harness import ROOT, emulator

DEMO = ROOT / "guests" / "demo"
GOLDEN = Path(__file__).parent / "golden"


def trace(*words: str | Path) -> list[str]:
    """The command line of a trace that is the same in every run."""
    return [*emulator()[:-1], "trace", "--seed", "1", "--time", "virtual", "--clear-env", *map(str, words)]


def records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file, of which each is held against the schema."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for record in found:
        validator(record["type"]).validate(record)
    return found


@cache
def schema() -> dict[str, Any]:
    """That of all lines."""
    text: dict[str, Any] = json.loads((Path(jsonl.__file__).parent / "schema.json").read_text())
    Draft202012Validator.check_schema(text)
    return text


@cache
def validator(kind: str) -> Draft202012Validator:
    """For records of a type: as strict as the whole schema, and it says what is wrong."""
    definitions = schema()["$defs"]
    return Draft202012Validator({**definitions["call_record" if kind == "call" else kind], "$defs": definitions})
