"""x86-64, as arch/x86 has it. The names are those of `kernel_model.arch.Arch`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.types import UserPtr

if TYPE_CHECKING:
    from kernel_model.fs.inode import Kstat

NAME: Final = "x86_64"
E_MACHINE: Final = 62
PLATFORM: Final = b"x86_64"
COMPAT_UTS_MACHINE: Final = b"i686"
TASK_SIZE: Final = (1 << 47) - 4096
STACK_TOP: Final = TASK_SIZE
ELF_ET_DYN_BASE: Final = TASK_SIZE // 3 * 2 & -4096
TASK_UNMAPPED_BASE: Final = TASK_SIZE // 3 + 4095 & -4096
MAP_32BIT: Final = 0x40
MMAP_RND_BITS: Final = 28
STACK_RND_PAGES: Final = 0x3FFFFF
BRK_RND_PAGES: Final = 0x3FFFF
STACK_ALIGN_RND_BYTES: Final = 8192
# QUIRK: The alignment check of x86-64 is kept and never made: a misaligned access with AC set is no SIGBUS.
HANDLER_CLEARS: Final = 1 << 8 | 1 << 16 | 1 << 10 | 1 << 14 | 1 << 18  # TF, RF, DF, NT, AC
SYSCALL_INSTRUCTION_BYTES: Final = 2
RED_ZONE_BYTES: Final = 128
# arch/x86/kernel/signal.c:sigaltstack_size() for a CPU whose xstate is FXSAVE's 512 bytes only
MINSIGSTKSZ: Final = 1440
HAS_HWCAP3: Final = False
GREG_NAMES: Final = (
    *(f"r{i}" for i in range(8, 16)),
    "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip", "rflags",
)  # fmt: skip
PC_INDEX: Final = 16
SP_INDEX: Final = 15
RESULT_INDEX: Final = 13
_R11_INDEX, _RCX_INDEX, _EFLAGS_INDEX = 3, 14, 17
NUMBER_INDEX: Final = 13
TLS_END: Final = TASK_SIZE
DATA_SELECTOR: Final = 16 << 3 | 3
"""The first descriptor behind Linux's own (GDT_ENTRIES): its limit is the task's offset (`Cpu.set_data_offset`)."""
VTASK_SELECTOR: Final = 17 << 3 | 3
"""The next: its limit, in pages, is where the task's own page is, above TASK_UNMAPPED_BASE (`Cpu.set_task_page`)."""
HAS_TSC: Final = True
HAS_TAGGED_ADDR: Final = False
SIGTRAMP_CODE: Final = b""
SIGTRAMP_BYTES: Final = 0

EPOLL_EVENT: Final = Struct("<IQ")
"""`struct epoll_event`, packed here."""
STAT_OFFSETS: Final = (24, 40, 48)
STAT: Final = Struct("<QQQIII4xQqqqqQqQqQ24x")
"""`struct stat`: arch/x86/include/uapi/asm/stat.h; 144 bytes."""


def open_flags_from_user(flags: int) -> int:
    """See `Arch`: x86 uses asm-generic's numbers."""
    return flags


def open_flags_to_user(flags: int) -> int:
    """See `Arch`."""
    return flags


# arch/x86/kernel/signal.c:FIX_EFLAGS, and NT, which a program may keep though a handler needs it clear; IF, bit 1
_FLAGS_USER: Final = 0x25_4DD5
_FLAGS_FORCED: Final = 0x202


def user_flags(flags: int) -> int | None:
    """See `Arch`: there is nothing to refuse, what is not user space's is dropped."""
    return flags & _FLAGS_USER | _FLAGS_FORCED


def enter_with_page(gregs: list[int], handler: int, frame: int, pc: int, flags: int) -> None:
    """See `Arch`."""
    gregs[_RCX_INDEX] = frame
    gregs[_R11_INDEX] = flags
    gregs[PC_INDEX] = handler
    gregs[_EFLAGS_INDEX] = flags & ~HANDLER_CLEARS


def page_of_handler(gregs: list[int]) -> int:
    """See `Arch`."""
    return gregs[_RCX_INDEX]


def untag(address: int) -> UserPtr:
    """See `Arch`: every bit counts."""
    return UserPtr(address)


def pack_stat(stat: Kstat) -> bytes:
    """See `Arch`."""
    return STAT.pack(
        stat.dev, stat.ino, stat.nlink, stat.mode, stat.uid, stat.gid, stat.rdev, stat.size, stat.blksize,
        stat.blocks, *divmod(stat.atime_ns, 1_000_000_000), *divmod(stat.mtime_ns, 1_000_000_000),
        *divmod(stat.ctime_ns, 1_000_000_000),
    )  # fmt: skip


def clone_tail(fourth: int, fifth: int) -> tuple[int, int]:
    """See `Arch`."""
    return fourth, fifth


def cpuinfo(cpu_count: int) -> bytes:
    """See `Arch`. arch/x86/kernel/cpu/proc.c:show_cpuinfo()."""
    return b"".join(
        b"processor\t: %d\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 6\nmodel name\t: uabi-emu\n"
        b"stepping\t: 3\nphysical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\nfpu\t\t: yes\n\n"
        % (i, cpu_count, i, cpu_count)
        for i in range(cpu_count)
    )
