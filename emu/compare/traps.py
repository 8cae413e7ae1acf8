"""A program whose system calls come back to it as SIGSYS, looked at as if they did not.

Under `--abi seccomp` and `dispatch` a library beside the program has a handler that makes each call for it. What
happens in there is the library's: it is counted, and not told. The program is told of as it sees itself: each call
once, as it made it and with the result that it got, and its own signals.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from emu import disasm
from emu.compare.costs import START, Costs
from emu.compare.handlers import ARGUMENTS
from emu.compare.record import read_memory
from emu.cpu.watch import BlockWatch
from kernel_model.abi.errno import EINTR, ERESTART_RESTARTBLOCK, ERESTARTSYS
from kernel_model.abi.signal import SA_ONSTACK, SIGSYS, SYS_SECCOMP, SYS_USER_DISPATCH
from kernel_model.events import Event, Execve, SignalDelivered, SyscallEnter, SyscallExit, TaskExited
from kernel_model.mm.vma import VM_EXEC
from kernel_model.preload import NAME as LIBRARY
from kernel_model.timekeeping import VIRTUAL_ENTRY_NS
from kernel_model.types import U32_MASK, U64_MASK

if TYPE_CHECKING:
    from emu.machine import Machine
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

_CLONES: Final = frozenset(("clone", "clone3", "fork", "vfork"))
_RETURN: Final = "rt_sigreturn"
_STACK_MAX_BYTES: Final = 1 << 16
"""Further from SP than any handler reaches: the frame is on another stack."""
_WORD_BYTES: Final = 8
"""So far above its frame a handler may have SP when it returns."""


class _Frame:
    """How a signal's frame holds the registers that it interrupted."""

    def __init__(self, gregs_at: int, count: int, align_bytes: int, red_zone_bytes: int) -> None:
        """`gregs_at`: how far above SP, as the handler finds it. `align_bytes`: frames are apart by multiples of it.
        `red_zone_bytes`: left out above a frame, but not at the beginning of an alternate stack.
        """
        self.gregs_at = gregs_at
        self.align = -align_bytes
        self.red_zone_bytes = red_zone_bytes
        self.gregs = Struct(f"<{count}Q")


_FRAMES: Final = {
    # siginfo 128, ucontext up to uc_mcontext 176, fault_address 8
    "aarch64": _Frame(312, 34, 16, 0),
    # return address 8, uc_flags, uc_link, uc_stack 40; the FPU's state is aligned to 64
    "x86_64": _Frame(48, 18, 64, 128),
}


class Program(Protocol):
    """Who is told of the program (`emu.compare.record.Recorder`)."""

    def __call__(self, event: Event) -> None:
        """One event."""

    def call_begins(self, event: SyscallEnter, sp: int) -> None:
        """The same for a call that was made with SP at `sp`."""

    def call_is_over(self, event: SyscallExit, args: tuple[int, ...], *, settled: bool) -> None:
        """The same for the end of a call; `args`: what is told of those of `event`. Not `settled`: its result is known,
        but the registers are not the program's yet, or not to be compared.
        """


class _Context:
    """What a task is in: a trapped call's handler, the library's start, or a handler of the program's own."""

    __slots__ = (
        "again", "args", "base", "moved_by", "name", "number", "own", "program_sp", "result", "sp", "start", "told",
    )  # fmt: skip

    def __init__(self, name: str, sp: int, *, start: bool = False, own: bool = False) -> None:
        self.name = name
        self.sp = sp
        """Where its signal frame begins."""
        self.start = start
        self.own = own
        self.number = 0
        self.args = (0, 0, 0, 0, 0, 0)
        self.base = sp
        """Where the stack begins that it takes from: the program's SP, or an alternate stack's end."""
        self.program_sp = sp
        self.moved_by = 0
        """Of a handler of the program's: how much higher its stack would be without the library's."""
        self.result: int | None = None
        """What the real call has come to."""
        self.told: int | None = None
        """What the program's reader has been told of it."""
        self.again = False
        """The real call will be made again."""

    def copy(self) -> _Context:
        """That of a new task, which comes out of the same call: nothing more is told of that."""
        if self.own:
            return self
        result = _Context(START, self.sp, start=True)
        result.base = self.base
        return result


