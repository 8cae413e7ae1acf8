"""A signal that lands in a bounce is delivered as if the bounce had not happened (docs/signals.md).

As long as the handler in the vDSO has changed nothing but the number (its restart range: `VdsoImage.restart_ranges`),
the frame that the bounce pushed says all that is needed to put the task back AT the program's own instruction. So the
signal's handler sees the program's PC there, and the call is made after it returns, in a new bounce.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi.signal import SIGKILL, SYNCHRONOUS_MASK, UNBLOCKABLE, sigmask
from kernel_model.arch import signal_ops
from kernel_model.bounce import FRAME_BYTES, HELD_AT, BadFrame, pop_frame
from kernel_model.events import Rewound, ServingGivenUp
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, put_user
from kernel_model.types import U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SigAction, SigInfo
    from kernel_model.task import Task

_WORD: Final = Struct("<Q")
SIGMASK: Final = "sigmask"
"""What an undo range calls the word beside the frame that is no register but the signal mask as it was."""
_KILL_BIT: Final = sigmask(SIGKILL)
_MAX_LOOKS: Final = 1000
"""So often a signal is left to wait: a routine is far shorter, and whoever jumps into one may be in there for ever."""


class HeldSignal(NamedTuple):
    """A signal that waits for the end of a tail. `looks`: how often it was looked at."""

    info: SigInfo
    action: SigAction
    looks: int


def is_synchronous(info: SigInfo) -> bool:
    """Did the instruction at PC itself raise it? As in kernel/signal.c:dequeue_synchronous_signal()."""
    return info.code > 0 and bool(SYNCHRONOUS_MASK >> info.signo - 1 & 1)


def rewind_bounce(kernel: Kernel, task: Task, info: SigInfo) -> bytes:
    """Put the task back at the old-style instruction, if it is in a restart range of the vDSO as it is mapped now.

    Not for a signal that the instruction at PC itself raised: its handler shall see that instruction.

    Nothing happens when the frame can't be read, or its flags are not user space's: then the handler sees the vDSO's
    PC, and the flagged call will end in SIGSEGV as it does without a signal. A program that jumps into a handler with
    four words of its own choice at SP is put back to what they say, which `br` and `mov sp` could do as well.

    A task that stays in the vDSO and has the frame in its page: the frame, for the signal's own to keep, since the next
    bounce will be written over it. Otherwise nothing.
    """
    mm = task.mm
    arch = kernel.arch
    bounce = kernel.bounce
    pc = kernel.cpu.read_pc()
    if not mm.vdso <= pc < mm.vdso_end or kernel.vdso is None or bounce is None:
        return b""
    if bounce.serves:
        if not is_synchronous(info):
            undo_bounce(kernel, task)
        return b""
    if not is_synchronous(info):
        offset = pc - mm.vdso
        for start, commit, handler in kernel.vdso.image.restart_ranges:
            if start <= offset < commit:
                regs = kernel.cpu.read_gregs()
                address = arch.page_of_handler(regs) if handler == "task-page" else regs[arch.SP_INDEX]
                if _rewind(kernel, task, regs, address):
                    return b""
    if not bounce.in_task_page:
        return b""
    try:
        return copy_from_user(mm, UserPtr(task.task_page), FRAME_BYTES)
    except SyscallError:
        return b""


def _rewind(kernel: Kernel, task: Task, regs: list[int], address: int) -> bool:
    """Make the registers `regs` those at the program's instruction, by the frame at `address`; False if it is bad."""
    arch = kernel.arch
    try:
        frame = pop_frame(task.mm, address)
    except BadFrame:
        return False
    flags = arch.user_flags(frame[3])
    if flags is None:
        return False
    pc = regs[arch.PC_INDEX]
    signal_ops(arch.NAME).rewind_bounce(regs, frame, flags)
    kernel.cpu.write_gregs(regs)
    if kernel.events.active:
        kernel.events.emit(Rewound(task, pc, regs[arch.PC_INDEX], address, frame))
    return True


def undo_bounce(kernel: Kernel, task: Task, *, preempted: bool = False) -> None:
    """Take a task that runs out of the handler that serves calls, if it is in there. `preempted`: for no signal.

    Before the result is final it is put back at the old-style instruction. Afterwards the bounce is over: the registers
    are what the handler would have left, and PC is behind the instruction. Nothing happens when the frame is bad.
    """
    where = _where(kernel, task)
    if where is None:
        return
    regs, finished, frame_at, mask = where
    arch = kernel.arch
    pc = regs[arch.PC_INDEX]
    address = regs[arch.SP_INDEX] + frame_at & U64_MASK
    result = regs[arch.RESULT_INDEX]
    try:
        frame = pop_frame(task.mm, address)
    except BadFrame:
        return
    flags = arch.user_flags(frame[3])
    if flags is None:
        return
    behind = pc + arch.SYSCALL_INSTRUCTION_BYTES - task.mm.vdso
    if not finished and kernel.vdso is not None and behind not in kernel.vdso.image.glue_returns:
        regs[arch.NUMBER_INDEX] = frame[0]  # anything may be in it but where it makes a call; even restart_syscall's
    signal_ops(arch.NAME).rewind_bounce(regs, frame, flags)
    if mask is not None:
        task.blocked = mask & ~UNBLOCKABLE
    if finished:
        regs[arch.PC_INDEX] = frame[2]
        regs[arch.RESULT_INDEX] = result
    else:
        kernel.stats.rewound += 1
    kernel.cpu.write_gregs(regs)
    if kernel.events.active:
        kernel.events.emit(Rewound(task, pc, regs[arch.PC_INDEX], address, frame, finished, preempted))


