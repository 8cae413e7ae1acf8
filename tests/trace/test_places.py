"""What lies at an address: functions, files, instructions, without touching anything."""

from __future__ import annotations

import pytest

from emu.machine import Machine, MachineOptions
from emu.places import Places
from kernel_model.vdso import VDSO_NAME
from tests.harness import ROOT


@pytest.fixture(params=["aarch64", "x86_64"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """A program that has not run yet."""
    program = str(ROOT / "guests" / "demo" / request.param / "demo")
    return Machine(MachineOptions(program, [b"demo"], {}, seed=1))


def test_the_vdso_has_names(machine: Machine) -> None:
    places, mm = Places(machine.kernel), machine.task.mm
    assert places.describe(mm, mm.vdso_handler) == "__kernel_bounce ([vdso])"
    assert places.describe(mm, mm.vdso_handler + 4) == "__kernel_bounce+0x4 ([vdso])"
    assert places.addresses(mm, "__kernel_bounce") == [mm.vdso_handler]
    lines = places.disassemble(mm, mm.vdso_handler, 2)
    assert [line.text.split()[0] for line in lines] in (["orr", "svc"], ["lea", "syscall"])
    assert VDSO_NAME in {vma.name for vma in mm.vmas}


def test_nothing_is_touched(machine: Machine) -> None:
    places, mm = Places(machine.kernel), machine.task.mm
    before = dict(mm.pt)
    text = next(vma for vma in mm.vmas if vma.vm_file is not None and vma.vm_flags & 4)
    assert len(places.peek(mm, text.vm_start, 64)) == 64
    stack = next(vma for vma in mm.vmas if vma.vm_start <= mm.start_stack < vma.vm_end)
    assert places.peek(mm, stack.vm_start, 5000) == bytes(5000)
    assert places.peek(mm, 0, 8) == b""
    assert len(places.peek(mm, stack.vm_end - 4, 8)) == 4
    assert mm.pt == before


def test_where_nothing_is_named(machine: Machine) -> None:
    places, mm = Places(machine.kernel), machine.task.mm
    assert places.describe(mm, 0x10) == "0x10"
    assert places.addresses(mm, "no_such_function") == []
    assert places.disassemble(mm, 0x10, 1) == []
