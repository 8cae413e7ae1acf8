"""A CPU with one page of code, one of data and no kernel: enough to see what a single instruction does."""

from __future__ import annotations

from typing import Any, cast

from emu.cpu import create_cpu
from emu.cpu.engine import GuestRam, UnicornCpu
from kernel_model.mm.mm import MemoryMap

CODE, DATA = 0x400000, 0x500000
STACK = DATA + 0x800
R, W, X = 1, 2, 4


class PageTable:
    """What the CPU needs of a `MemoryMap`: entries, and no way to make new ones."""

    def __init__(self) -> None:
        self.pt = {CODE: 0x1000 | R | X, DATA: 0x2000 | R | W}

    def handle_fault(self, page: int, access: int) -> int:
        return 0


class Recorder:
    """A trap handler that writes down what happened, and stops."""

    def __init__(self, cpu: UnicornCpu) -> None:
        self.cpu = cpu
        self.seen: list[tuple[Any, ...]] = []

    def _note(self, *what: Any) -> None:
        self.seen.append(what)
        self.cpu.stop()

    def syscall(self) -> None:
        self._note("syscall", self.cpu.read_call()[0])

    def memory_fault(self, page: int, access: int) -> None:
        self._note("fault", self.cpu.fault_address(page, access), access)

    def exception(self, kind: str) -> None:
        self._note(kind)

    def interrupted(self) -> None:
        self._note("interrupted")


class BareMetal:
    """`run(code)` executes it from `CODE` with SP in the data page, and returns what stopped it."""

    def __init__(self, arch: str) -> None:
        self.ram = GuestRam(16 << 20)
        self.code_frames: set[int] = set()
        self.cpu = create_cpu(arch, self.ram, self.code_frames)
        self.recorder = self.cpu.handler = Recorder(self.cpu)
        self.mm = PageTable()
        self.cpu.switch_mm(cast(MemoryMap, self.mm))

    def load(self, code: bytes) -> None:
        self.ram.view[0x1000 : 0x1000 + len(code)] = code
        self.cpu.flush_code()
        self.cpu.start_thread(CODE, STACK)

    def run(self, code: bytes) -> tuple[Any, ...]:
        self.load(code)
        self.recorder.seen.clear()
        self.cpu.run()
        return self.recorder.seen[0]
