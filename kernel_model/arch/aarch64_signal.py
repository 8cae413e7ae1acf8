"""Signal frames and exceptions of AArch64 (arch/arm64/kernel/signal.c, traps.c, mm/fault.c).

See `kernel_model.arch.ArchSignal`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.signal import (
    BUS_ADRALN,
    ILL_ILLOPC,
    SA_ONSTACK,
    SA_RESTORER,
    SA_SIGINFO,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIGBUS,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
)
from kernel_model.bounce import REDIRECT
from kernel_model.cpu import ImageLayout, SignalImages
from kernel_model.mm.uaccess import copy_from_user_into, copy_to_user, get_user
from kernel_model.signal.action import set_blocked
from kernel_model.signal.altstack import restore_altstack, sas_ss_flags
from kernel_model.signal.rewind import keeps_frames, put_back_frame
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.signal.siginfo import pack
from kernel_model.types import U32_MASK, U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import Cpu
    from kernel_model.signal.sighand import SigAction
    from kernel_model.task import Task

MIN_SS_SIZE: Final = 5120
NR_RESTART_SYSCALL: Final = 128

# ESR_ELx: exception class << 26, instruction length bit
_IL: Final = 1 << 25
_EC_IABT_LOW: Final = 0x20 << 26 | _IL
_EC_PC_ALIGN: Final = 0x22 << 26 | _IL
_EC_DABT_LOW: Final = 0x24 << 26 | _IL
_EC_BRK64: Final = 0x3C << 26 | _IL
_EC_SOFTSTP_LOW: Final = 0x32 << 26 | _IL
_WNR: Final = 1 << 6
_FSC_TRANSLATION: Final = 0x04
_FSC_PERMISSION: Final = 0x0F
_FSC_ALIGNMENT: Final = 0x21

_EXCEPTIONS: Final = {
    "breakpoint": (SIGTRAP, TRAP_BRKPT, _EC_BRK64),
    "single_step": (SIGTRAP, TRAP_TRACE, _EC_SOFTSTP_LOW),
    "alignment": (SIGBUS, BUS_ADRALN, _EC_DABT_LOW | _FSC_ALIGNMENT),
    "pc_alignment": (SIGBUS, BUS_ADRALN, _EC_PC_ALIGN),
}
"""Kind to (signal, si_code, ESR); all others are undefined instructions, whose ESR is not told."""
_INSTRUCTION: Final = struct.Struct("<I")

# struct rt_sigframe: siginfo (128); ucontext: uc_flags, uc_link; uc_stack; uc_sigmask, 120 unused; sigcontext:
# fault_address, x0 .. x30, sp, pc, pstate, 8 of padding, records up to 4096 bytes: fpsimd, others, the one that ends it
_UC: Final = 128
_SIGMASK: Final = 168
_GREGS: Final = 312
_PSTATE_AT: Final = _GREGS + 33 * 8
_RECORDS: Final = 592
_RECORDS_BYTES: Final = 4096
_FRAME_BYTES: Final = 4688
_MASK: Final = struct.Struct("<Q")
_PSTATE_OF: Final = struct.Struct("<Q")
_RECORD: Final = struct.Struct("<II")
# struct fpsimd_context: its head, fpsr, fpcr, vregs
_FPSIMD: Final = struct.Struct("<II8s512s")
_ESR: Final = struct.Struct("<IIQ")
_EXTRA: Final = struct.Struct("<IIQI12x")
# a record of our own: the frame of a bounce that the task's page held (docs/bounce-abi.md)
_BOUNCE: Final = struct.Struct("<II32s8x")
_FRAME_RECORD: Final = struct.Struct("<QQ")
_FP_AT: Final = _GREGS + 29 * 8
# A frame as it is nearly always: nothing but an fpsimd record, and the one that ends the list
_MORE_RECORDS: Final = _RECORDS + _FPSIMD.size
_LAYOUT: Final = ImageLayout(_MORE_RECORDS + _RECORD.size, _GREGS, _RECORDS + 16, _RECORDS + _RECORD.size)
# x1, x2, sp of an image
_ENTRY_REGS: Final = struct.Struct("<QQ224xQ").unpack_from
_ENTRY_REGS_AT: Final = _GREGS + 8
# uc_flags to fault_address
_PACK_CONTEXT: Final = struct.Struct("<16xQI4xQQ128xQ").pack_into
# what else rt_sigreturn looks at: the stack and the mask; sp, pc, pstate; the heads of two records
_SOUND_FRAME: Final = struct.Struct("<16xQI4xQQ136x248xQQQ8xII520xII").unpack_from
_FPSIMD_MAGIC: Final = 0x4650_8001
_BOUNCE_MAGIC: Final = 0x424E_4301
_ESR_MAGIC: Final = 0x4553_5201
_EXTRA_MAGIC: Final = 0x4558_5401
_SIGFRAME_MAX_BYTES: Final = 256 << 10

_X8, _SP, _PC, _PSTATE = 8, 31, 32, 33
_PSTATE_RES0: Final = (
    0xFFFF_FFFF_0000_0000 | 0x0C00_0000 | 0x00C0_0000 | 0x0020_0000 | 0x001F_E000 | 0x20
)  # SPSR_EL1_AARCH64_RES0_BITS, and SS (user_regs_reset_single_step())
_PSTATE_NOT_EL0: Final = 0x10 | 0xF | 0x200 | 0x100 | 0x80 | 0x40
"""AArch32, the mode, and the masks D, A, I, F."""


def rewind(regs: list[int], number: int, arg0: int, restart_block: bool) -> None:
    """Make the call again: four bytes back, with its first argument in x0 (do_signal())."""
    regs[0] = arg0
    if restart_block:
        regs[8] = NR_RESTART_SYSCALL
    regs[_PC] = regs[_PC] - 4 & U64_MASK


def rewind_bounce(regs: list[int], frame: SyscallFrame, flags: int) -> None:
    """See `ArchSignal`."""
    number, sp, pc, _flags = frame
    replaced = regs[_X8] & U32_MASK & ~REDIRECT == NR_RESTART_SYSCALL
    regs[_X8] = NR_RESTART_SYSCALL if replaced else number
    regs[_SP] = sp
    regs[_PC] = pc - 4 & U64_MASK
    regs[_PSTATE] = flags


def note_fault(task: Task, address: int, access: int, code: int) -> None:
    """FAR, and the ESR of an abort as set_thread_esr() lets user space see it."""
    if address >= task.mm.task_size:
        # What an address of the kernel's leads to is not told apart.
        fault = _FSC_TRANSLATION
    else:
        fault = _FSC_PERMISSION if code == SEGV_ACCERR else _FSC_TRANSLATION | 3
    task.fault_address = address
    task.error_code = _EC_IABT_LOW | fault if access == 4 else _EC_DABT_LOW | fault | (_WNR if access == 2 else 0)


def exception(task: Task, kind: str) -> SigInfo | None:
    """arch/arm64/kernel/traps.c:arm64_notify_die()."""
    pc = task.kernel.cpu.read_pc()
    # QUIRK: on AArch64 a jump to an odd address is SIGBUS only where undefined instructions lie there; others run.
    if pc % _INSTRUCTION.size and kind == "undefined":
        kind = "pc_alignment"
    signal, code, esr = _EXCEPTIONS.get(kind, (SIGILL, ILL_ILLOPC, 0))
    if kind == "breakpoint":
        (instruction,) = get_user(task.mm, UserPtr(pc), _INSTRUCTION)
        esr |= instruction >> 5 & 0xFFFF
    task.fault_address = 0
    task.error_code = esr
    return SigInfo(signal, code, fields=(("addr", pc),))


def make_images(cpu: Cpu) -> SignalImages:
    """See `ArchSignal`."""
    built = cpu.register_image(_LAYOUT)
    _RECORD.pack_into(built.data, _RECORDS, _FPSIMD_MAGIC, _FPSIMD.size)
    link = slice(_FP_AT, _FP_AT + _FRAME_RECORD.size)
    return SignalImages(built, cpu.register_image(_LAYOUT), siginfo_at=0, context_at=_UC, link=link)


def setup_rt_frame(task: Task, info: SigInfo, action: SigAction, mask: int, bounce_frame: bytes = b"") -> None:
    """Build `struct rt_sigframe` with a frame record above it and enter the handler (setup_rt_frame()); EFAULT."""
    kernel = task.kernel
    cpu = kernel.cpu
    images = kernel.signal_images
    image = images.built
    image.load()
    data = image.data
    x1, x2, sp = _ENTRY_REGS(data, _ENTRY_REGS_AT)
    sas = task.sas
    handler, flags, restorer, _ = action
    if flags & SA_ONSTACK and sas_ss_flags(sas, sp) == 0:
        sp = sas.sp + sas.size
    next_frame = sp - _FRAME_RECORD.size & -16
    frame = next_frame - _FRAME_BYTES
    if frame < 0:
        raise SyscallError(errno.EFAULT)
    _PACK_CONTEXT(data, _UC, sas.sp, sas.flags, sas.size, mask, task.fault_address)
    mm = task.mm
    copy_to_user(mm, next_frame, images.link)
    if flags & SA_SIGINFO:
        if info is not images.info:
            images.siginfo[:] = pack(info)
            images.info = info
        copy_to_user(mm, frame, data)
        x1, x2 = frame, frame + _UC
    else:
        copy_to_user(mm, frame + _UC, data[_UC:])
    if task.error_code or bounce_frame:
        copy_to_user(mm, frame + _MORE_RECORDS, _more_records(task.error_code, bounce_frame))
    if not flags & SA_RESTORER:
        restorer = mm.sigtramp
    cpu.enter_signal_handler((info.signo, x1, x2, next_frame, restorer, frame, handler))


def _more_records(esr: int, bounce_frame: bytes) -> bytes:
    """What follows the fpsimd record, and the end."""
    records = _ESR.pack(_ESR_MAGIC, _ESR.size, esr) if esr else b""
    if bounce_frame:
        records += _BOUNCE.pack(_BOUNCE_MAGIC, _BOUNCE.size, bounce_frame)
    return records + _RECORD.pack(0, 0)


@dataclass(slots=True)
class _UserRecords:
    """What parse_user_sigframe() finds."""

    fpsimd: int = 0
    fpsimd_bytes: int = 0
    bounce_frame: bytes = b""


def _parse_records(task: Task, frame: int) -> _UserRecords:
    """Walk the records behind the registers (parse_user_sigframe()); EFAULT or EINVAL for any that Linux refuses."""
    mm = task.mm
    found = _UserRecords()
    base, limit, offset = frame + _RECORDS, _RECORDS_BYTES, 0
    had_extra = False
    while True:
        if limit - offset < _RECORD.size or offset % 16:
            raise SyscallError(errno.EINVAL)
        magic, size = get_user(mm, UserPtr(base + offset), _RECORD)
        if limit - offset < size:
            raise SyscallError(errno.EINVAL)
        if magic == 0:
            if size:
                raise SyscallError(errno.EINVAL)
            return found
        if magic == _FPSIMD_MAGIC and not found.fpsimd:
            found.fpsimd, found.fpsimd_bytes = base + offset, size
        elif magic == _EXTRA_MAGIC and not had_extra and size >= _EXTRA.size:
            _, _, data, extra_bytes = get_user(mm, UserPtr(base + offset), _EXTRA)
            end = base + offset + size
            end_magic, end_size = get_user(mm, UserPtr(end), _RECORD)
            end += 16
            if end_magic or end_size or data % 16 or extra_bytes % 16 or data != end:
                raise SyscallError(errno.EINVAL)
            if extra_bytes > frame + _SIGFRAME_MAX_BYTES - end or data + extra_bytes > mm.task_size:
                raise SyscallError(errno.EINVAL)
            had_extra = True
            base, limit, offset = data, extra_bytes, 0
            continue
        elif magic == _BOUNCE_MAGIC and size == _BOUNCE.size and not found.bounce_frame and keeps_frames(task):
            found.bounce_frame = get_user(mm, UserPtr(base + offset), _BOUNCE)[2]
        elif magic != _ESR_MAGIC:
            raise SyscallError(errno.EINVAL)
        if size < _RECORD.size:
            raise SyscallError(errno.EINVAL)
        offset += size


def restore_frame(task: Task) -> None:
    """rt_sigreturn(2): everything the frame holds; an error when it is not sound."""
    kernel = task.kernel
    mm = task.mm
    frame, _ = kernel.cpu.call_sp_and_flags()
    if frame % 16 or frame + _FRAME_BYTES > mm.task_size:
        raise SyscallError(errno.EFAULT)
    images = kernel.signal_images
    image = images.restored
    data = image.data
    try:
        copy_from_user_into(mm, frame + _UC, images.context)
    except SyscallError:
        # As far as it can be read: what comes first takes effect.
        set_blocked(task, get_user(mm, frame + _SIGMASK, _MASK)[0])
        raise
    stack, flags, size, mask, sp, pc, pstate, magic, record_bytes, end_magic, end_bytes = _SOUND_FRAME(data, _UC)
    set_blocked(task, mask)
    if pstate & _PSTATE_NOT_EL0:
        raise SyscallError(errno.EINVAL)
    if pstate & _PSTATE_RES0:
        _PSTATE_OF.pack_into(data, _PSTATE_AT, pstate & ~_PSTATE_RES0)
    if magic != _FPSIMD_MAGIC or record_bytes != _FPSIMD.size or end_magic or end_bytes:
        records = _parse_records(task, frame)
        if not records.fpsimd or records.fpsimd_bytes != _FPSIMD.size:
            raise SyscallError(errno.EINVAL)
        copy_from_user_into(mm, records.fpsimd, data[_RECORDS:_MORE_RECORDS])
        if records.bounce_frame:
            put_back_frame(task, records.bounce_frame)
    image.store()
    if task.sas != (stack, size, flags):
        restore_altstack(task, stack, flags, size, sp, MIN_SS_SIZE)
    if pc % _INSTRUCTION.size:
        info = exception(task, "pc_alignment")
        assert info is not None
        force_signal(kernel, task, info)


def bad_frame(task: Task) -> tuple[int, int, int]:
    """(signal, si_code, si_addr) of a frame that rt_sigreturn refuses (arm64_notify_segfault())."""
    sp = task.kernel.cpu.read_gregs()[_SP]
    return SIGSEGV, SEGV_MAPERR if task.mm.vmas.find(sp) is None else SEGV_ACCERR, sp
