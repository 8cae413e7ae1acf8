"""Measure on this host what ways into its kernel cost, for the model of `uabi-emu compare`.

    python -m bench.native_calibrate                     prints a table
    python -m bench.native_calibrate --output host.json  and writes what `uabi-emu compare --calibration` reads

A C program does it (`bench/native_calibrate.c`); a compiler is needed: cc, gcc, clang, or the ziglang package. On a
host that is not x86-64 Linux, or whose kernel refuses a way, the shipped calibration takes its place, and is named.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from emu.compare.calibration import FORMAT, FORMAT_VERSION, SHIPPED, TRAPPING, Calibration, load, parse
from emu.printable import printable

SOURCE = Path(__file__).with_suffix(".c")
CALLS, RUNS = 10_000, 21
MAX_CALLS, MAX_RUNS = 10_000_000, 1000
SHOWN = {
    "bare": "bare call",
    "signal": "signal raised, handled by nothing",
    "seccomp-allowed": "call that seccomp's filter allows",
    "seccomp-trapped": "call trapped by seccomp and emulated",
    "dispatch-allowed": "call that user dispatch lets pass",
    "dispatch-trapped": "call dispatched and emulated",
}


class CannotMeasure(Exception):
    """The text says why nothing can be measured here."""


class Reading(NamedTuple):
    """What one way took, in nanoseconds a call; or why it took nothing."""

    fastest_ns: float
    middle_ns: float
    refused: str


def compiler() -> list[str]:
    """A C compiler for this host; CannotMeasure."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise CannotMeasure("no C compiler here: install cc, or the ziglang package")


def measure(calls: int, runs: int) -> tuple[dict[str, Reading], list[str]]:
    """What each way took, by name, and what the program said besides; CannotMeasure."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise CannotMeasure(f"this is {platform.system()} on {platform.machine()}, not Linux on x86_64")
    with tempfile.TemporaryDirectory(prefix="uabi-calibrate-") as folder:
        program = Path(folder) / "native_calibrate"
        command = [*compiler(), "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise CannotMeasure(f"{command[0]} failed: {said[0] if said else done.returncode}")
        try:
            done = subprocess.run([program, str(calls), str(runs)], capture_output=True, text=True, check=False)
        except OSError as error:  # a folder of temporary files may forbid to execute what is there
            raise CannotMeasure(f"{program}: {error.strerror}: set TMPDIR to a folder for programs") from error
    readings = read(done.stdout)
    if done.returncode or "bare" not in readings or readings["bare"].refused:
        raise CannotMeasure(f"the measuring program failed with status {done.returncode}: {done.stderr.strip()[:200]}")
    return readings, done.stderr.splitlines()


def read(text: str) -> dict[str, Reading]:
    """What the program printed."""
    readings = {}
    for line in text.splitlines():
        name, how, first, rest = line.split(" ", 3)
        if how == "ns":
            readings[name] = Reading(float(first), float(rest), "")
        else:
            number = int(first)
            why = f"{rest}: {errno.errorcode.get(number, number)}, {os.strerror(number)}" if number else rest
            readings[name] = Reading(0.0, 0.0, why)
    return readings


def host() -> tuple[str, str]:
    """A name for this host that fits into a file's, and the host in words."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    release = platform.release()
    version = ".".join(release.split(".")[:2])
    name = re.sub(r"[^a-z0-9.]+", "-", f"{model} linux {version}".lower()).strip("-")
    return name[:100], printable(f"{model}, Linux {release}".encode())[:200]


