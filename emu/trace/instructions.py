"""Every instruction of a run as a line: address, function, text, and if wanted the registers that it changed.

What a line says is kept by address and compared with the bytes in memory each time, so that rewritten code is told as
it is when it runs. Names are forgotten when the address space changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emu import disasm
from emu.cpu.watch import InstructionWatch
from emu.places import Places
from emu.printable import printable
from kernel_model.events import Event, Execve, MappingChanged
from kernel_model.types import PAGE_MASK, PAGE_OFFSET, PAGE_SIZE

if TYPE_CHECKING:
    from emu.machine import Machine
    from emu.trace.output import Output
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

_NAME_WIDTH: Final = 28
_TEXT_WIDTH: Final = 52
_LINES_KEPT: Final = 1 << 20
_PIECE: Final = 4096
"""So many lines are handed to the output at once."""


class InstructionTrace:
    """Writes a line for each instruction, and one whenever another task has the CPU."""

    def __init__(self, machine: Machine, output: Output, limit: int | None = None, *, registers: bool = False) -> None:
        """`limit`: so many instructions at most. `registers`: say what each changed, which takes ten times as long."""
        self._kernel = machine.kernel
        self._cpu = machine.cpu
        self._arch = machine.kernel.arch
        self._output = output
        self._left = -1 if limit is None else limit
        self._registers = registers
        self._places = Places(machine.kernel)
        self._lines: dict[int, tuple[bytes, str]] = {}
        self._mm: MemoryMap | None = None
        self._task: Task | None = None
        self._parts: list[str] = []
        self._before: list[int] = []
        self._pending = ""
        self._watch: InstructionWatch | None = None

    def attach(self) -> None:
        """Begin."""
        self._kernel.events.subscribe(self)
        hook = self._changing if self._registers else self._plain
        self._watch = InstructionWatch(self._cpu, hook)

    def close(self) -> None:
        """The run is over."""
        if self._pending:
            self._end_line(self._cpu.read_gregs() if self._kernel.current is self._task else self._before)
        self._output.write("".join(self._parts))
        self._parts.clear()

    def __call__(self, event: Event) -> None:
        """One event: what lies where may have changed."""
        if isinstance(event, MappingChanged | Execve):
            self._lines.clear()

    def paused(self) -> None:
        """Enough has been told: from here on the program runs at its own speed."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None
            self._kernel.events.unsubscribe(self)

    def _is_enough(self) -> bool:
        """Is nothing more to be told? Then the CPU is paused, for a watch can't be removed while the guest runs."""
        if self._watch is None or (self._left and self._output.broken is None):
            return False
        self._watch.pause()
        return True

    def _plain(self, pc: int, size_bytes: int) -> None:
        """An instruction is about to be executed."""
        if not self._is_enough():
            self._left -= 1
            self._add(self._line(pc, size_bytes))

    def _changing(self, pc: int, size_bytes: int) -> None:
        """The same; a line is ended when the task's next instruction shows what has changed.

        Where another task goes on, its registers say nothing of that.
        """
        registers = self._cpu.read_gregs()
        if self._pending:
            self._end_line(registers if self._kernel.current is self._task else self._before)
        self._before = registers
        if not self._is_enough():
            self._left -= 1
            self._pending = self._line(pc, size_bytes)

    def _line(self, pc: int, size_bytes: int) -> str:
        """What is told of the instruction at `pc`."""
        task = self._kernel.current
        if task is not self._task:
            self._switched(task)
        mm = task.mm
        offset = pc & PAGE_OFFSET
        if offset + size_bytes <= PAGE_SIZE:
            start = (mm.pt.get(pc & PAGE_MASK, 0) & PAGE_MASK) + offset
            code = mm.ram[start : start + size_bytes].tobytes()
        else:
            code = self._places.peek(mm, pc, min(size_bytes, disasm.X86_LONGEST))
        known = self._lines.get(pc)
        if known is None or known[0] != code:
            known = self._describe(mm, pc, code)
        return known[1]

    def _add(self, line: str) -> None:
        parts = self._parts
        parts.append(line)
        if len(parts) >= _PIECE:
            self._output.write("".join(parts))
            parts.clear()

    def _end_line(self, registers: list[int]) -> None:
        skip = self._arch.PC_INDEX
        changed = [
            f"{name}={value:#x}"
            for index, (name, value, old) in enumerate(zip(self._arch.GREG_NAMES, registers, self._before, strict=True))
            if value != old and index != skip
        ]
        line = self._pending
        self._pending = ""
        self._add(f"{line[:-1]:<{_TEXT_WIDTH + _NAME_WIDTH}}  {' '.join(changed)}\n" if changed else line)

    def _switched(self, task: Task) -> None:
        """Another task has the CPU than at the last instruction."""
        if self._task is not None or len(self._kernel.tasks) > 1:
            self._add(f"-- task {task.pid} ({printable(task.comm)})\n")
        if task.mm is not self._mm:
            self._lines.clear()
        self._task, self._mm = task, task.mm

    def _describe(self, mm: MemoryMap, pc: int, code: bytes) -> tuple[bytes, str]:
        """The line for the instruction `code` at `pc`, which is kept."""
        if len(self._lines) >= _LINES_KEPT:
            self._lines.clear()
        place = self._places.at(mm, pc)
        part = self._places.part(mm, pc)
        where = f"{place._replace(symbol=part).name if part is not None else place}"
        decoded = disasm.first(self._arch.NAME, code, pc)
        text = decoded.text if decoded is not None else "(no instruction)"
        known = self._lines[pc] = (code, f"{pc:12x}  {where:<{_NAME_WIDTH}}  {text}\n")
        return known
