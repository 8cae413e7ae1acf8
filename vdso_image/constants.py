"""The names that the assembly sources may use for numbers, each from where the number is decided."""

from __future__ import annotations

from typing import Final

from kernel_model.abi import time as abi
from kernel_model.abi.errno import ENOMEM
from kernel_model.abi.prctl import PR_GET_PDEATHSIG, PR_GET_TIMERSLACK, PR_SET_PDEATHSIG, PR_SET_TIMERSLACK
from kernel_model.abi.signal import (
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGKILL,
    SIGSET_BYTES,
    SIGSTOP,
    UNBLOCKABLE,
    sigmask,
)
from kernel_model.arch.x86_64 import DATA_SELECTOR, TASK_UNMAPPED_BASE, VTASK_SELECTOR
from kernel_model.bounce import HELD_AT, NO_CALL, REDIRECT
from kernel_model.syscalls.table import names as calls_of
from kernel_model.types import U64_MASK
from vdso_image import data_pages, vvar
from vdso_image.served import LAST_SERVED

FINE: Final = (abi.CLOCK_REALTIME, abi.CLOCK_MONOTONIC, abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_BOOTTIME, abi.CLOCK_TAI)
COARSE: Final = (abi.CLOCK_REALTIME_COARSE, abi.CLOCK_MONOTONIC_COARSE)
FLAGGED_CALLS: Final = (
    *("rt_sigreturn", "clone", "fork", "vfork", "clone3"),  # they need the program's SP and PC
    *("mmap", "munmap", "mremap", "mprotect", "pkey_mprotect", "madvise"),  # they may take away what the frame is in
    *("shmat", "shmdt", "remap_file_pages"),  # likewise
)
"""What the handler that returns in user space leaves to the flagged call."""


def _bits(numbers: tuple[int, ...]) -> int:
    return sum(1 << number for number in numbers)


def constants(arch: str) -> dict[str, int]:
    """Name to number for the sources of `arch`."""
    return {
        "REDIRECT": REDIRECT,
        "NO_CALL": NO_CALL | REDIRECT,
        "ENOMEM": ENOMEM,
        "MINUS_ENOMEM": -ENOMEM & (1 << 64) - 1,
        "BROKEN": 0xB0,  # the comment of a brk that nothing reaches
        "USER_CS": 0x33,  # arch/x86/include/asm/segment.h: __USER_CS
        "USER_SS": 0x2B,  # and __USER_DS
        "FINE_CLOCKS": _bits(FINE),
        "COARSE_CLOCKS": _bits(COARSE),
        "SERVED_CLOCKS": _bits(FINE + COARSE),
        "CLOCK_REALTIME": abi.CLOCK_REALTIME,
        "CLOCK_TAI": abi.CLOCK_TAI,
        "NSEC_PER_SEC": abi.NSEC_PER_SEC,
        "CLOCKMODE_COUNTER": vvar.CLOCKMODE_COUNTER,
        **{f"VVAR_{name.upper()}": offset for name, offset in vvar.offsets().items()},
        "DATA_SELECTOR": DATA_SELECTOR,
        "DATA_MASK": data_pages.OFFSET_MASK,
        "DATA_ANSWERS_BIT": data_pages.ANSWERS_BIT,
        "VTASK_SELECTOR": VTASK_SELECTOR,
        "VTASK_BASE": TASK_UNMAPPED_BASE - 0xFFF,  # a limit in pages ends with the last byte of one
        **{f"VTASK_{name.upper()}": offset for name, offset in data_pages.PER_TASK.offsets().items()},
        **{f"VFS_{name.upper()}": offset for name, offset in data_pages.PER_FS.offsets().items()},
        "LAST_SERVED": LAST_SERVED[arch],
        "ROUTINE_BITS": LAST_SERVED[arch].bit_length(),
        "GLUE_HELD": HELD_AT,
        "NO_WAIT4_OPTIONS": 0x1FFF_FFF4,  # kernel/exit.c:kernel_wait4()
        "ROBUST_LIST_HEAD_BYTES": 24,  # include/uapi/linux/futex.h: struct robust_list_head
        "PER_MASK": 0xFF,  # include/uapi/linux/personality.h
        "PER_LINUX32": 8,
        "UMASK_BITS": 0o777,
        "LAST_SIGNAL": 64,
        "SIG_BLOCK": SIG_BLOCK,
        "SIG_UNBLOCK": SIG_UNBLOCK,
        "SIG_SETMASK": SIG_SETMASK,
        "SIGSET_BYTES": SIGSET_BYTES,
        "NOT_SIGKILL": U64_MASK & ~sigmask(SIGKILL),
        "NOT_SIGSTOP": U64_MASK & ~sigmask(SIGSTOP),
        "MAY_BLOCK": U64_MASK & ~UNBLOCKABLE,
        "PR_SET_PDEATHSIG": PR_SET_PDEATHSIG,
        "PR_GET_PDEATHSIG": PR_GET_PDEATHSIG,
        "PR_SET_TIMERSLACK": PR_SET_TIMERSLACK,
        "PR_GET_TIMERSLACK": PR_GET_TIMERSLACK,
        **{f"DATA_{name.upper()}": offset for name, offset in data_pages.PER_CPU.offsets().items()},
        **{f"NR_{row.name}": number for number, row in calls_of(arch).items()},
        "FLAGGED_CLONE": REDIRECT | next(number for number, row in calls_of(arch).items() if row.name == "clone"),
    }


def bit_tables(arch: str) -> dict[str, frozenset[int]]:
    """Name to the bits that are set in it, for `.bits`."""
    numbers = {row.name: number for number, row in calls_of(arch).items()}
    return {"FLAGGED_CALLS": frozenset(numbers[name] for name in FLAGGED_CALLS if name in numbers)}
