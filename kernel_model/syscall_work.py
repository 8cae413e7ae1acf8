"""What a task wants done with its system calls before the table (kernel/entry/common.c:syscall_trace_enter()).

Only imported once some task has such work. A verdict on a call is a handler that stands in for the table's, so that
whatever becomes of the call (an error, a sleep, the task's end) goes the entry path's usual way.
"""

from __future__ import annotations

from functools import cache, lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi import prctl as abi
from kernel_model.abi.mman import PROT_READ
from kernel_model.abi.seccomp import AUDIT_ARCH_64BIT_LE
from kernel_model.abi.signal import SI_KERNEL, SIGSEGV, SIGSYS, SYS_USER_DISPATCH
from kernel_model.events import Fault
from kernel_model.mm.uaccess import get_user
from kernel_model.signal.action import enter_at_once
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.entry import CallArgs
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

SECCOMP: Final = 1
"""The bits of `Task.syscall_work`: a mode of seccomp(2), and Syscall User Dispatch."""
USER_DISPATCH: Final = 2

_SELECTOR: Final = Struct("<B")
_ALLOW: Final = 0
_BLOCK: Final = 1


def set_work(task: Task, bits: int) -> None:
    """From now on that is done with its calls."""
    task.syscall_work = bits
    kernel = task.kernel
    if kernel.data_pages is not None:
        kernel.data_pages.watch_changed(task)
    if kernel.user_pages is not None and task is kernel.current:
        kernel.user_pages.tell(task)


class UserDispatch(NamedTuple):
    """prctl(PR_SET_SYSCALL_USER_DISPATCH): calls from `length` bytes at `offset` are never dispatched.

    The range may go round the end of all addresses. `selector`: where the byte is that says about the others; 0 for
    none, then all of them are.
    """

    offset: int
    length: int
    selector: int


def trace_enter(task: Task, handler: RawHandler, number: int, made: int, pc: int, args: CallArgs) -> RawHandler | None:
    """The handler to call for a call that is about to be made: `handler`, the table's, or one that stands in for it.

    `made`: all 64 bits of the number as the program made the call; `pc`: the instruction pointer that is to be told,
    after the instruction. None: there is no call, a signal is pending, and the registers are as the program made them.
    """
    work = task.syscall_work
    if work & USER_DISPATCH and _user_dispatch(task, number, made, pc, args):
        return None
    if work & SECCOMP:
        return _secure_computing()(task, handler, number, made, pc, args)
    return handler


@cache
def _secure_computing() -> Callable[[Task, RawHandler, int, int, int, CallArgs], RawHandler | None]:
    """What seccomp makes of a call; an import at each call would cost as much as the call."""
    from kernel_model.seccomp.actions import secure_computing

    return secure_computing


def rolled_back(task: Task, made: int, args: CallArgs) -> int:
    """What the result register held when the call was made (syscall_rollback()): the number, or the first argument."""
    arch = task.kernel.arch
    value = made if arch.RESULT_INDEX == arch.NUMBER_INDEX else args[0]
    return never_restarted(value - (1 << 64) if value >> 63 else value)


def never_restarted(result: int) -> int:
    """`result` as the entry path takes it for a result and nothing else: a restart code becomes its 64 bits."""
    # QUIRK: A call that seccomp stopped is never made again; Linux takes its result for a restart code on a signal.
    return result & U64_MASK if -errno.ERESTART_RESTARTBLOCK <= result <= -errno.ERESTARTSYS else result


def sigsys_info(task: Task, code: int, number: int, pc: int, reason: int = 0) -> SigInfo:
    """The SIGSYS of a call that was not made; `code`: SYS_*, `reason`: si_errno."""
    return _sigsys(code, number, pc, reason, task.kernel.arch.E_MACHINE)


@lru_cache(maxsize=256)
def _sigsys(code: int, number: int, pc: int, reason: int, machine: int) -> SigInfo:
    """That of one place in the program, which is mostly called from again and again."""
    signed = number - (1 << 32) if number >> 31 else number
    fields = (("call_addr", pc), ("syscall", signed), ("arch", AUDIT_ARCH_64BIT_LE | machine))
    return SigInfo(SIGSYS, code, reason, fields)


