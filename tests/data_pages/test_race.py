"""A task loses its CPU before each instruction of each function, and goes on on another one.

Between the offset and the data that is a race. It is there under percpu-racy, and nowhere else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emu.cpu.watch import InstructionWatch
from emu.machine import Machine, MachineOptions
from emu.trace.jsonl import JsonTeller
from emu.trace.output import Output
from emu.trace.recorder import Recorder
from emu.trace.text import TextTeller
from kernel_model.abi.signal import SI_TKILL, SIGUSR1
from kernel_model.bounce import BounceWishes
from kernel_model.events import BeganAgain, Rewound, SyscallEnter
from kernel_model.placement import move_to
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from tests.bounce.injection import program
from tests.trace.told import records
from tests.vdso.variants import built_image, edited
from vdso_image.assemble import disassemble
from vdso_image.image import ARCHITECTURES, load

if TYPE_CHECKING:
    from kernel_model.events import Event
    from kernel_model.task import Task

NEXT, RESULT = (fd & 0xFFFF_FFFF for fd in (-1001, -1002))
FUNCTIONS = ("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid")
RETRY = "getpid_retry"
"""It needs no help of the kernel's."""
ASKED = (*FUNCTIONS, RETRY)
TRIALS = 24
"""Of `asked.c`."""
ALL = set(FUNCTIONS)
NEEDS_ROOT = {"getuid", "geteuid", "getgid", "getegid"}
"""What differs between two processes only if they may become other users."""


class Trials:
    """One run of `asked.c`. `how`: preempted | signalled | forked (in a signal's handler).

    `abi` userspace: by the system call instruction, which the handler serves.
    `back`: so many instructions after it was preempted a task is moved back to its first CPU; 0 for never.
    """

    def __init__(self, arch: str, variant: str, abi: str, how: str, back: int = 0) -> None:
        path = program(Path(__file__).parent / "asked.c", arch)
        served = abi == "userspace"
        argv = [b"asked", b"forks" if how == "forked" else b"calls" if served else b""]
        self.machine = machine = Machine(
            MachineOptions(
                program=str(path), argv=argv, env={}, isolate=True, cpus=2, virtual_time=True,
                abi="bounce" if served else abi, bounce=BounceWishes(vdso="userspace" if served else "plain"),
                vdso_data=variant,
            )
        )  # fmt: skip
        machine.cpu.slice_blocks = 1 << 40  # nobody loses the CPU but by this test
        self.kernel = machine.kernel
        self.kernel.sched.chooser = None  # turns come by age
        self.how = how
        self._back = back
        self._away = 0
        self.wrong: set[tuple[str, int]] = set()
        """(function, how many of its instructions had been executed)."""
        self.done: set[tuple[str, int]] = set()
        """Where the task has lost its CPU."""
        self._now = ("", 0)
        self._left = -1
        self.began_again: set[tuple[str, int]] = set()
        """Where the kernel has said so."""
        self.rewound = 0
        """How often a call that the handler had not answered yet was put back."""
        self._asks: Task | None = None
        self.answers = 0
        self.kernel.events.subscribe(self._on_event)
        image, vdso = load(arch), machine.task.mm.vdso
        places = [image.symbols[f"__kernel_{name}"] for name in ASKED]
        start, end = (vdso, machine.task.mm.vdso_end) if served else (vdso + min(places), vdso + max(places) + 128)
        self._watch = InstructionWatch(machine.cpu, self._before, start, end)

    def run(self) -> None:
        """To the end of the guest."""
        assert self.machine.run() == 0

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Rewound):
            self.rewound += event.task is self._asks and not event.finished
        if isinstance(event, BeganAgain):
            assert event.task is self._asks
            self.began_again.add(self._now)
            assert event.signalled == (self.how != "preempted")
        if isinstance(event, SyscallEnter) and event.name == "write":
            fd, function, value = (argument & 0xFFFF_FFFF for argument in event.args[:3])
            if fd == NEXT:
                self._asks = event.task
                self._now = (ASKED[function], value)
                self._left = value
            elif fd == RESULT:
                self._left = -1
                self.answers += 1
                if value:
                    self.wrong.add(self._now)

    def _before(self, pc: int, size_bytes: int) -> None:
        task = self.kernel.current
        if task is not self._asks:
            return
        if self._away:
            self._away -= 1
            if not self._away:
                move_to(task, 0)
                self._watch.interrupt()
        if self._left < 0:
            return
        if self._left:
            self._left -= 1
            return
        self._left = -1
        self.done.add(self._now)
        assert task.cpu == 0
        if self.how != "preempted":
            send_signal(self.kernel, task, SigInfo(SIGUSR1, SI_TKILL, fields=(("pid", 1), ("uid", 0))))
        else:
            move_to(task, 1)
            self._away = self._back
        self._watch.interrupt()