def document(readings: dict[str, Reading], name: str, where: str, instead: Calibration) -> dict[str, Any]:
    """The calibration to write. A way that was refused is taken from `instead`."""
    bare_ns = readings["bare"].fastest_ns
    ways = {}
    for way in TRAPPING:
        allowed, trapped = (readings.get(f"{way}-{what}") for what in ("allowed", "trapped"))
        if allowed is None or trapped is None or allowed.refused or trapped.refused:
            ways[way] = instead.ways[way]._asdict()
        else:
            ways[way] = {
                "source": name, "bare_ns": bare_ns, "allowed_ns": allowed.fastest_ns, "trapped_ns": trapped.fastest_ns,
            }  # fmt: skip
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": name,
        "host": where,
        "date": time.strftime("%Y-%m-%d"),
        "bare_ns": bare_ns,
        **ways,
        "measured": {way: reading._asdict() for way, reading in readings.items()},
    }


def table(readings: dict[str, Reading]) -> list[str]:
    """The readings as lines."""
    bare_ns = readings["bare"].fastest_ns
    lines = [f"{'nanoseconds a call':<40}{'fastest':>10}{'middle':>10}{'':>10}"]
    for name, text in SHOWN.items():
        reading = readings.get(name)
        if reading is None or reading.refused:
            lines.append(f"{text:<40}{'-':>10}{'-':>10}")
        else:
            times = f"{reading.fastest_ns / bare_ns:.1f}x"
            lines.append(f"{text:<40}{reading.fastest_ns:>10.0f}{reading.middle_ns:>10.0f}{times:>10}")
    return [line.rstrip() for line in lines]


def model(calibration: Calibration) -> list[str]:
    """What `compare` makes of it."""
    lines = [f"model: {calibration.bare_ns:.0f} ns for an entry into the kernel"]
    for way in TRAPPING:
        frame_ns, entry_ns = calibration.frame_ns(way), calibration.entry_ns(way)
        source = calibration.ways[way].source
        where = "" if source == calibration.name else f" (shipped calibration '{source}', scaled to this host)"
        lines.append(f"model: {way}: {entry_ns:.0f} ns for an entry, {frame_ns:.0f} ns for a signal frame{where}")
    return lines


def counted(maximum: int) -> Any:
    """A type for argparse: a whole number from 1."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= maximum):
            raise argparse.ArgumentTypeError(f"'{text}': write a number from 1 to {maximum}")
        return int(text)

    return convert


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.native_calibrate", description=about)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the calibration there, as JSON")
    parser.add_argument("--calls", type=counted(MAX_CALLS), default=CALLS, help=f"in each run (default: {CALLS})")
    parser.add_argument("--runs", type=counted(MAX_RUNS), default=RUNS, help=f"of each way (default: {RUNS})")
    options = parser.parse_args(words)
    shipped = load(SHIPPED)
    try:
        readings, said = measure(options.calls, options.runs)
    except CannotMeasure as error:
        print(f"nothing is measured: {error}")
        print(f"the shipped calibration '{shipped.name}' has to do: {shipped.host}")
        for way in TRAPPING:
            print(f"{way}: {shipped.ways[way].trapped_ns:.0f} ns, where a bare call takes {shipped.bare_ns:.0f}")
        print("\n".join(model(shipped)))
        return 1
    name, where = host()
    print(f"{where}; {options.calls} calls a run, {options.runs} runs, on one CPU", *said, sep="\n", end="\n\n")
    print("\n".join(table(readings)), end="\n\n")
    found = document(readings, name, where, shipped)
    for way in TRAPPING:
        if found[way]["source"] != name:
            reasons = (one.refused for key, one in readings.items() if key.startswith(way) and one.refused)
            taken = shipped.ways[way]
            why = next(reasons, "no answer")
            print(
                f"{way} is refused ({why}): the shipped calibration '{taken.source}' takes its place: "
                f"{taken.trapped_ns:.0f} ns, where a bare call takes {taken.bare_ns:.0f}"
            )
    text = json.dumps(found, indent=2) + "\n"
    print("\n".join(model(parse(text.encode(), name))))
    if options.output is not None:
        try:
            options.output.write_text(text)
        except OSError as error:
            print(f"{options.output}: {error.strerror}: name a file that can be written", file=sys.stderr)
            return 2
        print(f"written to {options.output}: uabi-emu compare --calibration {options.output} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
