"""Run `injected.c` and send it a signal before each instruction of a call, one after the other; `cancelled.c` likewise.

What the guest saw is told by the place at which it was interrupted, so that machines with another way into the kernel
can be compared: `round` real calls have been made since the trial began, and PC was `where`.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from emu.cpu.watch import InstructionWatch
from emu.machine import Machine, MachineOptions
from guests.build import cache_dir, compile_to
from kernel_model import user_pages
from kernel_model.abi import signal as abi
from kernel_model.bounce import BounceWishes
from kernel_model.events import SignalDelivered, SyscallEnter
from kernel_model.mm.uaccess import copy_from_user, get_user, put_user
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import UserPtr
from tests.harness import ROOT
from vdso_image.image import load

if TYPE_CHECKING:
    from kernel_model.events import Event
    from kernel_model.task import Task

FLAGS = ("-O1", "-static", "-g0", "-std=gnu17", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror", "-pthread")
VARIANTS = {
    "bare": None,
    "redirect": BounceWishes(),
    "task-page": BounceWishes(frame="task-page"),
    "user": BounceWishes(leave_by="user"),
    "userspace": BounceWishes(vdso="userspace"),
    "percpu": BounceWishes(vdso="userspace"),
    "perthread": BounceWishes(vdso="userspace"),
}
VDSO_DATA = {"percpu": "percpu", "perthread": "perthread"}
"""Variants whose handler answers some calls from a data page."""
# The guest's enums and tables, in their order
SCENARIOS = (
    "getpid", "read", "read that waits", "write", "nanosleep", "futex", "futex with a time", "ppoll",
    "ppoll that unblocks the signal", "rt_sigprocmask that blocks it", "rt_sigprocmask that unblocks it", "fork",
    "vfork", "rt_sigreturn", "getpid with a bit beyond 32", "getpid, single-stepped", "umask", "personality",
    "get_robust_list", "prctl(PR_GET_PDEATHSIG)", "open", "epoll_wait", "the old fork", "getcpu",
    "geteuid",
    "rt_sigprocmask with one set for both", "rt_sigprocmask that unblocks what is pending",
    "rt_sigprocmask that unblocks something else", "rt_sigprocmask that only asks", "rt_sigprocmask, oldset is bad",
    "wait4", "wait4 that waits", "poll", "select", "getdents", "dup2 onto itself", "utimes",
)  # fmt: skip
MODES = (
    "a signal for the thread",
    "a signal for the process, SA_RESTART",
    "a handler on the alternate stack",
    "two signals at once",
    "a handler that is interrupted five deep",
    "the same on the alternate stack",
    "stopped and continued",
    "stopped, signalled and continued",
    "a signal while asleep",
    "a signal while asleep, SA_RESTART",
    "stopped and continued while asleep",
    "stopped, signalled and continued while asleep",
    "a signal after being stopped asleep",
)
CALLS = ("open of a fifo", "read", "read that waits", "nanosleep")
"""Of `cancelled.c`."""
_NOTHING, _TO_THREAD, _TO_PROCESS, _TWO, _STOP = range(5)

REGISTERS = 34
_PLAN = Struct("<3Q")
_DONE = Struct("<Q")
_DONE_AT = 16
_CANCELLED = Struct("<7Q")
_SECOND_SIGNAL = 36
"""The C library's SIGRTMIN + 1."""
_HEAD = Struct("<5Q")
_SIGHTING = Struct(f"<{4 + REGISTERS}Q")
_SIGHTINGS = 8
_TAIL = Struct(f"<{REGISTERS}Q3Q4Q")
_OBSERVATION_BYTES = _HEAD.size + _SIGHTINGS * _SIGHTING.size + _TAIL.size
_NOWHERE = 1000
_SAVE = "import sys; from tests.bounce.injection import save; save(*sys.argv[1:])"