def hold_back(kernel: Kernel, task: Task, info: SigInfo, action: SigAction) -> bool:
    """Does a signal's handler have to wait, since the task is in a tail of the handler that serves calls?

    There a call has been made in place of another, and the results are being turned into those of the other. The tail
    ends in an entry into the kernel if a word in the scratch area says that a signal waits.
    """
    if is_synchronous(info) or not _in_tail(kernel, task):
        return False
    regs = kernel.cpu.read_gregs()
    try:
        put_user(task.mm, UserPtr(regs[kernel.arch.SP_INDEX] + HELD_AT & U64_MASK), _WORD, 1)
    except SyscallError:
        return False
    task.held_signal = HeldSignal(info, action, 0)
    kernel.signal_work = True
    return True


def take_held(kernel: Kernel, task: Task) -> HeldSignal | None:
    """The signal that waits, if it need not wait any longer.

    Nor does it when the task has a fault of its own to see to, or is to die.
    """
    held = task.held_signal
    if held is None:
        return None
    urgent = task.pending.mask & SYNCHRONOUS_MASK | (task.pending.mask | task.signal.shared_pending.mask) & _KILL_BIT
    if held.looks < _MAX_LOOKS and not urgent and _in_tail(kernel, task):
        task.held_signal = held._replace(looks=held.looks + 1)
        kernel.signal_work = True
        return None
    task.held_signal = None
    return held


def _in_tail(kernel: Kernel, task: Task) -> bool:
    offset = kernel.cpu.read_pc() - task.mm.vdso
    return kernel.vdso is not None and any(start <= offset < end for start, end in kernel.vdso.image.tails)


def _leave_by_fault_exit(kernel: Kernel, task: Task) -> bool:
    """The instruction at PC faulted: if it is in a routine that knows what to do then, go on there."""
    offset = kernel.cpu.read_pc() - task.mm.vdso
    if kernel.vdso is None:
        return False
    for start, end, target in kernel.vdso.image.fault_exits:
        if start <= offset < end:
            regs = kernel.cpu.read_gregs()
            regs[kernel.arch.PC_INDEX] = task.mm.vdso + target
            kernel.cpu.write_gregs(regs)
            return True
    return False


def give_up_serving(kernel: Kernel, task: Task) -> bool:
    """The instruction at PC faulted: if that was in a routine that can be left, it is.

    It has said where to go on, or else the handler makes the call instead.
    """
    if _leave_by_fault_exit(kernel, task):
        return True
    where = _where(kernel, task)
    if where is None or where[1] or kernel.vdso is None:
        return False
    regs, _, _, mask = where
    plain = task.mm.vdso + kernel.vdso.image.plain
    if regs[kernel.arch.PC_INDEX] == plain:
        return False  # there is no frame: it would fault again, for ever
    if kernel.events.active:
        kernel.events.emit(ServingGivenUp(task, regs[kernel.arch.PC_INDEX]))
    if mask is not None:
        task.blocked = mask & ~UNBLOCKABLE
    regs[kernel.arch.PC_INDEX] = plain
    kernel.cpu.write_gregs(regs)
    return True


def _where(kernel: Kernel, task: Task) -> tuple[list[int], bool, int, int | None] | None:
    """Where a task is in the handler that serves calls: registers with those it has saved, whether its result is final,
    where the frame is, counted from SP, and the signal mask to go back to, if it has changed that before its result was
    final. None where it is not in there, or can't have saved what it says.
    """
    mm = task.mm
    arch = kernel.arch
    regs = kernel.cpu.read_gregs()
    offset = regs[arch.PC_INDEX] - mm.vdso
    if not 0 <= offset < mm.vdso_end - mm.vdso or kernel.vdso is None:
        return None
    for start, end, finished, frame_at, saved in kernel.vdso.image.undo_ranges:
        if start <= offset < end:
            frame = regs[arch.SP_INDEX] + frame_at
            mask = None
            try:
                for name, at in saved:
                    (value,) = _WORD.unpack(copy_from_user(mm, arch.untag(frame + at & U64_MASK), _WORD.size))
                    if name == SIGMASK:
                        mask = value
                    else:
                        regs[arch.GREG_NAMES.index(name)] = value
            except SyscallError:
                return None
            return regs, finished, frame_at, mask
    return None


def put_back_frame(task: Task, frame: bytes) -> None:
    """rt_sigreturn(2): put back into the task's page what a signal's frame kept of it; EFAULT."""
    copy_to_user(task.mm, UserPtr(task.task_page), frame)


def keeps_frames(task: Task) -> bool:
    """May a signal's frame hold one of a bounce? Where bounces need no such thing it is not known."""
    bounce = task.kernel.bounce
    return bounce is not None and bounce.in_task_page
