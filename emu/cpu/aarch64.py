"""The AArch64 CPU: Unicorn's `max` model at EL0."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from emu.cpu import binding
from emu.cpu.binding import Arm64CpReg, Engine, RegisterBatch
from emu.cpu.engine import GuestRam, Image, UnicornCpu
from kernel_model.arch.aarch64 import HANDLER_CLEARS
from kernel_model.types import KEEP_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import CallRegisters, ImageLayout, RegisterImage

UC_CPU_ARM64_MAX: Final = 3
REG_X0, REG_X29, REG_X30, REG_NZCV, REG_SP = 199, 1, 2, 3, 4
REG_PC, REG_CPACR, REG_TPIDR_EL0, REG_TPIDRRO_EL0, REG_PSTATE = 260, 261, 262, 263, 265
REG_CP, REG_FPCR, REG_FPSR, REG_V0 = 290, 291, 292, 228
_V: Final = tuple(range(REG_V0, REG_V0 + 32))
X: Final = (*range(REG_X0, REG_X0 + 29), REG_X29, REG_X30)

# Numbers that UC_HOOK_INTR brings (QEMU's EXCP_*, target/arm/cpu.h)
_EXCP_UDEF, _EXCP_SWI, _EXCP_PREFETCH_ABORT, _EXCP_DATA_ABORT, _EXCP_BKPT = 1, 2, 3, 4, 7

# struct user_fpsimd_state: vregs[32], fpsr, fpcr, 8 of padding
_USER_FPSIMD_STATE: Final = (*range(0, 512, 16), 512, 516)
_FPREGS_BYTES: Final = 528

# As the engine has registers in memory; of all codes for 64 bits, N is the quickest to pack
_CALL: Final = Struct("@10N").unpack_from
_ONE: Final = Struct("@N").pack_into
_TWO: Final = Struct("@2N").pack_into
_THREE: Final = Struct("@3N").pack_into
_FOUR: Final = Struct("@4N").pack_into
_FIVE: Final = Struct("@5N").pack_into
_SEVEN: Final = Struct("@7N").pack_into
_U64: Final = (1 << 64) - 1

# What the `max` model of this engine executes, by bit number of AT_HWCAP and AT_HWCAP2
# (arch/arm64/include/uapi/asm/hwcap.h); a test runs an instruction of each. Its RNDR is left out: random bytes are the
# kernel's to give, so that a seed repeats a run.
_HWCAP: Final = {
    "fp": 0, "asimd": 1, "aes": 3, "pmull": 4, "sha1": 5, "sha2": 6, "crc32": 7, "atomics": 8, "fphp": 9, "asimdhp": 10,
    "asimdrdm": 12, "jscvt": 13, "fcma": 14, "lrcpc": 15, "dcpop": 16, "sha3": 17, "sm3": 18, "sm4": 19, "asimddp": 20,
    "sha512": 21, "asimdfhm": 23, "ilrcpc": 26, "flagm": 27, "sb": 29,
}  # fmt: skip
_HWCAP2: Final = {"dcpodp": 0, "flagm2": 7, "frint": 8}
_DATA_MASK: Final = (1 << 17) - 1
"""The bits of TPIDRRO_EL0 that `set_data_offset` sets."""


class Aarch64Cpu(UnicornCpu):
    """See `UnicornCpu`."""

    CALL_REGISTERS: ClassVar = (X[8], REG_SP, REG_PC, REG_PSTATE, *X[:6])
    RESULT_REGISTERS: ClassVar = (X[0],)
    GREGS: ClassVar = (*X, REG_SP, REG_PC, REG_PSTATE)
    PC: ClassVar = REG_PC
    COUNTER_CYCLE_NS: ClassVar = 16  # CNTFRQ_EL0 is 62.5 MHz; the engine counts the host's CLOCK_MONOTONIC
    PAGE_MASK: ClassVar = (1 << 56) - 4096

    def __init__(self, ram: GuestRam, code_frames: set[int]) -> None:
        engine = Engine(binding.UC_ARCH_ARM64, binding.UC_MODE_ARM)
        self._tpidrro = 0
        engine.control(binding.UC_CTL_UC_PAGE_SIZE, 4096)
        engine.control(binding.UC_CTL_CPU_MODEL, UC_CPU_ARM64_MAX)
        super().__init__(engine, ram, code_frames)
        engine.use_no_exit_address()
        self._enter_el0()
        engine.hook(binding.UC_HOOK_INTR, binding.INTR_CALLBACK(self._make_trap()))
        self._leave = RegisterBatch(engine.handle, (X[8], REG_SP, REG_PC, REG_PSTATE))
        self._leave_with_result = RegisterBatch(engine.handle, (X[0], X[8], REG_SP, REG_PC, REG_PSTATE))
        self._fpregs = RegisterBatch(engine.handle, (*_V, REG_FPSR, REG_FPCR), _USER_FPSIMD_STATE, _FPREGS_BYTES)
        self._signal_entry = RegisterBatch(engine.handle, (*X[:3], REG_X29, REG_X30, REG_SP, REG_PC))
        self._read_batch = binding.read_registers
        self._write_batch = binding.write_registers
        self.enter_handler = self._make_enter()

    def _enter_el0(self) -> None:
        """EL0, with what Linux lets user space do: floating point, cache maintenance, the counter."""
        engine = self.engine
        engine.write_register(REG_PSTATE, 0)
        # A write to any system register rebuilds the cached exception level: CPACR_EL1.FPEN
        self._write_system(1, 0, 3, 0, 2, 3 << 20)
        sctlr = self._read_system(1, 0, 3, 0, 0)
        self._write_system(1, 0, 3, 0, 0, sctlr | 1 << 14 | 1 << 15 | 1 << 26)  # SCTLR_EL1 DZE | UCT | UCI
        self._write_system(14, 1, 3, 0, 0, 2)  # CNTKCTL_EL1.EL0VCTEN: CNTVCT_EL0 and CNTFRQ_EL0

    def _write_system(self, crn: int, crm: int, op0: int, op1: int, op2: int, value: int) -> None:
        self.engine.write_structure(REG_CP, Arm64CpReg(crn, crm, op0, op1, op2, value))

    def _read_system(self, crn: int, crm: int, op0: int, op1: int, op2: int) -> int:
        register = Arm64CpReg(crn, crm, op0, op1, op2, 0)
        self.engine.read_structure(REG_CP, register)
        return int(register.val)

    def _make_trap(self) -> Callable[..., None]:
        kinds = {_EXCP_UDEF: "undefined", _EXCP_BKPT: "breakpoint"}

        def trap(_engine: object, number: int, _data: object) -> None:
            try:
                if number == _EXCP_SWI:
                    self.handler.syscall()
                elif number in (_EXCP_PREFETCH_ABORT, _EXCP_DATA_ABORT):
                    self.handler.exception("alignment")
                else:
                    self.handler.exception(kinds.get(number, "undefined"))
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)
            if self.leaving is not None:
                self.settle()

        return trap

    def read_call(self) -> CallRegisters:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        call = self._call
        self._read_batch(*call.args)
        registers: CallRegisters = _CALL(call.values)
        return registers

    def write_result(self, value: int) -> None:
        """See `Cpu`."""
        if value < 0:
            if value == KEEP_REGISTERS:
                return
            value &= _U64
        frame = self.leaving
        if frame is not None:
            self.leaving = None
            number, sp, pc, flags = frame
            leave = self._leave_with_result
            _FIVE(leave.values, 0, value, number, sp, pc, flags)
            self._write_batch(*leave.args)
            return
        result = self._result
        _ONE(result.values, 0, value)
        self._write_batch(*result.args)

    def resume_call(self) -> None:
        """See `Cpu`: the result is a register and nothing else."""

    def set_counter(self, read_ns: Callable[[], int]) -> None:
        """See `UnicornCpu`: CNTVCT_EL0 is the host's CLOCK_MONOTONIC already."""

    def _make_enter(self) -> Callable[[int, int, int, int], None]:
        batch = RegisterBatch(self.engine.handle, (REG_SP, REG_PC))
        with_flags = RegisterBatch(self.engine.handle, (REG_SP, REG_PC, REG_PSTATE))
        write, values, args = self._write_batch, batch.values, batch.args

        def enter(pc: int, sp: int, _return_pc: int, flags: int) -> None:
            if flags & HANDLER_CLEARS:
                _THREE(with_flags.values, 0, sp, pc, flags & ~HANDLER_CLEARS)
                write(*with_flags.args)
            else:
                _TWO(values, 0, sp, pc)
                write(*args)

        return enter

    def _leave_handler(self, frame: SyscallFrame) -> None:
        _FOUR(self._leave.values, 0, *frame)
        self._write_batch(*self._leave.args)

    def read_fpregs(self) -> bytes:
        """See `Cpu`."""
        self._read_batch(*self._fpregs.args)
        return self._fpregs.values.tobytes()

    def write_fpregs(self, data: bytes) -> None:
        """See `Cpu`."""
        self._fpregs.values[:] = data
        self._write_batch(*self._fpregs.args)

    def register_image(self, layout: ImageLayout) -> RegisterImage:
        """See `Cpu`."""
        vectors = dict(zip(_V, range(layout.vectors, layout.vectors + 512, 16), strict=True))
        return Image(self, layout, {**vectors, REG_FPSR: layout.fp_status, REG_FPCR: layout.fp_status + 4})

    def enter_signal_handler(self, registers: tuple[int, ...]) -> None:
        """See `Cpu`."""
        entry = self._signal_entry
        _SEVEN(entry.values, 0, *registers)
        self._write_batch(*entry.args)

    def start_thread(self, pc: int, sp: int) -> None:
        """See `Cpu`."""
        self.write_gregs([0] * 31 + [sp, pc, 0])
        self.write_fpregs(bytes(_FPREGS_BYTES))
        self.set_tls(0)

    def hwcaps(self) -> tuple[int, int]:
        """See `Cpu`."""
        return sum(1 << bit for bit in _HWCAP.values()), sum(1 << bit for bit in _HWCAP2.values())

    def _decode_fault(self, page: int, code: bytes, pc: int) -> int:
        """See `UnicornCpu`."""
        from emu.cpu import fault_address

        values = self.read_gregs()

        def register(name: str) -> int:
            if name in ("sp", "wsp"):
                return values[31]
            if name in ("xzr", "wzr"):
                return 0
            number = {"fp": 29, "lr": 30}.get(name)
            return values[int(name[1:]) if number is None else number]

        return fault_address.aarch64(page, code[:4], pc, register)

    def get_tls(self) -> int:
        """TPIDR_EL0."""
        return self.engine.read_register(REG_TPIDR_EL0)

    def set_tls(self, value: int) -> None:
        """Set TPIDR_EL0."""
        self.engine.write_register(REG_TPIDR_EL0, value)

    def set_data_offset(self, offset: int) -> None:
        """In TPIDRRO_EL0, which user space can read and not write: its first bits."""
        self._tpidrro = self._tpidrro & ~_DATA_MASK | offset
        self.engine.write_register(REG_TPIDRRO_EL0, self._tpidrro)

    def set_task_page(self, address: int) -> None:
        """In TPIDRRO_EL0 likewise: the page's number, above the first 28 bits."""
        self._tpidrro = self._tpidrro & _DATA_MASK | address << 16
        self.engine.write_register(REG_TPIDRRO_EL0, self._tpidrro)

    def get_gs(self) -> int:
        """There is none."""
        return 0

    def set_gs(self, value: int) -> None:
        """There is none."""
