"""The CPU as the kernel sees it: a register window and a TLB. `emu.cpu` implements it on an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from kernel_model.abi.signal import SIGINFO_BYTES

if TYPE_CHECKING:
    from kernel_model.bounce import SyscallFrame
    from kernel_model.mm.mm import MemoryMap

CallRegisters = tuple[int, int, int, int, int, int, int, int, int, int]
"""(number, sp, pc, flags, arg0 .. arg5) at a trapped system call, unsigned; `pc` is after the instruction."""

SLICE_BLOCKS: Final = 500_000
"""Basic blocks that preemptible code runs before `TrapHandler.interrupted`, as a rule: about a millisecond."""


class ImageLayout(NamedTuple):
    """Where an image of registers has them (byte offsets), and how long it is.

    `gregs`: as `Cpu.read_gregs_bytes`. AArch64: `vectors` is v0 .. v31, `fp_status` fpsr and fpcr. x86-64: `vectors` is
    FXSAVE's 512 bytes, which hold everything.
    """

    size_bytes: int
    gregs: int
    vectors: int
    fp_status: int = 0


class RegisterImage(Protocol):
    """All user registers in a piece of memory, as a signal frame has them. What is between them is its owner's."""

    data: memoryview

    def load(self) -> None:
        """Copy the running task's registers to `data`."""

    def store(self) -> None:
        """Make the running task's registers those in `data`, which is not to be read afterwards."""


class SignalImages:
    """What a kernel builds signal frames in (`built`), and takes them back from (`restored`)."""

    __slots__ = ("built", "context", "info", "link", "restored", "siginfo")

    def __init__(
        self, built: RegisterImage, restored: RegisterImage, *, siginfo_at: int, context_at: int, link: slice = slice(0)
    ) -> None:
        """Where in a frame (byte offsets) the siginfo is, and what rt_sigreturn(2) begins to read.

        `link`: the registers that a frame record has, for architectures with such a thing.
        """
        self.built = built
        self.restored = restored
        self.siginfo = built.data[siginfo_at : siginfo_at + SIGINFO_BYTES]
        self.info: object = None
        """The signal whose bytes `siginfo` has: another one just like it is often the same object."""
        self.link = built.data[link]
        self.context = restored.data[context_at:]