class Place(NamedTuple):
    """Where a task was interrupted: `round` real calls had been made, and PC was `offset` bytes into `where`.

    That is before | site | after, of the program; handler | leaving, of the vDSO: in a restart range or past it. What a
    handler does itself counts as a call made once its result is final.
    """

    round: int
    where: str
    offset: int

    def __str__(self) -> str:
        return f"{self.where}+{self.offset}, {self.round} calls made"


class Sighting(NamedTuple):
    """What a signal handler found in its context. `place`: 0 a PC of the probe, 1 in the vDSO, 2 anywhere else."""

    signo: int
    code: int
    place: int
    mask: int
    regs: tuple[int, ...]


class Observation(NamedTuple):
    """What the program saw of one trial."""

    place: Place | None
    seen: tuple[Sighting, ...]
    out: tuple[int, ...]
    stack_kept: int
    mask: int
    on_altstack: int
    extra: tuple[int, ...]


class Report(NamedTuple):
    """All of them, by scenario and mode, in the order in which they were made."""

    trials: dict[tuple[str, str], list[Observation]]


class Cancelled(NamedTuple):
    """What `cancelled.c` saw of one thread: 0 or 1 each, and the bytes that are left in the pipe."""

    place: Place | None
    cancelled: int
    cleaned: int
    returned: int
    opened: int
    left: int


