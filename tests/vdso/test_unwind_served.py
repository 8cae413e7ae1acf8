"""libgcc, LLVM's libunwind and gdb find the way from every instruction of the handler that serves calls to main.

A program makes each call that has a routine, with arguments that lead through all of them, and those that have none.
At the instructions of the handler it gets a signal as if that instruction had raised it, and unwinds from there. The
real calls on the way are made harmless: what they do is not what is tested here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from random import Random
from struct import pack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import pytest

from emu.cpu.watch import InstructionWatch
from emu.disasm import decode
from emu.host.real import RealHost
from emu.machine import Machine, MachineOptions
from emu.places import Places
from emu.strace.decode import ARGUMENT_REGISTERS
from guests.build import cache_dir, compile_to
from kernel_model.abi.signal import SIGTRAP, TRAP_BRKPT
from kernel_model.bounce import HELD_AT, NO_CALL, REDIRECT, BounceWishes
from kernel_model.entry import EntryPath
from kernel_model.events import Bounced, Event
from kernel_model.mm.uaccess import copy_to_user
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.syscalls.table import names
from kernel_model.types import UserPtr
from tests.vdso.core import write_core
from tests.vdso.handlers import NEVER_REACHED
from tests.vdso.test_gdb import gdb
from vdso_image.image import ARCHITECTURES, VdsoImage, load
from vdso_image.listing import elf_file, functions
from vdso_image.served import routine_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.disasm import Instruction

SOURCE = Path(__file__).parent / "unwind_served.c"
CURSOR = SOURCE.with_name("cursor.h")
FLAGS = ("-O1", "-static", "-g0", "-std=gnu17")
VISITS = 2
"""So many of each instruction, by different calls."""
HANDLER = "__kernel_bounce_userspace"
ARGUMENTS = [
    "0", "B:B:B:B:B:B", "0:B:B:8:8:8", "1:B:B:8:B:B", "2:B:B:8", "3:B:B:8", "B:18:B", "B:8:B", "0:0:0:B:0:B", "B:1",
    "1:9", "1:63", "2:8", "1d:3e8", "1d:0", "1e", "ffffffff:ffffffff:ffffffff:ffffffff:ffffffff:ffffffff", "8", "3:3",
    "3:4", "0:B", "3:D:3e8", "80000000:B", "1:0:0:0:B", "1:0:0:0:8", "1:0:0:0:T", "1:B:B:B:T", "ffffff9c:B",
    "0:8:0:8", "0:8:0:B", "1:B:0:8", "2:0:B:8", "0:8:B:8", "B:0:0", "B:B:0", "1:0:B:B", "0:B:1:B",
]  # fmt: skip
"""In hex, B a buffer, D one of directory entries, T a second; what is missing is 0. Among them are prctl's subcommands,
sizes of structs, bad pointers."""
NOT_REACHED = {"aarch64": {"glue_fault"}, "x86_64": set[str]()}
"""Parts that nothing leads to: no glue of AArch64's reads the program's memory."""
RESULTS = ("getpid", "getppid", "restart_syscall")
"""What the real calls are changed into: a number, 0, or -EINTR."""


def program(unwinder: str, arch: str) -> Path:
    """The program linked with an unwinder, with its symbols; built unless it is there. Skips where none builds it."""
    key = hashlib.sha256(SOURCE.read_bytes() + CURSOR.read_bytes() + repr((unwinder, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "vdso" / f"unwind-served-{unwinder}-{key}"
    if path.exists():
        return path
    if unwinder == "llvm":
        tables = ("-fno-sanitize=all", "-fasynchronous-unwind-tables")
        compile_to(SOURCE, f"{arch}-linux-musl", (*FLAGS, *tables, "-DLLVM", "-lunwind"), path)
        return path
    native = arch == platform.machine() and shutil.which("gcc")
    compiler = native or shutil.which(f"{arch.replace('_', '-')}-linux-gnu-gcc")
    if not compiler:
        pytest.skip(f"no gcc for {arch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    subprocess.run([compiler, *FLAGS, "-o", new, SOURCE], check=True)
    new.replace(path)
    return path


def calls(arch: str) -> list[str]:
    """All that have a routine, with all arguments; and one that has none."""
    served = [number for number, routine in enumerate(routine_of(arch)) if routine is not None]
    return [f"{number:x}:{words}" for number in served for words in ARGUMENTS] + ["3ff:B:1:2:3:4:5"]


def handler(image: VdsoImage) -> dict[int, Instruction]:
    """Its instructions that can be reached, by their place in the image."""
    whole = next(function for function in functions(image.elf) if HANDLER in function.names)
    code = decode(image.arch, image.elf[whole.start : whole.start + whole.size], whole.start)
    return {line.address: line for line in code if not line.text.startswith(NEVER_REACHED)}


class Run:
    """One run of the program, stopped at every instruction of the handler the first times that it comes there."""

    def __init__(self, path: Path, arch: str, stopped: Callable[[Run, int, list[int]], bool]) -> None:
        """`stopped`: called with the instruction's place in the image and the registers; true for the signal."""
        self.image = load(arch)
        self.code = handler(self.image)
        self.visits: dict[int, int] = {}
        self.signals = 0
        table = elf_file(path.read_bytes()).get_section_by_name(".symtab")
        self.symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        self.bounced: dict[str, int] = {}
        """The program's registers at its call."""
        self.bounced_sp = 0
        self._stopped = stopped
        self._output = TemporaryFile()  # noqa: SIM115 (as long as this lives)
        words = calls(arch)
        self._round = len(words)
        self.machine = machine = Machine(
            MachineOptions(
                str(path), [b"unwind", *map(str.encode, words * len(RESULTS))], {}, seed=1, virtual_time=True,
                bounce=BounceWishes(vdso="userspace"), vdso_data="perthread",
            ),
            RealHost((os.open(os.devnull, os.O_RDONLY), os.dup(self._output.fileno()), os.dup(2))),
        )  # fmt: skip
        self.arch = machine.kernel.arch
        self.places = Places(machine.kernel)
        self._harmless = [next(n for n, row in names(arch).items() if row.name == name) for name in RESULTS]
        self._bounces = 0
        self._chance = Random(1)
        sigprocmask = next(n for n, row in names(arch).items() if row.name == "rt_sigprocmask")
        self._left_alone = (REDIRECT | NO_CALL, REDIRECT | sigprocmask)
        """Of these the second makes the kernel look what is pending, which it only supposes after a signal."""
        self._testing = False
        self._is_call = False
        self._back_at: tuple[int, int] | None = None
        """Where the program goes on after the signal, and its SP there."""
        machine.kernel.events.subscribe(self._listen)
        self._watch = self._new_watch()

    def _new_watch(self) -> InstructionWatch:
        """It tells the instruction at which the last one has paused the CPU."""
        begin = self.machine.task.mm.vdso
        end = begin + max(self.code) + 1
        return InstructionWatch(self.machine.cpu, self._before, begin + min(self.code), end)

    def output(self) -> list[str]:
        """The lines that the program has written, when it is over."""
        self.machine.run(self._paused)
        assert self.machine.status() == 0
        with self._output:
            self._output.seek(0)
            return self._output.read().decode().splitlines()

    def _listen(self, event: Event) -> None:
        if isinstance(event, Bounced):
            self._testing = event.words[2] == self.symbols["after"] and self._back_at is None
            self._bounces += self._testing
            self.bounced = dict(zip(self.arch.GREG_NAMES, self.machine.cpu.read_gregs(), strict=True))
            self.bounced_sp = event.words[1]

    def _before(self, pc: int, _size_bytes: int) -> None:
        registers = self.machine.cpu.read_gregs()
        offset, sp = pc - self.machine.task.mm.vdso, registers[self.arch.SP_INDEX]
        if self._back_at == (offset, sp):
            self._back_at = None
            self._testing = True
        elif not self._testing:
            return
        else:
            self.visits[offset] = self.visits.get(offset, 0) + 1
            if self.visits[offset] <= VISITS and self._stopped(self, offset, registers):
                self._watch.pause()
                return
        if self.code[offset].text.split()[0] in ("syscall", "svc"):
            self._is_call = True
            self._watch.pause()

    def _paused(self) -> None:
        """Between two instructions: the signal, or the call that is made now is another."""
        machine = self.machine
        registers = machine.cpu.read_gregs()
        if self._is_call:
            self._is_call = False
            self._make_harmless(registers)
            return
        offset = registers[self.arch.PC_INDEX] - machine.task.mm.vdso
        self._back_at = offset, registers[self.arch.SP_INDEX]
        self._testing = False
        self.signals += 1
        unfinished = any(start <= offset < end and not done for start, end, done, *_ in self.image.undo_ranges)
        self._watch.remove()
        self._watch = self._new_watch()
        force_signal(machine.kernel, machine.task, SigInfo(SIGTRAP, TRAP_BRKPT, fields=(("addr", int(unfinished)),)))
        handler = machine.cpu.handler
        assert isinstance(handler, EntryPath)
        handler._after_exception()

    def _make_harmless(self, registers: list[int]) -> None:
        """The call that is made now is another one, with one or another result; what it tells is made up as well, and
        whether a signal has waited for the handler's end."""
        made = registers[self.arch.NUMBER_INDEX] & 0xFFFF_FFFF
        if made not in self._left_alone:
            if not made & REDIRECT:
                told = pack("<Q8I", *(self._chance.randrange(7) for _ in range(9)))
                copy_to_user(self.machine.task.mm, UserPtr(registers[self.arch.SP_INDEX] + HELD_AT), told)
            registers[self.arch.NUMBER_INDEX] = self._harmless[(self._bounces - 1) // self._round] | made & REDIRECT
            self.machine.cpu.write_gregs(registers)


@pytest.mark.parametrize("unwinder", ["libgcc", "llvm"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_from_every_instruction(arch: str, unwinder: str) -> None:
    run = Run(program(unwinder, arch), arch, lambda _run, _offset, _registers: True)
    lines = run.output()
    assert lines == [f"{run.signals} signals"]
    starts = sorted((at, name) for name, at in run.image.labels.items())
    missing = {max(start for start in starts if start[0] <= at)[1] for at in run.code.keys() - run.visits.keys()}
    assert missing <= NOT_REACHED[arch]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gdb_from_every_instruction(arch: str, tmp_path: Path) -> None:
    path = program("llvm", arch)
    debugger = gdb(arch)
    script = [
        "set confirm off", "set pagination off", "set debuginfod enabled off", "set width 0", "set backtrace limit 9",
        "set stack-cache off",  # it would outlive a core file
    ]  # fmt: skip
    kept = [name for name in ARGUMENT_REGISTERS[arch] if name != "x0"]
    wanted: dict[str, list[int]] = {}

    def stopped(run: Run, offset: int, registers: list[int]) -> bool:
        by_name = dict(zip(run.arch.GREG_NAMES, registers, strict=True))
        if run.visits[offset] == 1:
            core = tmp_path / f"{offset:x}.core"
            mm = run.machine.task.mm
            stack = registers[run.arch.SP_INDEX] & -4096
            sizes = {stack: 8192, mm.vdso: mm.vdso_end - mm.vdso}
            memory = {at: run.places.peek(mm, at, size) for at, size in sizes.items()}
            by_name["eflags"] = registers[-1]
            core.write_bytes(write_core(arch, by_name, memory, mm.vdso))
            script.extend([f"core-file {core}", f"echo @ {offset:x}\\n", "bt", "echo :\\n", "frame 1"])
            shown = ", ".join(f"${name}" for name in ("pc", "sp", *kept))
            script.append(f'printf "{" ".join(["%lx"] * (2 + len(kept)))}\\n", {shown}')
            wanted[f"{offset:x}"] = [run.symbols["after"], run.bounced_sp, *(run.bounced[name] for name in kept)]
        return False

    Run(path, arch, stopped).output()
    commands = tmp_path / "script"
    commands.write_text("\n".join(script) + "\n")
    command = [debugger, "-nx", "-batch", "-x", str(commands), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = {}
    for part in done.stdout.split("\n@ ")[1:]:
        name, _, text = part.partition("\n")
        chain = re.findall(r"^#\d+ +(?:0x\w+ in )?(\S+)", text.partition("\n:\n")[0], re.M)
        numbers = re.findall(rf"^([0-9a-f]+(?: [0-9a-f]+){{{1 + len(kept)}}})$", text, re.M)
        seen[name] = (chain[:4], [int(number, 16) for number in numbers[-1].split()])
    assert seen == {name: ([HANDLER, "site", "attempt", "main"], values) for name, values in wanted.items()}
