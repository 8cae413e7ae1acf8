"""seccomp(2)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import seccomp as abi
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.syscalls.declare import syscall
from kernel_model.syscalls.kinds import SeccompArgs, SeccompFlags, SeccompOperation
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

_ACTION: Final = Struct("<I")


@syscall()
def sys_seccomp(task: Task, op: SeccompOperation, flags: SeccompFlags, uargs: SeccompArgs) -> int:
    """seccomp(2): kernel/seccomp.c:do_seccomp()."""
    if op == abi.SECCOMP_SET_MODE_FILTER:
        from kernel_model.seccomp.filter import set_mode_filter

        return set_mode_filter(task, flags, uargs)
    if flags:
        raise SyscallError(errno.EINVAL)
    if op == abi.SECCOMP_SET_MODE_STRICT:
        if uargs:
            raise SyscallError(errno.EINVAL)
        from kernel_model.seccomp.filter import set_mode_strict

        return set_mode_strict(task)
    if op == abi.SECCOMP_GET_ACTION_AVAIL:
        (action,) = get_user(task.mm, uargs, _ACTION)
        if action not in abi.ACTION_NAMES:
            raise SyscallError(errno.EOPNOTSUPP)
        return 0
    if op == abi.SECCOMP_GET_NOTIF_SIZES:
        sizes = abi.SECCOMP_NOTIF_BYTES, abi.SECCOMP_NOTIF_RESP_BYTES, abi.SECCOMP_DATA_BYTES
        put_user(task.mm, uargs, abi.NOTIF_SIZES, *sizes)
        return 0
    raise SyscallError(errno.EINVAL)
