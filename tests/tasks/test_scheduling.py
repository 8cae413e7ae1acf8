"""Which task runs when, on which logical CPU: what can be seen of it from outside."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from guests.build import ARCHES, binary_path, discover
from tests.harness import Outcome, emulator, run

pytestmark = [pytest.mark.usefixtures("guests_built"), pytest.mark.parametrize("arch", ARCHES)]


def guest(arch: str, name: str) -> Path:
    return next(binary_path(one) for one in discover() if (one.arch, one.area, one.name) == (arch, "tasks", name))


def run_guest(arch: str, name: str, *args: str, options: tuple[str, ...] = (), cwd: Path) -> Outcome:
    return run([*emulator(*options), guest(arch, name), *args], cwd=cwd)


def order(arch: str, cwd: Path, *options: str) -> bytes:
    """The letters of three threads in the order in which they wrote them."""
    seen = run_guest(arch, "order", "tell", options=options, cwd=cwd)
    assert seen.status == 0, seen
    return seen.stdout.split(b"\n")[0]


def test_a_seed_repeats_the_interleaving(arch: str, tmp_path: Path) -> None:
    seeds = [("--seed", str(seed)) for seed in range(4)]
    orders = [order(arch, tmp_path, *seed) for seed in seeds]
    assert [order(arch, tmp_path, *seed) for seed in seeds] == orders
    assert len(set(orders)) == len(orders)
    on_two = order(arch, tmp_path, "--seed", "1", "--cpus", "2")
    assert order(arch, tmp_path, "--seed", "1", "--cpus", "2") == on_two


def test_without_a_seed_turns_are_taken(arch: str, tmp_path: Path) -> None:
    assert len(re.findall(rb"(.)\1*", order(arch, tmp_path))) > 3


def test_rseq_a_preempted_section_is_aborted(arch: str, tmp_path: Path) -> None:
    for cpus in ("1", "2"):
        seen = run_guest(arch, "rseq", "counts", options=("--cpus", cpus), cwd=tmp_path)
        assert (told := re.match(rb"lost 0 aborts (\d+)\n", seen.stdout)), seen
        assert int(told[1]) > 0


def test_rseq_the_same_code_loses_counts_without(arch: str, tmp_path: Path) -> None:
    seen = run_guest(arch, "rseq", "plain", options=("--cpus", "1"), cwd=tmp_path)
    assert (told := re.match(rb"lost (\d+) aborts 0\n", seen.stdout)), seen
    assert int(told[1]) > 0


def test_stuck_tasks_are_shown_and_the_run_ends(arch: str, tmp_path: Path) -> None:
    seen = run_guest(arch, "stuck", "locks", cwd=tmp_path)
    assert seen.status == 124
    said = seen.stderr.decode()
    assert "every task waits for another, for ever: stopped" in said
    assert len(re.findall(r"1000 stuck\S*: futex\(0x", said)) == 1
    assert len(re.findall(r"stuck\S*, a thread of 1000: futex\(0x", said)) == 1
    seen = run_guest(arch, "stuck", "pipe", cwd=tmp_path)
    assert seen.status == 124
    assert len(re.findall(r"stuck\S*: read\(3, ", seen.stderr.decode())) == 2


def test_stuck_is_not_who_waits_for_a_signal(arch: str, tmp_path: Path) -> None:
    seen = run_guest(arch, "stuck", "pause", options=("--timeout", "0.3"), cwd=tmp_path)
    assert seen.status == 124
    assert b"as --timeout says" in seen.stderr
    assert b"for ever" not in seen.stderr
    seen = run_guest(arch, "stuck", "handler", options=("--timeout", "0.3"), cwd=tmp_path)
    assert b"only a signal from outside can end it now" in seen.stderr
    assert b"as --timeout says" in seen.stderr


def test_roots_fork_and_thread_bombs_end_when_the_kernel_has_no_room(arch: str, tmp_path: Path) -> None:
    """RLIMIT_NPROC is not for root; a machine of 16 MiB has room for 128 tasks."""
    seen = run_guest(arch, "bombs", "as-root", options=("--memory", "16M"), cwd=tmp_path)
    assert (seen.status, seen.stdout.splitlines()[-1]) == (0, b"ok"), seen


def test_each_deadlock_is_told(arch: str, tmp_path: Path) -> None:
    """A handler runs, and then everybody waits again: that is another one."""
    program: list[str | Path] = [*emulator("--timeout", "20"), guest(arch, "stuck"), "handler"]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        for _ in range(3):
            while b"only a signal from outside" not in (line := running.stderr.readline()):
                assert line, "it is gone"
            running.send_signal(signal.SIGTERM)
        running.kill()


def test_cpu_time_is_repeatable_on_virtual_time(arch: str, tmp_path: Path) -> None:
    """What each of three threads has used, to the nanosecond, is the same in each run of a seed."""
    runs = [
        run_guest(arch, "used", "tell", options=("--seed", "5", "--time", "virtual"), cwd=tmp_path) for _ in range(2)
    ]
    assert runs[0].status == 0
    assert runs[0].stdout == runs[1].stdout
    numbers = [int(number) for number in runs[0].stdout.split()]
    assert sum(numbers[1:]) <= numbers[0]
    assert min(numbers) > 1_000_000
