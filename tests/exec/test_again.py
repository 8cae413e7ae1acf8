"""A program that is executed again comes from the page cache, with the code that was translated for the first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from guests.build import ARCHES, binary_path, discover
from tests.harness import ROOT

pytestmark = pytest.mark.usefixtures("guests_built")

# Writes down where the host is asked for pages of files, and when translated code is forgotten.
_COUNT = """
import os, sys
sys.path.insert(0, {root!r})
from emu.cpu import binding
from emu.host import tree
out = os.open({out!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
real_read, real_flush = tree.DirHostTree.pread_into, binding.Engine.flush_code
def pread_into(self, node, buffer, offset):
    if buffer:
        os.write(out, b"read %d %d\\n" % (id(node), offset))
    return real_read(self, node, buffer, offset)
def flush_code(self):
    os.write(out, b"flush\\n")
    real_flush(self)
tree.DirHostTree.pread_into = pread_into
binding.Engine.flush_code = flush_code
from emu.cli.main import main
main()
"""


@pytest.mark.parametrize("arch", ARCHES)
def test_a_program_is_read_once(arch: str, tmp_path: Path) -> None:
    """The guest forks and executes itself five times over; no page of any file is asked for twice, and code that was
    translated stays so.
    """
    (guest,) = (one for one in discover() if (one.arch, one.id) == (arch, "tasks/clone3"))
    out = tmp_path / "counts"
    launch = _COUNT.format(root=str(ROOT), out=str(out))
    done = subprocess.run(
        [sys.executable, "-P", "-c", launch, "run", str(binary_path(guest))],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = out.read_text().splitlines()
    reads = [line for line in lines if line.startswith("read")]
    assert reads
    assert len(reads) == len(set(reads))
    assert lines.count("flush") < 5
