"""The alternate signal stack (kernel/signal.c:do_sigaltstack(), include/linux/sched/signal.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi.signal import SS_AUTODISARM, SS_DISABLE, SS_ONSTACK
from kernel_model.signal.sighand import SigAltStack
from kernel_model.types import U32_MASK, SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task


def on_sig_stack(sas: SigAltStack, sp: int) -> bool:
    """Is `sp` on the alternate stack? Never said of one that disarms itself."""
    return not sas.flags & SS_AUTODISARM and sas.sp < sp <= sas.sp + sas.size


def sas_ss_flags(sas: SigAltStack, sp: int) -> int:
    """SS_DISABLE when there is none, SS_ONSTACK when `sp` is on it, else 0."""
    if not sas.size:
        return SS_DISABLE
    return SS_ONSTACK if on_sig_stack(sas, sp) else 0


def set_altstack(task: Task, address: int, flags: int, size: int, sp: int, min_bytes: int) -> None:
    """Change it. EPERM while on it, EINVAL for bad flags, ENOMEM for less than `min_bytes`."""
    sas = task.sas
    if on_sig_stack(sas, sp):
        raise SyscallError(errno.EPERM)
    flags &= U32_MASK
    mode = flags & ~SS_AUTODISARM
    if mode not in (0, SS_ONSTACK, SS_DISABLE):
        raise SyscallError(errno.EINVAL)
    if (sas.sp, sas.size, sas.flags) == (address, size, flags):
        return
    if mode == SS_DISABLE:
        address = size = 0
    elif size < min_bytes:
        raise SyscallError(errno.ENOMEM)
    task.sas = SigAltStack(address, size, flags)


def restore_altstack(task: Task, address: int, flags: int, size: int, sp: int, min_bytes: int) -> None:
    """rt_sigreturn(2) puts back what the frame holds, unless it is no stack at all."""
    try:
        set_altstack(task, address, flags, size, sp, min_bytes)
    except SyscallError:
        return
