"""Which calls the handler `userspace` serves, and the glue: calls that are another call with other arguments.

Of both there is one declaration, from which come the handler's table and the glue's code (`.routines`, `.glue` in the
sources). A call is known by its name: an architecture without a number for it has no routine.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kernel_model.syscalls.table import names as calls_of
from vdso_image.data_pages import ANSWERS

VARIABLES: Final = ("umask", "personality", "set_robust_list", "get_robust_list", "prctl")
"""They read or write a variable in `[vtask]` or `[vfs]`."""
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_REMOVEDIR: Final = 0x200
_CREAT_FLAGS: Final = 0o1101
"""O_CREAT | O_WRONLY | O_TRUNC."""
_CLOCK_MONOTONIC: Final = 1


class Arg(NamedTuple):
    """The program's argument of that number, from 0."""

    number: int


_A, _B, _C, _D = Arg(0), Arg(1), Arg(2), Arg(3)


class Glue(NamedTuple):
    """The call that is made, and its arguments: the program's, or numbers."""

    call: str
    args: tuple[Arg | int, ...]


GLUE: Final = {
    "open": Glue("openat", (_AT_FDCWD, _A, _B, _C)),
    "creat": Glue("openat", (_AT_FDCWD, _A, _CREAT_FLAGS, _B)),
    "unlink": Glue("unlinkat", (_AT_FDCWD, _A, 0)),
    "rmdir": Glue("unlinkat", (_AT_FDCWD, _A, _AT_REMOVEDIR)),
    "mkdir": Glue("mkdirat", (_AT_FDCWD, _A, _B)),
    "mknod": Glue("mknodat", (_AT_FDCWD, _A, _B, _C)),
    "rename": Glue("renameat", (_AT_FDCWD, _A, _AT_FDCWD, _B)),
    "link": Glue("linkat", (_AT_FDCWD, _A, _AT_FDCWD, _B, 0)),
    "symlink": Glue("symlinkat", (_A, _AT_FDCWD, _B)),
    "readlink": Glue("readlinkat", (_AT_FDCWD, _A, _B, _C)),
    "chmod": Glue("fchmodat", (_AT_FDCWD, _A, _B)),
    "chown": Glue("fchownat", (_AT_FDCWD, _A, _B, _C, 0)),
    "lchown": Glue("fchownat", (_AT_FDCWD, _A, _B, _C, _AT_SYMLINK_NOFOLLOW)),
    "access": Glue("faccessat", (_AT_FDCWD, _A, _B)),
    "stat": Glue("newfstatat", (_AT_FDCWD, _A, _B, 0)),
    "lstat": Glue("newfstatat", (_AT_FDCWD, _A, _B, _AT_SYMLINK_NOFOLLOW)),
    "pipe": Glue("pipe2", (_A, 0)),
    "eventfd": Glue("eventfd2", (_A, 0)),
    "signalfd": Glue("signalfd4", (_A, _B, _C, 0)),
    "inotify_init": Glue("inotify_init1", (0,)),
    "epoll_wait": Glue("epoll_pwait", (_A, _B, _C, _D, 0)),
    "getpgrp": Glue("getpgid", (0,)),
    "pause": Glue("ppoll", (0, 0, 0, 0, 0)),
}
"""Calls that newer ones have replaced, where these take the same things in another order. Only where the table of an
architecture has the old number."""
SAVED: Final = {"x86_64": {"rdi": 32, "rsi": 40, "rdx": 48, "r10": 56, "r8": 64}}
_LOWER_HALF: Final = {"rdi": "edi", "rsi": "esi", "rdx": "edx", "r10": "r10d", "r8": "r8d"}
"""Where the handler has the arguments that it may change, by the registers, in bytes from the frame."""


def _numbers(arch: str) -> dict[str, int]:
    return {row.name: number for number, row in calls_of(arch).items()}


def _routines(arch: str) -> dict[int, str]:
    """Number to the label of its routine."""
    numbers = _numbers(arch)
    found = {numbers[name]: "serve_variable" for name in VARIABLES}
    found |= {numbers[name]: f"serve_{name}" for name in (*ANSWERS, "getcpu")}
    if arch in SAVED:
        found |= {numbers[name]: f"glue_{name}" for name in GLUE if name in numbers}
    return found


LAST_SERVED: Final = {arch: max(_routines(arch)) for arch in ("aarch64", "x86_64")}


def routine_of(arch: str) -> list[str | None]:
    """For each number up to `LAST_SERVED` the label of its routine; None where the call is made as it is."""
    routines = _routines(arch)
    return [routines.get(number) for number in range(LAST_SERVED[arch] + 1)]


def glue_lines(arch: str) -> list[str]:
    """The routines of `GLUE` as a source has them. They run into `glue_call`, which has to follow."""
    lines: list[str] = []
    saved = SAVED[arch]
    registers = list(saved)
    numbers = _numbers(arch)
    for name, glue in GLUE.items():
        lines.append(f"glue_{name}:")
        for place, arg in enumerate(glue.args):
            register = registers[place]
            if isinstance(arg, int):
                value = hex(arg & 0xFFFF_FFFF)  # all of them are an int's
                lines.append(f"mov {_LOWER_HALF[register]}, {value} // what {name} implies")
            elif arg.number != place:
                at = saved[registers[arg.number]]
                lines.append(f"mov {register}, qword ptr [rsp + {at}] // argument {arg.number} of {name}")
        lines.append(f"mov eax, {numbers[glue.call]} // {glue.call}")
        lines.append("jmp glue_call // make it")
    return lines
