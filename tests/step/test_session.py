"""A session without a terminal: however it is stopped and resumed, no instruction is lost, or seen twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from emu.machine import Machine, MachineOptions
from emu.step.breakpoints import Breakpoint
from emu.step.host import StepHost
from emu.step.session import Happening, NewTask, Quit, Resume, Session, Stop, Target
from guests.build import ARCHES, DEMO
from kernel_model.events import SyscallEnter
from tests.harness import ROOT
from tests.step.driver import QUIET, getppid, transcript, walk

Decide = Callable[[Session, Stop], Resume]


class Plan:
    """A reader that lets a function decide."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self.session: Session
        self.stops: list[Stop] = []
        self.told: list[Happening] = []

    def tell(self, happening: Happening) -> None:
        self.told.append(happening)

    def ask(self, stop: Stop) -> Resume:
        self.stops.append(stop)
        if stop.why == "end":
            raise Quit
        return self._decide(self.session, stop)


def play(program: str, decide: Decide, *words: str, abi: str = "bounce") -> Plan:
    """Run it under a plan, to its end or Quit."""
    host = StepHost()
    argv = [os.fsencode(word) for word in (program, *words)]
    machine = Machine(MachineOptions(program, argv, {}, seed=1, virtual_time=True, abi=abi), host)
    plan = Plan(decide)
    plan.session = Session(machine, host, plan)
    plan.session.run()
    return plan


@cache
def every_pc(arch: str) -> list[int]:
    """Every instruction of the lab's program, in order."""
    plan = play(str(DEMO / arch / "getppid"), lambda _session, _stop: Resume(steps=1))
    return [stop.pc for stop in plan.stops[:-1]]


@pytest.mark.parametrize("arch", ARCHES)
def test_stepping_goes_through_every_bounce(arch: str) -> None:
    pcs = every_pc(arch)
    assert 20 < len(pcs) < 60
    plan = play(str(DEMO / arch / "getppid"), lambda _session, _stop: Resume(steps=1), abi="bare")
    program = {stop.pc for stop in plan.stops[:-1]}
    assert [pc for pc in pcs if pc in program] == [stop.pc for stop in plan.stops[:-1]]
    assert len([pc for pc in pcs if pc not in program]) == 2 * 2  # two bounces, two instructions of the handler each


@pytest.mark.parametrize("arch", ARCHES)
@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_any_mix_of_steps_and_breakpoints_finds_the_same_way(arch: str, data: st.DataObject) -> None:
    pcs = every_pc(arch)
    at = 0

    def decide(session: Session, stop: Stop) -> Resume:
        nonlocal at
        assert stop.pc == pcs[at]
        mm = session.kernel.current.mm
        for number in list(session.breakpoints.all):
            session.breakpoints.remove(number, mm)
        chosen = data.draw(st.lists(st.sampled_from(pcs), max_size=2))
        for address in chosen:
            session.breakpoints.add(Breakpoint("address", "", address=address), mm)
        what = data.draw(st.sampled_from(("step", "steps", "continue", "target")))
        target = None
        steps = {"step": 1, "steps": 7}.get(what, 0)
        if what == "target":
            target = Target(data.draw(st.sampled_from(pcs)))
        wanted = {*chosen, *([target.address] if target else [])}
        ends = [i for i in range(at + 1, len(pcs)) if pcs[i] in wanted or (steps and i - at == steps)]
        at = ends[0] if ends else len(pcs)
        return Resume(steps=steps, target=target)

    plan = play(str(DEMO / arch / "getppid"), decide)
    assert at == len(pcs)
    assert plan.stops[-1].why == "end"


@pytest.mark.parametrize("arch", ARCHES)
def test_to_the_next_bounce_and_what_is_known_of_it(arch: str) -> None:
    phases: list[str] = []

    def decide(session: Session, stop: Stop) -> Resume:
        if stop.why == "bounce":
            bounce = session.bounces[stop.task.pid]
            phases.append(bounce.phase)
            assert stop.pc == stop.task.mm.vdso_handler
            assert session.registers()[session.style.sp] == bounce.frame
            return Resume(target=Target(bounce.words[2]))
        if stop.why == "target":
            bounce = session.bounces[stop.task.pid]
            phases.append(f"{bounce.phase} {bounce.result}")
            assert session.registers()[session.style.sp] == bounce.words[1]
        return Resume(at_bounce=True)

    play(str(DEMO / arch / "getppid"), decide)
    assert phases == ["entered", "returned 0"] * 2


