"""The CPU as the kernel sees it: a register window and a TLB. `emu.cpu` implements it on an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap

CallRegisters = tuple[int, int, int, int, int, int, int, int, int, int]
"""(number, sp, pc, flags, arg0 .. arg5) at a trapped system call; `pc` is after the instruction. All unsigned 64-bit."""


class Cpu(Protocol):
    """One CPU. Registers read and written here are those of the task that is running."""

    def read_call(self) -> CallRegisters:
        """The registers of a trapped system call, read in one go."""

    def write_result(self, value: int) -> None:
        """Return `value` (any int; its low 64 bits count) from the trapped call as the architecture does (x0; rax, rcx, r11)."""

    def read_gregs(self) -> list[int]:
        """All general registers, unsigned, in the order of ptrace's user_regs_struct less what only ptrace has.

        AArch64 (34): x0 .. x30, sp, pc, pstate. x86-64 (18): r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags
        (the order of `struct sigcontext`).
        """

    def write_gregs(self, values: list[int]) -> None:
        """Replace all general registers; same order as `read_gregs`."""

    def read_fpregs(self) -> bytes:
        """AArch64: `struct user_fpsimd_state` (v0 .. v31, fpsr, fpcr; 528 bytes). x86-64: the 512 bytes of FXSAVE."""

    def write_fpregs(self, data: bytes) -> None:
        """Replace the floating-point and vector registers; same layout as `read_fpregs`."""

    def start_thread(self, pc: int, sp: int) -> None:
        """A fresh user context, as after execve: every register zero but `pc` and `sp`, floating point at its defaults."""

    def get_tls(self) -> int:
        """TPIDR_EL0, or FS base."""

    def set_tls(self, value: int) -> None:
        """Set TPIDR_EL0, or FS base."""

    def get_gs(self) -> int:
        """GS base (x86-64; 0 elsewhere)."""

    def set_gs(self, value: int) -> None:
        """Set GS base (x86-64; nothing elsewhere)."""

    def hwcaps(self) -> tuple[int, int]:
        """(AT_HWCAP, AT_HWCAP2), true to what this CPU executes."""

    def switch_mm(self, mm: MemoryMap) -> None:
        """Walk `mm`'s page table from now on, with an empty TLB."""

    def flush_tlb(self) -> None:
        """Forget every translation: after an entry of the live page table was removed or lost a permission or its frame."""

    def flush_code(self) -> None:
        """Forget all translated code: after the kernel wrote into a frame of `FrameAllocator.code_frames`."""

    def stop(self) -> None:
        """Leave guest code when the current trap is done; `run` returns."""

    def run(self) -> None:
        """Run guest code until `stop`."""


class TrapHandler(Protocol):
    """What the CPU calls when guest code stops being able to go on by itself. All run on the guest's behalf, none raises."""

    def syscall(self) -> None:
        """A system call instruction."""

    def memory_fault(self, page: int, access: int) -> None:
        """The instruction at PC can't access page address `page` (access: PROT_READ, PROT_WRITE or PROT_EXEC)."""

    def exception(self, kind: str) -> None:
        """Another synchronous exception. `kind`: undefined | breakpoint | divide | fp | single_step | general_protection."""

    def interrupted(self) -> None:
        """The CPU was stopped between two instructions because something asynchronous wants attention."""


WalkPageTable = Callable[[int, int], int]
