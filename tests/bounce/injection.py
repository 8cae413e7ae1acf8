"""Run `injected.c` and send it a signal before each instruction of a call, one after the other.

What the guest saw is told by the place at which it was interrupted, so that machines with another way into the kernel
can be compared: `round` real calls have been made since the trial began, and PC was `where`.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from emu.cpu.watch import InstructionWatch
from emu.machine import Machine, MachineOptions
from guests.build import cache_dir, compile_to
from kernel_model.abi import signal as abi
from kernel_model.bounce import BounceWishes
from kernel_model.events import SignalDelivered, SyscallEnter
from kernel_model.mm.uaccess import copy_from_user, get_user, put_user
from kernel_model.signal.send import send_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import UserPtr
from tests.harness import ROOT

if TYPE_CHECKING:
    from kernel_model.events import Event

SOURCE = Path(__file__).parent / "injected.c"
FLAGS = ("-O1", "-static", "-g0", "-std=gnu17", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror")
VARIANTS = {
    "bare": None,
    "redirect": BounceWishes(),
    "task-page": BounceWishes(frame="task-page"),
    "user": BounceWishes(leave_by="user"),
}
# The guest's enums and tables, in their order
SCENARIOS = (
    "getpid", "read", "read that waits", "write", "nanosleep", "futex", "futex with a time", "ppoll",
    "ppoll that unblocks the signal", "rt_sigprocmask that blocks it", "rt_sigprocmask that unblocks it", "fork",
    "vfork", "rt_sigreturn", "getpid with a bit beyond 32",
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
_NOTHING, _TO_THREAD, _TO_PROCESS, _TWO, _STOP = range(5)

REGISTERS = 34
_PLAN = Struct("<3Q")
_INJECTED = Struct("<Q")
_INJECTED_AT = 16
_HEAD = Struct("<5Q")
_SIGHTING = Struct(f"<{4 + REGISTERS}Q")
_SIGHTINGS = 8
_TAIL = Struct(f"<{REGISTERS}Q3Q4Q")
_OBSERVATION_BYTES = _HEAD.size + _SIGHTINGS * _SIGHTING.size + _TAIL.size
_NOWHERE = 1000
_SAVE = "import sys; from tests.bounce.injection import save; save(*sys.argv[1:])"


class Place(NamedTuple):
    """Where a task was interrupted: `round` real calls had been made, and PC was `offset` bytes into `where`.

    That is before | site | after, of the program; handler | leaving, of the vDSO: in a restart range or past it.
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
    after: int
    """The address after the call."""


