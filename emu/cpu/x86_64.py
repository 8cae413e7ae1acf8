"""The x86-64 CPU at CPL 3: x86-64-v2 and some of v3, no AVX."""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from emu.cpu import binding
from emu.cpu.binding import Engine, RegisterBatch, SavedContext, X86Mmr
from emu.cpu.engine import GuestRam, Image, R, TaskContext, UnicornCpu, W, X
from emu.cpu.x86_exceptions import forget_exception
from kernel_model.arch.x86_64 import DATA_SELECTOR, HANDLER_CLEARS, TASK_UNMAPPED_BASE, VTASK_SELECTOR
from kernel_model.types import KEEP_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import CallRegisters, ImageLayout, RegisterImage

REG_RAX, REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP = 35, 36, 37, 38, 39, 40, 41, 43, 44
REG_R8, REG_EFLAGS, REG_RFLAGS, REG_CR4, REG_GDTR, REG_FS_BASE, REG_GS_BASE = 106, 25, 253, 54, 243, 250, 251
REG_DS, REG_ES, REG_FS, REG_GS, REG_TR = 17, 28, 32, 33, 245
REG_FPCW, REG_FPSW, REG_FPTAG, REG_MXCSR, REG_FP0, REG_XMM0 = 246, 31, 247, 249, 82, 122
INS_SYSCALL, INS_SYSENTER, INS_IN, INS_OUT, INS_RDTSC, INS_RDTSCP = 699, 700, 218, 500, 608, 609

# Not the default model: that one announces fast `rep movs` and `rep stos`, which the engine executes byte by byte, so
# that a libc which believes it copies at half the speed.
UC_CPU_X86_EPYC_ROME: Final = 37

_R: Final = tuple(range(REG_R8, REG_R8 + 8))
# As the engine has registers in memory; of all codes for 64 bits, N is the quickest to pack
_CALL: Final = Struct("@10N").unpack_from
_GREG_NAMES: Final = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
    "rflags",
)  # fmt: skip
_FIVE: Final = Struct("@5N").pack_into
_FOUR: Final = Struct("@4N").pack_into
_ONE: Final = Struct("<Q")
_RIP_AT: Final = 8 * _GREG_NAMES.index("rip")
_THREE: Final = Struct("@3N").pack_into
_PUT_RIP: Final = Struct("@N").pack_into
_SIX: Final = Struct("@6N").pack_into
_U64: Final = (1 << 64) - 1

# FXSAVE in 64-bit mode (Intel SDM volume 1, table 10-2). Its tags, a bit for each register in use, stand behind it as
# the engine has them: a word of two bits each, both set for an empty one.
_FXSAVE_BYTES: Final = 512
_FXSAVE_FTW: Final = 4
_FXSAVE_MXCSR_MASK: Final = 28
_MXCSR_MASK: Final = (0xFFFF).to_bytes(4, "little")
_FXSAVE_REGISTERS: Final = (
    REG_FPCW, REG_FPSW, REG_FPTAG, REG_MXCSR, *range(REG_FP0, REG_FP0 + 8), *range(REG_XMM0, REG_XMM0 + 16),
)  # fmt: skip
_FXSAVE_OFFSETS: Final = (0, 2, _FXSAVE_BYTES, 24, *range(32, 160, 16), *range(160, 416, 16))
_TAG_WORD_OF: Final = Struct("<H").unpack_from
_SYSCALL_BYTES: Final = 2
_DB: Final = 1
_NOWHERE: Final = -1