def program(source: Path, arch: str) -> Path:
    """The guest, built unless it is there."""
    key = hashlib.sha256(source.read_bytes() + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "bounce" / f"{source.stem}-{key}"
    if not path.exists():
        compile_to(source, f"{arch}-linux-musl", FLAGS, path)
    return path


def _symbols(path: Path) -> dict[str, int]:
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


class Injector(ABC):
    """Watches a stretch of a guest's code with one system call in it, and the vDSO.

    The guest's `plan` begins with: what is wanted (0: nothing), before which instruction, and whether it was done. At
    that instruction `inject` is called, and the kernel looks at what is pending.
    """

    SOURCE: ClassVar[Path]
    STRETCH: ClassVar[tuple[str, str, str]]
    """Symbols: the first instruction, the one after the call, and the one at which the watch ends."""

    def __init__(self, arch: str, variant: str) -> None:
        wishes = VARIANTS[variant]
        path = program(self.SOURCE, arch)
        self.machine = machine = Machine(
            MachineOptions(
                program=str(path), argv=[b"guest", *self.arguments(arch)], env={}, isolate=True, seed=1,
                virtual_time=True, abi="bounce" if wishes else "bare", bounce=wishes or BounceWishes(),
                vdso_data=VDSO_DATA.get(variant, "none"),
            )
        )  # fmt: skip
        self.kernel = machine.kernel
        if wishes and wishes.vdso == "userspace":
            user_pages.CALLS_BEFORE_PAGE = 8  # the program soon has them, its helpers make fewer calls
        self.kernel.sched.chooser = None  # the seed is for addresses: turns come by age
        self.pid = machine.task.pid
        symbols = _symbols(path)
        self.begin, self.after, self.end = (symbols[name] for name in self.STRETCH)
        self.site = self.after - self.kernel.arch.SYSCALL_INSTRUCTION_BYTES
        self.plan = UserPtr(symbols["plan"])
        mm = machine.task.mm
        self.vdso = mm.vdso
        image = self.kernel.vdso.image if self.kernel.vdso else None
        self.ranges = [(self.vdso + start, self.vdso + end) for start, end, _ in image.restart_ranges] if image else []
        self.finishing: list[tuple[int, int]] = []
        """Where the result is final of a call that the handler serves."""
        if image and wishes and wishes.vdso == "userspace":
            undo = [(self.vdso + start, self.vdso + end, finished) for start, end, finished, *_ in image.undo_ranges]
            self.ranges = [(start, end) for start, end, finished in undo if not finished]
            self.finishing = [(start, end) for start, end, finished in undo if finished]
        self._counted = False
        """The call that this bounce is for counts as made."""
        self.place: Place | None = None
        """Of the trial's injection."""
        self.wanted = 0
        """What the plan wants."""
        self._armed = False
        self._inside = False
        """What the vDSO executes is a bounce of this call, not a signal handler's or one that comes later."""
        self._left = 0
        self._round = 0
        self.kernel.events.subscribe(self._on_event)
        self._watch = InstructionWatch(machine.cpu, self._before, self.begin, self.end + 1)
        if wishes:
            InstructionWatch(machine.cpu, self._before, self.vdso, mm.vdso_end)

    def run(self) -> None:
        """To the guest's end."""
        status = self.machine.run()
        if status:
            raise AssertionError(f"the guest ended with status {status}, injected last at {self.place}")

    @staticmethod
    def arguments(arch: str) -> list[bytes]:
        """The guest's."""
        return []

    @abstractmethod
    def is_victim(self, task: Task) -> bool:
        """Is it this task whose instructions count?"""

    @abstractmethod
    def inject(self, task: Task) -> None:
        """Do what the plan wants."""

    @abstractmethod
    def take(self, data: bytes) -> None:
        """The guest has written an observation."""

    def _before(self, pc: int, _size_bytes: int) -> None:
        task = self.kernel.current
        if not self.is_victim(task):
            return
        if pc == self.begin:
            self.wanted, left, done = get_user(task.mm, self.plan, _PLAN)
            if not done:
                self._armed = self.wanted != 0
                self._left = left
                self._round = 0
        elif pc == self.end:
            self._armed = False
        in_stretch = self.begin <= pc < self.end
        if in_stretch:
            self._inside = pc <= self.site
        if pc == self.site:
            self._counted = False
        elif self._inside and any(start <= pc < end for start, end in self.finishing):
            self._count()
        if not self._armed or not (in_stretch or self._inside):
            return
        if self._left:
            self._left -= 1
            return
        self._armed = False
        self.place = self._where(pc)
        put_user(task.mm, UserPtr(self.plan + _DONE_AT), _DONE, 1)
        self.inject(task)
        self._watch.interrupt()

    def _where(self, pc: int) -> Place:
        if self.begin <= pc < self.site:
            return Place(self._round, "before", pc - self.begin)
        if pc == self.site:
            return Place(self._round, "site", 0)
        if self.begin <= pc < self.end:
            return Place(self._round, "after", pc - self.after)
        if any(start <= pc < commit for start, commit in self.ranges):
            return Place(self._round, "handler", pc - self.vdso)
        return Place(self._round, "leaving", pc - self.vdso)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, SyscallEnter) and event.args[0] == _NOWHERE and event.name == "write":
            self.take(copy_from_user(event.task.mm, UserPtr(event.args[1]), event.args[2]))
        elif self.is_victim(event.task):
            if isinstance(event, SignalDelivered) and event.handler:
                self._inside = False
            if isinstance(event, SyscallEnter) and self._armed and self._inside:
                self._counted = False
                self._count()

    def _count(self) -> None:
        """A call is made, by the kernel or by the handler itself."""
        if not self._counted:
            self._round += 1
        self._counted = True


