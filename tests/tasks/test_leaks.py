"""`--check-leaks` finds what was not given back, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from guests.build import binary_path, discover
from tests.harness import ROOT

pytestmark = pytest.mark.usefixtures("guests_built")

# What each forgets, planted before the machine is made; and what is then told.
PLANTS = {
    "nothing": ("", ""),
    "a frame": (
        "from kernel_model.mm import frames\n"
        "real = frames.FrameAllocator.put_many\n"
        "frames.FrameAllocator.put_many = lambda self, gone: real(self, list(gone)[1:])\n",
        "frames belong to nobody, with their references: 0x",
    ),
    "a file": (
        "from kernel_model.fs import file\nfile.FilesStruct.close_all = lambda self, task: None\n",
        "' is open ",
    ),
    "a task that was waited for": (
        "from kernel_model.syscalls import clone\n"
        "clone.release_task = lambda task: task.kernel.tasks[task.signal.parent_tgid].signal.children.pop(task.pid)\n",
        " has ended and is nobody's child",
    ),
    "an address space": (
        "from kernel_model.mm import mm\nmm.MemoryMap.exit_mmap = lambda self: None\n",
        "an address space has 0 users and ",
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_leak_is_found(plant: str, tmp_path: Path) -> None:
    (guest,) = (one for one in discover() if (one.arch, one.id) == ("x86_64", "tasks/clone3"))
    code, said = PLANTS[plant]
    launch = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}from emu.cli.main import main\nmain()"
    command = [sys.executable, "-P", "-c", launch, "run", "--check-leaks", str(binary_path(guest))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if said:
        assert done.returncode == 125
        assert said in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
