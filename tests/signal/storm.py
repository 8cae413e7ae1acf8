"""Run the guest `signal/storm` in a process of its own, and tell what the emulator holds when it is over."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from emu.machine import Machine, MachineOptions
from guests.build import binary_path, discover
from tests.harness import ROOT

_RUN = "import sys; from tests.signal.storm import run_here; run_here(*sys.argv[1:])"


class Held(NamedTuple):
    """`blocks`: Python's allocations at the end; `peak_bytes`: the most memory that the process ever had."""

    blocks: int
    peak_bytes: int


def run_here(file: str, arch: str, *counts: str) -> None:
    """Leave the figures in a file: a machine closes the standard streams with its last task."""
    guest = next(one for one in discover() if (one.id, one.arch) == ("signal/storm", arch))
    program = str(binary_path(guest))
    argv = [b"storm", *(count.encode() for count in counts)]
    machine = Machine(MachineOptions(program=program, argv=argv, env={}, isolate=True, seed=1))
    status = machine.run()
    gc.collect()
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    Path(file).write_text(f"{status} {sys.getallocatedblocks()} {int(peak[1]) << 10}")


def storm(arch: str, count: int, handled: int, scratch: Path) -> Held:
    """Twice `count` signals, and twice `handled`."""
    file = scratch / f"held-{count}"
    command = [sys.executable, "-c", _RUN, str(file), arch, str(count), str(handled)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["ok"]), done
    status, blocks, peak_bytes = map(int, file.read_text().split())
    assert status == 0
    return Held(blocks, peak_bytes)
