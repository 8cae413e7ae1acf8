"""A signal before every instruction of the vDSO's functions, one by one: the program sees nothing but its handler."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cpu.watch import InstructionWatch
from emu.machine import Machine, MachineOptions
from kernel_model.abi import signal as abi
from kernel_model.bounce import BounceWishes
from kernel_model.events import Event, SyscallEnter
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from tests.libkernel.test_programs import program
from vdso_image.image import ARCHITECTURES

BEGIN, END = (fd & 0xFFFF_FFFF for fd in (-1000, -1001))
TRIALS = 1000
LEAST = (6, 4, 3, 7, 20, 3, 6, 6, 6)
"""Of each function in the guest: how many instructions of the vDSO it takes at least."""


class Injector:
    """Sends the guest a signal before one more instruction in each trial."""

    def __init__(self, arch: str) -> None:
        path = program(Path(__file__).parent / "injected.c", arch)
        self.machine = machine = Machine(
            MachineOptions(
                program=str(path), argv=[b"injected"], env={}, isolate=True, seed=1, virtual_time=True, abi="bounce",
                bounce=BounceWishes(vdso="libkernel"),
            )
        )  # fmt: skip
        self.pid = machine.task.pid
        self.trials: list[int] = []
        self._step = self._left = 0
        self._armed = False
        machine.cpu.slice_blocks = 1 << 40
        machine.kernel.events.subscribe(self._on_event)
        mm = machine.task.mm
        self._watch = InstructionWatch(machine.cpu, self._before, mm.vdso, mm.vdso_end)

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, SyscallEnter) or event.task.pid != self.pid:
            return
        if event.name == "close" and event.args[0] & 0xFFFF_FFFF == BEGIN:
            self._armed, self._left = True, self._step
            self._step += 1
        elif event.name == "close" and event.args[0] & 0xFFFF_FFFF == END:
            self._armed = False
        elif event.name == "write" and event.args[0] == TRIALS:
            self.trials.append(event.args[2])
            self._step = 0

    def _before(self, _pc: int, _size_bytes: int) -> None:
        kernel = self.machine.kernel
        if not self._armed or kernel.current.pid != self.pid:
            return
        if self._left:
            self._left -= 1
            return
        self._armed = False
        origin = (("pid", 1), ("uid", 0))
        send_signal(kernel, kernel.current, SigInfo(abi.SIGUSR1, abi.SI_USER, fields=origin), group=False)
        self._watch.interrupt()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_signal_before_every_instruction(arch: str) -> None:
    injector = Injector(arch)
    assert injector.machine.run() == 0
    assert len(injector.trials) == len(LEAST)
    assert all(trials > least for trials, least in zip(injector.trials, LEAST, strict=True)), injector.trials
