"""The end of a bounce: the frame is copied once, and a number-less return is no call that could be restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emu.cpu.watch import InstructionWatch
from emu.machine import Machine, MachineOptions
from guests.build import ARCHES, binary_path, discover
from kernel_model.abi import signal as abi
from kernel_model.bounce import FRAME_BYTES, NO_CALL, REDIRECT
from kernel_model.events import Event, RedirectedReturn, SignalDelivered
from kernel_model.mm.uaccess import copy_to_user
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import UserPtr
from tests.bounce.injection import program
from tests.harness import ROOT
from tests.test_guests import expected

if TYPE_CHECKING:
    from pathlib import Path

    from kernel_model.arch import Arch

RUBBISH = b"\xa5" * FRAME_BYTES


def machine_for(path: Path, *args: bytes) -> Machine:
    return Machine(MachineOptions(program=str(path), argv=[str(path).encode(), *args], env={}, abi="bounce"))


def output(machine: Machine, capfd: pytest.CaptureFixture[str]) -> str:
    """What the guest prints."""
    status = machine.run()
    text = capfd.readouterr().out
    assert status == 0, text
    return text


class Rewriting:
    """An architecture at whose check of the flags another thread rewrites the frame that they are from."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        self.machine: Machine
        self.rewritten = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._arch, name)

    def user_flags(self, flags: int) -> int | None:
        kernel = self.machine.kernel
        sp = kernel.cpu.read_gregs()[self._arch.SP_INDEX]
        copy_to_user(kernel.current.mm, self._arch.untag(sp), RUBBISH)
        self.rewritten += 1
        return self._arch.user_flags(flags)


@pytest.mark.usefixtures("guests_built")
@pytest.mark.parametrize("arch", ARCHES)
def test_a_frame_rewritten_between_its_check_and_its_use(arch: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One copy decides: forged frames end as they do when nobody touches them."""
    guest = next(guest for guest in discover() if guest.id == "bounce/forged" and guest.arch == arch)
    machine = machine_for(binary_path(guest))
    double = Rewriting(machine.kernel.arch)
    double.machine = machine
    machine.kernel.arch = double  # type: ignore[assignment]
    assert output(machine, capfd) == expected(guest).stdout.decode()
    assert double.rewritten >= 5


@pytest.mark.usefixtures("guests_built")
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", ["accidents", "flags"])
def test_a_frame_rewritten_after_the_pop(arch: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing reads a frame again: not the call, not fork, clone, rt_sigreturn or execve."""
    guest = next(guest for guest in discover() if guest.id == f"bounce/{name}" and guest.arch == arch)
    machine = machine_for(binary_path(guest))
    rewritten = 0

    def rewrite(event: Event) -> None:
        nonlocal rewritten
        if isinstance(event, RedirectedReturn):
            rewritten += 1
            copy_to_user(event.task.mm, UserPtr(event.frame), RUBBISH)

    machine.kernel.events.subscribe(rewrite)
    assert output(machine, capfd) == expected(guest).stdout.decode()
    assert rewritten > 20


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("value", [-512, -514, -516, 7])
@pytest.mark.parametrize("restart", [False, True], ids=["", "SA_RESTART"])
def test_a_number_less_return_of_minus_512_with_a_signal_pending(
    arch: str, value: int, restart: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """The handler runs, and the value is neither EINTR nor a reason to go back."""
    path = program(ROOT / "tests" / "bounce" / "numberless.c", arch)
    machine = machine_for(path, str(value).encode(), *[b"restart"] * restart)
    kernel = machine.kernel
    mm = machine.task.mm
    number_at = kernel.arch.NUMBER_INDEX
    delivered = []

    def before(_pc: int, _size_bytes: int) -> None:
        number = kernel.cpu.read_gregs()[number_at] & 0xFFFF_FFFF
        if number == NO_CALL | REDIRECT:
            send_signal(kernel, kernel.current, SigInfo(abi.SIGUSR2, abi.SI_USER, fields=(("pid", 1), ("uid", 0))))

    def hear(event: Event) -> None:
        if isinstance(event, SignalDelivered) and event.info.signo == abi.SIGUSR2:
            delivered.append(event.handler)

    kernel.events.subscribe(hear)
    InstructionWatch(machine.cpu, before, mm.vdso, mm.vdso_end)
    lines = output(machine, capfd).splitlines()
    assert lines[-2:] == [str(value), "ok"]
    assert len(delivered) == 1
    assert delivered[0]