class Traps:
    """A listener to all events of a machine's kernel, that tells `program` of some, and counts what the rest costs."""

    def __init__(self, machine: Machine, program: Program) -> None:
        self._machine = machine
        self._kernel = machine.kernel
        self._cpu = machine.cpu
        self._arch = machine.kernel.arch
        self._program = program
        self._frame = _FRAMES[self._arch.NAME]
        self._filtered = machine.options.abi == "seccomp"
        self.costs = Costs()
        self.signals = 0
        """How many signals of its own reached a task."""
        self._contexts: dict[int, list[_Context]] = {}
        self._trapping: set[int] = set()
        """Tasks whose call seccomp is looking at."""
        self._watches: dict[tuple[int, int], BlockWatch] = {}
        self._lengths: dict[tuple[int, int], int] = {}
        """How many instructions a block of the library has, by its address and size."""
        self._contexts[machine.task.pid] = [_Context(START, 0, start=True)]
        self._watch_code()
        machine.kernel.events.subscribe(self)

    def __call__(self, event: Event) -> None:
        """One event."""
        if isinstance(event, SyscallEnter):
            self._enter(event)
        elif isinstance(event, SyscallExit):
            self._exit(event)
        elif isinstance(event, SignalDelivered):
            self._signal(event)
        elif isinstance(event, Execve):
            self._execve(event)
        else:
            if isinstance(event, TaskExited):
                self._contexts.pop(event.task.pid, None)
                self._trapping.discard(event.task.pid)
            self._program(event)

    def _of(self, task: Task) -> list[_Context]:
        """The contexts of a task, the innermost last. A task that nobody has heard of comes out of a handler."""
        found = self._contexts.get(task.pid)
        if found is None:
            found = self._contexts[task.pid] = [_Context(START, 0, start=True)]
        return found

    # -- calls ---------------------------------------------------------------------------------------------------------
    def _enter(self, event: SyscallEnter) -> None:
        task = event.task
        if self._filtered and not task.mm.vdso <= event.pc - self._arch.SYSCALL_INSTRUCTION_BYTES < task.mm.vdso_end:
            self._trapping.add(task.pid)  # a signal follows, or the end
            return
        contexts = self._of(task)
        context = contexts[-1] if contexts else None
        if context is None or context.own:
            cost = self.costs[event.name]
            cost.calls += 1
            cost.direct += 1
            cost.entries += 1
            self._program(event)
            return
        cost = self.costs[context.name]
        cost.entries += 1
        self._reaches(context, self._cpu.read_gregs()[self._arch.SP_INDEX])
        if context.again and event.number == context.number:
            context.again = False
            cost.calls += 1
        else:
            # The trap has taken the time that the call takes; the library is to take none.
            self._kernel.clock.tick(-VIRTUAL_ENTRY_NS)

    def _exit(self, event: SyscallExit) -> None:
        task = event.task
        if task.pid in self._trapping:
            self._trapping.discard(task.pid)
            if event.result is None:  # it has killed the task
                self._program(event)
            return
        contexts = self._of(task)
        context = contexts[-1] if contexts else None
        if context is None or context.own:
            args = self._args_without(contexts, event.args)
            if context is not None and event.name == _RETURN:
                contexts.pop()
            self._program.call_is_over(event, args, settled=not contexts)
        elif event.name == _RETURN:
            self._returned(task, contexts)
        elif event.result is None:
            if not context.start:
                self._tell(task, contexts, context, None)
        else:
            self._made(task, contexts, event, event.result)

    def _made(self, task: Task, contexts: list[_Context], event: SyscallExit, result: int) -> None:
        """The library has made a call."""
        context = contexts[-1]
        if event.name in _CLONES and result > 0:
            # One that its creator has waited for (vfork) is known already.
            self._contexts.setdefault(result, [one.copy() for one in contexts])
        elif event.number != context.number:
            return
        if -ERESTART_RESTARTBLOCK <= result <= -ERESTARTSYS:
            self._tell(task, contexts, context, result)
            context.told = None
            context.again = True
        else:
            context.result = result

    def _returned(self, task: Task, contexts: list[_Context]) -> None:
        """The library has left by rt_sigreturn: the registers are the program's."""
        context = contexts.pop()
        if context.start:
            return
        if context.name == _RETURN:  # the program's own, which the library has made in its place
            self._tell(task, contexts, context, None)
            if contexts and contexts[-1].own:
                contexts.pop()
            return
        value = self._cpu.read_gregs()[self._arch.RESULT_INDEX]
        result = (value & U64_MASK ^ 1 << 63) - (1 << 63)
        interrupted = context.again and result == -EINTR  # it was to be restarted, and is not
        if context.told != result and not interrupted:
            self._tell(task, contexts, context, result, settled=not contexts)

    def _tell(
        self, task: Task, contexts: list[_Context], context: _Context, result: int | None, *, settled: bool = False
    ) -> None:
        """Tell of the call that was trapped."""
        context.told = result
        event = SyscallExit(task, context.number, context.name, context.args, result)
        self._program.call_is_over(event, self._args_without(contexts, context.args), settled=settled)

    # -- signals -------------------------------------------------------------------------------------------------------
    def _signal(self, event: SignalDelivered) -> None:
        task = event.task
        contexts = self._of(task)
        if event.signal == SIGSYS and event.handler and event.info.code in (SYS_SECCOMP, SYS_USER_DISPATCH):
            self._trapped(event, contexts)
            return
        self.signals += 1
        context = contexts[-1] if contexts else None
        if context is not None and not context.own and event.handler:
            if context.result is not None and context.told is None:
                self._tell(task, contexts, context, context.result)
            contexts.append(self._own_handler(event, contexts))
        self._program(event)

    def _interrupted(self, task: Task, sp: int) -> tuple[int, ...]:
        """The registers that the signal's frame at `sp` holds."""
        frame = self._frame
        return frame.gregs.unpack(read_memory(task.mm, self._arch.untag(sp) + frame.gregs_at, frame.gregs.size))

    def _own_handler(self, event: SignalDelivered, contexts: list[_Context]) -> _Context:
        """A handler of the program's begins, on top of the library's."""
        task, trap = event.task, contexts[-1]
        sp = self._cpu.read_gregs()[self._arch.SP_INDEX]
        result = _Context("", sp, own=True)
        below = self._interrupted(task, sp)[self._arch.SP_INDEX]
        if 0 < below - sp < _STACK_MAX_BYTES:  # not on an alternate stack
            result.base = below
            wanted = trap.program_sp
            if trap.base != wanted and task.sighand.get(event.signal).flags & SA_ONSTACK:
                wanted = trap.base + self._frame.red_zone_bytes
            wanted = self._as_without(contexts[:-1], wanted)
            result.moved_by = (wanted & self._frame.align) - (below & self._frame.align)
        return result

    @staticmethod
    def _as_without(contexts: list[_Context], address: int) -> int:
        """`address`, on the stack of a handler, as it would be if the library had taken no stack."""
        for context in reversed(contexts):
            if context.own and context.sp - _STACK_MAX_BYTES < address < context.base:
                return address + context.moved_by
        return address

    def _args_without(self, contexts: list[_Context], args: tuple[int, ...]) -> tuple[int, ...]:
        """The same for each argument of a call."""
        return tuple(self._as_without(contexts, value) for value in args) if contexts else args

    def _trapped(self, event: SignalDelivered, contexts: list[_Context]) -> None:
        """A call of the program's has become a signal, whose frame is at SP."""
        task = event.task
        sp = self._cpu.read_gregs()[self._arch.SP_INDEX]
        gregs = self._interrupted(task, sp)
        base = program_sp = gregs[self._arch.SP_INDEX]
        while contexts and (contexts[-1].start or _WORD_BYTES < base - contexts[-1].sp < _STACK_MAX_BYTES):
            contexts.pop()  # the program's first call; or it has jumped out of that handler
        number = dict(event.info.fields)["syscall"] & U32_MASK
        context = _Context(self._kernel.table.name(number), sp)
        context.number = number
        a0, a1, a2, a3, a4, a5 = (gregs[index] for index in ARGUMENTS[self._arch.NAME])
        context.args = (a0, a1, a2, a3, a4, a5)
        if not 0 < base - sp & U64_MASK < _STACK_MAX_BYTES:
            base = task.sas.sp + task.sas.size  # on the alternate stack
        context.base, context.program_sp = base, program_sp
        contexts.append(context)
        cost = self.costs[context.name]
        cost.calls += 1
        cost.old_style += 1
        cost.frames += 1
        cost.entries += 1
        self._reaches(context, sp)
        made = SyscallEnter(task, number, context.name, context.args, gregs[self._arch.PC_INDEX])
        self._program.call_begins(made, program_sp)

    def _execve(self, event: Execve) -> None:
        contexts = self._of(event.task)
        self._program(event)
        if contexts and not contexts[-1].own and not contexts[-1].start:
            self._tell(event.task, contexts, contexts[-1], None)
        contexts[:] = [_Context(START, 0, start=True)]
        self._watch_code()

    # -- what the library takes ----------------------------------------------------------------------------------------
    def _reaches(self, context: _Context, sp: int) -> None:
        """The stack of `context` goes down to `sp`."""
        taken = context.base - sp & U64_MASK
        cost = self.costs[context.name]
        if not context.start and cost.stack_bytes_max < taken < _STACK_MAX_BYTES:
            cost.stack_bytes_max = taken

    def _watch_code(self) -> None:
        """See that the library and the vDSO are watched wherever they are mapped now."""
        mms = {task.mm for task in self._kernel.tasks.values()}
        wanted = {place for mm in mms for place in self._code_of(mm)}
        for place in self._watches.keys() - wanted:
            self._watches.pop(place).remove()
        for place in wanted - self._watches.keys():
            self._watches[place] = BlockWatch(self._cpu, self._on_block, *place)

    @staticmethod
    def _code_of(mm: MemoryMap) -> list[tuple[int, int]]:
        found = [(vma.vm_start, vma.vm_end) for vma in mm.vmas if vma.name == LIBRARY and vma.vm_flags & VM_EXEC]
        return [*found, (mm.vdso, mm.vdso_end)] if mm.vdso else found

    def _on_block(self, pc: int, size_bytes: int) -> None:
        task = self._kernel.current
        contexts = self._of(task)
        if not contexts or contexts[-1].own:
            return  # the program itself calls a function of the vDSO
        self._cpu.lengthen_slice(1)
        context = contexts[-1]
        length = self._lengths.get((pc, size_bytes))
        if length is None:
            code = read_memory(task.mm, pc, size_bytes)
            length = self._lengths[pc, size_bytes] = len(disasm.decode(self._arch.NAME, code, pc))
        self.costs[context.name].instructions += length
        self._reaches(context, self._cpu.read_gregs()[self._arch.SP_INDEX])
