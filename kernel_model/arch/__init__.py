"""What differs between the architectures, one module each with the same names; `get(name)` picks it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol, cast

from kernel_model.types import UserPtr

if TYPE_CHECKING:
    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import Cpu, SignalImages
    from kernel_model.fs.inode import Kstat
    from kernel_model.signal.sighand import SigAction, SigInfo
    from kernel_model.task import Task


class Arch(Protocol):
    """The names that each architecture's module has. Kernel code outside this folder never asks which one it is."""

    NAME: str
    """aarch64 | x86_64: also `uname -m`, and the column of `syscalls.tbl`."""
    E_MACHINE: int
    PLATFORM: bytes
    """AT_PLATFORM."""
    COMPAT_UTS_MACHINE: bytes
    """`uname -m` under PER_LINUX32; empty where that personality can't be had."""
    TASK_SIZE: int
    """End of user addresses (bytes)."""
    STACK_TOP: int
    ELF_ET_DYN_BASE: int
    TASK_UNMAPPED_BASE: int
    """Where mappings begin when they are placed upwards."""
    MAP_32BIT: int
    """mmap(2)'s flag of that name; 0 where there is none."""
    MMAP_RND_BITS: int
    STACK_RND_PAGES: int
    BRK_RND_PAGES: int
    STACK_ALIGN_RND_BYTES: int
    """How far arch_align_stack() moves the first stack pointer at most."""
    HANDLER_CLEARS: int
    """The flags that are clear while a bounce's handler runs."""
    SYSCALL_INSTRUCTION_BYTES: int
    """How far PC is past a syscall instruction when it traps."""
    RED_ZONE_BYTES: int
    """What of the stack below SP a bounce leaves alone: it is, or may be, the program's."""
    MINSIGSTKSZ: int
    """AT_MINSIGSTKSZ (bytes)."""
    HAS_HWCAP3: bool
    """Is there an AT_HWCAP3 entry?"""
    PC_INDEX: int
    """Where PC stands in `Cpu.read_gregs`; SP_INDEX, RESULT_INDEX and NUMBER_INDEX likewise."""
    SP_INDEX: int
    RESULT_INDEX: int
    NUMBER_INDEX: int
    GREG_NAMES: tuple[str, ...]
    STAT: Struct
    """`struct stat`."""
    STAT_OFFSETS: tuple[int, int, int]
    """Where st_mode, st_rdev and st_size stand in `struct stat`, for tracers."""
    EPOLL_EVENT: Struct
    """`struct epoll_event`: events, data."""
    TLS_END: int
    """The first address that no thread pointer may have."""
    HAS_TSC: bool
    """Is there a time stamp counter that prctl(2) knows of?"""
    HAS_TAGGED_ADDR: bool
    """May system calls be asked to take addresses with a top byte that the CPU ignores?"""
    SIGTRAMP_CODE: bytes
    """Code that execve maps for handlers to return to, from its fifth byte; empty where programs bring their own."""
    SIGTRAMP_BYTES: int
    """From where they return to, up to behind the call there; 0 likewise."""

    def open_flags_from_user(self, flags: int) -> int:
        """O_* bits as this architecture numbers them, to `kernel_model.abi.fcntl`'s (asm-generic) numbers."""
        ...

    def open_flags_to_user(self, flags: int) -> int:
        """The reverse, for F_GETFL."""
        ...

    def user_flags(self, flags: int) -> int | None:
        """`flags` of a frame as user space may have them; None when they are not user space's at all."""
        ...

    def enter_with_page(self, gregs: list[int], handler: int, frame: int, pc: int, flags: int) -> None:
        """Change `gregs` to those with which `handler` is entered whose frame is in the task's page, at `frame`.

        `pc`, `flags`: the program's, after its instruction.
        """
        ...

    def page_of_handler(self, gregs: list[int]) -> int:
        """Where such a handler, about to make its flagged call, has the frame."""
        ...

    def untag(self, address: int) -> UserPtr:
        """A user address without the top byte that the CPU ignores (AArch64); unchanged elsewhere."""
        ...

    def pack_stat(self, stat: Kstat) -> bytes:
        """`struct stat`, for stat(2) and its kin."""
        ...

    def clone_tail(self, fourth: int, fifth: int) -> tuple[int, int]:
        """(child_tid, tls) of clone(2)'s last two arguments, whose order differs."""
        ...

    def cpuinfo(self, cpu_count: int) -> bytes:
        """/proc/cpuinfo."""
        ...


class ArchSignal(Protocol):
    """What `<architecture>_signal` has: signal frames and exceptions. Imported when the first signal is delivered."""

    MIN_SS_SIZE: int
    """The least size (bytes) that sigaltstack(2) takes."""

    def rewind(self, regs: list[int], number: int, arg0: int, restart_block: bool) -> None:
        """Change `regs` so that the interrupted call `number` is made again, or restart_syscall(2) instead of it."""

    def rewind_bounce(self, regs: list[int], frame: SyscallFrame, flags: int) -> None:
        """Change `regs`, found in a bounce's handler, to those at the program's own instruction: as `frame` has them.

        `flags`: the frame's, as user space may have them. A number that restart_syscall(2) has replaced stays so, else
        the call would start from its beginning. x86-64: rcx and r11 are as after a `syscall`; what they were before
        it, the bounce has destroyed as the instruction itself would have.
        """

    def note_fault(self, task: Task, address: int, access: int, code: int) -> None:
        """Set what frames show of a memory fault: `Task.fault_address`, `error_code`, `trap_nr` (`code`: si_code)."""

    def exception(self, task: Task, kind: str) -> SigInfo | None:
        """The signal of another exception, and the same fields set; None when Linux makes no signal of it."""
        ...

    def make_images(self, cpu: Cpu) -> SignalImages:
        """Images that are laid out as `struct rt_sigframe`, with what is the same in each frame."""
        ...

    def setup_rt_frame(
        self, task: Task, info: SigInfo, action: SigAction, mask: int, bounce_frame: bytes = b""
    ) -> None:
        """Write the frame and point the registers at the handler; EFAULT when it can't be written.

        `bounce_frame`: the four words of a bounce to be kept in it, or none.
        """

    def restore_frame(self, task: Task) -> None:
        """Take registers, mask and alternate stack from the frame; an error when it is not sound."""

    def bad_frame(self, task: Task) -> tuple[int, int, int]:
        """(signal, si_code, si_addr) of a frame that is not sound."""
        ...


@cache
def signal_ops(name: str) -> ArchSignal:
    """The signal half of the architecture called `name`."""
    return cast(ArchSignal, import_module(f"kernel_model.arch.{name}_signal"))


NAME_BY_MACHINE: Final = {183: "aarch64", 62: "x86_64"}
"""e_machine of an ELF file (`Arch.E_MACHINE`) to the architecture's name."""
DEFAULT: Final = "aarch64"


def get(name: str) -> Arch:
    """The architecture's module."""
    return cast(Arch, import_module(f"kernel_model.arch.{name}"))
