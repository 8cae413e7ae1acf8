"""Signal frames and exceptions of x86-64 (arch/x86/kernel/signal_64.c, traps.c). See `kernel_model.arch.ArchSignal`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.signal import (
    BUS_ADRALN,
    FPE_INTDIV,
    ILL_ILLOPN,
    SA_ONSTACK,
    SA_RESTORER,
    SA_SIGINFO,
    SEGV_ACCERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    STACK_T,
    TRAP_TRACE,
)
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user
from kernel_model.signal.altstack import on_sig_stack, restore_altstack, sas_ss_flags
from kernel_model.signal.siginfo import pack
from kernel_model.types import U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.signal.sighand import SigAction, SigInfo
    from kernel_model.task import Task

MIN_SS_SIZE: Final = 2048
NR_RESTART_SYSCALL: Final = 219

EXCEPTIONS: Final = {
    "undefined": (SIGILL, ILL_ILLOPN, True, 0, 6),
    "breakpoint": (SIGTRAP, SI_KERNEL, False, 0, 3),
    "divide": (SIGFPE, FPE_INTDIV, True, 0, 0),
    "fp": (SIGFPE, 0, True, 0, 19),
    "single_step": (SIGTRAP, TRAP_TRACE, True, 0, 1),
    "general_protection": (SIGSEGV, SI_KERNEL, False, 0, 13),
    "alignment": (SIGBUS, BUS_ADRALN, False, 0, 17),
}

# struct rt_sigframe: pretcode; ucontext: uc_flags, uc_link; uc_stack; sigcontext; uc_sigmask
_UC_HEAD: Final = struct.Struct("<QQQ")
# struct sigcontext: r8 .. eflags, cs, gs, fs, ss, err, trapno, oldmask, cr2, fpstate, reserved
_SIGCONTEXT: Final = struct.Struct("<18Q4H5Q64x")
_MASK: Final = struct.Struct("<Q")
_UC: Final = 8
_STACK: Final = 24
_MCONTEXT: Final = 48
_SIGMASK: Final = 304
_SIGINFO: Final = 312
_FRAME_BYTES: Final = 440
_FPSTATE_BYTES: Final = 512
_FPSTATE_ALIGN: Final = 64
_RED_ZONE_BYTES: Final = 128

_UC_FLAGS: Final = 2 | 4
"""UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS; UC_FP_XSTATE only where XSAVE is."""
_USER_CS: Final = 0x33
_USER_DS: Final = 0x2B
_EFLAGS_DF_RF_TF: Final = 0x400 | 0x10000 | 0x100
_FIX_EFLAGS: Final = 0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | 0x10000
_MXCSR_MASK: Final = 0xFFFF
_INITIAL_FPSTATE: Final = bytes([0x7F, 0x03]) + bytes(22) + (0x1F80).to_bytes(4, "little") + bytes(484)

_DI, _SI, _DX, _AX, _SP, _IP, _FLAGS = 8, 9, 12, 13, 15, 16, 17


def rewind(regs: list[int], number: int, arg0: int, restart_block: bool) -> None:
    """Make the call again: two bytes back, with its number in rax (handle_signal())."""
    regs[_AX] = NR_RESTART_SYSCALL if restart_block else number
    regs[_IP] = regs[_IP] - 2 & U64_MASK


def fault_codes(address: int, access: int, code: int, task_size: int) -> tuple[int, int]:
    """(error code, trap number) of a page fault: present, write, user, instruction fetch."""
    present = code == SEGV_ACCERR or address >= task_size
    return present | (access == 2) << 1 | 4 | (access == 4) << 4, 14


def setup_rt_frame(task: Task, info: SigInfo, action: SigAction, mask: int) -> None:
    """Build `struct rt_sigframe` and enter the handler (x64_setup_rt_frame()); EFAULT when it can't be written."""
    if not action.flags & SA_RESTORER:
        raise SyscallError(errno.EFAULT)
    cpu = task.kernel.cpu
    regs = cpu.read_gregs()
    sas = task.sas
    sp = regs[_SP]
    on_altstack = on_sig_stack(sas, sp)
    sp -= _RED_ZONE_BYTES
    if action.flags & SA_ONSTACK and sas_ss_flags(sas, sp) == 0:
        sp = sas.sp + sas.size
        on_altstack = True
    fpstate = sp - _FPSTATE_BYTES & -_FPSTATE_ALIGN
    frame = (fpstate - _FRAME_BYTES & -16) - 8
    if frame < 0 or (on_altstack and not sas.sp < frame <= sas.sp + sas.size):
        raise SyscallError(errno.EFAULT)
    mm = task.mm
    copy_to_user(mm, UserPtr(fpstate), cpu.read_fpregs())
    data = bytearray(_SIGINFO)
    _MASK.pack_into(data, 0, action.restorer)
    _MASK.pack_into(data, _UC, _UC_FLAGS)
    STACK_T.pack_into(data, _STACK, sas.sp, _signed(sas.flags), sas.size)
    _SIGCONTEXT.pack_into(
        data, _MCONTEXT, *regs, _USER_CS, 0, 0, _USER_DS,
        task.error_code, task.trap_nr, mask, task.fault_address, fpstate,
    )  # fmt: skip
    _MASK.pack_into(data, _SIGMASK, mask)
    if action.flags & SA_SIGINFO:
        data += pack(info)
    copy_to_user(mm, UserPtr(frame), data)
    regs[_DI] = info.signo
    regs[_AX] = 0
    regs[_SI] = frame + _SIGINFO
    regs[_DX] = frame + _UC
    regs[_IP] = action.handler
    regs[_SP] = frame
    regs[_FLAGS] &= ~_EFLAGS_DF_RF_TF
    cpu.write_gregs(regs)
    cpu.write_fpregs(_INITIAL_FPSTATE)


