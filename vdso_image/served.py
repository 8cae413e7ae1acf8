"""Which calls the handler `userspace` serves, and the glue: calls that are another call with other arguments.

Of both there is one declaration, from which come the handler's table and the glue's code (`.routines`, `.glue` in the
sources). A call is known by its name: an architecture without a number for it has no routine.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kernel_model.syscalls.table import names as calls_of
from vdso_image.data_pages import ANSWERS

VARIABLES: Final = ("rt_sigprocmask", "umask", "personality", "set_robust_list", "get_robust_list", "prctl")
"""They read or write a variable in `[vtask]` or `[vfs]`."""
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_REMOVEDIR: Final = 0x200
_AT_EMPTY_PATH: Final = 0x1000
_CREAT_FLAGS: Final = 0o1101
"""O_CREAT | O_WRONLY | O_TRUNC."""
_CLOCK_MONOTONIC: Final = 1


class Arg(NamedTuple):
    """The program's argument of that number, from 0. `or_bad`: where it is NULL, an address that is nowhere."""

    number: int
    or_bad: bool = False


class _Empty:
    """The address of an empty string."""


class Refusal(NamedTuple):
    """The old call says `error` where the argument is `value`, or where it is `up_to` that; the new one would not.

    `int_sized`: the kernel looks at its low 32 bits.
    """

    arg: Arg
    value: int
    error: str
    up_to: bool = False
    int_sized: bool = True


class Glue(NamedTuple):
    """The call that is made, and its arguments: the program's, numbers, or an empty string; and what is refused."""

    call: str
    args: tuple[Arg | int | _Empty, ...]
    refused: Refusal | None = None


_A, _B, _C, _D, _E = Arg(0), Arg(1), Arg(2), Arg(3), Arg(4)

GLUE: Final = {
    "open": Glue("openat", (_AT_FDCWD, _A, _B, _C)),
    "creat": Glue("openat", (_AT_FDCWD, _A, _CREAT_FLAGS, _B)),
    "unlink": Glue("unlinkat", (_AT_FDCWD, _A, 0)),
    "rmdir": Glue("unlinkat", (_AT_FDCWD, _A, _AT_REMOVEDIR)),
    "mkdir": Glue("mkdirat", (_AT_FDCWD, _A, _B)),
    "mknod": Glue("mknodat", (_AT_FDCWD, _A, _B, _C)),
    "rename": Glue("renameat2", (_AT_FDCWD, _A, _AT_FDCWD, _B, 0)),
    "renameat": Glue("renameat2", (_A, _B, _C, _D, 0)),
    "link": Glue("linkat", (_AT_FDCWD, _A, _AT_FDCWD, _B, 0)),
    "symlink": Glue("symlinkat", (_A, _AT_FDCWD, _B)),
    "readlink": Glue("readlinkat", (_AT_FDCWD, _A, _B, _C)),
    "chmod": Glue("fchmodat", (_AT_FDCWD, _A, _B)),
    "chown": Glue("fchownat", (_AT_FDCWD, _A, _B, _C, 0)),
    "lchown": Glue("fchownat", (_AT_FDCWD, _A, _B, _C, _AT_SYMLINK_NOFOLLOW)),
    "access": Glue("faccessat2", (_AT_FDCWD, _A, _B, 0)),
    "faccessat": Glue("faccessat2", (_A, _B, _C, 0)),
    "stat": Glue("newfstatat", (_AT_FDCWD, _A, _B, 0)),
    "lstat": Glue("newfstatat", (_AT_FDCWD, _A, _B, _AT_SYMLINK_NOFOLLOW)),
    # of the current directory newfstatat(2) would tell; fs/stat.c:vfs_fstat() says EBADF
    "fstat": Glue("newfstatat", (_A, _Empty(), _B, _AT_EMPTY_PATH), Refusal(_A, _AT_FDCWD, "badf")),
    "pipe": Glue("pipe2", (_A, 0)),
    "eventfd": Glue("eventfd2", (_A, 0)),
    "signalfd": Glue("signalfd4", (_A, _B, _C, 0)),
    "inotify_init": Glue("inotify_init1", (0,)),
    "epoll_create": Glue("epoll_create1", (0,), Refusal(_A, 0, "inval", up_to=True)),
    "epoll_wait": Glue("epoll_pwait", (_A, _B, _C, _D, 0)),
    "getpgrp": Glue("getpgid", (0,)),
    "pause": Glue("ppoll", (0, 0, 0, 0, 0)),
    "nanosleep": Glue("clock_nanosleep", (_CLOCK_MONOTONIC, 0, _A, _B)),
    # a position of -1 is the file's own to the newer calls; fs/read_write.c:do_preadv() says EINVAL
    "preadv": Glue("preadv2", (_A, _B, _C, _D, _E, 0), Refusal(_D, -1, "inval", int_sized=False)),
    "pwritev": Glue("pwritev2", (_A, _B, _C, _D, _E, 0), Refusal(_D, -1, "inval", int_sized=False)),
    # NULL means nothing to be told, or to be set, where the older calls say EFAULT
    "getrlimit": Glue("prlimit64", (0, _A, 0, Arg(1, or_bad=True))),
    "setrlimit": Glue("prlimit64", (0, _A, Arg(1, or_bad=True), 0)),
    "mlock": Glue("mlock2", (_A, _B, 0)),
    "adjtimex": Glue("clock_adjtime", (0, _A)),
}
"""Calls that newer ones have replaced, where these take the same things in another order. Only where the table of an
architecture has the old number."""
CONVERTED: Final = {
    "poll": ("ppoll",),
    "select": ("pselect6",),
    "wait4": ("waitid",),
    "getdents": ("getdents64",),
    "alarm": ("setitimer",),
    "utime": ("utimensat",),
    "utimes": ("utimensat",),
    "futimesat": ("utimensat",),
    "dup2": ("dup3", "fcntl"),
    "time": ("clock_gettime",),
    "fork": ("clone",),
    "vfork": ("clone",),
}
"""Likewise, where something must be converted or is decided first: the routines are in the sources."""
KEPT: Final = ("time",)
"""Of both, what the image's own functions call when the kernel alone knows the time."""
ERRORS: Final = {"fault": 14, "inval": 22, "badf": 9, "srch": 3}
"""Where the sources have `glue_fault` and so on."""