# -- Syscall User Dispatch --------------------------------------------------------------------------------------------
def _user_dispatch(task: Task, number: int, made: int, pc: int, args: CallArgs) -> bool:
    """Is the call not to be made? Then the signal is pending or the task in its handler, and the registers are as the
    program made them (kernel/entry/syscall_user_dispatch.c)."""
    dispatch = task.syscall_dispatch
    assert dispatch is not None
    if pc - dispatch.offset & U64_MASK < dispatch.length or _is_vdso_sigreturn(task, pc):
        return False
    kernel = task.kernel
    result = rolled_back(task, made, args)
    if dispatch.selector:
        try:
            (state,) = get_user(task.mm, UserPtr(dispatch.selector), _SELECTOR)
        except SyscallError:
            kernel.cpu.write_result(result)
            _force_exit(task, SIGSEGV, dispatch.selector)
            return True
        if state == _ALLOW:
            return False
        if state != _BLOCK:
            kernel.cpu.write_result(result)
            _force_exit(task, SIGSYS, dispatch.selector)
            return True
    kernel.cpu.write_result(result)
    info = sigsys_info(task, SYS_USER_DISPATCH, number, pc)
    if not enter_at_once(kernel, task, info):
        force_signal(kernel, task, info)
    return True


def _force_exit(task: Task, signal: int, selector: int) -> None:
    """The process ends, because of its selector (force_exit_sig())."""
    kernel = task.kernel
    if kernel.events.watched:
        arch = kernel.arch
        site = kernel.cpu.read_gregs()[arch.PC_INDEX] - arch.SYSCALL_INSTRUCTION_BYTES
        kernel.events.emit_rare(Fault(task, signal, SI_KERNEL, selector, PROT_READ, site))
    force_signal(kernel, task, SigInfo(signal, SI_KERNEL), fatal=True, immutable=True)


def _is_vdso_sigreturn(task: Task, pc: int) -> bool:
    """Is it the rt_sigreturn of the trampoline that the kernel itself has given the program?

    arch_syscall_is_vdso_sigreturn(). x86-64 has no such trampoline: there a program's restorer must be in the range.
    """
    sigtramp = task.mm.sigtramp
    return sigtramp != 0 and pc == sigtramp + task.kernel.arch.SIGTRAMP_BYTES


def set_user_dispatch(task: Task, mode: int, offset: int, length: int, selector: int) -> int:
    """prctl(PR_SET_SYSCALL_USER_DISPATCH) (task_set_syscall_user_dispatch())."""
    # QUIRK: AArch64 has Syscall User Dispatch too, and never dispatches the rt_sigreturn of the vDSO's trampoline.
    if mode == abi.PR_SYS_DISPATCH_OFF:
        if offset or length or selector:
            raise SyscallError(errno.EINVAL)
        reset_user_dispatch(task)
        return 0
    overflows = offset + length & U64_MASK <= offset
    if mode == abi.PR_SYS_DISPATCH_EXCLUSIVE_ON:
        if offset and overflows:
            raise SyscallError(errno.EINVAL)
    elif mode == abi.PR_SYS_DISPATCH_INCLUSIVE_ON:
        if not length or overflows:
            raise SyscallError(errno.EINVAL)
        # What is never dispatched is all the rest of the addresses.
        offset, length = offset + length & U64_MASK, -length & U64_MASK
    else:
        raise SyscallError(errno.EINVAL)
    arch = task.kernel.arch
    if selector and arch.untag(selector) >= arch.TASK_SIZE:
        raise SyscallError(errno.EFAULT)
    task.syscall_dispatch = UserDispatch(offset, length, arch.untag(selector))
    set_work(task, task.syscall_work | USER_DISPATCH)
    return 0


def reset_user_dispatch(task: Task) -> None:
    """No dispatch any more: asked for, or because the task is a new one, or runs a new program."""
    set_work(task, task.syscall_work & ~USER_DISPATCH)
    task.syscall_dispatch = None
