"""AArch64, as arch/arm64 has it. The names are those of `kernel_model.arch.Arch`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import fcntl
from kernel_model.types import U32_MASK, UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.inode import Kstat

NAME: Final = "aarch64"
E_MACHINE: Final = 183
PLATFORM: Final = b"aarch64"
COMPAT_UTS_MACHINE: Final = b""
TASK_SIZE: Final = 1 << 48
STACK_TOP: Final = TASK_SIZE
ELF_ET_DYN_BASE: Final = 2 * TASK_SIZE // 3 & -4096
TASK_UNMAPPED_BASE: Final = TASK_SIZE // 4
MAP_32BIT: Final = 0
MMAP_RND_BITS: Final = 18
STACK_RND_PAGES: Final = 0x3FFFF
BRK_RND_PAGES: Final = 0x3FFFF
STACK_ALIGN_RND_BYTES: Final = 4096
HANDLER_CLEARS: Final = 3 << 10 | 1 << 21 | 1 << 20  # BTYPE, SS, IL
SYSCALL_INSTRUCTION_BYTES: Final = 4
RED_ZONE_BYTES: Final = 128
"""The ABI has none (AAPCS64), but Linux leaves what is below SP alone over a call, and programs rely on it: see
docs/decisions/0009.
"""
# signal_minsigstksz of arch/arm64/kernel/signal.c:minsigstksz_setup() for a CPU with FPSIMD only: sigframe, esr,
# a frame record, rounded
MINSIGSTKSZ: Final = 4720
HAS_HWCAP3: Final = True
GREG_NAMES: Final = (*(f"x{i}" for i in range(31)), "sp", "pc", "pstate")
PC_INDEX: Final = 32
SP_INDEX: Final = 31
RESULT_INDEX: Final = 0
_PSTATE_INDEX: Final = 33
NUMBER_INDEX: Final = 8
TLS_END: Final = 1 << 64
HAS_TSC: Final = False
HAS_TAGGED_ADDR: Final = True
# nop (unwinders look one instruction back); mov x8, #139 (rt_sigreturn); svc #0: arch/arm64/kernel/vdso/sigreturn.S
SIGTRAMP_CODE: Final = bytes.fromhex("1f2003d5 681180d2 010000d4")
SIGTRAMP_BYTES: Final = 8

# (this architecture's bit, asm-generic's): arch/arm64/include/uapi/asm/fcntl.h
_OPEN_BITS: Final = (
    (0o40000, fcntl.O_DIRECTORY),
    (0o100000, fcntl.O_NOFOLLOW),
    (0o200000, fcntl.O_DIRECT),
    (0o400000, fcntl.O_LARGEFILE),
)
_OWN: Final = 0o740000
_GENERIC: Final = fcntl.O_DIRECTORY | fcntl.O_NOFOLLOW | fcntl.O_DIRECT | fcntl.O_LARGEFILE

EPOLL_EVENT: Final = Struct("<I4xQ")
"""`struct epoll_event`, aligned here."""
STAT_OFFSETS: Final = (16, 32, 48)
STAT: Final = Struct("<QQIIIIQ8xqi4xqqQqQqQ8x")
"""`struct stat`: include/uapi/asm-generic/stat.h; 128 bytes."""


def open_flags_from_user(flags: int) -> int:
    """See `Arch`."""
    if not flags & _OWN:
        return flags
    result = flags & ~_OWN
    for own, generic in _OPEN_BITS:
        if flags & own:
            result |= generic
    return result


def open_flags_to_user(flags: int) -> int:
    """See `Arch`."""
    result = flags & ~_GENERIC
    for own, generic in _OPEN_BITS:
        if flags & generic:
            result |= own
    return result


# arch/arm64/kernel/ptrace.c: bits that are not user space's to set, and those that must be clear (mode EL0t, no DAIF)
# and SS, which only a tracer may (user_regs_reset_single_step())
_PSTATE_RES0: Final = 0xFFFF_FFFF_0CFF_E020
_PSTATE_NOT_USER: Final = 0x3DF


def user_flags(flags: int) -> int | None:
    """See `Arch`: valid_user_regs()."""
    flags &= ~_PSTATE_RES0
    return None if flags & _PSTATE_NOT_USER else flags


def enter_with_page(gregs: list[int], handler: int, frame: int, pc: int, flags: int) -> None:
    """See `Arch`."""
    gregs[NUMBER_INDEX] = frame << 16 | gregs[NUMBER_INDEX] & U32_MASK
    gregs[PC_INDEX] = handler
    gregs[_PSTATE_INDEX] = flags & ~HANDLER_CLEARS


def page_of_handler(gregs: list[int]) -> int:
    """See `Arch`."""
    return gregs[NUMBER_INDEX] >> 32 << 16


def untag(address: int) -> UserPtr:
    """Top-byte-ignore as `untagged_addr()`: an address of the kernel's, with bit 55 set, stays as it is."""
    return UserPtr(address if address >> 55 & 1 else address & (1 << 56) - 1)


def pack_stat(stat: Kstat) -> bytes:
    """See `Arch`."""
    return STAT.pack(
        stat.dev, stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev, stat.size, stat.blksize,
        stat.blocks, *divmod(stat.atime_ns, 1_000_000_000), *divmod(stat.mtime_ns, 1_000_000_000),
        *divmod(stat.ctime_ns, 1_000_000_000),
    )  # fmt: skip


def clone_tail(fourth: int, fifth: int) -> tuple[int, int]:
    """See `Arch`: arm64 has CLONE_BACKWARDS, the TLS value comes before the child's tid pointer."""
    return fifth, fourth


def cpuinfo(cpu_count: int) -> bytes:
    """See `Arch`. arch/arm64/kernel/cpuinfo.c:c_show()."""
    return b"".join(
        b"processor\t: %d\nBogoMIPS\t: 125.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x00\nCPU architecture: 8\n"
        b"CPU variant\t: 0x0\nCPU part\t: 0x051\nCPU revision\t: 0\n\n" % i
        for i in range(cpu_count)
    )
