"""What becomes of a call that seccomp has something against (kernel/seccomp.c:__secure_computing())."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.seccomp import (
    AUDIT_ARCH_64BIT_LE,
    SECCOMP_MODE_STRICT,
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from kernel_model.abi.signal import SIGKILL, SIGSYS, SYS_SECCOMP
from kernel_model.events import SeccompVerdict
from kernel_model.seccomp.filter import run_filters
from kernel_model.signal.action import enter_at_once
from kernel_model.signal.send import force_signal
from kernel_model.syscall_work import never_restarted, rolled_back, sigsys_info
from kernel_model.types import TaskExit

if TYPE_CHECKING:
    from kernel_model.entry import CallArgs
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

_STRICT_CALLS: Final = frozenset(("read", "write", "exit", "rt_sigreturn"))


def secure_computing(
    task: Task, handler: RawHandler, number: int, made: int, pc: int, args: CallArgs
) -> RawHandler | None:
    """`handler` for a call that is allowed, else what does to the task what the filters say; see `trace_enter`."""
    seccomp = task.seccomp
    assert seccomp is not None
    if seccomp.mode == SECCOMP_MODE_STRICT:
        if task.kernel.table.name(number) in _STRICT_CALLS:
            return handler
        return _end_thread(task, number, "STRICT", 0, pc, SIGKILL)
    only = seccomp.only
    if only is not None and seccomp.allowed.get(number) is False:
        # What most calls meet: a filter that lets them pass, and is the only one.
        mm = task.mm
        arch = AUDIT_ARCH_64BIT_LE | task.kernel.arch.E_MACHINE
        verdict, match = only(number, arch, pc, args, mm.vdso, mm.vdso_end), seccomp.filter
        if verdict == SECCOMP_RET_ALLOW:
            return handler
    else:
        verdict, match = run_filters(task, number, pc, args)
    action = verdict & SECCOMP_RET_ACTION_FULL
    if action == SECCOMP_RET_ALLOW:
        return handler
    data = verdict & SECCOMP_RET_DATA
    if action == SECCOMP_RET_TRAP:
        return _trap_at_once(task, number, made, data, pc, args)
    if action == SECCOMP_RET_ERRNO:
        return _fail(task, number, "ERRNO", data, pc, min(data, errno.MAX_ERRNO))
    if action == SECCOMP_RET_TRACE:
        return _fail(task, number, "TRACE", data, pc, errno.ENOSYS)  # there is no tracer
    if action == SECCOMP_RET_USER_NOTIF and match is not None:
        from kernel_model.seccomp.notify import ask_listener

        return ask_listener(task, match, handler, number, pc, args)
    if action == SECCOMP_RET_LOG:
        if task.kernel.events.active:
            task.kernel.events.emit(_verdict(task, number, "LOG", data, pc))
        return handler
    if action == SECCOMP_RET_KILL_THREAD and task.signal.threads > 1:
        return _end_thread(task, number, "KILL_THREAD", data, pc, SIGSYS)
    name = "KILL_THREAD" if action == SECCOMP_RET_KILL_THREAD else "KILL_PROCESS"
    return _trap(task, number, made, data, pc, args, name)


def _verdict(task: Task, number: int, action: str, data: int, pc: int) -> SeccompVerdict:
    return SeccompVerdict(task, number, task.kernel.table.name(number), action, data, pc)


def _trap_at_once(task: Task, number: int, made: int, data: int, pc: int, args: CallArgs) -> RawHandler | None:
    """None, in the handler of SIGSYS, if nothing is to be told or looked at on the way there."""
    kernel = task.kernel
    kernel.cpu.write_result(rolled_back(task, made, args))
    if not enter_at_once(kernel, task, sigsys_info(task, SYS_SECCOMP, number, pc, data)):
        return _trap(task, number, made, data, pc, args)
    if number < len(kernel.stats.calls):
        kernel.stats.calls[number] += 1
    return None


def _trap(task: Task, number: int, made: int, data: int, pc: int, args: CallArgs, kill: str = "") -> RawHandler:
    """SIGSYS, with the registers as the program made them; `kill`: the action that ends the process with it.

    An action that is unknown ends it as well.
    """
    info = sigsys_info(task, SYS_SECCOMP, number, pc, data)
    result = rolled_back(task, made, args)

    def trap(_task: Task, *_args: int) -> int:
        kernel = task.kernel
        if kill and kernel.events.watched:
            kernel.events.emit_rare(_verdict(task, number, kill, data, pc))
        elif kernel.events.active:
            kernel.events.emit(_verdict(task, number, "TRAP", data, pc))
        force_signal(kernel, task, info, fatal=bool(kill), immutable=bool(kill))
        return result

    return trap


def _end_thread(task: Task, number: int, action: str, data: int, pc: int, signal: int) -> RawHandler:
    """Only this thread ends; `signal`: its status."""

    def end_thread(_task: Task, *_args: int) -> int:
        events = task.kernel.events
        if events.watched:
            events.emit_rare(_verdict(task, number, action, data, pc))
        raise TaskExit(signal, group=False)

    return end_thread


def _fail(task: Task, number: int, action: str, data: int, pc: int, error: int) -> RawHandler:
    """The call's result is an error, or 0."""
    result = never_restarted(-error)

    def fail(_task: Task, *_args: int) -> int:
        events = task.kernel.events
        if events.active:
            events.emit(_verdict(task, number, action, data, pc))
        return result

    return fail
