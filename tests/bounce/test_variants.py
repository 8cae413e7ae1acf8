"""Ways to bounce (`--bounce-*`, `--visible`): what each does differently, and that nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emu.machine import Machine, MachineOptions
from guests.build import ARCHES, DEMO, Guest, build
from kernel_model.bounce import BounceWishes
from kernel_model.events import Bounced, Event, SyscallEnter
from kernel_model.syscalls.groups import numbers, replaced
from kernel_model.syscalls.table import names, rows
from tests.harness import emulator, run
from vdso_image.vvar import FIELDS, VVAR

HERE = Path(__file__).parent


def demo(arch: str, wishes: BounceWishes | None, *, virtual_time: bool = False) -> MachineOptions:
    """A run of the demo guest, the same each time."""
    return MachineOptions(
        program=str(DEMO / arch / "demo"), argv=[b"demo"], env={}, seed=1, virtual_time=virtual_time,
        abi="bare" if wishes is None else "bounce", bounce=wishes or BounceWishes(),
    )  # fmt: skip


def finish(options: MachineOptions) -> tuple[Machine, list[Event]]:
    """Run to the end: the machine, and its events."""
    machine = Machine(options)
    events: list[Event] = []
    machine.kernel.events.subscribe(events.append)
    assert machine.run() == 0
    return machine, events


# -- the frame in the task's page ------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
def test_task_page(arch: str, tmp_path: Path) -> None:
    program = build(Guest("bounce", "task_page", arch, HERE / "task_page.c"))
    seen = run([*emulator("--bounce-frame", "task-page"), program], cwd=tmp_path)
    assert seen.stdout.decode().splitlines() == [
        "alone: 1, on a 64 KiB boundary: yes",
        "with three threads: 4",
        "in a fork's child: 1",
        "after them: 1",
        "in a vfork's child: 2, after it: 1",
        "unmapped: -11",
        "read-only: -11",
        "no place for another: 77",
        "stack touched: 0",
        "after execve: 1, stack touched: no",
    ], seen
    assert seen.status == 0
    on_stack = run([*emulator(), program, "on the stack"], cwd=tmp_path)
    assert on_stack.stdout == b"on the stack: 0, stack touched: yes\n"


# -- nothing else changes --------------------------------------------------------------------------------------------
VARIANTS = {
    "stack": BounceWishes(),
    "slide": BounceWishes(check="slide"),
    "task-page": BounceWishes(frame="task-page"),
    "user": BounceWishes(leave_by="user"),
    "legacy": BounceWishes(calls="legacy"),
    "origin": BounceWishes(visible="origin"),
}


@pytest.mark.parametrize("arch", ARCHES)
def test_each_variant_does_the_same_in_the_same_time(arch: str) -> None:
    def told(wishes: BounceWishes | None) -> tuple[list[int], int]:
        machine, events = finish(demo(arch, wishes, virtual_time=True))
        numbers_made = [event.number for event in events if isinstance(event, SyscallEnter)]
        return numbers_made, machine.kernel.clock.monotonic_ns()

    bare = told(None)
    for name, wishes in VARIANTS.items():
        if name != "user" or arch == "x86_64":
            assert told(wishes) == bare, name


@pytest.mark.parametrize("arch", ARCHES)
def test_which_calls_bounce(arch: str) -> None:
    machine, events = finish(demo(arch, BounceWishes(calls="getpid,0x7f0,open,uname")))
    made = [event.name for event in events if isinstance(event, SyscallEnter)]
    assert machine.kernel.stats.bounces == sum(name in ("getpid", "open", "uname") for name in made) > 1
    none, _ = finish(demo(arch, BounceWishes(calls="exit_group,exit")))
    assert none.kernel.stats.bounces == 0


# -- the instruction pointer -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
def test_visible(arch: str) -> None:
    for visible, is_real in (("real", True), ("origin", False)):
        machine, events = finish(demo(arch, BounceWishes(visible=visible)))
        bounces = [event for event in events if isinstance(event, Bounced)]
        real = [event.pc for event in events if isinstance(event, SyscallEnter) and event.name != "exit_group"]
        sites = [event.site + machine.kernel.arch.SYSCALL_INSTRUCTION_BYTES for event in bounces]
        assert (real == sites) != is_real
        assert (len(set(real)) == 1) == is_real


def test_proc_syscall_shows_what_is_visible(tmp_path: Path) -> None:
    """A sleeper's PC is inside the vDSO, or at the program's own instruction."""
    script = "sleep 9 & sleep 0.1; cat /proc/$!/syscall; grep vdso /proc/$!/maps; kill $!"
    for visible, is_real in (("real", True), ("origin", False)):
        seen = run([*emulator("--visible", visible), "sh", "-c", script], cwd=tmp_path, env={"PATH": os.defpath})
        call, mapping = seen.stdout.decode().splitlines()
        start, _, end = mapping.split()[0].partition("-")
        words = call.split()
        assert len(words) == 9 and int(words[0]) > 0
        assert (int(start, 16) < int(words[8], 16) < int(end, 16)) is is_real


# -- the data page ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("virtual", [False, True])
def test_setting_the_clock_renews_the_page(arch: str, virtual: bool) -> None:
    machine = Machine(demo(arch, BounceWishes(), virtual_time=virtual))
    kernel = machine.kernel
    mm = machine.task.mm
    entry = mm.access_page(mm.vdso - 4096, 1)

    def page() -> tuple[int, ...]:
        return VVAR.unpack_from(mm.ram, entry & -4096)

    before = page()
    hour_ns = 3600 * 10**9
    kernel.clock.set_realtime(kernel.clock.realtime_ns() + hour_ns)
    after = page()
    assert after[0] == before[0] + 2 and not after[0] & 1
    if not virtual:
        realtime, monotonic = len(FIELDS), len(FIELDS) + 2  # base_sec of clocks 0 and 1
        ahead = (after[realtime] - after[monotonic]) - (before[realtime] - before[monotonic])
        assert abs(ahead - 3600) <= 1
    kernel.clock.set_timezone(-60, 1)
    west = [name for name, _, _ in FIELDS].index("tz_minuteswest")
    assert page()[west : west + 2] == ((0, 0) if virtual else (-60, 1))
    machine.close()


# -- the legacy set --------------------------------------------------------------------------------------------------
def test_legacy_is_a_set_of_calls_that_are_there() -> None:
    known = {row.name for row in rows()}
    table = replaced()
    assert set(table) <= known
    assert {successor for successor in table.values() if successor != "-"} <= known
    for arch in ARCHES:
        chosen = numbers("legacy", arch)
        assert chosen is not None
        own = names(arch)
        assert chosen <= set(own)
        for number in chosen:
            successor = table[own[number].name]
            assert successor == "-" or any(row.name == successor for row in own.values())
    x86, arm = numbers("legacy", "x86_64"), numbers("legacy", "aarch64")
    assert x86 is not None and arm is not None
    assert {names("aarch64")[number].name for number in arm} < {names("x86_64")[number].name for number in x86}


def test_numbers_and_names() -> None:
    assert numbers("all", "x86_64") is None
    assert numbers("open, 57 ,0x3f", "x86_64") == frozenset((2, 57, 0x3F))
    assert numbers("open,57,0x3f", "aarch64") == frozenset((57, 0x3F))


@pytest.mark.parametrize(
    ("options", "inside"),
    [
        ("", True), ("--bounce-frame task-page", True), ("--bounce-check slide", True), ("--visible origin", False),
        ("--bounce-set openat", False), ("--abi bare", False),
    ],
)  # fmt: skip
def test_a_task_that_reads_of_its_own_call(options: str, inside: bool, tmp_path: Path) -> None:
    """/proc/self/syscall tells what a sleeping task's would: the instruction that made the real call."""
    words = ("/bin/cat", "/proc/self/syscall", "/proc/self/maps")
    seen = run([*emulator("--seed", "1", *options.split()), *words], cwd=tmp_path)
    first, *maps = seen.stdout.decode().splitlines()
    number, *_, pc = (int(word, 0) for word in first.split())
    start, end = next(line.split()[0].split("-") for line in maps if line.endswith("[vdso]"))
    assert number in names(os.uname().machine)  # read, without the flag
    assert (int(start, 16) < pc <= int(end, 16)) == inside
