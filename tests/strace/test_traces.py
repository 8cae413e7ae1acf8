"""The same text as strace(1), on both architectures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guests.build import ARCHES
from tests.harness import HOST_ARCH
from tests.strace.programs import EXPECTED, PROGRAMS, RECORDED_WITH, native, normalised, ours, strace_version


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_same_text_as_strace(name: str, arch: str, tmp_path: Path) -> None:
    outcome, text = ours(name, arch, tmp_path)
    assert outcome.status == (139 if name == "signals" else 0), outcome
    assert normalised(text).splitlines() == (EXPECTED / f"{name}.txt").read_text().splitlines()


@pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the recorded traces are of x86-64")
@pytest.mark.skipif(strace_version() != RECORDED_WITH, reason=f"strace {RECORDED_WITH} is not here, or may not trace")
@pytest.mark.parametrize("name", PROGRAMS)
def test_expectation_is_what_strace_prints(name: str, tmp_path: Path) -> None:
    assert normalised(native(name, tmp_path)).splitlines() == (EXPECTED / f"{name}.txt").read_text().splitlines()


TASKS = """\
clone(child_stack=NULL, flags=SIGCHLD)  = 1001
[pid  1000] wait4(-1,  <unfinished ...>
[pid  1001] exit_group(3)               = ?
[pid  1001] +++ exited with 3 +++
<... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 1001
clone(child_stack=NULL, flags=SIGCHLD)  = 1002
[pid  1000] wait4(-1, ADDRESS, WNOHANG, NULL) = 0
[pid  1000] wait4(1002,  <unfinished ...>
[pid  1002] getpid()                    = 1002
[pid  1002] kill(1002, SIGKILL)         = 0
[pid  1002] --- SIGKILL {si_signo=SIGKILL, si_code=SI_USER, si_pid=1002, si_uid=UID} ---
[pid  1002] +++ killed by SIGKILL +++
<... wait4 resumed>[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], WSTOPPED, NULL) = 1002
wait4(-1, ADDRESS, WNOHANG, NULL) = -1 ECHILD (No child processes)
"""


@pytest.mark.parametrize("arch", ARCHES)
def test_several_tasks(arch: str, tmp_path: Path) -> None:
    outcome, text = ours("tasks", arch, tmp_path)
    assert outcome.status == 0, outcome
    lines = re.split(r'write\(-1, "(?:begin|end)".*\n', text)[1]
    lines = re.sub(r"0x[0-9a-f]{6,}", "ADDRESS", re.sub(r"si_uid=\d+", "si_uid=UID", lines))
    assert lines.splitlines() == TASKS.splitlines()
