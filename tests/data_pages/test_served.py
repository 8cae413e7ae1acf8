"""The eight calls that a data page answers: what the kernel is entered for, and that it would have said the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emu.machine import Machine, MachineOptions
from kernel_model.bounce import BounceWishes
from kernel_model.events import Bounced, RedirectedReturn, SyscallEnter
from tests.bounce.injection import program
from tests.harness import emulator, run
from vdso_image.data_pages import ANSWERS
from vdso_image.image import ARCHITECTURES

if TYPE_CHECKING:
    from kernel_model.events import Event

CALLS = (*ANSWERS, "getcpu")
WAYS = ("function", "instruction")
BEGIN, END = (fd & 0xFFFF_FFFF for fd in (-1001, -1002))
TIMES = 10
"""Of `counted.c`."""
SERVING = ("--vdso", "userspace")
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
each_variant = pytest.mark.parametrize("variant", ["percpu", "perthread"])


def entries(arch: str, variant: str, vdso: str | None) -> dict[tuple[str, str], Counter[str]]:
    """What the kernel was entered for, by call and way; `vdso` None: without bounces."""
    path = program(Path(__file__).parent / "counted.c", arch)
    machine = Machine(
        MachineOptions(
            program=str(path), argv=[b"counted"], env={}, isolate=True, virtual_time=True, vdso_data=variant,
            abi="bounce" if vdso else "bare", bounce=BounceWishes(vdso=vdso or "plain"),
        )
    )  # fmt: skip
    machine.cpu.slice_blocks = 1 << 40  # what is interrupted is done again, and would be counted twice
    found: dict[tuple[str, str], Counter[str]] = {}
    marks = ("bounces", "returns") if vdso else ()
    now: Counter[str] = Counter()

    def look(event: Event) -> None:
        nonlocal now
        if isinstance(event, SyscallEnter) and event.name == "write" and event.args[0] & 0xFFFF_FFFF == BEGIN:
            now = found[CALLS[event.args[1]], WAYS[event.args[2]]] = Counter()
        elif isinstance(event, SyscallEnter) and event.name == "write" and event.args[0] & 0xFFFF_FFFF == END:
            now.subtract(marks)
            now = Counter()
        elif isinstance(event, SyscallEnter):
            now[event.name] += 1
        elif isinstance(event, Bounced):
            now["bounces"] += 1
        elif isinstance(event, RedirectedReturn):
            now["returns"] += 1

    machine.kernel.events.subscribe(look)
    assert machine.run() == 0
    return {what: +counts for what, counts in found.items()}


@each_variant
@each_arch
def test_how_often_the_kernel_is_entered(arch: str, variant: str) -> None:
    """By the instruction: the bounce, and on AArch64 the return that nothing but the kernel can make."""
    served = {"aarch64": {"bounces": TIMES, "returns": TIMES}, "x86_64": {"bounces": TIMES}}[arch]
    found = entries(arch, variant, "userspace")
    assert found == {(call, way): {} if way == "function" else served for call in CALLS for way in WAYS}


@each_arch
def test_the_plain_handler_and_no_bounce(arch: str) -> None:
    found = entries(arch, "percpu", "plain")
    made = {"bounces": TIMES, "returns": TIMES}
    assert found == {
        (call, way): {} if way == "function" else made | {call: TIMES} for call in CALLS for way in WAYS
    }
    found = entries(arch, "percpu", None)
    assert found == {(call, way): {} if way == "function" else {call: TIMES} for call in CALLS for way in WAYS}


@each_arch
def test_without_pages_the_calls_are_made(arch: str) -> None:
    found = entries(arch, "none", "userspace")
    made = {"bounces": TIMES, "returns": TIMES}
    assert {call: found[call, "instruction"] for call in CALLS} == {call: made | {call: TIMES} for call in CALLS}
    assert {call: found[call, "function"] for call in CALLS} == {
        call: {} if call == "getcpu" else {call: TIMES} for call in CALLS
    }


@pytest.mark.parametrize("options", [(*SERVING,), ("--abi", "bare"), ()], ids=["served", "bare", "bounced"])
@each_variant
@each_arch
def test_what_a_filter_has_to_see_is_no_page_s_to_answer(
    arch: str, variant: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = program(Path(__file__).parent / "counted.c", arch)
    seen = run([*emulator(*options, "--vdso-data", variant, "--check-leaks"), path, "watched"], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, b"well\n"), str(seen)


@pytest.mark.parametrize("options", [SERVING, ()], ids=["served", "bounced"])
@pytest.mark.parametrize("cpus", ["1", "4"])
@each_variant
@each_arch
def test_whatever_tasks_become(arch: str, variant: str, cpus: str, options: tuple[str, ...], tmp_path: Path) -> None:
    path = program(Path(__file__).parent / "changes.c", arch)
    for seed in ("1", "2"):
        command = [*emulator(*options, "--vdso-data", variant, "--cpus", cpus, "--seed", seed, "--check-leaks")]
        seen = run([*command, path, seed, "12"], cwd=tmp_path)
        assert (seen.status, seen.stdout) == (0, b"well\n"), f"seed {seed}\n{seen}"