@pytest.mark.parametrize("abi", ["bare", "bounce"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
class TestRace:
    @pytest.mark.parametrize("how", ["preempted", "signalled", "forked"])
    @pytest.mark.parametrize("variant", ["percpu", "perthread", "none"])
    def test_no_answer_is_another_task_s(self, arch: str, abi: str, how: str, variant: str) -> None:
        trials = Trials(arch, variant, abi, how)
        trials.run()
        assert {name for name, _ in trials.done} == set(ASKED)
        assert len(trials.done) >= 3 * len(ASKED)
        assert trials.answers == len(ASKED) * TRIALS + (len(trials.done) if how == "forked" else 0)
        # a child that is made when the answer has been read gets its parent's, as after a call
        last = {name: max(place for of, place in trials.done if of == name) for name in ASKED}
        read = {*last.items(), (RETRY, last[RETRY] - 1), (RETRY, last[RETRY] - 2)}  # after its last load
        assert trials.wrong <= (read if how == "forked" else set())

    @pytest.mark.parametrize("how", ["preempted", "signalled"])
    def test_what_begins_again(self, arch: str, abi: str, how: str) -> None:
        """From behind the first instruction up to the load: the events say so, and that there is nothing else."""
        trials = Trials(arch, "percpu", abi, how)
        trials.run()
        image = load(arch)
        sizes = dict(image.data_ranges)
        for name in FUNCTIONS:
            start = image.symbols[f"__kernel_{name}"]
            count = len(disassemble(arch, image.elf[start : sizes[start]], start))
            assert {place for of, place in trials.began_again if of == name} == set(range(1, count))

    @pytest.mark.parametrize("how", ["preempted", "signalled"])
    def test_the_racy_form_tells_what_the_other_task_is(self, arch: str, abi: str, how: str) -> None:
        """Only after the offset was read, and before the data are: at the same instructions in each function."""
        trials = Trials(arch, "percpu-racy", abi, how)
        trials.run()
        assert {name for name, _ in trials.wrong} == (ALL if os.getuid() == 0 else ALL - NEEDS_ROOT)
        places = [{place for name, place in trials.wrong if name == function} for function in ("getpid", "getppid")]
        assert places[0] == places[1]
        first, last = min(places[0]), max(places[0])
        assert places[0] == set(range(first, last + 1))
        assert first > 0, "nothing has been read before the first instruction"
        assert ("getpid", last + 1) in trials.done, "after the data were read there is no race"


@pytest.mark.parametrize("how", ["preempted", "signalled"])
@pytest.mark.parametrize("variant", ["percpu", "perthread"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_call_that_is_answered(arch: str, variant: str, how: str) -> None:
    """It is made again from its instruction on, unless the answer is there."""
    trials = Trials(arch, variant, "userspace", how)
    trials.run()
    asked = ASKED[::3]
    assert trials.answers == 2 * TRIALS * len(asked)
    assert not trials.wrong and not trials.began_again
    for name in asked:
        places = {place for of, place in trials.done if of == name}
        assert places == set(range(len(places))) and len(places) > 20
    assert trials.rewound > 10 * len(asked)


@pytest.mark.parametrize("back", [0, 1, 2, 4, 6, 9])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_who_reads_again_needs_no_help(arch: str, back: int) -> None:
    """Though it may be back on the first CPU when it looks where its data are."""
    trials = Trials(arch, "percpu-racy", "bare", "preempted", back)
    trials.run()
    assert {place for name, place in trials.done if name == RETRY} >= set(range(15))
    assert RETRY not in {name for name, _ in trials.wrong}
    assert trials.wrong or back == 1, "others get it wrong; unless the task executes nothing on the second CPU"


@pytest.mark.parametrize("remark", ["no: it has been moved", "no: somebody else was there"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_who_reads_again_needs_both_comparisons(
    arch: str, remark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of places alone, or of versions alone, lets a wrong answer pass, of who is moved, or there and back."""
    image = built_image(arch, edited(arch, tmp_path, "task.S", rf"(jne|b\.ne) getpid_again +// {remark}", "nop // no"))
    monkeypatch.setattr("emu.machine.load_vdso", lambda *_: image)
    wrong: set[tuple[str, int]] = set()
    for back in (0, 4, 6, 9):
        trials = Trials(arch, "percpu-racy", "bare", "preempted", back)
        trials.run()
        wrong |= {(name, place) for name, place in trials.wrong if name == RETRY}
    assert wrong


@pytest.mark.parametrize("how", ["preempted", "signalled"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_trace_tells_of_it(arch: str, how: str, tmp_path: Path) -> None:
    texts: list[str] = []
    trials = Trials(arch, "percpu", "bare", how)
    file = Output(str(tmp_path / "trace"))
    for teller in (TextTeller(texts.append), JsonTeller(file.write)):
        Recorder(trials.machine, teller, file, frozenset()).attach()
    trials.run()
    file.flush()
    why = {"preempted": "it lost its CPU", "signalled": "a signal comes"}[how]
    told = [text.splitlines() for text in texts if "reads its data anew" in text]
    assert len(told) == len(trials.began_again)
    head, left, again = (line for line in told[0] if line)
    assert head.endswith(f"reads its data anew: {why}")
    assert re.fullmatch(r"  left +0x[0-9a-f]+ +__kernel_getpid\+0x[0-9a-f]+ \(\[vdso\]\)", left), left
    assert re.fullmatch(r"  again +0x[0-9a-f]+ +__kernel_getpid \(\[vdso\]\)", again), again
    found = [record for record in records(tmp_path / "trace") if record["type"] == "again"]
    assert len(found) == len(told)
    assert {record["signalled"] for record in found} == {how == "signalled"}
