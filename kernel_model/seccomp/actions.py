"""What becomes of a call that seccomp has something against (kernel/seccomp.c:__secure_computing())."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.seccomp import (
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
from kernel_model.seccomp.filter import run_filters
from kernel_model.signal.send import force_signal
from kernel_model.syscall_work import rolled_back, sigsys_info
from kernel_model.types import TaskExit

if TYPE_CHECKING:
    from kernel_model.entry import CallArgs
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

_STRICT_CALLS: Final = frozenset(("read", "write", "exit", "rt_sigreturn"))


def secure_computing(task: Task, handler: RawHandler, number: int, made: int, pc: int, args: CallArgs) -> RawHandler:
    """`handler` for a call that is allowed, else what does to the task what the filters say; see `trace_enter`."""
    seccomp = task.seccomp
    assert seccomp is not None
    if seccomp.mode == SECCOMP_MODE_STRICT:
        return handler if task.kernel.table.name(number) in _STRICT_CALLS else _kill_strict
    verdict, match = run_filters(task, number, pc, args)
    action = verdict & SECCOMP_RET_ACTION_FULL
    if action == SECCOMP_RET_ALLOW:
        return handler
    data = verdict & SECCOMP_RET_DATA
    if action == SECCOMP_RET_LOG:
        return handler
    if action == SECCOMP_RET_ERRNO:
        result = -min(data, errno.MAX_ERRNO)
    elif action == SECCOMP_RET_TRACE:
        result = -errno.ENOSYS  # there is no tracer
    elif action == SECCOMP_RET_USER_NOTIF:
        from kernel_model.seccomp.notify import ask_listener

        request = ask_listener(task, match, handler, number, pc, args) if match is not None else None
        if request is not None:
            return request
        result = -errno.ENOSYS  # nobody listens
    elif action == SECCOMP_RET_KILL_THREAD and task.signal.threads > 1:
        return _kill_thread
    else:
        # All others kill the process, those unknown among them; SIGSYS tells what for.
        info = sigsys_info(task, SYS_SECCOMP, number, pc, data)
        deadly = action != SECCOMP_RET_TRAP
        result = rolled_back(task, made, args)

        def trap(_task: Task, *_args: int) -> int:
            force_signal(task.kernel, task, info, fatal=deadly)
            return result

        return trap
    return lambda *_: result


def _kill_strict(_task: Task, *_args: int) -> int:
    raise TaskExit(SIGKILL, group=False)


def _kill_thread(_task: Task, *_args: int) -> int:
    raise TaskExit(SIGSYS, group=False)