class _Style(NamedTuple):
    """How an architecture's instructions are written. `registers`: those of arguments, whole and their low halves."""

    registers: tuple[str, ...]
    lower: tuple[str, ...]
    load: str
    number: str
    empty: str
    or_bad: tuple[str, ...]
    same: tuple[str, str]
    up_to: tuple[str, str]
    call: str
    jump: str


_STYLES: Final = {
    "aarch64": _Style(
        ("x0", "x1", "x2", "x3", "x4", "x5"),
        ("w0", "w1", "w2", "w3", "w4", "w5"),
        "ldr {register}, [sp, #{at}]",
        "mov {register}, #{value}",
        "adr {register}, {label}",
        ("cmp {register}, #0", "csinv {register}, {register}, xzr, ne"),
        ("cmn {register}, #{minus}", "b.eq {target}"),
        ("cmp {register}, #{value}", "b.le {target}"),
        "mov x8, #{number}",
        "b {target}",
    ),
    "x86_64": _Style(
        ("rdi", "rsi", "rdx", "r10", "r8", "r9"),
        ("edi", "esi", "edx", "r10d", "r8d", "r9d"),
        "mov {register}, qword ptr [rsp + {at}]",
        "mov {lower}, {bits}",
        "lea {register}, [rip + {label}]",
        ("cmp {register}, 1", "sbb rax, rax", "or {register}, rax"),
        ("cmp {register}, {value}", "je {target}"),
        ("cmp {register}, {value}", "jle {target}"),
        "mov eax, {number}",
        "jmp {target}",
    ),
}
_SAVED_AT: Final = 32
"""Where the handler has the program's arguments, in bytes from the frame, one after the other."""


def _numbers(arch: str) -> dict[str, int]:
    return {row.name: number for number, row in calls_of(arch).items()}


def _routines(arch: str) -> dict[int, str]:
    """Number to the label of its routine."""
    numbers = _numbers(arch)
    found = {numbers[name]: "serve_variable" for name in VARIABLES}
    found |= {numbers[name]: f"serve_{name}" for name in (*ANSWERS, "getcpu")}
    return found | {numbers[name]: f"glue_{name}" for name in (*GLUE, *CONVERTED) if name in numbers}


LAST_SERVED: Final = {arch: (1 << max(_routines(arch)).bit_length()) - 1 for arch in ("aarch64", "x86_64")}
"""The last number that the table has a place for: all that have no bit above its last one."""


def routine_of(arch: str) -> list[str | None]:
    """For each number up to `LAST_SERVED` the label of its routine; None where the call is made as it is."""
    routines = _routines(arch)
    return [routines.get(number) for number in range(LAST_SERVED[arch] + 1)]


def carried(arch: str) -> frozenset[int]:
    """The calls, by number, that are made by others whatever their arguments: the kernel can do without them."""
    numbers = _numbers(arch)
    return frozenset(numbers[name] for name in (*GLUE, *CONVERTED) if name in numbers and name not in KEPT)


def glue_lines(arch: str) -> list[str]:
    """The routines of `GLUE` as a source has them. They lead to `glue_call`."""
    style = _STYLES[arch]
    numbers = _numbers(arch)
    lines: list[str] = []
    for name, glue in GLUE.items():
        if name not in numbers:
            continue
        lines.append(f"glue_{name}:")
        if glue.refused is not None:
            lines += _refusal(style, glue.refused, name)
        for place, arg in enumerate(glue.args):
            lines += _argument(style, place, arg, name)
        lines.append(style.call.format(number=numbers[glue.call]) + f" // {glue.call}")
        lines.append(style.jump.format(target="glue_call") + " // make it")
    return lines


def _refusal(style: _Style, refusal: Refusal, name: str) -> list[str]:
    """Go where the error is the result."""
    register = (style.lower if refusal.int_sized else style.registers)[refusal.arg.number]
    compare, branch = style.up_to if refusal.up_to else style.same
    compare = compare.format(register=register, value=refusal.value, minus=-refusal.value)
    return [
        f"{compare} // what another call than {name} would take",
        branch.format(target=f"glue_{refusal.error}") + f" // E{refusal.error.upper()}",
    ]


def _argument(style: _Style, place: int, arg: Arg | int | _Empty, name: str) -> list[str]:
    """Bring one argument to its place; the program's are read from where they were saved."""
    register = style.registers[place]
    if isinstance(arg, _Empty):
        return [style.empty.format(register=register, label="empty_string") + " // an empty string"]
    if isinstance(arg, int):
        text = style.number.format(register=register, lower=style.lower[place], value=arg, bits=hex(arg & 0xFFFF_FFFF))
        return [f"{text} // what {name} implies"]
    lines = []
    if arg.number != place:
        text = style.load.format(register=register, at=_SAVED_AT + 8 * arg.number)
        lines.append(f"{text} // argument {arg.number} of {name}")
    if arg.or_bad:
        lines += [f"{text.format(register=register)} // NULL becomes an address of nothing" for text in style.or_bad]
    return lines