def _signed(flags: int) -> int:
    """A C int of 32 flag bits."""
    return flags - (1 << 32) if flags >> 31 else flags


def restore_frame(task: Task) -> int:
    """rt_sigreturn(2): everything the frame holds; the mask it holds is returned. EFAULT when it is not sound."""
    cpu = task.kernel.cpu
    mm = task.mm
    now = cpu.read_gregs()
    frame = now[_SP] - 8
    if frame < 0 or frame + _FRAME_BYTES > mm.task_size:
        raise SyscallError(errno.EFAULT)
    (mask,) = get_user(mm, UserPtr(frame + _SIGMASK), _MASK)
    *regs, cs, _gs, _fs, _ss, _err, _trapno, _oldmask, _cr2, fpstate = get_user(
        mm, UserPtr(frame + _MCONTEXT), _SIGCONTEXT
    )
    if cs | 3 != _USER_CS:
        # QUIRK: rt_sigreturn into a 32-bit code segment is SIGSEGV: there is no compatibility mode.
        raise SyscallError(errno.EFAULT)
    regs[_FLAGS] = now[_FLAGS] & ~_FIX_EFLAGS | regs[_FLAGS] & _FIX_EFLAGS
    if fpstate:
        area = copy_from_user(mm, UserPtr(fpstate), _FPSTATE_BYTES)
        if fpstate % 16 or int.from_bytes(area[24:28], "little") & ~_MXCSR_MASK:
            raise SyscallError(errno.EFAULT)
    else:
        area = _INITIAL_FPSTATE
    cpu.write_gregs(regs)
    cpu.write_fpregs(area)
    restore_altstack(task, UserPtr(frame + _STACK), regs[_SP], MIN_SS_SIZE)
    return int(mask)


def bad_frame(task: Task) -> tuple[int, int, int]:
    """(signal, si_code, si_addr) of a frame that rt_sigreturn refuses (signal_fault())."""
    return SIGSEGV, SI_KERNEL, 0
