"""What all system calls through the vDSO would cost: the tables in docs/overhead.md.

    python -m bench.overhead                 the whole corpus, both architectures; `make overhead`
    python -m bench.overhead --from-json     the document again, from bench/overhead.json

The programs and their arguments are those of tests/real (`make test-real` fetches them), and those of guests/demo.
Each runs under each of `ABIS` in a tree of its own, with a seed and virtual time: entries, calls and instructions are
the same in each run on each host. What they cost is a model's word (`modelled`), and not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.run import ROOT, table
from emu.cli.compare import compare as command
from emu.cli.compare import machines_of
from emu.compare.calibration import load as calibration
from emu.compare.corpus import Command, outcome
from emu.compare.run import Check, run_all
from emu.compare.streams import SharedInput
from guests.build import FLAGS, compile_to, compile_with_libkernel
from tests.real import cases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emu.compare.costs import CallCost

ABIS = ("bare", "bounce", "bounce:userspace", "bounce:userspace+perthread", "bounce:userspace+legacy")
LISTS = ("applets.tsv", "real.tsv")
DEMOS = ("demo one two", "getppid", "percpu", "served")
"""In guests/demo/*, which are there without `make test-real`: a test runs them again."""
SAMPLES = ("hello", "cat a.txt nums.txt table.csv", "pipeline {}/hello two", "datapage 1000")
"""Programs of guests/libkernel/examples, linked with a C library and with libuabi (`{}`: their folder); the last one is
of bench/src, and calls a function of the vDSO that a data page answers."""
WITH_C_LIBRARY = ("bare", "bounce", "bounce:userspace+perthread")
WITH_LIBUABI = ("bounce:libkernel", "bounce:libkernel+perthread")
KEPT = Path(__file__).parent / "overhead.json"
DOCUMENT = ROOT / "docs" / "overhead.md"
BEGIN, END = "<!-- overhead: {} -->", "<!-- overhead: end -->"
FIELDS = ("calls", "entries", "old_style", "served", "glue", "instructions")
"""Of `CallCost`, as they are kept."""
INSTRUCTION_NS = 0.3
CALIBRATIONS = ("elsewhere", "amd-epyc-linux-6.18")
COMMONEST = 16
"""So many calls have a line of their own."""


class Job(NamedTuple):
    """One program to be run under each ABI, in the tree `root`. `work`: its folder on the host."""

    arch: str
    name: str
    words: tuple[str, ...]
    root: str
    work: str
    stdin: str


def _tree(arch: str, base: Path, *, fetched: bool) -> Path:
    """A guest's tree with the demos, and what `make test-real` has fetched if that is wanted; always the same."""
    root = base / arch
    for folder in ("bin", "etc", "usr"):
        (root / folder).mkdir(parents=True)
    if fetched:
        (root / "bin").rmdir()
        cases.fresh_bin(root / "bin", arch)
    for program in (ROOT / "guests" / "demo" / arch).iterdir():
        if program.is_file():
            shutil.copy2(program, root / "bin" / program.name)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    cases.fresh_work(root / "work", more=True)
    return root


def jobs(arches: Sequence[str], lists: Sequence[str], base: Path) -> list[Job]:
    """All of them, in the order of the table."""
    found = []
    for arch in arches:
        root = _tree(arch, base, fetched=bool(lists))
        work = str(root / "work")
        for line in DEMOS:
            words = shlex.split(line)
            found.append(Job(arch, line, (f"/bin/{words[0]}", *words[1:]), str(root), work, os.devnull))
        for case in (case for name in lists for case in cases.load(name)):
            if (root / "bin" / case.program).exists():
                stdin = str(root / "work" / case.stdin) if case.stdin else os.devnull
                words = [f"/bin/{case.program}", *case.args]
                name = shlex.join([case.program, *case.args])
                found.append(Job(arch, name, tuple(words), str(root), work, stdin))
    return found


def samples(arches: Sequence[str], base: Path, lines: Sequence[str] = SAMPLES) -> list[tuple[Job, Job | None]]:
    """Those of `lines`, each with a C library, and with libuabi if there is such a one."""
    found: list[tuple[Job, Job | None]] = []
    for arch in arches:
        root = base / arch
        for line in lines:
            name = line.split()[0]
            source = ROOT / "guests" / "libkernel" / "examples" / f"{name}.c"
            both = source.exists()
            if not both:
                source = ROOT / "bench" / "src" / f"{name}.c"
            compile_to(source, f"{arch}-linux-musl", FLAGS, root / "old" / name)
            if both:
                compile_with_libkernel(source, arch, (), root / "new" / name)
            old, new = (_sample(arch, line, folder, root) for folder in ("/old", "/new"))
            found.append((old, new if both else None))
    return found


def _sample(arch: str, line: str, folder: str, root: Path) -> Job:
    name, *words = shlex.split(line.format(folder))
    shown = line.format("").replace("/", "")
    return Job(arch, shown, (f"{folder}/{name}", *words), str(root), str(root / "work"), os.devnull)


def machines(job: Job, abis: str) -> list[Any]:
    """The machines that `uabi-emu compare` would make for it."""
    own = ("abis", "corpus", "calibration", "entry_ns", "instruction_ns", "form", "show_output", "debug", "check")
    environment = {"PATH": "/bin", "HOME": "/work", "LANG": "C", "TZ": "UTC", "USER": "root", "PWD": "/work"}
    arguments = ["--root", job.root, "--cwd", "/work", "--timeout", "3600", "--clear-env"]
    for name, value in environment.items():
        arguments += ["--env", f"{name}={value}"]
    parameters = dict(command.make_context("compare", [*arguments, *job.words]).params)
    words = parameters.pop("words")
    return machines_of(abis, words, {name: value for name, value in parameters.items() if name not in own})


def measure(job: Job, abis: Sequence[str] = ABIS) -> dict[str, Any]:
    """What one program does: its counts by ABI, and by system call under the first three of them."""
    os.chdir(job.work)
    fd = os.open(job.stdin, os.O_RDONLY | os.O_CLOEXEC)
    try:
        runs, differences = run_all(
            machines(job, ",".join(abis)), SharedInput(fd), Check.ENDS, patient=True, counting=True
        )
    finally:
        os.close(fd)
    verdicts = outcome(Command(job.words, job.stdin, job.name), runs, differences).verdicts
    return {
        "name": job.name,
        "arch": job.arch,
        "instructions": runs[0].instructions,
        "verdicts": [verdicts[name] for name in abis],
        "counts": [_counts(run.costs.of_calls()) for run in runs],
        "by_call": {name: [_counts(run.costs[name]) for run in runs[:3]] for name in sorted(runs[1].costs)},
    }


def _counts(cost: CallCost) -> list[int]:
    return [getattr(cost, field) for field in FIELDS]


def measure_sample(pair: tuple[Job, Job | None]) -> dict[str, Any]:
    """What one of `SAMPLES` does, in both of its forms."""
    old, new = pair
    return {
        "name": old.name,
        "arch": old.arch,
        "old": measure(old, WITH_C_LIBRARY)["counts"],
        "new": measure(new, WITH_LIBUABI)["counts"] if new else None,
    }


# -- the model ---------------------------------------------------------------------------------------------------------
def count(line: Mapping[str, Any], abi: int, field: str) -> int:
    """One of `FIELDS` of a program under the ABI with that number."""
    value: int = line["counts"][abi][FIELDS.index(field)]
    return value


def modelled(line: Mapping[str, Any], abi: int, entry_ns: float) -> float:
    """Nanoseconds that the calls of a program take on their way, without their own work."""
    return count(line, abi, "entries") * entry_ns + count(line, abi, "instructions") * INSTRUCTION_NS


def overhead_ns(line: Mapping[str, Any], abi: int, entry_ns: float) -> float:
    """So much more than bare."""
    return modelled(line, abi, entry_ns) - modelled(line, 0, entry_ns)


def percent(line: Mapping[str, Any], abi: int, entry_ns: float) -> float:
    """The same, in percent of what the program takes bare: its instructions, and its calls' way."""
    whole_ns: float = line["instructions"] * INSTRUCTION_NS + modelled(line, 0, entry_ns)
    return 100 * overhead_ns(line, abi, entry_ns) / whole_ns


def together(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Programs added up."""
    return {
        "instructions": sum(line["instructions"] for line in lines),
        "counts": [
            [sum(values) for values in zip(*(line["counts"][abi] for line in lines), strict=True)]
            for abi in range(len(ABIS))
        ],
    }


# -- the document ------------------------------------------------------------------------------------------------------
HEAD = (
    "program", "calls", "`bounce`", "`userspace`", "avoided", "served", "glue", "`+perthread`", "`+legacy`",
    "`bounce`", "`userspace`", "`+legacy`", "ns a call",
)  # fmt: skip


def row(line: Mapping[str, Any], entry_ns: float) -> list[str]:
    """A program's, or that of all."""
    entries = [count(line, abi, "entries") for abi in range(len(ABIS))]
    calls = count(line, 0, "calls")
    each = "/".join(f"{overhead_ns(line, abi, entry_ns) / calls:.0f}" for abi in (1, 2, 4)) if calls else "-"
    return [
        str(entries[0]), str(entries[1]), str(entries[2]), str(entries[1] - entries[2]), str(count(line, 2, "served")),
        str(count(line, 2, "glue")), str(entries[3]), str(entries[4]),
        *(f"{percent(line, abi, entry_ns):.1f} %" for abi in (1, 2, 4)), each,
    ]  # fmt: skip


def shown(name: str) -> str:
    """A command in a cell."""
    text = " ".join(name.split())
    text = (text[:57] + "...") if len(text) > 60 else text
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


def programs(lines: Sequence[Mapping[str, Any]]) -> str:
    """The table of one architecture, with totals and medians."""
    entry_ns = calibration(CALIBRATIONS[0]).bare_ns
    rows = [list(HEAD), *([shown(line["name"]), *row(line, entry_ns)] for line in lines)]
    rows.append(["**all**", *row(together(lines), entry_ns)])
    medians = [f"{median(percent(line, abi, entry_ns) for line in lines):.1f} %" for abi in (1, 2, 4)]
    rows.append(["**median**", *[""] * 8, *medians, ""])
    return table(rows)


def summary(kept: Mapping[str, Any]) -> str:
    """A line for each ABI and architecture."""
    rows = [["", "ABI", "entries", "of bare", "old-style", "served", "glue", "instructions each"]]
    for name in CALIBRATIONS:
        rows[0].append(f"all, {calibration(name).bare_ns:.0f} ns")
        rows[0].append("median")
    for arch, lines in by_arch(kept).items():
        every = together(lines)
        for number, abi in enumerate(ABIS):
            entries, old = count(every, number, "entries"), count(every, number, "old_style")
            cells = [arch, f"`{abi}`", str(entries), f"{entries / count(every, 0, 'entries'):.3f}x", str(old)]
            cells += [str(count(every, number, "served")), str(count(every, number, "glue"))]
            cells.append(f"{count(every, number, 'instructions') / old:.1f}" if old else "0")
            for name in CALIBRATIONS:
                ns = calibration(name).bare_ns
                cells.append(f"{percent(every, number, ns):.1f} %")
                cells.append(f"{median(percent(line, number, ns) for line in lines):.1f} %")
            rows.append(cells)
    return table(rows)


def by_arch(kept: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The programs of the corpus, which are those that `make test-real` fetched."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in kept["programs"]:
        found.setdefault(line["arch"], []).append(line)
    return found


def calls(lines: Sequence[Mapping[str, Any]]) -> str:
    """The calls that are made most often, of all programs together."""
    sums: dict[str, list[list[int]]] = {}
    makers: Counter[str] = Counter()
    for line in lines:
        makers.update(line["by_call"].keys())
        for name, counts in line["by_call"].items():
            known = sums.setdefault(name, [[0] * len(FIELDS) for _ in counts])
            for mine, more in zip(known, counts, strict=True):
                mine[:] = [a + b for a, b in zip(mine, more, strict=True)]
    at = {field: place for place, field in enumerate(FIELDS)}
    order = sorted(sums, key=lambda name: (-sums[name][0][at["calls"]], name))
    every = sum(counts[0][at["calls"]] for counts in sums.values())
    rows = [["call", "programs", "calls", "share", "entries, `bounce`", "`userspace`", "served", "glue"]]
    for name in order[:COMMONEST]:
        bare, bounce, userspace = sums[name]
        made = bare[at["calls"]]
        rows.append([
            f"`{name}`", str(makers[name]), str(made), f"{100 * made / every:.1f} %", str(bounce[at["entries"]]),
            str(userspace[at["entries"]]), str(userspace[at["served"]]), str(userspace[at["glue"]]),
        ])  # fmt: skip
    rest = order[COMMONEST:]
    made = sum(sums[name][0][at["calls"]] for name in rest)
    more = [sum(sums[name][abi][at[field]] for name in rest) for abi, field in (
        (1, "entries"), (2, "entries"), (2, "served"), (2, "glue"))]  # fmt: skip
    rows.append([f"{len(rest)} others", "", str(made), f"{100 * made / every:.1f} %", *map(str, more)])
    return table(rows)


def sample_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Kernel entries of programs that call the vDSO's functions, beside those of the same source with a C library."""
    entries, bounces = FIELDS.index("entries"), FIELDS.index("old_style")
    rows = [
        ["program", "", *(f"`{name.removeprefix('bounce:')}`" for name in (*WITH_C_LIBRARY, *WITH_LIBUABI)), "bounces"]
    ]
    for line in lines:
        old = [str(counts[entries]) for counts in line["old"]]
        new = [str(counts[entries]) for counts in line["new"]] if line["new"] else ["-"] * len(WITH_LIBUABI)
        new.append(str(line["new"][0][bounces]) if line["new"] else "-")
        rows.append([shown(line["name"]), line["arch"], *old, *new])
    return table(rows)


def parts(kept: Mapping[str, Any]) -> dict[str, str]:
    """What stands in the document between marks, by the mark's name."""
    arches = by_arch(kept)
    differing = [
        f"- {line['arch']}: {shown(line['name'])}" for line in kept["programs"] if len(set(line["verdicts"])) > 1
    ]
    same = "Each of them printed, returned and left the same under each ABI."
    return {
        "summary": summary(kept),
        "samples": sample_table(kept["samples"]),
        "same": same if not differing else "Not the same under each ABI:\n\n" + "\n".join(differing),
        **{f"calls {arch}": calls(lines) for arch, lines in arches.items()},
        **{f"programs {arch}": programs(lines) for arch, lines in arches.items()},
    }


def write(kept: Mapping[str, Any]) -> None:
    """Put the tables where the document has their marks."""
    text = DOCUMENT.read_text()
    for name, body in parts(kept).items():
        before, mark, rest = text.partition(BEGIN.format(name))
        if not mark:
            raise SystemExit(f"{DOCUMENT}: there is no mark '{name}'")
        text = f"{before}{mark}\n\n{body}\n\n{END}{rest.partition(END)[2]}"
    DOCUMENT.write_text(text)


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description="What calls through the vDSO cost.")
    parser.add_argument("--arch", choices=cases.ARCHES, action="append")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many programs at a time")
    parser.add_argument("--only", metavar="TEXT", help="programs with TEXT in their command; the others stay as kept")
    parser.add_argument("--from-json", action="store_true", help="run nothing, write the document from what is kept")
    parser.add_argument("--no-write", action="store_true", help="print the tables, and leave the files alone")
    options = parser.parse_args()
    if options.from_json:
        write(json.loads(KEPT.read_text()))
        return 0
    began = time.monotonic()
    found: list[dict[str, Any]] = []
    if not (cases.REAL / "missing.json").exists():
        raise SystemExit("third-party programs are not there: run make overhead")
    with tempfile.TemporaryDirectory(prefix="uabi-overhead-") as scratch:
        arches = options.arch or cases.ARCHES
        wanted = [job for job in jobs(arches, LISTS, Path(scratch)) if (options.only or "") in job.name]
        with ProcessPoolExecutor(options.jobs) as pool:
            for line in pool.map(measure, wanted):
                found.append(line)
                print(f"{len(found)} of {len(wanted)}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            extra = list(pool.map(measure_sample, samples(arches, Path(scratch))))
    kept = {"abis": ABIS, "fields": FIELDS, "programs": found, "samples": extra}
    if options.only or options.arch:
        kept = _renewed(json.loads(KEPT.read_text()), kept)
    if options.no_write:
        for name, body in parts(kept).items():
            print(f"## {name}\n\n{body}\n")
        return 0
    KEPT.write_text(_as_text(kept))
    write(kept)
    return 0


def _renewed(kept: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept, with what was found in its place."""
    for part in ("programs", "samples"):
        new = {(line["arch"], line["name"]): line for line in found[part]}
        kept[part] = [new.get((line["arch"], line["name"]), line) for line in kept[part]]
    return kept


def _as_text(kept: Mapping[str, Any]) -> str:
    """JSON with a program on each line."""
    lines = ",\n".join(json.dumps(line, separators=(",", ":")) for line in kept["programs"])
    head = json.dumps({name: value for name, value in kept.items() if name != "programs"})
    return f'{head[:-1]}, "programs": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    sys.exit(main())
