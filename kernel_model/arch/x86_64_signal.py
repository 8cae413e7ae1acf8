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
    TRAP_TRACE,
)
from kernel_model.bounce import REDIRECT
from kernel_model.cpu import ImageLayout, SignalImages
from kernel_model.mm.uaccess import copy_from_user_into, copy_to_user, get_user
from kernel_model.signal.action import set_blocked
from kernel_model.signal.altstack import on_sig_stack, restore_altstack, sas_ss_flags
from kernel_model.signal.rewind import keeps_frames, put_back_frame
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.signal.siginfo import pack
from kernel_model.types import U32_MASK, U64_MASK, SyscallError

if TYPE_CHECKING:
    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import Cpu
    from kernel_model.signal.sighand import SigAction
    from kernel_model.task import Task

MIN_SS_SIZE: Final = 2048
NR_RESTART_SYSCALL: Final = 219

_EXCEPTIONS: Final = {
    "divide": (0, SIGFPE, FPE_INTDIV),
    "single_step": (1, SIGTRAP, TRAP_TRACE),
    "breakpoint": (3, SIGTRAP, SI_KERNEL),
    "overflow": (4, SIGSEGV, SI_KERNEL),
    "bound": (5, SIGSEGV, SI_KERNEL),
    "undefined": (6, SIGILL, ILL_ILLOPN),
    "segment": (11, SIGBUS, SI_KERNEL),
    "stack_segment": (12, SIGBUS, SI_KERNEL),
    "general_protection": (13, SIGSEGV, SI_KERNEL),
    "fp": (16, SIGFPE, 0),
    "alignment": (17, SIGBUS, BUS_ADRALN),
    "simd_fp": (19, SIGFPE, 0),
}
"""Kind to (trap number, signal, si_code; 0 where the floating-point state says which)."""
_FPE_CODES: Final = ((0x01, 7), (0x04, 3), (0x08, 4), (0x12, 5), (0x20, 6))
"""Exception flags to FPE_FLTINV, FLTDIV, FLTOVF, FLTUND, FLTRES; the first that fits."""

# struct rt_sigframe: pretcode; ucontext: uc_flags, uc_link, uc_stack, struct sigcontext, uc_sigmask; siginfo. Since the
# FXSAVE area above it is aligned by 64, and the frame 8 less than by 16, they are always as far apart.
# struct sigcontext: r8 .. eflags, cs, gs, fs, ss, err, trapno, oldmask, cr2, fpstate, 64 reserved
_UC: Final = 8
_GREGS: Final = 48
_SP_AT: Final = _GREGS + 15 * 8
_FLAGS_AT: Final = _GREGS + 17 * 8
_SEGMENTS_AT: Final = _GREGS + 18 * 8
_ERR_AT: Final = 200
_BOUNCE_FRAME_AT: Final = 240
_SIGMASK: Final = 304
_SIGINFO: Final = 312
_FRAME_BYTES: Final = 440
_FPSTATE_AT: Final = 456
_FPSTATE_BYTES: Final = 512
_FPSTATE_ALIGN: Final = 64
_MXCSR_AT: Final = _FPSTATE_AT + 24
_LAYOUT: Final = ImageLayout(_FPSTATE_AT + _FPSTATE_BYTES, _GREGS, _FPSTATE_AT)
# pretcode to uc_stack; err to uc_sigmask
_PACK_HEAD: Final = struct.Struct("<3QQI4xQ").pack_into
_PACK_TAIL: Final = struct.Struct("<5Q32s32xQ").pack_into
_SEGMENTS: Final = struct.Struct("<4H")
_SP_AND_FLAGS: Final = struct.Struct("<Q8xQ").unpack_from
# what rt_sigreturn looks at: uc_flags, the stack, sp, flags, cs, ss, fpstate, the mask
_SOUND_FRAME: Final = struct.Struct("<8xQ8xQI4xQ120xQ8xQH4xH32xQ64xQ").unpack_from
_FLAGS_OF: Final = struct.Struct("<Q")
_MASK: Final = struct.Struct("<Q")
_MXCSR: Final = struct.Struct("<I").unpack_from
_RED_ZONE_BYTES: Final = 128

