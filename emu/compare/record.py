"""What each task of a run did, call by call, and in which state the kernel left it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from kernel_model.abi.errno import ERESTART_RESTARTBLOCK, ERESTARTSYS
from kernel_model.events import Bounced, Event, Execve, SignalDelivered, SyscallEnter, SyscallExit
from kernel_model.ns.pid import find_vpid
from kernel_model.syscalls.table import declared, names
from kernel_model.timekeeping import VIRTUAL_ENTRY_NS
from kernel_model.types import PAGE_SIZE, U64_MASK

if TYPE_CHECKING:
    from emu.compare.handlers import Handlers
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

AROUND_SP_BYTES: Final = 4096
"""So much below and above the stack pointer is compared after each call."""
_FRAME_SLOTS: Final = 3
"""A frame's two slots, and the one below: a handler that returns by iretq needs a word there."""
_SLOT_BYTES: Final = 16
_DATA_CALLS: Final = frozenset(
    ("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getcpu")
)  # fmt: skip
"""What functions of the vDSO tell by themselves where there are data pages, and call the kernel for elsewhere."""
_POINTED_BYTES: Final = 256
"""What is compared behind a pointer of which it is not known how much the call writes there."""
_BUFFER_MAX_BYTES: Final = 1 << 16
_R: Final = 1
_INPUTS: Final = frozenset(("path", "string", "inbuf", "iovec", "argv", "ptr"))
_CLONES: Final = frozenset(("clone", "clone3", "fork", "vfork"))
_MAX_ARGUMENTS: Final = 6
_RESTART: Final = "restart_syscall"


class State(NamedTuple):
    """A task on its way back to the program: what the program can see of it."""

    buffers: int | None
    """CRC of what the call's pointers lead to; None: not looked at."""
    registers: bytes = b""
    """`Cpu.read_gregs_bytes`: all general registers, SP, PC and flags."""
    floating_point: int = 0
    """CRC of the floating-point and vector registers with their control registers."""
    tls: tuple[int, int] = (0, 0)
    """`Cpu.get_tls` and `get_gs`."""
    stack: int | None = 0
    """CRC of the memory around SP; None: not looked at."""


class Call(NamedTuple):
    """A real system call, or a signal: then `name` is the signal's, and `args` are its handler and si_code."""

    name: str
    args: tuple[int, ...]
    result: int | None


class Sink(Protocol):
    """Takes what a `Recorder` finds: the entry `index` of a task is first begun, and ended some time later."""

    def call(self, pid: int, index: int, call: Call) -> None:
        """The task made a call, or took a signal."""

    def state(self, pid: int, index: int, state: State) -> None:
        """So it goes back to the program."""


class _Holes:
    """Where in an address space frames may have been left: slots of 16 bytes, by page."""

    def __init__(self, pages: dict[int, set[int]] | None = None) -> None:
        self.pages = pages or {}

    def copy(self) -> _Holes:
        return _Holes({page: set(slots) for page, slots in self.pages.items()})

    def add(self, frame: int, scratch_bytes: int) -> None:
        """A frame was, or would have been, at `frame`, or as far below as handlers have room behind it."""
        for slot in range(
            frame - max(scratch_bytes, _SLOT_BYTES), frame + (_FRAME_SLOTS - 1) * _SLOT_BYTES, _SLOT_BYTES
        ):
            self.pages.setdefault(slot & -PAGE_SIZE, set()).add(slot)