class Cpu(Protocol):
    """One CPU. Registers read and written here are those of the task that is running."""

    slice_blocks: int
    """How many basic blocks the next time slice has (`set_preemptible`)."""
    COUNTER_CYCLE_NS: ClassVar[int]
    """How long a cycle of the counter that user space reads takes; its cycle 0 is CLOCK_MONOTONIC's."""

    leaving: SyscallFrame | None
    """A bounce has ended: the registers (number, SP, PC, flags) that are the program's again, set by the entry path.

    To everybody they are in force at once. x86-64: rcx and r11 are as after any `syscall`.
    """

    def read_call(self) -> CallRegisters:
        """The registers of a trapped system call, read in one go."""

    def call_sp_and_flags(self) -> tuple[int, int]:
        """SP and flags of the program that made the call which `read_call` has read last; nothing has changed them."""

    def resume_call(self) -> None:
        """A call that blocked is over, maybe after other traps: `write_result` comes next and is for it."""

    def write_result(self, value: int) -> None:
        """Return `value` (its low 64 bits) from the trapped call as the architecture does (x0; rax, rcx, r11).

        Nothing for KEEP_REGISTERS.
        """

    def enter_handler(self, pc: int, sp: int, return_pc: int, flags: int) -> None:
        """A bounce begins: go on at `pc` with `sp`, flags cleared of what would disturb a handler, all else kept.

        x86-64: rcx = `return_pc` and r11 = `flags`, as after any `syscall`.
        """

    def read_pc(self) -> int:
        """PC alone."""

    def read_gregs(self) -> list[int]:
        """All general registers, unsigned, in the order of ptrace's user_regs_struct less what only ptrace has.

        AArch64 (34): x0 .. x30, sp, pc, pstate. x86-64 (18): r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        rflags (the order of `struct sigcontext`).
        """

    def write_gregs(self, values: list[int]) -> None:
        """Replace all general registers; same order as `read_gregs`."""

    def read_gregs_bytes(self) -> bytes:
        """`read_gregs` as little-endian u64s, one after the other."""

    def write_gregs_bytes(self, data: bytes | bytearray) -> None:
        """`write_gregs` of the same."""

    def read_fpregs(self) -> bytes:
        """AArch64: `struct user_fpsimd_state` (v0 .. v31, fpsr, fpcr; 528 bytes). x86-64: FXSAVE's 512 bytes."""

    def write_fpregs(self, data: bytes) -> None:
        """Replace the floating-point and vector registers; same layout as `read_fpregs`."""

    def register_image(self, layout: ImageLayout) -> RegisterImage:
        """A new image, all zeros, for the registers of whichever task runs."""

    def enter_signal_handler(self, registers: tuple[int, ...]) -> None:
        """Go on in a signal's handler with some registers changed.

        AArch64: x0, x1, x2, x29, x30, sp, pc. x86-64: rdi, rsi, rdx, rsp, rip, eflags; rax is 0, and floating point as
        `start_thread` leaves it.
        """

    def start_thread(self, pc: int, sp: int) -> None:
        """A fresh user context, as after execve: all zero but `pc` and `sp`, floating point at its defaults."""

    def get_tls(self) -> int:
        """TPIDR_EL0, or FS base."""

    def set_tls(self, value: int) -> None:
        """Set TPIDR_EL0, or FS base."""

    def get_gs(self) -> int:
        """GS base (x86-64; 0 elsewhere)."""

    def set_gs(self, value: int) -> None:
        """Set GS base (x86-64; nothing elsewhere)."""

    def set_data_offset(self, offset: int) -> None:
        """Tell user space how far below `[vvar]` the data of the running task are (bytes; `kernel_model.data_pages`).

        AArch64: in TPIDRRO_EL0. x86-64: as the limit of the segment DATA_SELECTOR. At most 17 bits, of which the
        lowest is no part of the offset; 0 for nowhere.
        """

    def set_task_page(self, address: int) -> None:
        """Tell user space where the running task's own page is (`kernel_model.user_pages`); 0: nowhere."""
        ...

    def save_context(self, context: object | None) -> object:
        """The running task's registers, all of them, into `context` (a new one if None); returns it."""

    def restore_context(self, context: object) -> None:
        """Make the registers those of `context`, which stays as it is."""

    def context_pc(self, context: object) -> int:
        """The PC in `context`."""

    def set_context_pc(self, context: object, pc: int) -> None:
        """Let whoever gets `context` go on at `pc`."""

    def free_context(self, context: object) -> None:
        """`context` will not be used again."""

    def hwcaps(self) -> tuple[int, int]:
        """(AT_HWCAP, AT_HWCAP2), true to what this CPU executes."""

    def switch_mm(self, mm: MemoryMap) -> None:
        """Walk `mm`'s page table from now on, with an empty TLB."""

    def flush_tlb(self) -> None:
        """Forget all translations: after an entry of the live page table went, lost a permission or its frame."""

    def flush_code(self) -> None:
        """Forget all translated code: after the kernel wrote into a frame of `FrameAllocator.code_frames`."""

    def stop(self) -> None:
        """Leave guest code when the current trap is done; `run` returns."""

    def run(self) -> None:
        """Run guest code until `stop`."""

    def fault_address(self, page: int, access: int) -> int:
        """The exact address in page address `page` that the instruction at PC failed to access (a PROT_* bit).

        Only meaningful while a memory fault is being handled; the page itself where it can't be told.
        """

    def set_preemptible(self, wanted: bool) -> None:
        """Call `TrapHandler.interrupted` every `slice_blocks` basic blocks, and when something asynchronous asks for
        it.

        Both between any two blocks, not only at traps; code is a sixth slower meanwhile, and each change costs having
        it all translated anew. Hosts for which it is not made do without.
        """


class TrapHandler(Protocol):
    """What the CPU calls when guest code can't go on by itself."""

    def syscall(self) -> None:
        """A system call instruction."""

    def memory_fault(self, page: int, access: int) -> None:
        """The instruction at PC can't access page address `page` (access: PROT_READ, PROT_WRITE or PROT_EXEC)."""

    def exception(self, kind: str) -> None:
        """Another synchronous exception, by name.

        `kind`: undefined, breakpoint, single_step, divide, overflow, bound, segment, stack_segment,
        general_protection, fp, simd_fp, alignment.
        """

    def interrupted(self) -> None:
        """The CPU was stopped between two instructions: something wants attention, or a time slice is over."""