_UC_STRICT_RESTORE_SS: Final = 4
_UC_FLAGS: Final = 2 | _UC_STRICT_RESTORE_SS
"""UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS; UC_FP_XSTATE only where XSAVE is."""
_UC_BOUNCE: Final = 1 << 16
"""One of our own: the reserved words of the sigcontext begin with the frame of a bounce that the task's page held."""
_BOUNCE_FRAME: Final = struct.Struct("<32s")
_USER_CS: Final = 0x33
_USER_DS: Final = 0x2B
_RF: Final = 0x10000
_EFLAGS_DF_RF_TF: Final = 0x400 | _RF | 0x100
_FIX_EFLAGS: Final = 0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1
_MXCSR_MASK: Final = 0xFFFF
_INITIAL_FPSTATE: Final = bytes([0x7F, 0x03]) + bytes(22) + (0x1F80).to_bytes(4, "little") + bytes(484)

_R11, _DI, _SI, _DX, _AX, _CX, _SP, _IP, _FLAGS = 3, 8, 9, 12, 13, 14, 15, 16, 17


def rewind(regs: list[int], number: int, arg0: int, restart_block: bool) -> None:
    """Make the call again: two bytes back, with its number in rax (handle_signal())."""
    regs[_AX] = NR_RESTART_SYSCALL if restart_block else number
    regs[_IP] = regs[_IP] - 2 & U64_MASK


def rewind_bounce(regs: list[int], frame: SyscallFrame, flags: int) -> None:
    """See `ArchSignal`."""
    number, sp, pc, _flags = frame
    replaced = regs[_AX] & U32_MASK & ~REDIRECT == NR_RESTART_SYSCALL
    regs[_AX] = NR_RESTART_SYSCALL if replaced else number
    regs[_SP] = sp
    regs[_IP] = pc - 2 & U64_MASK
    regs[_FLAGS] = flags
    regs[_CX] = pc
    regs[_R11] = flags


def note_fault(task: Task, address: int, access: int, code: int) -> None:
    """cr2, and a page fault's error code: present, write, user, instruction fetch."""
    task.fault_address = address
    present = code == SEGV_ACCERR or address >= task.mm.task_size
    task.error_code = present | (access == 2) << 1 | 4 | (access == 4) << 4
    task.trap_nr = 14


def exception(task: Task, kind: str) -> SigInfo | None:
    """arch/x86/kernel/traps.c; of floating-point exceptions fpu/core.c:fpu__exception_code() says which it was."""
    trap_nr, signal, code = _EXCEPTIONS[kind]
    task.trap_nr = trap_nr
    task.error_code = 0
    cpu = task.kernel.cpu
    if not code:
        area = cpu.read_fpregs()
        if kind == "fp":
            raised = int.from_bytes(area[2:4], "little") & ~int.from_bytes(area[0:2], "little")
        else:
            mxcsr = int.from_bytes(area[24:28], "little")
            raised = mxcsr & ~(mxcsr >> 7)
        code = next((code for flags, code in _FPE_CODES if raised & flags), 0)
        if not code:
            return None
    if code == SI_KERNEL:
        return SigInfo(signal, code)
    address = 0 if kind == "alignment" else cpu.read_pc()
    return SigInfo(signal, code, fields=(("addr", address),))


def make_images(cpu: Cpu) -> SignalImages:
    """See `ArchSignal`."""
    built = cpu.register_image(_LAYOUT)
    _SEGMENTS.pack_into(built.data, _SEGMENTS_AT, _USER_CS, 0, 0, _USER_DS)
    return SignalImages(built, cpu.register_image(_LAYOUT), siginfo_at=_SIGINFO, context_at=0)


