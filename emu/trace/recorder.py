"""From events, and the instructions in the vDSO, to stories.

The listener is told of every call, the watch (`emu.cpu.watch`) of every instruction in the vDSO's image and nowhere
else, so that the program itself runs at its own speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from emu import disasm
from emu.cpu.watch import InstructionWatch
from emu.places import Place, Places
from emu.printable import printable
from emu.strace.decode import CallDecoder
from emu.strace.structs_task import signal_name
from emu.trace import story as outcomes
from emu.trace.served import ServedCalls
from emu.trace.story import NOTHING, Cost, Step, Story
from kernel_model.abi.errno import ERESTART_RESTARTBLOCK, ERESTARTSYS, MAX_ERRNO
from kernel_model.bounce import NO_CALL, REDIRECT
from kernel_model.events import (
    BeganAgain,
    Bounced,
    CallWaits,
    Event,
    Execve,
    Fault,
    FrameRefused,
    RedirectedReturn,
    Rewound,
    SeccompVerdict,
    ServingGivenUp,
    SignalDelivered,
    SyscallEnter,
    SyscallExit,
    TaskExited,
)
from kernel_model.types import U32_MASK, U64_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.disasm import Instruction
    from emu.machine import Machine
    from emu.trace.output import Output
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

_STEPS_KEPT: Final = 256
"""More instructions than any handler has; a program may put a loop of its own in their place."""
_WATCHES_KEPT: Final = 8
_STACK_MAX_BYTES: Final = 4096
"""Further from SP than any handler reaches: what is there is no stack of the bounce."""
_WINDOW: Final = 16
_FUNCTION_LIMIT_BYTES: Final = 4096
_NEVER: Final = ("exit", "exit_group")
_MAKES_A_TASK: Final = frozenset(("fork", "vfork", "clone", "clone3"))
_RETURN_IN_USER_SPACE: Final = "iretq"


class Teller(Protocol):
    """What becomes of stories (`emu.trace.text`, `emu.trace.jsonl`)."""

    def start(self, machine: Machine) -> None:
        """The run begins."""

    def waits(self, story: Story) -> None:
        """The call of `story` sleeps; others are heard of before it is over."""

    def over(self, story: Story) -> None:
        """`story` is complete."""

    def signal(self, task: Task, signal: int, handler: Place | None) -> None:
        """A signal reached its handler, or (None) took its default action."""

    def began_again(self, task: Task, left: Place, start: Place, *, signalled: bool) -> None:
        """It had not read its data yet: it goes on at `start`, since it lost its CPU, or since a signal comes."""

    def execve(self, task: Task, filename: bytes) -> None:
        """A new program is in place."""

    def exited(self, task: Task, code: int) -> None:
        """A task is gone; `code` is its wait status."""

    def end(self, told: int, *, limited: bool) -> None:
        """Nothing more is told: the run is over, or (`limited`) as many bounces were told as wanted."""


class Recorder:
    """Listens to a machine and hands each story to a teller when it is complete."""

    def __init__(
        self,
        machine: Machine,
        teller: Teller,
        output: Output,
        numbers: frozenset[int] | None = None,
        limit: int | None = None,
    ) -> None:
        """`output`: what the teller writes to. `numbers`: the calls to tell of; None for all. `limit`: so many bounces
        (without bounces: calls) at most.
        """
        self._output = output
        self._machine = machine
        self._kernel = machine.kernel
        self._cpu = machine.cpu
        self._arch = machine.kernel.arch
        self._teller = teller
        self._numbers = numbers
        self._limit = limit
        self._begun = 0
        self._calls = 0
        self._bounces = 0
        kernel = machine.kernel
        self._counts_calls = kernel.bounce is None or (kernel.vdso is not None and bool(kernel.vdso.image.table))
        """Does `limit` count calls that do not bounce, too?"""
        self._told = 0
        self._open: dict[int, Story] = {}
        self._returning: dict[int, tuple[Story, int]] = {}
        """By task: those whose last instruction goes back to the program, and its address; whether it did, the next
        event shows."""
        self._registers: dict[int, list[int]] = {}
        """By task: the registers at the handler's instruction that came last."""
        self._places = Places(machine.kernel)
        self._decoder = CallDecoder(machine.kernel)
        self._served = ServedCalls(machine.kernel, self._places)
        self._watches: dict[int, InstructionWatch] = {}
        """By the start of the vDSO that they are over."""
        self._code: dict[tuple[int, bytes], tuple[Instruction, ...]] = {}
        self._cost = NOTHING
        self._executed: Execve | None = None
        self._ended = False
        self._changing = tuple(
            (index, name) for index, name in enumerate(self._arch.GREG_NAMES) if index != self._arch.PC_INDEX
        )
        self._on: dict[type, Callable[..., None]] = {
            Bounced: self._bounced,
            RedirectedReturn: self._redirected,
            SyscallEnter: self._enter,
            SyscallExit: self._exit,
            SeccompVerdict: self._filtered,
            CallWaits: self._waits,
            Rewound: self._rewound,
            ServingGivenUp: self._given_up,
            FrameRefused: self._refused,
            Fault: self._fault,
            SignalDelivered: self._signal,
            BeganAgain: self._began_again,
            Execve: self._execve,
            TaskExited: self._gone,
        }

    def attach(self) -> None:
        """Listen from now on."""
        self._teller.start(self._machine)
        self._kernel.events.subscribe(self)

    def close(self) -> None:
        """The run is over: tell what is left."""
        if not self._ended:
            for story, _ in list(self._returning.values()):
                self._has_returned(story)
            for story in list(self._open.values()):
                self._over(story, outcomes.UNFINISHED)
            self._end(limited=False)

    def _end(self, *, limited: bool) -> None:
        self._ended = True
        self._kernel.events.unsubscribe(self)
        for watch in self._watches.values():
            watch.remove()
        self._watches.clear()
        self._teller.end(self._told, limited=limited)

    def __call__(self, event: Event) -> None:
        """One event."""
        for story, pc in list(self._returning.values()):
            if not (isinstance(event, Fault | Rewound) and event.task.pid == story.task and event.pc == pc):
                self._has_returned(story)
        react = self._on.get(type(event))
        if react is not None:
            react(event)
            limited = self._limit is not None and self._begun >= self._limit and not self._open
            if limited or self._output.broken is not None:
                self._end(limited=limited)

    # -- the bounce ----------------------------------------------------------------------------------------------------
    def _wanted(self, number: int) -> bool:
        """Is one more story of that call to be told?"""
        return (self._numbers is None or number in self._numbers) and (
            self._limit is None or self._begun < self._limit
        )

    def _new(self, kind: str, task: Task, number: int, site: int) -> Story:
        """A story that begins at `site`."""
        if kind == "call":
            self._calls += 1
            self._begun += self._counts_calls
        else:
            self._begun += 1
            self._bounces += 1
        mm = task.mm
        story = Story(
            kind,
            self._calls if kind == "call" else self._bounces,
            task.pid,
            task.tgid,
            printable(task.comm),
            number,
            self._kernel.table.name(number),
            self._places.at(mm, site),
            self._around(mm, site),
            vdso=(mm.vdso, mm.vdso_end),
            compared=site,
        )
        options = self._kernel.bounce
        if options is not None:
            if options.check == "slide":
                story.compared = site + self._arch.SYSCALL_INSTRUCTION_BYTES
            story.in_task_page = options.in_task_page
            story.red_zone_bytes = self._arch.RED_ZONE_BYTES
            story.scratch_bytes = options.scratch_bytes
        return story

    def _bounced(self, event: Bounced) -> None:
        task = event.task
        left = self._open.get(task.pid)
        if left is not None:
            self._over(left, outcomes.LEFT)
        if not self._wanted(event.number):
            return
        mm = task.mm
        if mm.vdso not in self._watches:
            self._watch(mm)
        story = self._new("bounce", task, event.number, event.site)
        story.frame, story.words = event.frame, event.words
        story.return_place = self._places.at(mm, event.words[2])
        story.handler = self._places.at(mm, mm.vdso_handler)
        self._cost = self._cost._replace(
            user_stack_bytes=max(self._cost.user_stack_bytes, story.stack_bytes),
            kernel_entries=self._cost.kernel_entries + 1,
        )
        story.cost = Cost(1, 0, story.stack_bytes)
        self._open[task.pid] = story
        self._registers[task.pid] = []
        self._served.bounced(story, task)

    def _watch(self, mm: MemoryMap) -> None:
        """Be told of the instructions in the vDSO as `mm` has it."""
        if len(self._watches) >= _WATCHES_KEPT:
            self._watches.pop(next(iter(self._watches))).remove()
        self._watches[mm.vdso] = InstructionWatch(self._cpu, self._step, mm.vdso, mm.vdso_end)

    def _step(self, pc: int, _size_bytes: int) -> None:
        """An instruction in the vDSO is about to be executed."""
        task = self._kernel.current
        story = self._open.get(task.pid)
        if story is None or not task.mm.vdso <= pc < task.mm.vdso_end:
            return
        registers = self._cpu.read_gregs()
        registers[-1] &= ~self._arch.HANDLER_CLEARS  # among them BTYPE, which each branch by register changes
        self._note_changes(story, registers)
        self._registers[task.pid] = registers
        decoded = self._places.disassemble(task.mm, pc, 1)
        if decoded:
            self._add(story, Step(decoded[0], (), self._served.part(task.mm, pc)))
        self._count_step(story, registers[self._arch.SP_INDEX])
        if decoded and decoded[0].text == _RETURN_IN_USER_SPACE:
            words = self._places.peek(task.mm, registers[self._arch.SP_INDEX], 8)
            story.landing = self._places.at(task.mm, int.from_bytes(words, "little"))
            story.result = _signed(registers[self._arch.RESULT_INDEX])
            self._returning[task.pid] = story, pc

    @staticmethod
    def _add(story: Story, step: Step) -> None:
        """One more step; beyond a limit only the first of a part, and how many came after it."""
        steps = story.steps
        if len(steps) < _STEPS_KEPT or (steps[-1].part != step.part and len(steps) < 2 * _STEPS_KEPT):
            steps.append(step)
        else:
            steps[-1] = steps[-1]._replace(more=steps[-1].more + 1)

    def _has_returned(self, story: Story) -> None:
        """The instruction that goes back to the program has been executed."""
        self._over(story, outcomes.RETURNED if story.call_text else outcomes.NO_CALL)

    def _count_step(self, story: Story, sp: int) -> None:
        """One more instruction of a handler, which has its stack down to `sp`."""
        taken = story.words[1] - sp & U64_MASK if story.stack_bytes else 0
        taken = taken if taken < _STACK_MAX_BYTES else 0
        cost, whole = story.cost, self._cost
        story.cost = Cost(cost.kernel_entries, cost.instructions + 1, max(cost.user_stack_bytes, taken))
        self._cost = Cost(whole.kernel_entries, whole.instructions + 1, max(whole.user_stack_bytes, taken))

    def _note_changes(self, story: Story, registers: list[int]) -> None:
        """Say of the last step what it changed."""
        before = self._registers.get(story.task)
        if before and story.steps and not story.steps[-1].more and not self._made_the_call(story):
            changed = tuple(
                (name, registers[index]) for index, name in self._changing if registers[index] != before[index]
            )
            story.steps[-1] = story.steps[-1]._replace(changed=changed)

    @staticmethod
    def _made_the_call(story: Story) -> bool:
        """Was the last step the real call?"""
        return story.steps[-1].instruction.address == story.real_site

    def _redirected(self, event: RedirectedReturn) -> None:
        task = event.task
        story = self._open.get(task.pid)
        if story is None:
            if not self._wanted(event.words[0] & U32_MASK):
                return
            story = self._new("forged", task, event.words[0] & U32_MASK, event.site)
            self._open[task.pid] = story
            story.frame = event.frame
        registers = self._registers.get(task.pid)
        number = registers[self._arch.NUMBER_INDEX] & U32_MASK if registers else None
        story.popped = event.words
        if number == REDIRECT | NO_CALL:
            self._count_entry(story)
            story.back_site = event.site
            story.landing = self._places.at(task.mm, event.words[2])
            story.result = _signed(self._cpu.read_gregs()[self._arch.RESULT_INDEX])
            self._over(story, outcomes.RETURNED if story.call_text else outcomes.NO_CALL)
            return
        self._entered(story)
        story.flagged = number
        story.real_site = event.site

    def _entered(self, story: Story) -> None:
        """One more entry into the kernel, for the real call."""
        story.steps_before_call = len(story.steps)
        self._count_entry(story)

    def _count_entry(self, story: Story) -> None:
        """One more entry into the kernel."""
        story.cost = story.cost._replace(kernel_entries=story.cost.kernel_entries + 1)
        self._cost = self._cost._replace(kernel_entries=self._cost.kernel_entries + 1)

    # -- the call ------------------------------------------------------------------------------------------------------
    def _enter(self, event: SyscallEnter) -> None:
        task = event.task
        story = self._open.get(task.pid)
        if story is None:
            if not self._wanted(event.number):
                return
            site = event.pc - self._arch.SYSCALL_INSTRUCTION_BYTES
            story = self._new("call", task, event.number, site)
            story.reason = self._why_real(task, event)
            if story.reason == "vdso" or (story.reason == "bare" and task.mm.vdso <= site < task.mm.vdso_end):
                self._served.function(story, task, event.pc)
            self._open[task.pid] = story
            self._entered(story)
        elif story.kind == "bounce" and not story.popped:  # a plain call of a handler that returns by itself
            self._entered(story)
            registers = self._registers.get(task.pid)
            if registers:
                story.real_site = registers[self._arch.PC_INDEX]
                story.flagged = registers[self._arch.NUMBER_INDEX] & U32_MASK
        story.made, story.args = (event.number, event.name), event.args
        story.call_text = self._decoder.enter(event)

    def _why_real(self, task: Task, event: SyscallEnter) -> str:
        """Why a call did not bounce (`Story.reason`)."""
        if self._kernel.bounce is None:
            return "bare"
        mm = task.mm
        if not mm.vdso:
            return "no-vdso"
        if mm.vdso <= event.pc - self._arch.SYSCALL_INSTRUCTION_BYTES < mm.vdso_end:
            return "vdso"
        if event.number & REDIRECT:
            return "flag"
        if event.number == NO_CALL:
            return "no-call"
        return "exit" if event.name in _NEVER else "not-chosen"

    def _filtered(self, event: SeccompVerdict) -> None:
        story = self._open.get(event.task.pid)
        if story is not None and story.call_text:
            story.verdict = f"{event.action}, data {event.data}"

    def _waits(self, event: CallWaits) -> None:
        story = self._open.get(event.task.pid)
        if story is not None and story.call_text:
            story.waited = True
            self._teller.waits(story)

    def _exit(self, event: SyscallExit) -> None:
        task = event.task
        story = self._open.get(task.pid)
        decoded = self._decoder.leave(event)
        if story is None or decoded is None:
            return
        story.call_text += decoded[0]
        story.call_result = decoded[1]
        result = story.result = story.call_value = event.result
        if story.kind == "bounce" and not story.popped:
            return  # the handler goes on, and returns by itself
        if result is None:
            if event.name in _NEVER:
                self._over(story, outcomes.GONE)
                return
            story.landing = self._places.at(task.mm, self._cpu.read_gregs()[self._arch.PC_INDEX])
            self._over(story, outcomes.REPLACED)
        elif ERESTARTSYS <= -result <= ERESTART_RESTARTBLOCK and -result <= MAX_ERRNO:
            self._over(story, outcomes.INTERRUPTED)
        else:
            if event.name in _MAKES_A_TASK and result > 0:
                story.child = result
            after = story.popped[2] if story.popped else self._cpu.read_gregs()[self._arch.PC_INDEX]
            story.landing = self._places.at(task.mm, after)
            self._over(story, outcomes.RETURNED)

    # -- what comes between --------------------------------------------------------------------------------------------
    def _rewound(self, event: Rewound) -> None:
        story = self._open.get(event.task.pid)
        if story is not None:
            story.landing = self._places.at(event.task.mm, event.site)
            story.details = f"{event.pc:#x}"
            story.found_in = self._served.part(event.task.mm, event.pc)
            story.preempted = event.preempted
            if event.finished:
                story.result = _signed(self._cpu.read_gregs()[self._arch.RESULT_INDEX])
            self._over(story, outcomes.FINISHED if event.finished else outcomes.REWOUND)

    def _given_up(self, event: ServingGivenUp) -> None:
        story = self._open.get(event.task.pid)
        if story is not None and story.steps:
            story.steps[-1] = story.steps[-1]._replace(faulted=True)
            self._registers[event.task.pid] = []  # what changes now is not that instruction's doing

    def _refused(self, event: FrameRefused) -> None:
        task = event.task
        story = self._open.get(task.pid)
        if story is None:
            number = self._cpu.read_gregs()[self._arch.NUMBER_INDEX] & U32_MASK
            if not self._wanted(number & ~REDIRECT) or (not event.write and self._numbers is not None):
                return
            story = self._new("bounce" if event.write else "forged", task, number & ~REDIRECT, event.site)
            story.frame = event.frame
        self._entered(story)
        what = "written" if event.write else "read"
        story.details = f"{event.address:#x} can't be {what}: SIGSEGV, with PC at the instruction"
        self._over(story, outcomes.REFUSED)

    def _fault(self, event: Fault) -> None:
        story = self._open.get(event.task.pid)
        if story is not None:
            story.details = f"{signal_name(event.signal)} at {event.pc:#x}, address {event.address:#x}"
            self._over(story, outcomes.FAULT)

    def _signal(self, event: SignalDelivered) -> None:
        handler = self._places.at(event.task.mm, event.handler) if event.handler else None
        self._teller.signal(event.task, event.signal, handler)

    def _began_again(self, event: BeganAgain) -> None:
        left, start = (self._places.at(event.task.mm, address) for address in (event.pc, event.start))
        self._teller.began_again(event.task, left, start, signalled=event.signalled)

    def _execve(self, event: Execve) -> None:
        if event.task.pid in self._open:
            self._executed = event  # told after the call that did it
        else:
            self._teller.execve(event.task, event.filename)

    def _gone(self, event: TaskExited) -> None:
        story = self._open.get(event.task.pid)
        if story is not None:
            self._over(story, outcomes.GONE)
        self._decoder.forget(event.task)
        self._teller.exited(event.task, event.code)

    def _over(self, story: Story, outcome: str) -> None:
        """`story` is complete."""
        self._open.pop(story.task, None)
        self._returning.pop(story.task, None)
        self._registers.pop(story.task, None)
        story.outcome = outcome
        returned = outcome in (outcomes.RETURNED, outcomes.NO_CALL) and (
            not story.popped or bool(story.back_site) or (story.made is not None and story.made[0] != story.number)
        )
        self._served.over(story, served=returned or outcome == outcomes.FINISHED)
        story.so_far = self._cost
        self._told += 1
        self._teller.over(story)
        executed, self._executed = self._executed, None
        if executed is not None:
            self._teller.execve(executed.task, executed.filename)

    # -- code ----------------------------------------------------------------------------------------------------------
    def _around(self, mm: MemoryMap, site: int) -> tuple[Instruction, ...]:
        """The instructions before, at and after `site`."""
        size = self._arch.SYSCALL_INSTRUCTION_BYTES
        window = self._places.peek(mm, site - _WINDOW, _WINDOW + size + disasm.longest(self._arch.NAME))
        key = (site, window)
        try:
            return self._code[key]
        except KeyError:
            pass
        symbol = self._places.symbol(mm, site)
        back = symbol.offset if symbol is not None and 0 < symbol.offset <= _FUNCTION_LIMIT_BYTES else 2 * _WINDOW
        code = self._places.peek(mm, site - back, back) if back <= site else b""
        earlier = disasm.before(self._arch.NAME, code, site, 1) if len(code) == back else []
        if len(self._code) >= 1 << 14:
            self._code.clear()
        found = self._code[key] = (*earlier, *self._places.disassemble(mm, site, 2))
        return found


def _signed(value: int) -> int:
    return (value & U64_MASK ^ 1 << 63) - (1 << 63)


