"""prctl(2), arch_prctl(2), personality(2). What start-up code does not need lies in `kernel_model.prctl`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.mm.uaccess import put_user
from kernel_model.syscalls.declare import Hex, Ptr, syscall
from kernel_model.syscalls.kinds import ArchPrctlCode, Personality, PrctlOption
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

_LONG = struct.Struct("<Q")

ARCH_SET_GS = 0x1001
ARCH_SET_FS = 0x1002
ARCH_GET_FS = 0x1003
ARCH_GET_GS = 0x1004
ARCH_GET_CPUID = 0x1011
ARCH_SET_CPUID = 0x1012
ARCH_GET_XCOMP_SUPP = 0x1021
ARCH_GET_XCOMP_PERM = 0x1022
ARCH_REQ_XCOMP_PERM = 0x1023
ARCH_GET_UNTAG_MASK = 0x4001
ARCH_ENABLE_TAGGED_ADDR = 0x4002
ARCH_GET_MAX_TAG_BITS = 0x4003
_XFEATURES_FP_SSE = 3
_XFEATURE_MAX = 63

_PER_MASK = 0xFF
_PER_LINUX32 = 8
_PERSONALITY_QUERY = 0xFFFF_FFFF


@syscall(partial="Shadow stacks, linear address masking and CPUID faulting are refused: this CPU lacks them.")
def sys_arch_prctl(task: Task, code: ArchPrctlCode, addr: Ptr) -> int:
    """arch_prctl(2), as arch/x86/kernel/process_64.c:do_arch_prctl_64() has it."""
    kernel = task.kernel
    cpu = kernel.cpu
    if code in (ARCH_SET_FS, ARCH_SET_GS):
        if addr >= kernel.arch.TASK_SIZE:
            raise SyscallError(errno.EPERM)
        if code == ARCH_SET_FS:
            cpu.set_tls(addr)
        else:
            cpu.set_gs(addr)
        return 0
    if code == ARCH_GET_CPUID:
        return 1
    if code in (ARCH_SET_CPUID, ARCH_ENABLE_TAGGED_ADDR):
        raise SyscallError(errno.ENODEV)
    if code == ARCH_REQ_XCOMP_PERM:
        raise SyscallError(errno.EINVAL if addr > _XFEATURE_MAX else errno.EOPNOTSUPP)
    if code == ARCH_GET_FS:
        value = cpu.get_tls()
    elif code == ARCH_GET_GS:
        value = cpu.get_gs()
    elif code in (ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM):
        value = _XFEATURES_FP_SSE
    elif code == ARCH_GET_UNTAG_MASK:
        value = (1 << 64) - 1
    elif code == ARCH_GET_MAX_TAG_BITS:
        value = 0
    else:
        raise SyscallError(errno.EINVAL)
    put_user(task.mm, addr, _LONG, value)
    return 0


@syscall(partial="Kept and told; only the bits for memory layout, READ_IMPLIES_EXEC and uname(2) do something.")
def sys_personality(task: Task, persona: Personality) -> int:
    """personality(2)."""
    old = task.personality
    if persona != _PERSONALITY_QUERY:
        if persona & _PER_MASK == _PER_LINUX32 and not task.kernel.arch.COMPAT_UTS_MACHINE:
            raise SyscallError(errno.EINVAL)
        task.personality = persona
    return old


@syscall(partial="PR_SET_MM_MAP and PR_SET_MM_EXE_FILE, core scheduling and syscall user dispatch are refused.")
def sys_prctl(task: Task, option: PrctlOption, arg2: Hex, arg3: Hex, arg4: Hex, arg5: Hex) -> int:
    """prctl(2)."""
    from kernel_model.prctl import prctl

    return prctl(task, option, arg2, arg3, arg4, arg5)