class SignalInjector(Injector):
    """Sends the first task of `injected.c` what its plan asks for."""

    SOURCE = Path(__file__).parent / "injected.c"
    STRETCH = ("probe_begin", "probe_after", "probe_end")

    def __init__(self, arch: str, variant: str) -> None:
        super().__init__(arch, variant)
        self.report = Report({})
        # nobody spins, so that no slice need end: time passes by calls and sleeps alone, on each machine the same
        self.kernel.chance = None
        self.machine.cpu.slice_blocks = 1 << 40

    def is_victim(self, task: Task) -> bool:
        return task.pid == self.pid

    def inject(self, task: Task) -> None:
        origin = (("pid", 1), ("uid", 0))
        if self.wanted == _STOP:
            send_signal(self.kernel, task, SigInfo(abi.SIGSTOP, abi.SI_USER, fields=origin), group=True)
            return
        thread = self.wanted != _TO_PROCESS
        code = abi.SI_TKILL if thread else abi.SI_USER
        send_signal(self.kernel, task, SigInfo(abi.SIGUSR1, code, fields=origin), group=not thread)
        if self.wanted == _TWO:
            send_signal(self.kernel, task, SigInfo(_SECOND_SIGNAL, abi.SI_QUEUE, fields=origin))

    def take(self, data: bytes) -> None:
        assert len(data) == _OBSERVATION_BYTES
        scenario, mode, _step, injected, runs = _HEAD.unpack_from(data)
        seen = []
        for index in range(runs):
            signo, code, place, mask, *regs = _SIGHTING.unpack_from(data, _HEAD.size + index * _SIGHTING.size)
            seen.append(Sighting(signo, code, place, mask, tuple(regs)))
        tail = _TAIL.unpack_from(data, _HEAD.size + _SIGHTINGS * _SIGHTING.size)
        out, (kept, mask, alternate), extra = tail[:REGISTERS], tail[REGISTERS : REGISTERS + 3], tail[REGISTERS + 3 :]
        observation = Observation(
            self.place if injected else None, tuple(seen), tuple(out), kept, mask, alternate, tuple(extra)
        )
        self.report.trials.setdefault((SCENARIOS[scenario], MODES[mode]), []).append(observation)


class CancelInjector(Injector):
    """Has the main thread of `cancelled.c` cancel the other one."""

    SOURCE = Path(__file__).parent / "cancelled.c"
    STRETCH = ("__cp_begin", "__cp_end", "__cp_cancel")

    def __init__(self, arch: str, variant: str) -> None:
        super().__init__(arch, variant)
        self.report: dict[str, list[Cancelled]] = {}

    def is_victim(self, task: Task) -> bool:
        return task.pid != self.pid

    def inject(self, task: Task) -> None:
        """The main thread sees in the plan that its time has come, and gets the CPU."""

    def take(self, data: bytes) -> None:
        call, injected, *seen = _CANCELLED.unpack(data)
        self.report.setdefault(CALLS[call], []).append(Cancelled(self.place if injected else None, *seen))


class TwoCallsInjector(CancelInjector):
    """The same, with a handler that makes a real call of its own before the one it was asked for."""

    @staticmethod
    def arguments(arch: str) -> list[bytes]:
        return [b"%d" % load(arch).handlers["redirect"]]


INJECTORS: Final[dict[str, type[SignalInjector | CancelInjector]]] = {
    "signal": SignalInjector,
    "cancel": CancelInjector,
    "cancel, two calls": TwoCallsInjector,
}


def save(kind: str, arch: str, variant: str, file: str) -> None:
    """Run, and leave the report in a file."""
    injector = INJECTORS[kind](arch, variant)
    injector.run()
    with open(file, "wb") as result:
        pickle.dump(injector.report, result)


def run_apart(kind: str, arch: str, variant: str, file: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, for a machine closes the standard streams with its last task."""
    command = [sys.executable, "-c", _SAVE, kind, arch, variant, file]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@cache
def _observe(kind: str, arch: str, variant: str) -> Any:
    with tempfile.NamedTemporaryFile(dir=cache_dir()) as file:
        done = run_apart(kind, arch, variant, file.name)
        assert done.returncode == 0, done.stderr
        return pickle.load(file)


def observe(arch: str, variant: str) -> Report:
    """Every signal before every instruction, on a machine with that way into the kernel."""
    report: Report = _observe("signal", arch, variant)
    return report


def observe_cancel(arch: str, variant: str) -> dict[str, list[Cancelled]]:
    """A thread cancelled before every instruction, by call."""
    report: dict[str, list[Cancelled]] = _observe("cancel", arch, variant)
    return report
