"""A run that stops: what makes it stop, what is known at a stop, and how it goes on. No text is made here.

`Session.run` asks its reader at every stop how to go on (`Reader.ask`). Some stops lie between two instructions, where
the CPU has returned; others in the middle of the kernel's work: a fault before its signal is delivered, a call that is
about to be carried out, a wait that Ctrl-C interrupts. The reader need not know which: the run goes on when it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from emu.cpu.watch import InstructionWatch
from emu.places import Places
from emu.step.arch import STYLES
from emu.step.breakpoints import Breakpoint, Breakpoints
from emu.strace.decode import ARGUMENT_REGISTERS
from kernel_model.events import (
    BeganAgain,
    Bounced,
    Event,
    Execve,
    Fault,
    MappingChanged,
    RedirectedReturn,
    Rewound,
    SignalDelivered,
    SyscallEnter,
    SyscallExit,
    TaskExited,
)
from kernel_model.ns.pid import find_vpid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emu.machine import Machine
    from emu.step.host import StepHost
    from kernel_model.task import Task

_MAKES_TASKS: Final = frozenset(("fork", "vfork", "clone", "clone3"))


class Quit(Exception):
    """The reader has had enough."""


class Target(NamedTuple):
    """Where a task is to get to: `address`, with SP not below `sp_min` (a deeper call of the same code is passed)."""

    address: int
    sp_min: int = 0


class Resume(NamedTuple):
    """How to go on: `steps` instructions of the task (0: no end), to `target`, or to the next bounce.

    `preempt`: the task loses the CPU first, and the run stops when it has it again, before any instruction of its.
    """

    steps: int = 0
    target: Target | None = None
    at_bounce: bool = False
    preempt: bool = False


class Stop(NamedTuple):
    """Why the run stands still.

    `why`: start | step | target | breakpoint | bounce | syscall | fault | interrupted | asleep | end.
    asleep: Ctrl-C while every task waits. `pc`: of `task`, whose registers the CPU has.
    `other_than`: the task that was followed, when it is another now; it sleeps or is gone.
    """

    why: str
    task: Task
    pc: int
    event: Event | None = None
    breakpoint: Breakpoint | None = None
    other_than: Task | None = None


class NewTask(NamedTuple):
    """`task` has made another one, with the number `pid`."""

    task: Task
    pid: int


Happening = Event | NewTask


class Bounce:
    """The last bounce of a task. `phase`: entered | committed | returned | rewound.

    entered: in the handler, nothing has been called yet. committed: the real call is under way (with a flagged one the
    frame is off the stack), or is over, and the handler goes on. returned: back in the program; `result` is what it
    gets. rewound: a signal came first.
    """

    def __init__(self, event: Bounced, args: Sequence[int]) -> None:
        """`args`: six registers as the program made the call."""
        self.number = event.number
        self.args = tuple(args)
        self.site = event.site
        self.frame = event.frame
        self.words = event.words
        self.phase = "entered"
        self.popped = False
        """The kernel has taken the frame off."""
        self.made = ""
        """The real call that was made for it."""
        self.result: int | None = None
        mm = event.task.mm
        self.bounds = (mm.vdso, mm.vdso_end)


class Reader(Protocol):
    """Who looks at the run."""

    def tell(self, happening: Happening) -> None:
        """Something worth a line happened; the run goes on."""

    def ask(self, stop: Stop) -> Resume:
        """The run stands still: how shall it go on? Raises Quit."""


class Session:
    """One run under the eyes of a reader. Attributes to look at while it stands still:

    `stop`, `task`, the one that is followed, `bounces` and `calls` (each task's last, by pid), `breakpoints`, `places`.
    """

    def __init__(self, machine: Machine, host: StepHost, reader: Reader) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.cpu = machine.cpu
        self.task: Task = machine.task
        self.style = STYLES[self.kernel.arch.NAME]
        self.places = Places(self.kernel)
        self.breakpoints = Breakpoints(self.places)
        self.bounces: dict[int, Bounce] = {}
        self.calls: dict[int, SyscallEnter | SyscallExit] = {}
        names = ARGUMENT_REGISTERS[self.kernel.arch.NAME]
        self._arguments = [self.kernel.arch.GREG_NAMES.index(name) for name in names]
        self.stop: Stop
        self.ended = False
        self._reader = reader
        self._host = host
        self._resume = Resume()
        self._steps_left = 0
        self._all: InstructionWatch | None = None
        self._some: dict[int, InstructionWatch] = {}
        self._told: tuple[Task, int] | None = None
        """Where the run goes on with an instruction that has been shown: a watch made since tells it again."""
        self._pending: Stop | None = None
        """Why the CPU is being paused."""
        self._paused_by: InstructionWatch | None = None

    def run(self) -> None:
        """From the first instruction to the end of the guest, or until Quit."""
        self.kernel.events.subscribe(self._listen)
        self.machine.begin()
        self.kernel.keep_preemptible()
        self._host.attach(self.cpu, self._interrupted)
        try:
            self._ask(self._stop("start"), told=True)
            while True:
                self.cpu.run()
                if not self.cpu.paused:
                    break
                stop, self._pending = self._pending, None
                assert stop is not None
                self._ask(stop, told=True)
            self.ended = True
            self._ask(self._stop("end"))
        except Quit:
            pass
        finally:
            self.machine.close()

    # -- what a reader may want to know -------------------------------------------------------------------------------
    def registers(self) -> dict[str, int]:
        """The registers of the task that runs, by name."""
        return dict(zip(self.kernel.arch.GREG_NAMES, self.cpu.read_gregs(), strict=True))

    @property
    def pc(self) -> int:
        """Where it is."""
        return self.cpu.read_gregs()[self.kernel.arch.PC_INDEX]

    @property
    def between_instructions(self) -> bool:
        """Does it stand still in user space, not in the middle of the kernel's work?"""
        return self.stop.why in ("start", "step", "target", "breakpoint") and self.stop.event is None

    def bounce_here(self) -> Bounce | None:
        """The bounce whose handler, or whose real call, the task is in."""
        bounce = self.bounces.get(self.kernel.current.pid)
        return bounce if bounce is not None and bounce.phase in ("entered", "committed") else None

    def served(self, bounce: Bounce) -> SyscallExit | None:
        """The program's call and its result, of a bounce that is over, if the handler has served it."""
        options = self.kernel.bounce
        if options is None or not options.serves or bounce.result is None:
            return None
        name = self.kernel.table.name(bounce.number)
        if bounce.popped and bounce.made == name:
            return None
        a0, a1, a2, a3, a4, a5 = bounce.args
        return SyscallExit(self.kernel.current, bounce.number, name, (a0, a1, a2, a3, a4, a5), bounce.result)

    def undone(self) -> str:
        """What a signal would do here with a bounce that the handler serves: again | finish | wait; empty for none."""
        vdso, mm = self.kernel.vdso, self.kernel.current.mm
        offset = self.pc - mm.vdso
        if vdso is None or self.kernel.bounce is None or not self.kernel.bounce.serves:
            return ""
        if any(start <= offset < end for start, end in vdso.image.tails):
            return "wait"
        for start, end, finished, *_ in vdso.image.undo_ranges:
            if start <= offset < end:
                return "finish" if finished else "again"
        return ""

    # -- going on -----------------------------------------------------------------------------------------------------
    def _stop(self, why: str, event: Event | None = None, breakpoint: Breakpoint | None = None) -> Stop:
        task = self.kernel.current
        other = self.task if task is not self.task else None
        return Stop(why, task, self.pc, event, breakpoint, other)

    def _ask(self, stop: Stop, *, told: bool = False) -> None:
        """Ask the reader, and see to it that the run stops where it says.

        `told`: the instruction at PC is still to come, and the reader sees it now. The watch that has paused the CPU
        will not tell it again, another one will.
        """
        self._end_of_user_handler(stop)
        self.stop = stop
        self.task = stop.task
        paused_by, self._paused_by = self._paused_by, None
        resume = self._reader.ask(stop)
        self._resume = resume
        self._steps_left = resume.steps
        self._watch()
        knows = paused_by is not None and (paused_by is self._all or paused_by in self._some.values())
        self._told = (stop.task, stop.pc) if told and not knows and not resume.preempt else None
        if resume.preempt:
            self.cpu.handler.interrupted()

    def _end_of_user_handler(self, stop: Stop) -> None:
        """A handler that returned by itself, in user space, is over when the task is where the frame says."""
        bounce = self.bounces.get(stop.task.pid)
        if bounce is None or bounce.phase not in ("entered", "committed") or stop.pc != bounce.words[2]:
            return
        if stop.why in ("step", "target", "breakpoint") and not isinstance(stop.event, SyscallEnter):
            registers = self.cpu.read_gregs()
            if registers[self.kernel.arch.SP_INDEX] == bounce.words[1]:
                self._has_returned(bounce, registers)

    def _has_returned(self, bounce: Bounce, registers: list[int]) -> None:
        """The program has the result."""
        bounce.phase = "returned"
        bounce.result = (registers[self.kernel.arch.RESULT_INDEX] ^ 1 << 63) - (1 << 63)

    def _watch(self) -> None:
        """Have the CPU tell what is needed now: every instruction, or only those where the run may have to stop."""
        resume = self._resume
        if resume.steps:
            wanted: set[int] = set()
            if self._all is None:
                self._all = InstructionWatch(self.cpu, self._before_any)
        else:
            if self._all is not None:
                self._all.remove()
                self._all = None
            wanted = set(self.breakpoints.addresses)
            if resume.target is not None:
                wanted.add(resume.target.address)
        for address in self._some.keys() - wanted:
            self._some.pop(address).remove()
        for address in wanted - self._some.keys():
            self._some[address] = InstructionWatch(self.cpu, self._before_some, address, address + 1)

    def _step_now(self) -> None:
        """The plan has come to nothing (the task is gone, or runs another program): stop as soon as anybody runs."""
        self._resume = Resume(steps=1)
        self._steps_left = 1
        self._watch()

    def _before_any(self, pc: int, _size_bytes: int) -> None:
        """Every instruction, while stepping."""
        task = self.kernel.current
        told, self._told = self._told, None
        if told == (task, pc):
            return
        breakpoint = self.breakpoints.at(task.mm, pc)
        followed = self.task
        if breakpoint is not None:
            breakpoint.hits += 1
            self._pause("breakpoint", breakpoint)
        elif task is followed:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self._pause("step")
        elif followed.exit_code is not None or followed.blocked_call is not None or followed.signal.stopped:
            self._pause("step")

    def _before_some(self, pc: int, _size_bytes: int) -> None:
        """The instructions where the run may have to stop."""
        task = self.kernel.current
        if self._told == (task, pc):
            self._told = None
            return
        breakpoint = self.breakpoints.at(task.mm, pc)
        target = self._resume.target
        if breakpoint is not None:
            breakpoint.hits += 1
            self._pause("breakpoint", breakpoint)
        elif target is not None and pc == target.address and task is self.task:
            if self.cpu.read_gregs()[self.kernel.arch.SP_INDEX] >= target.sp_min:
                self._pause("target")

    def _pause(self, why: str, breakpoint: Breakpoint | None = None) -> None:
        self._pending = self._stop(why, breakpoint=breakpoint)
        self._paused_by = self._all or self._some[self._pending.pc]
        self._paused_by.pause()

    def _interrupted(self) -> None:
        """Ctrl-C, as the kernel takes in signals: between two instructions, or while nobody can run."""
        task = self.kernel.current
        if task.exit_code is not None or task.blocked_call is not None:
            self._ask(self._stop("asleep"))
        else:
            self._ask(self._stop("interrupted"), told=True)

    # -- what happens -------------------------------------------------------------------------------------------------
    def _listen(self, event: Event) -> None:
        task = event.task
        if isinstance(event, Bounced):
            registers = self.cpu.read_gregs()
            self.bounces[task.pid] = Bounce(event, [registers[index] for index in self._arguments])
            breakpoint = self.breakpoints.of_call("bounce", event.number)
            if breakpoint is not None:
                breakpoint.hits += 1
            if breakpoint is not None or self._resume.at_bounce:
                self._ask(self._stop("bounce", event, breakpoint), told=True)
        elif isinstance(event, RedirectedReturn):
            bounce = self.bounces.get(task.pid)
            if bounce is not None:
                bounce.phase = "committed"
                bounce.popped = True
        elif isinstance(event, SyscallEnter):
            self._call_begins(event)
        elif isinstance(event, SyscallExit):
            self._call_ends(event)
        elif isinstance(event, Fault):
            self._ask(self._stop("fault", event))
        elif isinstance(event, MappingChanged):
            if self.breakpoints.by_name and self.breakpoints.resolve(task.mm):
                self._watch()
        elif isinstance(event, SignalDelivered | Rewound | BeganAgain | Execve | TaskExited):
            if isinstance(event, Rewound) and task.pid in self.bounces:
                if event.finished:
                    self._has_returned(self.bounces[task.pid], self.cpu.read_gregs())
                else:
                    self.bounces[task.pid].phase = "rewound"
            self._reader.tell(event)
            if isinstance(event, Execve):
                self.breakpoints.resolve(task.mm)
                self._watch()
            if isinstance(event, Execve | TaskExited) and task is self.task and self._is_about_task():
                self._step_now()

    def _is_about_task(self) -> bool:
        """Was the run to stop at something that the followed task comes to?"""
        return bool(self._resume.steps) or self._resume.target is not None

    def _call_begins(self, event: SyscallEnter) -> None:
        self.calls[event.task.pid] = event
        bounce = self.bounces.get(event.task.pid)
        mm = event.task.mm
        inside = mm.vdso <= event.pc - self.kernel.arch.SYSCALL_INSTRUCTION_BYTES < mm.vdso_end
        if bounce is not None and (bounce.phase == "committed" or (bounce.phase == "entered" and inside)):
            bounce.phase = "committed"  # a plain call by the handler: the frame is still there
            bounce.made = event.name
        breakpoint = self.breakpoints.of_call("syscall", event.number)
        if breakpoint is not None:
            breakpoint.hits += 1
            self._ask(self._stop("syscall", event, breakpoint))

    def _call_ends(self, event: SyscallExit) -> None:
        task = event.task
        self.calls[task.pid] = event
        bounce = self.bounces.get(task.pid)
        if bounce is not None and bounce.phase == "committed":
            bounce.result = event.result
            mm = task.mm
            if task is not self.kernel.current or not mm.vdso <= self.pc < mm.vdso_end:
                bounce.phase = "returned"
        if event.name in _MAKES_TASKS and event.result is not None and event.result > 0:
            self._reader.tell(NewTask(task, find_vpid(task, event.result)))
