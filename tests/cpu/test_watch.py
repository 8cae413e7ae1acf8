"""A watch on instructions: it sees each one, and stops without one being lost or done twice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from emu.cpu.watch import InstructionWatch
from tests.cpu.bare_metal import CODE, BareMetal


@dataclass(frozen=True)
class Loop:
    """Code that stores and adds in a loop; `counter` is the register that counts, by its place in `read_gregs`."""

    code: bytes
    counter: int
    body: tuple[int, ...]
    rounds: int = 50


LOOPS = {
    # mov w1, #50; loop: str w0, [sp]; ldr w0, [sp]; add w0, w0, #1; subs w1, w1, #1; b.ne loop; svc #0
    "aarch64": Loop(
        bytes.fromhex("41068052 e00300b9 e00340b9 00040011 21040071 81ffff54 010000d4"), 0, (4, 8, 12, 16, 20)
    ),
    # mov ecx, 50; loop: push rax; pop rax; inc eax; dec ecx; jne loop; syscall
    "x86_64": Loop(bytes.fromhex("b932000000 50 58 ffc0 ffc9 75f8 0f05"), 13, (5, 6, 7, 9, 11)),
}


@pytest.fixture(params=LOOPS)
def metal(request: pytest.FixtureRequest) -> BareMetal:
    machine = BareMetal(request.param)
    machine.load(LOOPS[request.param].code)
    return machine


def loop_of(metal: BareMetal) -> Loop:
    return LOOPS["aarch64" if metal.cpu.COUNTER_CYCLE_NS == 16 else "x86_64"]


def seen_by(loop: Loop) -> list[int]:
    code_bytes = len(loop.code)
    last = 4 if loop.counter == 0 else 2
    return [CODE, *(CODE + at for _ in range(loop.rounds) for at in loop.body), CODE + code_bytes - last]


def test_each_instruction_is_told_once_in_order(metal: BareMetal) -> None:
    pcs: list[int] = []
    InstructionWatch(metal.cpu, lambda pc, _: pcs.append(pc))
    metal.cpu.run()
    assert pcs == seen_by(loop_of(metal))
    assert metal.cpu.read_gregs()[loop_of(metal).counter] == loop_of(metal).rounds


def test_only_the_range_is_told(metal: BareMetal) -> None:
    pcs: list[int] = []
    first, second = loop_of(metal).body[1:3]
    InstructionWatch(metal.cpu, lambda pc, _: pcs.append(pc), CODE + first, CODE + second)
    metal.cpu.run()
    assert pcs == [CODE + first] * loop_of(metal).rounds


def test_pausing_at_each_instruction_loses_none_and_repeats_none(metal: BareMetal) -> None:
    pcs: list[int] = []
    cpu = metal.cpu
    watch = InstructionWatch(cpu, lambda *_: watch.pause())
    while True:
        cpu.run()
        if not cpu.paused:
            break
        pcs.append(cpu.engine.read_register(cpu.PC))
        assert not metal.recorder.seen
    assert pcs == seen_by(loop_of(metal))
    assert cpu.read_gregs()[loop_of(metal).counter] == loop_of(metal).rounds


def test_an_interrupt_comes_before_the_instruction(metal: BareMetal) -> None:
    cpu, loop = metal.cpu, loop_of(metal)
    after_first = CODE + loop.body[3]
    watch = InstructionWatch(cpu, lambda *_: watch.interrupt(), after_first, after_first + 1)
    cpu.run()
    assert metal.recorder.seen == [("interrupted",)]
    assert cpu.engine.read_register(cpu.PC) == after_first
    assert cpu.read_gregs()[loop.counter] == 1


def test_a_removed_watch_tells_nothing(metal: BareMetal) -> None:
    pcs: list[int] = []
    InstructionWatch(metal.cpu, lambda pc, _: pcs.append(pc)).remove()
    metal.cpu.run()
    assert not pcs
    assert metal.cpu.read_gregs()[loop_of(metal).counter] == loop_of(metal).rounds


def test_an_error_in_the_callback_is_raised_by_run(metal: BareMetal) -> None:
    def before(_pc: int, _size: int) -> None:
        raise LookupError("ours")

    InstructionWatch(metal.cpu, before)
    with pytest.raises(LookupError, match="ours"):
        metal.cpu.run()
