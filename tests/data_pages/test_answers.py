"""What the vDSO's functions say under `--vdso-data`, in a trace: the kernel's answers, without the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guests.build import ARCHES, Guest, build, discover
from tests.harness import EXPECTED, emulator, run

ABIS = ("bare", "bounce")
VARIANTS = ("percpu", "perthread")
MARK_BEGIN, MARK_END = "write(-1001,", "write(-1002,"
each_arch = pytest.mark.parametrize("arch", ARCHES)
each_abi = pytest.mark.parametrize("abi", ABIS)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def guest(name: str, arch: str) -> Guest:
    (found,) = (guest for guest in discover() if guest.id == f"vdso/{name}" and guest.arch == arch)
    return found


def between_marks(trace: str) -> list[list[str]]:
    """The calls that each task made between its two marks, time after time."""
    found: list[list[str]] = []
    inside: dict[str, list[str]] = {}
    alone = ""
    for line in trace.splitlines():
        pid, call = re.fullmatch(r"(?:\[pid +(\d+)\] )?(.*)", line).groups()  # type: ignore[union-attr]
        pid = pid or alone
        if call.startswith(MARK_BEGIN):
            inside[pid] = []
        elif call.startswith(MARK_END):
            found.append(inside.pop(pid))
        elif pid in inside:
            inside[pid].append(call)
    assert not inside
    return found


@each_variant
@each_abi
@each_arch
def test_as_the_kernel_says_and_without_a_call(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    program = guest("identity", arch)
    trace = tmp_path / "trace"
    command = emulator("--abi", abi, "--vdso-data", variant, "--cpus", "4", "--check-leaks", f"--strace={trace}")
    seen = run([*command, build(program)], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "vdso" / "identity.txt").read_text(), str(seen)
    stretches = between_marks(trace.read_text())
    assert len(stretches) > 400
    assert [calls for calls in stretches if calls] == []


@each_arch
def test_without_data_they_make_the_real_calls(arch: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = emulator("--cpus", "4", f"--strace={trace}")
    assert run([*command, build(guest("identity", arch))], cwd=tmp_path).status == 0
    wanted = ["getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid"]
    for calls in between_marks(trace.read_text()):
        assert [call.partition("(")[0] for call in calls if not call.startswith("---")] == wanted


@each_arch
def test_more_threads_than_there_is_room_for(arch: str, tmp_path: Path) -> None:
    command = emulator("--vdso-data", "perthread", "--cpus", "2", "--check-leaks")
    seen = run([*command, build(guest("identity", arch)), "many"], cwd=tmp_path)
    assert seen.text() == "many_bad = 0\nwhen they are gone: the same\nok\n[status 0]\n", str(seen)


@pytest.mark.parametrize("variant", [*VARIANTS, "none"])
@each_abi
@each_arch
def test_where_they_are_unmapped_or_moved(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    command = emulator("--abi", abi, "--vdso-data", variant, "--check-leaks")
    seen = run([*command, build(guest("identity", arch)), "moved"], cwd=tmp_path)
    assert seen.status == 0, str(seen)
    assert seen.stdout.count(b": the same\n") == (3 if variant == "none" else 11)


@each_variant
@each_abi
@each_arch
def test_an_attack(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    command = emulator("--abi", abi, "--vdso-data", variant, "--check-leaks")
    seen = run([*command, build(guest("pages", arch))], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "vdso" / "pages.txt").read_text(), str(seen)


@each_arch
def test_every_seed_gives_the_same_answers(arch: str, tmp_path: Path) -> None:
    """Chance moves tasks from CPU to CPU, and takes the CPU from them anywhere."""
    program = build(guest("identity", arch))
    for seed in range(4):
        seen = run([*emulator("--vdso-data", "percpu", "--cpus", "4", "--seed", str(seed)), program], cwd=tmp_path)
        assert seen.text() == (EXPECTED / "vdso" / "identity.txt").read_text(), f"--seed {seed}\n{seen}"