# A page that only the CPU sees: descriptor table, an `iretq`, and the frame for it to pop. It lies where Linux's own
# text would.
_BOOT: Final = 0xFFFF_FFFF_8000_0000
_GDT: Final = (
    0,
    0,
    0x00AF_9B00_0000_FFFF,  # 0x10: kernel code, 64-bit
    0x00CF_9300_0000_FFFF,  # 0x18: kernel data
    0,
    0x00CF_F300_0000_FFFF,  # 0x2b: user data (Linux's __USER_DS)
    0x00AF_FB00_0000_FFFF,  # 0x33: user code, 64-bit (Linux's __USER_CS)
    *[0] * ((VTASK_SELECTOR >> 3) - 6),  # Linux's other entries, and those of `set_data_offset` and `set_task_page`
)
_GDT_BYTES: Final = 8 * len(_GDT)
_DATA_SEGMENT: Final = 0x0040_F100_0000_0000
"""Present, for user space, data that can only be read, 32 bits, its limit in bytes."""
_IN_PAGES: Final = 1 << 55
"""The limit of a segment is in pages."""
_SEGMENT_PAGES: Final = 1 << 20
_IRETQ: Final = b"\x48\xcf"
_USER_CS, _USER_DS = 0x33, 0x2B
_CR4_OSFXSR_OSXMMEXCPT_FSGSBASE: Final = 1 << 9 | 1 << 10 | 1 << 16

# Vectors (Intel SDM volume 3, table 6-1) to what the kernel model calls them
_VECTORS: Final = {
    0: "divide",
    1: "single_step",
    3: "breakpoint",
    4: "overflow",
    5: "bound",
    6: "undefined",
    7: "undefined",
    11: "segment",
    12: "stack_segment",
    13: "general_protection",
    16: "fp",
    17: "alignment",
    19: "simd_fp",
}


@cache
def _abridged_tags(word: int) -> int:
    """FXSAVE's tags."""
    return sum(1 << i for i in range(8) if word >> 2 * i & 3 != 3)


@cache
def _full_tags(used: int) -> bytes:
    """The engine's tag word."""
    return sum(3 << 2 * i for i in range(8) if not used >> i & 1).to_bytes(2, "little")


class _Image(Image):
    """The engine's tag word stands behind the image: FXSAVE has another kind."""

    __slots__ = ("_ftw_at", "_rip_and_tags", "_rip_at", "_tags_used")
    _cpu: X8664Cpu

    def __init__(self, cpu: X8664Cpu, layout: ImageLayout) -> None:
        fxsave = layout.vectors
        places = {register: fxsave + at for register, at in zip(_FXSAVE_REGISTERS, _FXSAVE_OFFSETS, strict=True)}
        places[REG_FPTAG] = layout.size_bytes
        super().__init__(cpu, layout, places, 2)
        self._ftw_at = fxsave + _FXSAVE_FTW
        self._tags_used = -1
        """The abridged tags that those behind `data` stand for."""
        self._rip_at = rip_at = layout.gregs + _RIP_AT
        self._rip_and_tags = Struct(f"={rip_at}xQ{layout.size_bytes - rip_at - 8}xH").unpack_from
        mask_at = fxsave + _FXSAVE_MXCSR_MASK
        self.data[mask_at : mask_at + 4] = _MXCSR_MASK

    def load(self) -> None:
        """See `RegisterImage`."""
        cpu = self._cpu
        if cpu.leaving is not None:
            cpu.settle()
        binding.read_registers(*self._args)
        values = self._values
        rip, tags = self._rip_and_tags(values)
        self._tags_used = values[self._ftw_at] = _abridged_tags(tags)
        if cpu._pc_bias:
            _PUT_RIP(values, self._rip_at, rip - cpu._pc_bias & _U64)

    def store(self) -> None:
        """See `RegisterImage`."""
        cpu = self._cpu
        cpu.leaving = None
        values = self._values
        used = values[self._ftw_at]
        if used != self._tags_used:
            self._tags_used = used
            values[len(self.data) :] = _full_tags(used)
        if cpu._pc_bias:
            rip, _ = self._rip_and_tags(values)
            cpu._pc_after = rip
            _PUT_RIP(values, self._rip_at, rip + cpu._pc_bias & _U64)
        binding.write_registers(*self._args)


