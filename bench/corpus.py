"""Which third-party programs survive which way into the kernel, and what that costs: the table in docs/compare.md.

    python -m bench.corpus                   both architectures, all lists; `make corpus`
    python -m bench.corpus --arch aarch64 --list real.tsv --no-write

The programs and their arguments are those of tests/real (`make test-real` fetches them). Each command is compared under
each ABI by `uabi-emu compare --corpus`. What comes out is written to emu/compare/corpus.json, from which `uabi-emu
compare` takes its column `corpus`, and to docs/compare.md between the marks.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.run import ROOT, emulator, table
from emu.compare.corpus import KEPT
from tests.real import cases

ABIS = ("bare", "bounce", "seccomp", "dispatch", "seccomp:slide")
TOLD = ("bounce", "seccomp", "dispatch")
"""Those whose failures are listed."""
LISTS = ("applets.tsv", "real.tsv")
DOCUMENT = ROOT / "docs" / "compare.md"
BEGIN, END = "<!-- corpus: begin -->", "<!-- corpus: end -->"
SEVERAL = 8
"""So many commands go into one process."""


def commands(arch: str, lists: list[str], base: Path) -> list[str]:
    """Lines of a corpus: what is there for an architecture, in a folder made below `base`."""
    programs = base / f"bin-{arch}"
    cases.fresh_bin(programs, arch)
    found = []
    for name in lists:
        for case in cases.load(name):
            if f"{case.program} {arch}" not in cases.missing():
                words = [str(programs / case.program), *case.args]
                stdin = f" < {base / 'work' / case.stdin}" if case.stdin else ""
                found.append(shlex.join(words) + stdin)
    return found


def compare(lines: list[str], arch: str, base: Path, timeout_s: int, calibration: str) -> dict[str, Any]:
    """What `uabi-emu compare --corpus` says of them."""
    work, programs = base / "work", base / f"bin-{arch}"
    corpus = base / "corpus.txt"
    corpus.write_text("".join(f"{line}\n" for line in lines))
    environment = {"PATH": programs, "HOME": work, "LANG": "C", "TZ": "UTC", "USER": "root", "PWD": work}
    command: list[str] = [*emulator("compare"), "--corpus", str(corpus), "--abis", ",".join(ABIS), "--format", "json"]
    command += ["--calibration", calibration, "--timeout", str(timeout_s), "--cwd", str(work), "--clear-env"]
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    command += ["--bind", f"{programs / 'busybox'}:/bin/sh"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"compare: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several answers as one: programs in a row, counts added."""
    programs = [one for part in parts for one in part["programs"]]
    abis = []
    for same in zip(*(part["abis"] for part in parts), strict=True):
        calls = [one["calls"] for one in same]
        counts = {key: sum(one[key] for one in calls) for key in calls[0] if not key.startswith("times")}
        counts["user_stack_bytes_max"] = max(one["user_stack_bytes_max"] for one in calls)
        abis.append({
            "abi": same[0]["abi"], "survive": sum(one["survive"] for one in same), "calls": counts,
            "total_ns": sum(one["total"]["modelled_ns"] for one in same), "entry_ns": same[0]["entry_ns"],
        })  # fmt: skip
    return {"programs": programs, "abis": abis}


def rows(found: dict[str, Any]) -> list[list[str]]:
    """One for each ABI, as `uabi-emu compare` has them."""
    result = [["ABI", "survive", "entries", "frames", "instructions", "stack", "cost of each", "of all"]]
    base = found["abis"][0]
    for one in found["abis"]:
        calls, old = one["calls"], one["calls"]["old_style"]
        whole = f"{one['total_ns'] / base['total_ns']:.2f}x"
        survive = f"{one['survive']}/{len(found['programs'])}"
        if not old:
            result.append([f"`{one['abi']}`", survive, "1.00", "0", "0", "0", "1.00x", whole])
            continue
        direct = calls["direct"]
        each_ns = (calls["modelled_ns"] - direct * one["entry_ns"]) / old
        result.append([
            f"`{one['abi']}`", survive, f"{(calls['kernel_entries'] - direct) / old:.2f}",
            f"{calls['signal_frames'] / old:.2f}", f"{calls['handler_instructions'] / old:.1f}",
            str(calls["user_stack_bytes_max"]), f"{each_ns / base['entry_ns']:.2f}x", whole,
        ])  # fmt: skip
    return result


def others(found: dict[str, Any], base: Path) -> list[list[str]]:
    """The programs that do not survive, and those whose calls are not all the same, under `TOLD`."""
    result = [["program", *TOLD]]
    for one in found["programs"]:
        verdicts = [one["verdicts"][name] for name in TOLD]
        if any(verdict != "same" for verdict in verdicts):
            text = re.sub(rf"{re.escape(str(base))}/(bin-\w+|work)/", "", one["command"]).removesuffix(" < stdin.txt")
            text = text.replace("|", "\\|")
            result.append([f"`{text[:68] + '...' if len(text) > 71 else text}`", *verdicts])
    return result


def report(found: dict[str, dict[str, Any]], base: Path) -> str:
    """The Markdown text."""
    parts = [f"Run on {time.strftime('%Y-%m-%d')}."]
    for arch, one in found.items():
        parts += [f"**{arch}**", table(rows(one))]
        strange = others(one, base)
        if len(strange) > 1:
            parts.append(table(strange))
    return "\n\n".join(parts)


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description="Compare third-party programs.")
    parser.add_argument("--arch", choices=cases.ARCHES, action="append")
    parser.add_argument("--list", choices=LISTS, action="append", dest="lists")
    parser.add_argument("--timeout", type=int, default=120, metavar="SECONDS", help="for each run")
    parser.add_argument("--calibration", default="shipped")
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave the files alone")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="uabi-corpus-") as scratch:
        base = Path(scratch)
        for arch in options.arch or cases.ARCHES:
            cases.fresh_work(base / "work", more=True)
            shutil.rmtree(base / f"bin-{arch}", ignore_errors=True)
            lines = commands(arch, options.lists or list(LISTS), base)
            parts = []
            for start in range(0, len(lines), SEVERAL):
                parts.append(compare(lines[start : start + SEVERAL], arch, base, options.timeout, options.calibration))
                print(f"{arch}: {min(start + SEVERAL, len(lines))} of {len(lines)}", file=sys.stderr, flush=True)
            found[arch] = together(parts)
        text = report(found, base)
    print(text)
    if not options.no_write:
        survive = {arch: {line["abi"]: line["survive"] for line in one["abis"]} for arch, one in found.items()}
        kept = {"date": time.strftime("%Y-%m-%d"), "survive": survive}
        Path(KEPT).write_text(json.dumps(kept, indent=2) + "\n")
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