def setup_rt_frame(task: Task, info: SigInfo, action: SigAction, mask: int, bounce_frame: bytes = b"") -> None:
    """Build `struct rt_sigframe` and enter the handler (x64_setup_rt_frame()); EFAULT when it can't be written."""
    handler, wanted, restorer, _ = action
    if not wanted & SA_RESTORER:
        raise SyscallError(errno.EFAULT)
    kernel = task.kernel
    images = kernel.signal_images
    image = images.built
    image.load()
    data = image.data
    sas = task.sas
    sp, flags = _SP_AND_FLAGS(data, _SP_AT)
    on_altstack = on_sig_stack(sas, sp)
    sp -= _RED_ZONE_BYTES
    if wanted & SA_ONSTACK and sas_ss_flags(sas, sp) == 0:
        sp = sas.sp + sas.size
        on_altstack = True
    fpstate = sp - _FPSTATE_BYTES & -_FPSTATE_ALIGN
    frame = fpstate - _FPSTATE_AT
    if frame < 0 or (on_altstack and not sas.sp < frame <= sas.sp + sas.size):
        raise SyscallError(errno.EFAULT)
    uc_flags = _UC_FLAGS | _UC_BOUNCE if bounce_frame else _UC_FLAGS
    _PACK_HEAD(data, 0, restorer, uc_flags, 0, sas.sp, sas.flags, sas.size)
    _PACK_TAIL(
        data, _ERR_AT, task.error_code, task.trap_nr, mask, task.fault_address, fpstate, bounce_frame, mask
    )  # fmt: skip
    mm = task.mm
    if wanted & SA_SIGINFO:
        if info is not images.info:
            images.siginfo[:] = pack(info)
            images.info = info
        copy_to_user(mm, frame, data)
    else:
        copy_to_user(mm, fpstate, data[_FPSTATE_AT:])
        copy_to_user(mm, frame, data[:_SIGINFO])
    kernel.cpu.enter_signal_handler(
        (info.signo, frame + _SIGINFO, frame + _UC, frame, handler, flags & ~_EFLAGS_DF_RF_TF)
    )


def restore_frame(task: Task) -> None:
    """rt_sigreturn(2): everything the frame holds; EFAULT when it is not sound."""
    kernel = task.kernel
    mm = task.mm
    sp, flags = kernel.cpu.call_sp_and_flags()
    frame = sp - 8
    if frame < 0 or frame + _FRAME_BYTES > mm.task_size:
        raise SyscallError(errno.EFAULT)
    images = kernel.signal_images
    image = images.restored
    data = image.data
    try:
        copy_from_user_into(mm, frame, images.context)
        whole = True
    except SyscallError:
        whole = False
        try:
            copy_from_user_into(mm, frame, data[:_SIGINFO])
        except SyscallError:
            # As far as it can be read: what comes first takes effect.
            set_blocked(task, get_user(mm, frame + _SIGMASK, _MASK)[0])
            raise
    uc_flags, stack, stack_flags, size, sp, wanted, cs, ss, fpstate, mask = _SOUND_FRAME(data)
    set_blocked(task, mask)
    # RF does nothing without debug registers, and the first instruction clears it: the engine's pushf would show it.
    _FLAGS_OF.pack_into(data, _FLAGS_AT, flags & ~(_FIX_EFLAGS | _RF) | wanted & _FIX_EFLAGS)
    if not fpstate:
        data[_FPSTATE_AT:] = _INITIAL_FPSTATE
    else:
        if not whole or fpstate != frame + _FPSTATE_AT:
            copy_from_user_into(mm, fpstate, data[_FPSTATE_AT:])
        if fpstate % 16 or _MXCSR(data, _MXCSR_AT)[0] & ~_MXCSR_MASK:
            raise SyscallError(errno.EFAULT)
    if keeps_frames(task) and uc_flags & _UC_BOUNCE:
        put_back_frame(task, get_user(mm, frame + _BOUNCE_FRAME_AT, _BOUNCE_FRAME)[0])
    image.store()
    if task.sas != (stack, size, stack_flags):
        restore_altstack(task, stack, stack_flags, size, sp, MIN_SS_SIZE)
    if cs | 3 != _USER_CS:
        # QUIRK: rt_sigreturn into a 32-bit code segment is SIGSEGV: there is no compatibility mode.
        _refuse_segment(task, cs)
    elif ss | 3 != _USER_DS and uc_flags & _UC_STRICT_RESTORE_SS:
        _refuse_segment(task, ss)


def _refuse_segment(task: Task, selector: int) -> None:
    """The #GP of the `iret` to a segment not user space's, told at the restored registers (fixup_bad_iret())."""
    task.trap_nr = _EXCEPTIONS["general_protection"][0]
    task.error_code = selector & ~3
    force_signal(task.kernel, task, SigInfo(SIGSEGV, SI_KERNEL))


def bad_frame(task: Task) -> tuple[int, int, int]:
    """(signal, si_code, si_addr) of a frame that rt_sigreturn refuses (signal_fault())."""
    return SIGSEGV, SI_KERNEL, 0
