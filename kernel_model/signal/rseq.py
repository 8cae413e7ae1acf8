"""Restartable sequences: a signal that finds the task in a critical section sends it to the section's abort handler.

kernel/rseq.c:rseq_ip_fixup().
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_RSEQ_CS_OFFSET = 8
_POINTER = struct.Struct("<Q")
# version, flags, start_ip, post_commit_offset, abort_ip
_RSEQ_CS = struct.Struct("<IIQQQ")
_U32 = struct.Struct("<I")


def abort_critical_section(kernel: Kernel, task: Task) -> bool:
    """Move PC to the abort handler if it is inside the registered section; False when the registration is broken."""
    mm = task.mm
    limit = kernel.arch.TASK_SIZE
    pointer = UserPtr(task.rseq.address + _RSEQ_CS_OFFSET)
    try:
        (section,) = get_user(mm, pointer, _POINTER)
        if not section:
            return True
        version, _flags, start, length, abort = get_user(mm, UserPtr(section), _RSEQ_CS)
        if start >= limit or start + length >= limit or abort >= limit or version > 0 or 0 <= abort - start < length:
            return False
        (signature,) = get_user(mm, UserPtr(abort - 4), _U32)
        if signature != task.rseq.signature:
            return False
        put_user(mm, pointer, _POINTER, 0)
    except SyscallError:
        return False
    regs = kernel.cpu.read_gregs()
    if 0 <= regs[kernel.arch.PC_INDEX] - start < length:
        regs[kernel.arch.PC_INDEX] = abort
        kernel.cpu.write_gregs(regs)
    return True