class X8664Cpu(UnicornCpu):
    """See `UnicornCpu`."""

    CALL_REGISTERS: ClassVar = (
        REG_RAX, REG_RSP, REG_RIP, REG_RFLAGS, REG_RDI, REG_RSI, REG_RDX, _R[2], _R[0], _R[1],
    )  # fmt: skip
    RESULT_REGISTERS: ClassVar = (REG_RAX, REG_RCX, _R[3])
    GREGS: ClassVar = (
        *_R, REG_RDI, REG_RSI, REG_RBP, REG_RBX, REG_RDX, REG_RAX, REG_RCX, REG_RSP, REG_RIP, REG_RFLAGS,
    )  # fmt: skip
    PC: ClassVar = REG_RIP
    COUNTER_CYCLE_NS: ClassVar = 1
    PAGE_MASK: ClassVar = -4096

    def __init__(self, ram: GuestRam, code_frames: set[int]) -> None:
        engine = Engine(binding.UC_ARCH_X86, binding.UC_MODE_64)
        engine.control(binding.UC_CTL_CPU_MODEL, UC_CPU_X86_EPYC_ROME)
        super().__init__(engine, ram, code_frames)
        self._boot_entry = 0
        self._scratch_context: SavedContext | None = None
        self._pc_after = 0
        self._flags = 0
        entered = (REG_RSP, REG_RIP, REG_RCX, _R[3])
        # r11 and the flags have the same value, and so the same place
        self._leave = RegisterBatch(engine.handle, (REG_RAX, *entered, REG_RFLAGS), (0, 8, 16, 24, 32, 32), 40)
        self._leave_with_flags_kept = RegisterBatch(engine.handle, (REG_RAX, *entered))
        # Two areas, for what a program wrote into the fields that are no register's is not to be read back.
        self._fpregs_read = RegisterBatch(engine.handle, _FXSAVE_REGISTERS, _FXSAVE_OFFSETS, _FXSAVE_BYTES + 2)
        self._fpregs_written = RegisterBatch(engine.handle, _FXSAVE_REGISTERS, _FXSAVE_OFFSETS, _FXSAVE_BYTES + 2)
        self._fpregs_read.values[_FXSAVE_MXCSR_MASK : _FXSAVE_MXCSR_MASK + 4] = _MXCSR_MASK
        # rdi .. eflags, rax, and the initial FXSAVE area
        self._signal_entry = RegisterBatch(
            engine.handle,
            (REG_RDI, REG_RSI, REG_RDX, REG_RSP, REG_RIP, REG_RFLAGS, REG_RAX, *_FXSAVE_REGISTERS),
            (*range(0, 56, 8), *(64 + at for at in _FXSAVE_OFFSETS)),
            64 + _FXSAVE_BYTES + 2,
        )
        self._signal_entry.values[64:] = _INITIAL_FXSAVE + _full_tags(0)
        self._read_batch = binding.read_registers
        self._write_batch = binding.write_registers
        self.enter_handler = self._make_enter()
        self.engine.hook(binding.UC_HOOK_INSN, binding.INSN_CALLBACK(self._make_syscall()), INS_SYSCALL)
        # The engine carries these out at any privilege; Linux refuses them to user space.
        # QUIRK: on x86-64 a SIGSEGV handler for in, out or sysenter runs only after the rest of their basic block.
        for instruction in (INS_IN, INS_OUT, INS_SYSENTER):
            self.engine.hook(binding.UC_HOOK_INSN, binding.INSN_CALLBACK(self._make_refusal()), instruction)
        self.engine.hook(binding.UC_HOOK_INTR, binding.INTR_CALLBACK(self._make_trap()))
        self._enter_cpl3()

    def _fixed_page(self, address: int) -> int:
        """The descriptor table, which segment loads and `iretq` read even at CPL 3."""
        return self._boot_entry if address == _BOOT else 0

    def _enter_cpl3(self) -> None:
        """Load the descriptor table and leave the kernel's privilege once, by an `iretq` on the boot page.

        The last page of RAM is borrowed for it and stays the CPU's own.
        """
        frame = self.ram.size_bytes - 4096
        view = self.ram.view
        view[frame : frame + _GDT_BYTES] = b"".join(word.to_bytes(8, "little") for word in _GDT)
        view[frame + 0x100 : frame + 0x102] = _IRETQ
        target = _BOOT + 0x200  # never executed: the run ends here
        stack = (target, _USER_CS, 0x202, _BOOT + 0xF00, _USER_DS)
        view[frame + 0x800 : frame + 0x828] = b"".join(word.to_bytes(8, "little") for word in stack)
        self._boot_entry = frame | R | W | X
        self.engine.write_structure(REG_GDTR, X86Mmr(0, _BOOT, _GDT_BYTES - 1, 0))
        self.engine.write_structure(REG_TR, X86Mmr(0, 0, 0, 0))  # no I/O bitmap: port instructions raise #GP
        self.engine.write_register(REG_CR4, self.engine.read_register(REG_CR4) | _CR4_OSFXSR_OSXMMEXCPT_FSGSBASE)
        self.engine.write_register(REG_RSP, _BOOT + 0x800)
        self.engine.start_until(_BOOT + 0x100, target)
        self._boot_entry = frame | R
        self.engine.flush_tlb()
        self.engine.use_no_exit_address()

    def _make_syscall(self) -> Callable[..., None]:
        def syscall(_engine: object, _data: object) -> None:
            if self._stopping:
                return  # the end of a block whose task has gone at a refused instruction
            self._pc_bias = -_SYSCALL_BYTES
            try:
                self.handler.syscall()
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)
            if self.leaving is not None:
                self.settle()
            self._pc_bias = 0

        return syscall

    def _make_refusal(self) -> Callable[..., None]:
        def refuse(_engine: object, _data: object) -> None:
            try:
                self.handler.exception("general_protection")
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)

        return refuse

    def set_counter(self, read_ns: Callable[[], int]) -> None:
        """See `UnicornCpu`: the engine's time-stamp counter is the host's, of unknown speed and start."""

        def rdtsc(_engine: object, _data: object) -> int:
            try:
                now = read_ns()
                self.engine.write_register(REG_RAX, now & 0xFFFF_FFFF)
                self.engine.write_register(REG_RDX, now >> 32 & 0xFFFF_FFFF)
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)
            return 1

        def rdtscp(engine: object, data: object) -> int:
            self.engine.write_register(REG_RCX, 0)
            return rdtsc(engine, data)

        for callback, instruction in ((rdtsc, INS_RDTSC), (rdtscp, INS_RDTSCP)):
            self.engine.hook(binding.UC_HOOK_INSN, binding.READ_CALLBACK(callback), instruction)

    def _make_trap(self) -> Callable[..., None]:
        def trap(_engine: object, number: int, _data: object) -> None:
            try:
                self._forget_exception()
                if number == _DB and self._is_recheck():
                    return
                kind = _VECTORS.get(number)
                if kind is None:
                    # `int n` that user space may not raise: #GP at the instruction. RIP is past its two bytes.
                    self.engine.write_register(REG_RIP, self.engine.read_register(REG_RIP) - 2 & _U64)
                    kind = "general_protection"
                self.handler.exception(kind)
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)

        return trap

    def _is_recheck(self) -> bool:
        """Is it the trap that the engine makes of TF right after `syscall`?

        Linux returns to such a program by iret (arch/x86/entry/entry_64.S): the trap comes after the next instruction.
        """
        recheck = self.engine.read_register(REG_RIP) == self._pc_after
        self._pc_after = _NOWHERE
        return recheck

    def restore_context(self, context: object) -> None:
        """See `Cpu`. The trap that is none comes to whoever runs after a `syscall`, and after nothing else."""
        super().restore_context(context)
        assert isinstance(context, TaskContext)
        self._pc_after = context.pc if self._pc_bias else _NOWHERE

    def _forget_exception(self) -> None:
        if self._scratch_context is None:
            self._scratch_context = SavedContext(self.engine.handle)
        forget_exception(self._scratch_context)

    def read_call(self) -> CallRegisters:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        call = self._call
        self._read_batch(*call.args)
        number, sp, pc, flags, a0, a1, a2, a3, a4, a5 = _CALL(call.values)
        self._pc_after = pc = pc - self._pc_bias
        self._flags = flags
        return number, sp, pc, flags, a0, a1, a2, a3, a4, a5

    def write_result(self, value: int) -> None:
        """See `Cpu`: `syscall` leaves the return address in rcx and the flags in r11."""
        if value < 0:
            if value == KEEP_REGISTERS:
                return
            value &= _U64
        frame = self.leaving
        if frame is not None:
            self.leaving = None
            _, sp, pc, flags = frame
            self._pc_after = pc
            leave = self._leave_with_flags_kept if flags == self._flags else self._leave
            self._flags = flags
            _FIVE(leave.values, 0, value, sp, pc - _SYSCALL_BYTES & _U64, pc, flags)
            self._write_batch(*leave.args)
            return
        result = self._result
        _THREE(result.values, 0, value, self._pc_after, self._flags)
        self._write_batch(*result.args)

    def resume_call(self) -> None:
        """See `Cpu`: where and with which flags the task returns."""
        self.read_call()

    def _make_enter(self) -> Callable[[int, int, int, int], None]:
        entered = (REG_RSP, REG_RIP, REG_RCX, _R[3])
        batch = RegisterBatch(self.engine.handle, entered)
        with_flags = RegisterBatch(self.engine.handle, (*entered, REG_RFLAGS))
        write, values, args = self._write_batch, batch.values, batch.args

        def enter(pc: int, sp: int, return_pc: int, flags: int) -> None:
            if flags & HANDLER_CLEARS:
                _FIVE(with_flags.values, 0, sp, pc - _SYSCALL_BYTES, return_pc, flags, flags & ~HANDLER_CLEARS)
                write(*with_flags.args)
            else:
                _FOUR(values, 0, sp, pc - _SYSCALL_BYTES, return_pc, flags)
                write(*args)

        return enter

    def _leave_handler(self, frame: SyscallFrame) -> None:
        number, sp, pc, flags = frame
        self._pc_after, self._flags = pc, flags
        _FIVE(self._leave.values, 0, number, sp, pc + self._pc_bias & _U64, pc, flags)
        self._write_batch(*self._leave.args)

    def read_gregs(self) -> list[int]:
        """See `Cpu`."""
        values = super().read_gregs()
        values[16] = values[16] - self._pc_bias & _U64
        return values

    def write_gregs(self, values: list[int]) -> None:
        """See `Cpu`."""
        self._pc_after = values[16]
        super().write_gregs([*values[:16], values[16] + self._pc_bias & _U64, values[17]])

    def read_gregs_bytes(self) -> bytes:
        """See `Cpu`."""
        if not self._pc_bias:
            return super().read_gregs_bytes()
        if self.leaving is not None:
            self.settle()
        gregs = self._gregs
        self._read_batch(*gregs.args)
        values = gregs.values
        _ONE.pack_into(values, _RIP_AT, _ONE.unpack_from(values, _RIP_AT)[0] - self._pc_bias & _U64)
        return values.tobytes()

    def write_gregs_bytes(self, data: bytes | bytearray) -> None:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        gregs = self._gregs
        values = gregs.values
        values[:] = data
        if self._pc_bias:
            self._pc_after = pc = _ONE.unpack_from(values, _RIP_AT)[0]
            _ONE.pack_into(values, _RIP_AT, pc + self._pc_bias & _U64)
        self._write_batch(*gregs.args)

    def read_fpregs(self) -> bytes:
        """See `Cpu`."""
        area = self._fpregs_read.values
        self._read_batch(*self._fpregs_read.args)
        area[_FXSAVE_FTW] = _abridged_tags(_TAG_WORD_OF(area, _FXSAVE_BYTES)[0])
        return area[:_FXSAVE_BYTES].tobytes()

    def write_fpregs(self, data: bytes) -> None:
        """See `Cpu`."""
        area = self._fpregs_written.values
        area[:] = data + _full_tags(data[_FXSAVE_FTW])
        self._write_batch(*self._fpregs_written.args)

    def register_image(self, layout: ImageLayout) -> RegisterImage:
        """See `Cpu`."""
        return _Image(self, layout)

    def enter_signal_handler(self, registers: tuple[int, ...]) -> None:
        """See `Cpu`."""
        rdi, rsi, rdx, rsp, rip, flags = registers
        bias = self._pc_bias
        if bias:
            self._pc_after = rip
            rip += bias
        entry = self._signal_entry
        _SIX(entry.values, 0, rdi, rsi, rdx, rsp, rip & _U64, flags)
        self._write_batch(*entry.args)

    def start_thread(self, pc: int, sp: int) -> None:
        """See `Cpu`."""
        self.write_gregs([0] * 15 + [sp, pc, 0x202])
        self.write_fpregs(_INITIAL_FXSAVE)
        for selector in (REG_DS, REG_ES, REG_FS, REG_GS):
            self.engine.write_register(selector, 0)
        self.set_tls(0)
        self.set_gs(0)

    def hwcaps(self) -> tuple[int, int]:
        """See `Cpu`: CPUID leaf 1's edx as the model has it, and HWCAP2_FSGSBASE."""
        return 0x078B_FBFD, 2

    def _report_fault(self, page: int, access: int) -> None:
        """See `UnicornCpu`. A non-canonical address is no page fault but #GP, or #SS for one on the stack."""
        # QUIRK: The #GP of a jump to a non-canonical address is told at its target, as an iret's; not at the jump.
        if not 1 << 47 <= page < _U64 - (1 << 47):
            super()._report_fault(page, access)
            return
        kind = "general_protection"
        if access != X:
            from emu.cpu.fault_address import is_of_stack

            pc = self._resume_pc()
            if is_of_stack(page, self._code_at(pc), pc, *self._operands()):
                kind = "stack_segment"
        self.handler.exception(kind)

    def _decode_fault(self, page: int, code: bytes, pc: int) -> int:
        """See `UnicornCpu`."""
        from emu.cpu import fault_address

        return fault_address.x86_64(page, code, pc, *self._operands())

    def _operands(self) -> tuple[Callable[[str], int], Callable[[str], int]]:
        """What an address can be made of: general registers by name, and the bases of fs and gs."""
        values = dict(zip(_GREG_NAMES, self.read_gregs(), strict=True))

        def register(name: str) -> int:
            if name in values:
                return values[name]
            return values.get("r" + name[1:], 0) & 0xFFFF_FFFF

        def segment_base(name: str) -> int:
            return self.get_tls() if name == "fs" else self.get_gs()

        return register, segment_base

    def get_tls(self) -> int:
        """FS base."""
        return self.engine.read_register(REG_FS_BASE)

    def set_tls(self, value: int) -> None:
        """Set FS base."""
        self.engine.write_register(REG_FS_BASE, value)

    def set_data_offset(self, offset: int) -> None:
        """The limit of a descriptor of its own, which `lsl` reads at any privilege; no descriptor for 0."""
        segment = _DATA_SEGMENT | (offset & 0xF_0000) << 32 | offset & 0xFFFF if offset else 0
        _ONE.pack_into(self.ram.view, self.ram.size_bytes - 4096 + (DATA_SELECTOR & -8), segment)

    def set_task_page(self, address: int) -> None:
        """The limit of another descriptor, in pages: those from where room is looked for when there is little."""
        pages = address - TASK_UNMAPPED_BASE >> 12
        segment = 0
        if address and 0 <= pages < _SEGMENT_PAGES:
            segment = _DATA_SEGMENT | _IN_PAGES | (pages & 0xF_0000) << 32 | pages & 0xFFFF
        _ONE.pack_into(self.ram.view, self.ram.size_bytes - 4096 + (VTASK_SELECTOR & -8), segment)

    def get_gs(self) -> int:
        """GS base."""
        return self.engine.read_register(REG_GS_BASE)

    def set_gs(self, value: int) -> None:
        """Set GS base."""
        self.engine.write_register(REG_GS_BASE, value)


# FXSAVE after FNINIT and with MXCSR at its reset value: control word 0x37f, all exceptions masked
_INITIAL_FXSAVE: Final = (0x37F).to_bytes(2, "little") + bytes(22) + (0x1F80).to_bytes(4, "little") + bytes(484)
