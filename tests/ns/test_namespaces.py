"""Namespaces from outside: `--time-ns`, traces, and what the vDSO's pages tell in them."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import pytest

from guests.build import ARCHES, Guest, build, cache_dir, compile_to, discover
from tests.data_pages.test_answers import between_marks
from tests.harness import EXPECTED, emulator, run

FLAGS = ("-O1", "-static", "-g0", "-std=gnu17", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror")
DAY_S = 86_400
each_arch = pytest.mark.parametrize("arch", ARCHES)


def guest(name: str, arch: str) -> Guest:
    (found,) = (guest for guest in discover() if guest.id == f"ns/{name}" and guest.arch == arch)
    return found


def program(name: str, arch: str) -> Path:
    """A program beside this file, built unless it is there."""
    source = Path(__file__).parent / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "ns" / f"{name}-{key}"
    if not path.exists():
        compile_to(source, f"{arch}-linux-musl", FLAGS, path)
    return path


# -- --time-ns ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [("--abi", "bare"), ("--abi", "bounce"), ("--vdso", "userspace"), ("--cpus", "3")])
@each_arch
def test_the_clocks_of_a_guest_in_a_time_namespace(arch: str, options: tuple[str, ...], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = emulator(*options, "--time-ns", f"{7 * DAY_S}:{-3}", "--check-leaks", f"--strace={trace}")
    seen = run([*command, program("clocks", arch)], cwd=tmp_path)
    here = [int(time.clock_gettime(clock)) for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC)]
    boottime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    wanted = [here[0], here[1] + 7 * DAY_S, here[1] + 7 * DAY_S, boottime - 3]
    told = [[int(word) for word in line.split()] for line in seen.stdout.splitlines()]
    assert len(told) == 8, str(seen)
    for line, expected in zip(told, wanted * 2, strict=True):
        for value in line:
            assert expected - 60 <= value <= expected, (line, wanted)
    assert between_marks(trace.read_text()) == [[], []]


@each_arch
def test_virtual_time_in_a_time_namespace(arch: str, tmp_path: Path) -> None:
    command = emulator("--time", "virtual", "--time-ns", f"100:{DAY_S}")
    seen = run([*command, program("clocks", arch)], cwd=tmp_path)
    one = [(1_735_689_601,), (101,), (101,), (DAY_S + 1,)]
    assert [tuple({int(word) for word in line.split()}) for line in seen.stdout.splitlines()] == one * 2, str(seen)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soon", "--time-ns: 'soon': write whole seconds, as 3600, 3600:7200 or -60"),
        ("1:2:3", "--time-ns: '1:2:3': write whole seconds, as 3600, 3600:7200 or -60"),
        ("", "--time-ns: '': write whole seconds, as 3600, 3600:7200 or -60"),
        ("1" * 5000, f"--time-ns: '{'1' * 5000}': write whole seconds, as 3600, 3600:7200 or -60"),
        ("-2", "--time-ns: CLOCK_MONOTONIC can't be -2 s ahead: choose between -1 and 4611686017"),
        (":4611686018", "--time-ns: CLOCK_BOOTTIME can't be 4611686018 s ahead: choose between -1 and 4611686017"),
    ],
)
def test_offsets_that_there_can_not_be(text: str, said: str, tmp_path: Path) -> None:
    seen = run([*emulator("--time", "virtual", "--time-ns", text), "/bin/true"], cwd=tmp_path)
    assert (seen.status, seen.stderr.decode()) == (125, f"uabi-emu: {said}\n")


# -- the pages ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [("--abi", "bare"), ("--abi", "bounce"), ("--vdso", "userspace")])
@pytest.mark.parametrize("variant", ["percpu", "perthread"])
@each_arch
def test_data_pages_say_what_the_kernel_says_without_a_call(
    arch: str, variant: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = emulator(*options, "--vdso-data", variant, "--cpus", "3", "--check-leaks", f"--strace={trace}")
    seen = run([*command, build(guest("identity", arch))], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "ns" / "identity.txt").read_text(), str(seen)
    stretches = between_marks(trace.read_text())
    assert len(stretches) > 50
    assert [calls for calls in stretches if calls] == []


@each_arch
def test_every_seed_gives_the_same_answers(arch: str, tmp_path: Path) -> None:
    """Chance moves tasks from CPU to CPU, and takes the CPU from them anywhere."""
    program = build(guest("identity", arch))
    for seed in range(3):
        options = ("--vdso-data", "percpu", "--cpus", "4", "--seed", str(seed), "--check-leaks")
        seen = run([*emulator(*options), program], cwd=tmp_path)
        assert seen.text() == (EXPECTED / "ns" / "identity.txt").read_text(), f"--seed {seed}\n{seen}"


# -- anything ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (1, ("--vdso-data", "percpu", "--cpus", "3")),
        (2, ("--vdso", "userspace", "--time", "virtual")),
        (3, ("--abi", "bare", "--vdso-data", "perthread", "--time-ns", "5")),
    ],
)
@each_arch
def test_a_storm(arch: str, seed: int, options: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever tasks do with namespaces, nothing of ours breaks and nothing is left."""
    command = emulator("--seed", str(seed), "--check-leaks", *options)
    seen = run([*command, program("storm", arch), str(seed)], cwd=tmp_path, timeout=120)
    assert (seen.status, seen.stdout, seen.stderr) == (0, b"over\n", b""), str(seen)


# -- traces ------------------------------------------------------------------------------------------------------------
@each_arch
def test_a_trace_names_the_flags(arch: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert run([*emulator(f"--strace={trace}"), build(guest("setns", arch))], cwd=tmp_path).status == 0
    text = trace.read_text()
    for line in (
        r"unshare\(CLONE_NEWUTS\) += 0",
        r"unshare\(CLONE_NEWTIME\) += 0",
        r"setns\(\d+, CLONE_NEWPID\) += 0",
        r"setns\(\d+, CLONE_NEWUTS\|CLONE_NEWPID\) += 0",
        r"setns\(\d+, 0x1 /\* CLONE_NEW\?\?\? \*/\) += -1 EINVAL \(Invalid argument\)",
        r"ioctl\(\d+, NS_GET_NSTYPE\) += 128",
        r"ioctl\(\d+, NS_GET_PID_FROM_PIDNS, 99\) += -1 ESRCH \(No such process\)",
        r"clone3\(\{flags=CLONE_NEWPID, exit_signal=SIGCHLD, stack=NULL, stack_size=0\}, 88\) = \d+",
    ):
        assert re.search(line, text), line


# -- [vfs] -------------------------------------------------------------------------------------------------------------
@each_arch
def test_a_umask_is_shared_until_unshare(arch: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = emulator("--vdso", "userspace", "--check-leaks", f"--strace={trace}")
    seen = run([*command, program("mask", arch)], cwd=tmp_path)
    assert seen.text() == "the child: 037, 037, 063\nthe parent: 051, 037, 011\n[status 0]\n", str(seen)
    assert between_marks(trace.read_text()) == [[]] * 10