@pytest.mark.parametrize("arch", ARCHES)
def test_a_call_is_shown_before_it_is_carried_out(arch: str) -> None:
    seen: list[tuple[int, str]] = []

    def decide(session: Session, stop: Stop) -> Resume:
        if stop.why == "start":
            session.breakpoints.add(Breakpoint("syscall", "syscall"), stop.task.mm)
        elif isinstance(stop.event, SyscallEnter):
            seen.append((session.kernel.stats.redirected_returns, stop.event.name))
        return Resume()

    play(str(DEMO / arch / "getppid"), decide)
    assert seen == [(1, "getppid"), (2, "getppid"), (2, "exit_group")]


@pytest.mark.parametrize("arch", ARCHES)
def test_a_step_stays_with_its_task_until_that_sleeps(arch: str) -> None:
    """Single steps through a fork: they lead into the child only while the parent waits for it."""

    def decide(session: Session, stop: Stop) -> Resume:
        if stop.other_than is not None and stop.other_than.exit_code is None:
            assert stop.other_than.blocked_call is not None
        return Resume(steps=1)

    plan = play(str(walk(arch)), decide, "fork")
    assert [happening.pid for happening in plan.told if isinstance(happening, NewTask)] == [1001]
    tasks = [stop.task.pid for stop in plan.stops]
    changes = [pid for pid, before in zip(tasks, [0, *tasks], strict=False) if pid != before]
    assert changes == [1000, 1001, 1000]


@pytest.mark.parametrize("arch", ARCHES)
def test_a_fault_is_shown_with_the_registers_it_happened_with(arch: str) -> None:
    plan = play(str(walk(arch)), lambda _session, _stop: Resume(), "fault")
    why = [stop.why for stop in plan.stops]
    assert why == ["start", "fault", "end"]
    assert plan.session.machine.status() == 128 + 11


@pytest.mark.parametrize("arch", ARCHES)
def test_a_call_that_is_served(arch: str) -> None:
    """The lab's own expectations hold, and what it shows besides is the handler's doing."""
    program = (DEMO / arch / "served").relative_to(ROOT)
    script = ROOT / "docs" / "labs" / "served.step"
    seen = transcript(*QUIET, "--vdso", "userspace", "-x", script, program, commands="")
    assert (seen.status, seen.stderr) == (0, b""), seen.text()
    text = seen.text()
    assert text.count("as expected: ") == 3
    assert f"entries = {1 if arch == 'x86_64' else 2:#x}\n" in text
    again, finish = "comes here starts the call again", "comes here finds the call finished"
    assert re.findall(rf"{again}|{finish}", text) == [again, again, finish]
    assert "the bounce has returned: umask(027) = 022, in user space, with no call\n" in text
    asked = 'access("/", F_OK)' if arch == "x86_64" else 'faccessat(AT_FDCWD, "/", F_OK)'
    assert f"the bounce has returned: {asked} = 0, by faccessat2\n" in text


@pytest.mark.parametrize("arch", ARCHES)
def test_the_data_of_a_task(arch: str) -> None:
    """What stands in the pages, what the kernel makes of it, and where there is nothing."""
    pages = {"percpu": "vcpu", "perthread": "vthread"}
    for kind, name in pages.items():
        commands = f"break main\nc\ndata\nprint u32[{name} + 8] == pid\nprint u32[vtask]\n"
        seen = transcript(*QUIET, "--vdso-data", kind, getppid(arch), commands=commands).text()
        assert re.search(rf"^\[{name}\] at 0x\w+, about th", seen, re.M), seen
        assert re.search(r"^  tid +1000 +gettid$", seen, re.M), seen
        assert f"print u32[{name} + 8] == pid = 0x1\n".removeprefix("print ") in seen
        assert "there is no vtask yet: the task has no such page here" in seen, seen
    nothing = transcript(*QUIET, getppid(arch), commands="data\n")
    assert nothing.status == 1
    assert "data: the task has no such page here: --vdso userspace and --vdso-data make some\n" in nothing.text()


@pytest.mark.parametrize("arch", ARCHES)
def test_a_call_that_is_long_over_is_told_without_its_arguments(arch: str) -> None:
    """What they pointed to may be something else by now."""
    commands = "break syscall uname\nc\nnext\ninfo\nstep\ninfo\n"
    seen = transcript(*QUIET, str((DEMO / arch / "demo").relative_to(ROOT)), commands=commands).stdout.decode()
    results = [line for line in seen.splitlines() if line.startswith("  result")]
    assert len(results) == 2
    assert results[0].startswith('  result  uname({sysname="Linux"')
    assert results[1] == "  result  uname(...) = 0"
