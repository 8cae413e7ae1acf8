"""What differs between the architectures, one module each with the same names; `get(name)` picks it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.types import UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.inode import Kstat


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
    MAP_32BIT: int
    """mmap(2)'s flag of that name; 0 where there is none."""
    MMAP_RND_BITS: int
    STACK_RND_PAGES: int
    BRK_RND_PAGES: int
    SYSCALL_INSTRUCTION_BYTES: int
    """How far PC is past a syscall instruction when it traps."""
    MINSIGSTKSZ: int
    """AT_MINSIGSTKSZ (bytes)."""
    PC_INDEX: int
    """Where PC stands in `Cpu.read_gregs`; SP_INDEX, RESULT_INDEX and NUMBER_INDEX likewise."""
    SP_INDEX: int
    RESULT_INDEX: int
    NUMBER_INDEX: int
    GREG_NAMES: tuple[str, ...]

    def open_flags_from_user(self, flags: int) -> int:
        """O_* bits as this architecture numbers them, to `kernel_model.abi.fcntl`'s (asm-generic) numbers."""
        ...

    def open_flags_to_user(self, flags: int) -> int:
        """The reverse, for F_GETFL."""
        ...

    def untag(self, address: int) -> UserPtr:
        """A user address without the top byte that the CPU ignores (AArch64); unchanged elsewhere."""
        ...

    def pack_stat(self, stat: Kstat) -> bytes:
        """`struct stat`, for stat(2) and its kin."""
        ...

    def cpuinfo(self, cpu_count: int) -> bytes:
        """/proc/cpuinfo."""
        ...


def get(name: str) -> Arch:
    """The architecture's module."""
    return cast(Arch, import_module(f"kernel_model.arch.{name}"))
