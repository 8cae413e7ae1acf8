"""Being told of instructions, or of basic blocks, before they are executed: what tracing, stepping and counting are
made of."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, ClassVar

from emu.cpu import binding
from emu.cpu.block_counter import BlockCounter, stop_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.cpu.engine import UnicornCpu

_LAST_ADDRESS = (1 << 64) - 1


class InstructionWatch:
    """Calls `before(pc, size_bytes)` before each instruction that lies in [begin, end); `remove` ends that.

    All registers can be read in `before`, and are those that the instruction will see. It may call one of these:

    - `pause`: `UnicornCpu.run` returns with the instruction still to come (`paused` is true); to go on, call `run`
      again: that instruction is then not told a second time.
    - `interrupt`: the kernel looks at what is pending first (`TrapHandler.interrupted`); when the instruction's turn
      comes again, it is told again.

    Made and removed only while no guest code runs, or from a trap: the code translated so far is forgotten. An
    instruction costs about half a microsecond; one outside of the range nothing.
    """

    def __init__(
        self, cpu: UnicornCpu, before: Callable[[int, int], None], begin: int = 0, end: int = _LAST_ADDRESS
    ) -> None:
        self._cpu = cpu
        self._pc = 0
        self._paused_at: int | None = None

        def hook(_engine: object, pc: int, size_bytes: int, _data: object) -> None:
            paused_at, self._paused_at = self._paused_at, None
            if pc == paused_at:
                return
            self._pc = pc
            try:
                before(pc, size_bytes)
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                cpu.fail(error)

        self._handle = cpu.engine.hook(binding.UC_HOOK_CODE, binding.CODE_CALLBACK(hook), begin=begin, end=end - 1)
        cpu.flush_code()

    def pause(self) -> None:
        """From `before`: make `UnicornCpu.run` return now."""
        self._paused_at = self._pc
        self._cpu.pause()

    def interrupt(self) -> None:
        """From `before`: let the kernel deliver signals and switch tasks now, as if its time slice were over."""
        self._cpu.engine.stop()

    def remove(self) -> None:
        """No more calls."""
        self._cpu.unhook(self._handle)


class BlockWatch:
    """Calls `before(pc, size_bytes)` before each basic block that begins in [begin, end); `remove` ends that.

    As `InstructionWatch`, but there is no way to stop.
    """

    def __init__(self, cpu: UnicornCpu, before: Callable[[int, int], None], begin: int, end: int) -> None:
        self._cpu = cpu

        def hook(_engine: object, pc: int, size_bytes: int, _data: object) -> None:
            try:
                before(pc, size_bytes)
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                cpu.fail(error)

        self._handle = cpu.engine.hook(binding.UC_HOOK_BLOCK, binding.CODE_CALLBACK(hook), begin=begin, end=end - 1)
        cpu.flush_code()

    def remove(self) -> None:
        """No more calls."""
        self._cpu.unhook(self._handle)


class InstructionCounter:
    """Counts all instructions that are executed from now on. OSError on a host for which there is no such code."""

    _FROM: ClassVar[int] = 1 << 62

    def __init__(self, cpu: UnicornCpu) -> None:
        self._counter = counter = BlockCounter(stop_address())
        counter.restart(self._FROM)
        cpu.engine.hook(binding.UC_HOOK_CODE, ctypes.c_void_p(counter.address))
        cpu.flush_code()

    @property
    def count(self) -> int:
        """How many there were so far."""
        return self._FROM - self._counter.left
