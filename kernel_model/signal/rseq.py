"""Restartable sequences: a task that is switched out, moved to another CPU or sent a signal in a critical section goes
on at the section's abort handler.

kernel/rseq.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import SI_KERNEL, SIGSEGV
from kernel_model.mm.uaccess import READ, get_user, put_user
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import PAGE_MASK, PAGE_OFFSET, U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

# struct rseq: cpu_id_start, cpu_id, rseq_cs, flags, node_id, mm_cid
_RSEQ_CS_OFFSET: Final = 8
_POINTER: Final = struct.Struct("<Q")
_POINTER_AT: Final = _POINTER.unpack_from
_POINTER_AND_FLAGS: Final = struct.Struct("<QI")
_CPU_IDS: Final = struct.Struct("<II")
_NODE_OFFSET: Final = 20
# version, flags, start_ip, post_commit_offset, abort_ip
_RSEQ_CS: Final = struct.Struct("<IIQQQ")
_U32: Final = struct.Struct("<I")


def write_ids(task: Task) -> None:
    """Tell the task which CPU it is on (rseq_update_cpu_node_id()); EFAULT.

    Of the threads of a process just one runs at a time, so its concurrency id could always be 0; as on Linux it is 0
    while there is one thread, and else no two that Linux could run at once have the same.
    """
    address = task.rseq.address
    cpu = task.cpu
    put_user(task.mm, UserPtr(address), _CPU_IDS, cpu, cpu)
    put_user(task.mm, UserPtr(address + _NODE_OFFSET), _CPU_IDS, 0, cpu if task.mm.users > 1 else 0)


def notify_resume(kernel: Kernel, task: Task) -> None:
    """`task` goes on after it was switched out or moved (__rseq_handle_notify_resume()): abort, and the new ids."""
    task.rseq_event = False
    if not task.rseq.address:
        return
    sound = abort_critical_section(kernel, task)
    if sound:
        try:
            write_ids(task)
        except SyscallError:
            sound = False
    if not sound:
        force_signal(kernel, task, SigInfo(SIGSEGV, SI_KERNEL))


def abort_critical_section(kernel: Kernel, task: Task) -> bool:
    """Move PC to the abort handler if it is inside the registered section; False when the registration is broken.

    rseq_get_rseq_cs(), rseq_need_restart(), rseq_ip_fixup().
    """
    mm = task.mm
    pointer = task.rseq.address + _RSEQ_CS_OFFSET
    offset = pointer & PAGE_OFFSET
    page = mm.pt.get(pointer - offset, 0)
    if page & READ and not _POINTER_AT(mm.ram, (page & PAGE_MASK) + offset)[0]:
        return True  # no section, as nearly always
    try:
        section, area_flags = get_user(mm, pointer, _POINTER_AND_FLAGS)
        if not section:
            return True
        limit = kernel.arch.TASK_SIZE
        version, flags, start, length, abort = get_user(mm, UserPtr(section), _RSEQ_CS)
        if start >= limit or start + length >= limit or abort >= limit or version > 0 or 0 <= abort - start < length:
            return False
        (signature,) = get_user(mm, UserPtr(abort - 4 & U64_MASK), _U32)
        if signature != task.rseq.signature:
            return False
        regs = kernel.cpu.read_gregs()
        inside = 0 <= regs[kernel.arch.PC_INDEX] - start < length
        if inside and (flags or area_flags):
            return False  # the flags that once kept a section from being restarted are refused
        put_user(mm, pointer, _POINTER, 0)
    except SyscallError:
        return False
    if inside:
        regs[kernel.arch.PC_INDEX] = abort
        kernel.cpu.write_gregs(regs)
    return True