def program(arch: str) -> Path:
    """The guest, built unless it is there."""
    key = hashlib.sha256(SOURCE.read_bytes() + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "bounce" / f"injected-{key}"
    if not path.exists():
        compile_to(SOURCE, f"{arch}-linux-musl", FLAGS, path)
    return path


def _symbols(path: Path) -> dict[str, int]:
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


class _Injector:
    """Watches the probe and the vDSO, and sends what the guest's plan asks for."""

    def __init__(self, machine: Machine, symbols: dict[str, int]) -> None:
        self.kernel = machine.kernel
        self.pid = machine.task.pid
        self.vdso = machine.task.mm.vdso
        self.begin, self.site, self.after, self.end = (
            symbols[name] for name in ("probe_begin", "site", "probe_after", "probe_end")
        )
        self.plan = UserPtr(symbols["plan"])
        image = self.kernel.vdso.image if self.kernel.vdso else None
        self.ranges = [(self.vdso + start, self.vdso + end) for start, end, _ in image.restart_ranges] if image else []
        self.trials: dict[tuple[str, str], list[Observation]] = {}
        self._armed = False
        self._of_probe = False
        """What is executed is the probe or a handler's bounce of it, not what a signal handler does meanwhile."""
        self._left = 0
        self._injection = 0
        self._round = 0
        self._place: Place | None = None
        self.kernel.events.subscribe(self._on_event)
        self._watch = InstructionWatch(machine.cpu, self._before, self.begin, self.end + 1)
        if machine.options.abi != "bare":
            InstructionWatch(machine.cpu, self._before, self.vdso, machine.task.mm.vdso_end)

    def _before(self, pc: int, _size_bytes: int) -> None:
        task = self.kernel.current
        if task.pid != self.pid:
            return
        if pc == self.begin:
            self._injection, left, injected = get_user(task.mm, self.plan, _PLAN)
            if not injected:
                self._armed = self._injection != _NOTHING
                self._left = left
                self._round = 0
        elif pc == self.end:
            self._armed = False
        if self.begin <= pc < self.end:
            self._of_probe = True
        if not self._armed or not self._of_probe:
            return
        if self._left:
            self._left -= 1
            return
        self._armed = False
        self._place = self._where(pc)
        put_user(task.mm, UserPtr(self.plan + _INJECTED_AT), _INJECTED, 1)
        self._inject()
        self._watch.interrupt()

    def _where(self, pc: int) -> Place:
        if pc < self.site and pc >= self.begin:
            return Place(self._round, "before", pc - self.begin)
        if pc == self.site:
            return Place(self._round, "site", 0)
        if self.begin <= pc < self.end:
            return Place(self._round, "after", pc - self.after)
        if any(start <= pc < commit for start, commit in self.ranges):
            return Place(self._round, "handler", pc - self.vdso)
        return Place(self._round, "leaving", pc - self.vdso)

    def _inject(self) -> None:
        task = self.kernel.current
        origin = (("pid", 1), ("uid", 0))
        if self._injection == _STOP:
            send_signal(self.kernel, task, SigInfo(abi.SIGSTOP, abi.SI_USER, fields=origin), group=True)
            return
        thread = self._injection != _TO_PROCESS
        code = abi.SI_TKILL if thread else abi.SI_USER
        send_signal(self.kernel, task, SigInfo(abi.SIGUSR1, code, fields=origin), group=not thread)
        if self._injection == _TWO:
            send_signal(self.kernel, task, SigInfo(abi.SIGRTMIN + 4, abi.SI_QUEUE, fields=origin))

    def _on_event(self, event: Event) -> None:
        if event.task.pid != self.pid:
            return
        if isinstance(event, SignalDelivered) and event.handler:
            self._of_probe = False
        if not isinstance(event, SyscallEnter):
            return
        if event.args[0] == _NOWHERE and event.name == "write":
            self._take(copy_from_user(event.task.mm, UserPtr(event.args[1]), event.args[2]))
        elif self._armed and self._of_probe:
            self._round += 1

    def _take(self, data: bytes) -> None:
        assert len(data) == _OBSERVATION_BYTES
        scenario, mode, _step, injected, runs = _HEAD.unpack_from(data)
        seen = []
        for index in range(runs):
            signo, code, place, mask, *regs = _SIGHTING.unpack_from(data, _HEAD.size + index * _SIGHTING.size)
            seen.append(Sighting(signo, code, place, mask, tuple(regs)))
        tail = _TAIL.unpack_from(data, _HEAD.size + _SIGHTINGS * _SIGHTING.size)
        out, (kept, mask, alternate), extra = tail[:REGISTERS], tail[REGISTERS : REGISTERS + 3], tail[REGISTERS + 3 :]
        observation = Observation(
            self._place if injected else None, tuple(seen), tuple(out), kept, mask, alternate, tuple(extra)
        )
        self.trials.setdefault((SCENARIOS[scenario], MODES[mode]), []).append(observation)


def _run(arch: str, variant: str) -> Report:
    """Every trial on a machine with that way into the kernel."""
    path = program(arch)
    wishes = VARIANTS[variant]
    options = MachineOptions(
        program=str(path), argv=[b"injected"], env={}, isolate=True, seed=1, virtual_time=True,
        abi="bounce" if wishes else "bare", bounce=wishes or BounceWishes(),
    )  # fmt: skip
    machine = Machine(options)
    symbols = _symbols(path)
    injector = _Injector(machine, symbols)
    status = machine.run()
    if status:
        raise AssertionError(f"the guest ended with status {status}")
    return Report(injector.trials, symbols["probe_after"])


def save(arch: str, variant: str, file: str) -> None:
    """Run, and leave the report in a file."""
    with open(file, "wb") as result:
        pickle.dump(_run(arch, variant), result)


@cache
def observe(arch: str, variant: str) -> Report:
    """Run in a process of its own, for a machine closes the standard streams with its last task."""
    with tempfile.NamedTemporaryFile(dir=cache_dir()) as file:
        command = [sys.executable, "-c", _SAVE, arch, variant, file.name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        report: Report = pickle.load(file)
        return report
