"""Calls that the handler makes by newer ones: how often the kernel is entered, and that it needs no old number."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from guests.build import Guest
from kernel_model.syscalls.groups import numbers
from kernel_model.syscalls.table import names
from tests.bounce.test_userspace import GUESTS, program
from tests.harness import ROOT, emulator, judge, run
from tests.test_guests import expected, run_guest
from vdso_image.image import ARCHITECTURES, load
from vdso_image.served import CONVERTED, GLUE, KEPT

pytestmark = pytest.mark.usefixtures("guests_built")

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
LEGACY = ("--vdso", "userspace", "--bounce-set", "legacy")
GONE = b"-38 0 1\n"
"""ENOSYS for the old number, and what bounces goes on to work."""
ROUNDS = 20
REFUSED = {"aarch64": {2, 4, 14}, "x86_64": {2, 4, 14, 34}}
"""Of the list in `glued.c`: what the handler refuses by itself."""
ELSEWHERE = {"fork", "vfork", "pause", "inotify_init"}
"""They are in guests, or not in the kernel model."""
ALSO_THERE = {"aarch64": 1, "x86_64": 0}
"""Entries by which a handler gets back to the program."""


def counters(arch: str, rounds: int, directory: Path) -> tuple[Counter[str], Counter[str]]:
    """What --stats says of `glued.c`, and of single calls."""
    file = directory / f"{rounds}.json"
    prefix = emulator("--vdso", "userspace", "--stats", str(file))
    seen = run([*prefix, program("glued", arch), str(rounds)], cwd=directory)
    assert seen.status == 0, str(seen)
    found = json.loads(file.read_text())
    return Counter({name: value for name, value in found.items() if isinstance(value, int)}), Counter(found["syscalls"])


def wanted_of(calls: list[str], refused: set[int]) -> Counter[str]:
    """The calls that are made for these, in their order."""
    made: Counter[str] = Counter()
    for place, name in enumerate(calls):
        if place not in refused:
            others = (GLUE[name].call,) if name in GLUE else CONVERTED[name]
            made[others[min(calls[:place].count(name), len(others) - 1)]] += ROUNDS
    return made


@each_arch
def test_one_real_call_for_each(arch: str, tmp_path: Path) -> None:
    calls = run([*emulator("--vdso", "userspace"), program("glued", arch)], cwd=tmp_path).stdout.decode().split()
    there = {row.name for row in names(arch).values()}
    assert {name for name in (*GLUE, *CONVERTED) if name in there} - set(calls) <= ELSEWHERE
    (none, none_by_name), (some, some_by_name) = counters(arch, 0, tmp_path), counters(arch, ROUNDS, tmp_path)
    some.subtract(none)
    some_by_name.subtract(none_by_name)
    asked, made = ROUNDS * len(calls), ROUNDS * (len(calls) - len(REFUSED[arch]))
    assert +some_by_name == wanted_of(calls, REFUSED[arch])
    assert some["bounces"] == asked
    assert some["real_syscalls"] == some["served_by_another_call"] == made
    assert some["served_in_user_space"] == asked - made
    assert some["kernel_entries"] == asked * (1 + ALSO_THERE[arch]) + made


@each_arch
def test_what_is_carried_needs_nothing_that_is(arch: str) -> None:
    """What a routine calls stays in the table, and all that leaves it can bounce."""
    image = load(arch)
    of_name = {row.name: number for number, row in names(arch).items()}
    used = {glue.call for glue in GLUE.values()} | {name for calls in CONVERTED.values() for name in calls}
    assert not {of_name[name] for name in used} & image.carried
    assert not {of_name[name] for name in KEPT if name in of_name} & image.carried
    legacy = numbers("legacy", arch)
    assert legacy is not None
    assert image.carried <= legacy


def test_the_documentation_lists_them() -> None:
    text = (ROOT / "docs" / "hack3.md").read_text()
    text = text.partition("<!-- glue: begin -->")[2].partition("<!-- glue: end -->")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ") and "made by" not in line]
    told = {(name, by.strip(), there.strip()) for _, old, by, there, *_ in rows for name in old.strip().split(", ")}
    on_aarch64 = {row.name for row in names("aarch64").values()}
    made_by = {name: glue.call for name, glue in GLUE.items()} | {name: ", ".join(by) for name, by in CONVERTED.items()}
    assert told == {(name, by, "yes" if name in on_aarch64 else "") for name, by in made_by.items()}


@each_arch
def test_the_old_number_is_gone(arch: str, tmp_path: Path) -> None:
    place = str(load(arch).symbols["__kernel_syscall"])
    for options, wanted in (((), b"0 0 1\n"), (LEGACY[:2], b"0 0 1\n"), (LEGACY[2:], b"0 0 1\n"), (LEGACY, GONE)):
        seen = run([*emulator("--abi", "bounce", *options), program("dropped", arch), place], cwd=tmp_path)
        assert (seen.status, seen.stdout) == (0, wanted), options


AREAS = {"bounce", "event", "file", "stream", "tasks", "time"}
WITHOUT = [guest for guest in GUESTS if guest.area in AREAS and (guest.arch == "x86_64" or guest.area == "bounce")]


@pytest.mark.parametrize("guest", WITHOUT, ids=lambda guest: f"{guest.arch}-{guest.area}-{guest.name}")
def test_guest_without_the_old_numbers(guest: Guest, tmp_path: Path) -> None:
    seen = run_guest(guest, emulator(*LEGACY, "--check-leaks", *guest.options), tmp_path)
    judge("emulator", f"{guest.arch} {guest.id}", seen, expected(guest))
    assert b"Traceback" not in seen.stderr


@each_arch
def test_a_jump_to_any_place_of_the_handler_breaks_nothing(arch: str, tmp_path: Path) -> None:
    image = load(arch)
    start = image.symbols["__kernel_bounce_userspace"]
    end = max(end for _, end, *_ in image.undo_ranges)
    step = {"aarch64": 8, "x86_64": 5}[arch]
    seen = run([*emulator(*LEGACY[:2]), program("jumped", arch), str(start), str(end), str(step)], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, b"%d jumps\n" % len(range(start, end, step))), str(seen)
    assert b"Traceback" not in seen.stderr