class Recorder:
    """Made of the events of a kernel, it tells a `Sink` what each task does.

    It looks at calls, the arguments that each has, its result, and what it read into a buffer. A deep one looks at all
    six argument registers, and at what the program can see when it goes on: registers, flags, memory around SP and
    behind pointers.

    What a bounce's frame overwrites below SP is left out wherever memory is compared. That goes for every way into the
    kernel, `bare` too: each call makes a hole where its frame would be, and a hole stays.
    """

    def __init__(
        self, kernel: Kernel, handlers: Handlers, sink: Sink, *,
        deep: bool, frames: bool = False, scratch_bytes: int = 0, data_pages: bool = False,
    ) -> None:  # fmt: skip
        """`frames`: signal frames come to lie where the program's stack will be, so that no memory is compared.

        `scratch_bytes`: what a handler of the runs has to itself behind a frame. `data_pages`: one of the runs has
        them, and so no calls are told, in any, that the vDSO's functions make where there are none.
        """
        self._scratch_bytes = scratch_bytes
        self._data_pages = data_pages
        self._frames = frames
        self._kernel = kernel
        self._cpu = kernel.cpu
        self._arch = kernel.arch
        self._sink = sink
        self._deep = deep
        self._reserved_bytes = kernel.arch.RED_ZONE_BYTES + 2 * _SLOT_BYTES
        self._count: dict[int, int] = {}
        self._bounced: dict[int, Bounced] = {}
        self._holes: dict[MemoryMap, _Holes] = {}
        self._cloning: dict[int, _Holes] = {}
        self._inherited: dict[int, _Holes] = {}
        self._unfinished: dict[int, list[tuple[int, SyscallExit]]] = {}
        """Calls that are over while their bounce is not: a handler goes on after them."""
        self._rows = names(kernel.arch.NAME)
        self._arguments: dict[int, tuple[int, list[tuple[int, bool]]]] = {}
        self._handlers = handlers
        self._interrupted: dict[int, tuple[int, str]] = {}
        """Number and name of the call of each task that was to be restarted last."""

    def __call__(self, event: Event) -> None:
        """One event."""
        if isinstance(event, SyscallEnter):
            if not self._is_of_function(event.task, event.name):
                self.call_begins(event, self._sp_of(event.task))
        elif isinstance(event, SyscallExit):
            if self._is_of_function(event.task, event.name):
                self._kernel.clock.tick(-VIRTUAL_ENTRY_NS)  # where there are data pages it takes no time
            else:
                self.call_is_over(event, event.args)
        elif isinstance(event, Bounced):
            self._bounced[event.task.pid] = event
        elif isinstance(event, Execve):
            self._holes[event.task.mm] = _Holes()
        elif isinstance(event, SignalDelivered):
            self._next(event.task.pid, Call(f"signal {event.signal}", (event.handler, event.info.code), None))

    def _next(self, pid: int, call: Call) -> int:
        index = self._count.get(pid, 0)
        self._count[pid] = index + 1
        self._sink.call(pid, index, call)
        return index

    # -- calls ---------------------------------------------------------------------------------------------------------
    def _is_of_function(self, task: Task, name: str) -> bool:
        """Is a call made by a function of the vDSO that would not make it where there are data pages?"""
        if not self._data_pages or name not in _DATA_CALLS:
            return False
        pc = self._cpu.read_pc()
        return task.mm.vdso <= pc < task.mm.vdso_end and not self._handlers.hold(task.mm, pc)

    def _sp_of(self, task: Task) -> int:
        """SP of the program, which makes a call."""
        gregs = self._cpu.read_gregs()
        if self._handlers.hold(task.mm, gregs[self._arch.PC_INDEX]) and task.pid in self._bounced:
            return self._bounced[task.pid].words[1]  # a plain call of the handler's
        return gregs[self._arch.SP_INDEX]

    def call_begins(self, event: SyscallEnter, sp: int) -> None:
        """A call, made with SP at `sp`."""
        task = event.task
        holes = self._holes_of(task.pid, task.mm)
        frame = self._arch.untag(sp - self._reserved_bytes & -_SLOT_BYTES & U64_MASK)
        holes.add(frame, self._scratch_bytes)
        if event.name in _CLONES:
            self._cloning[task.pid] = holes.copy()

    def _holes_of(self, pid: int, mm: MemoryMap) -> _Holes:
        """Those of an address space: of a new one, its creator's as they were when that made the call."""
        holes = self._holes.get(mm)
        if holes is None:
            holes = self._holes[mm] = self._inherited.pop(pid) if pid in self._inherited else _Holes()
        return holes

    def call_is_over(
        self, event: SyscallExit, args: tuple[int, ...], *, settled: bool = True, registers: list[int] | None = None
    ) -> None:
        """The end of a call; `args`: what is told of those of `event`. Not `settled`: its result is known, but the
        registers are not the program's yet, or not to be compared. `registers`: the program's, if not the CPU's.
        """
        pid = event.task.pid
        if self._scratch_bytes:
            event = self._as_served(event)
        if event.name in _CLONES and event.result is not None and event.result > 0:
            self._inherited[find_vpid(event.task, event.result)] = self._cloning[pid]
        count, _ = self._arguments_of(event.number)
        index = self._next(pid, Call(event.name, args if self._deep else args[:count], event.result))
        if not settled:
            return
        if registers is not None:
            self._finish_with(index, event, registers)
            return
        gregs = self._cpu.read_gregs()
        if self._handlers.stack_returns and self._handlers.hold(event.task.mm, gregs[self._arch.PC_INDEX]):
            self._unfinished.setdefault(pid, []).append((index, event))
            return
        self._finish(index, event, self._cpu.read_gregs_bytes(), gregs[self._arch.SP_INDEX])

    def _as_served(self, event: SyscallExit) -> SyscallExit:
        """The end of a call, as it is also seen where another call is made in its place.

        That one may have another way to be restarted, which is the kernel's own affair.
        """
        pid = event.task.pid
        if event.name == _RESTART and pid in self._interrupted:
            number, name = self._interrupted[pid]
            event = event._replace(number=number, name=name)
        if event.result is not None and -ERESTART_RESTARTBLOCK <= event.result <= -ERESTARTSYS:
            self._interrupted[pid] = (event.number, event.name)
            event = event._replace(result=-ERESTARTSYS)
        return event

    def before(self, pc: int) -> None:
        """An instruction of the handlers is about to be executed: is it one that ends a bounce?"""
        task = self._kernel.current
        if pc - task.mm.vdso not in self._handlers.stack_returns or not self._unfinished.get(task.pid):
            return
        gregs = self._cpu.read_gregs()
        index, event = self._unfinished[task.pid].pop()
        self._finish_with(index, event, self._handlers.registers_after(gregs, gregs[self._arch.SP_INDEX], task.mm))

    def _finish_with(self, index: int, event: SyscallExit, gregs: list[int]) -> None:
        self._finish(index, event, b"".join(value.to_bytes(8, "little") for value in gregs), gregs[self._arch.SP_INDEX])

    def _finish(self, index: int, event: SyscallExit, registers: bytes, sp: int) -> None:
        task = event.task
        cpu = self._cpu
        mm = task.mm
        holes = self._holes_of(task.pid, mm)
        buffers = 0
        for register, by_result in self._arguments_of(event.number)[1]:
            if not by_result and not self._deep:
                continue  # how much the call wrote is not known, and what lies beside it may never have been written
            count = min(max(event.result or 0, 0), _BUFFER_MAX_BYTES) if by_result else _POINTED_BYTES
            if count and event.args[register]:
                address = self._arch.untag(event.args[register])
                buffers = zlib.crc32(read_memory(mm, address, count, holes), buffers)
        state = State(buffers)
        if self._deep and self._frames:
            tls = cpu.get_tls(), cpu.get_gs()
            state = State(None, registers, zlib.crc32(cpu.read_fpregs()), tls, None)
        elif self._deep:
            start = self._arch.untag(sp) - AROUND_SP_BYTES
            stack = zlib.crc32(read_memory(mm, start, 2 * AROUND_SP_BYTES, holes))
            tls = cpu.get_tls(), cpu.get_gs()
            state = State(buffers, registers, zlib.crc32(cpu.read_fpregs()), tls, stack)
        self._sink.state(task.pid, index, state)

    def _arguments_of(self, number: int) -> tuple[int, list[tuple[int, bool]]]:
        """How many arguments a call has; (register, how much is in the result) of each through which it may write."""
        known = self._arguments.get(number)
        if known is None:
            row = self._rows.get(number)
            call = declared(row) if row else None
            params = call.params() if call else []
            known = self._arguments[number] = (
                len(params) if call else _MAX_ARGUMENTS,
                [
                    (register, param.show == "outbuf")
                    for register, (_, param) in enumerate(params)
                    if param.ctype == "ptr" and param.show not in _INPUTS
                ],
            )
        return known


def read_memory(mm: MemoryMap, start: int, count: int, holes: _Holes | None = None) -> bytes:
    """`count` bytes at `start`, which touches nothing: pages that are not there, or can't be read, as zeros; holes
    too."""
    out = bytearray(count)
    end = start + count
    page = start & -PAGE_SIZE
    while page < end:
        first, last = max(page, start), min(page + PAGE_SIZE, end)
        entry = mm.pt.get(page & U64_MASK, 0)
        if entry & _R:
            at = (entry & -PAGE_SIZE) + first - page
            out[first - start : last - start] = mm.ram[at : at + last - first]
        if holes is not None:
            for slot in holes.pages.get(page, ()):
                low, high = max(slot, start), min(slot + _SLOT_BYTES, end)
                if low < high:
                    out[low - start : high - start] = bytes(high - low)
        page += PAGE_SIZE
    return bytes(out)
