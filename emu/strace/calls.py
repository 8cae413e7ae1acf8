"""Calls whose arguments depend on one another, or are shown in a way that their declaration does not say.

`reshape` gives the kinds to show instead of the declared ones: fewer where strace leaves out what the kernel does not
look at, other ones where an earlier argument decides what a later one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from emu.strace.call import convert
from emu.strace.tables import all_tables
from kernel_model.abi.fcntl import O_CREAT
from kernel_model.abi.stat import S_IFBLK, S_IFCHR, S_IFMT
from kernel_model.syscalls.declare import Param

Params = list[tuple[str, Param]]
Registers = tuple[int, ...]
Reshape = Callable[[Params, Registers], Params]

_TMPFILE: Final = 0o20000000
_CREATING: Final = O_CREAT | _TMPFILE

HIDDEN: Final = Param("ulong", "hidden")
DEC: Final = Param("int", "dec")
ULONG: Final = Param("ulong", "dec")
HEX: Final = Param("ulong", "hex")
PTR: Final = Param("ptr", "ptr")
STRING: Final = Param("ptr", "string")
OUT_INT: Final = Param("ptr", "outstruct", "int")
IN_INT: Final = Param("ptr", "struct", "int")
SIGNAL: Final = Param("int", "signal")
CAP: Final = Param("int", "enum", "cap")
FLOCK: Final = Param("ptr", "struct", "flock")
FLOCK_FOUND: Final = Param("ptr", "outstruct", "flock_found")

# How the argument of a command is shown; None where it has none. Unknown commands: the plain register.
FCNTL: Final[dict[str, Param | None]] = {
    "F_DUPFD": DEC, "F_DUPFD_CLOEXEC": DEC, "F_DUPFD_QUERY": DEC,
    "F_GETFD": None, "F_SETFD": Param("uint", "flags", "fd_flags"),
    "F_GETFL": None, "F_SETFL": Param("int", "flags", "open"),
    "F_GETLK": FLOCK_FOUND, "F_SETLK": FLOCK, "F_SETLKW": FLOCK,
    "F_OFD_GETLK": FLOCK_FOUND, "F_OFD_SETLK": FLOCK, "F_OFD_SETLKW": FLOCK,
    "F_GETOWN": None, "F_SETOWN": DEC, "F_GETSIG": None, "F_SETSIG": SIGNAL,
    "F_GETOWN_EX": Param("ptr", "outstruct", "f_owner_ex"), "F_SETOWN_EX": Param("ptr", "struct", "f_owner_ex"),
    "F_GETLEASE": None, "F_SETLEASE": Param("int", "enum", "lock_type"),
    "F_GETPIPE_SZ": None, "F_SETPIPE_SZ": DEC,
    "F_GET_SEALS": None, "F_ADD_SEALS": Param("uint", "flags", "seals"), "F_CREATED_QUERY": None,
    "F_GET_RW_HINT": Param("ptr", "outstruct", "rw_hint"), "F_SET_RW_HINT": Param("ptr", "struct", "rw_hint"),
    "F_GET_FILE_RW_HINT": Param("ptr", "outstruct", "rw_hint"),
    "F_SET_FILE_RW_HINT": Param("ptr", "struct", "rw_hint"),
}  # fmt: skip

_IN_TERMIOS: Final = Param("ptr", "struct", "termios")
_OUT_TERMIOS: Final = Param("ptr", "outstruct", "termios")
IOCTL: Final[dict[str, Param | None]] = {
    "TCGETS": _OUT_TERMIOS, "TCSETS": _IN_TERMIOS, "TCSETSW": _IN_TERMIOS, "TCSETSF": _IN_TERMIOS,
    "TCGETS2": _OUT_TERMIOS, "TCSETS2": _IN_TERMIOS, "TCSETSW2": _IN_TERMIOS, "TCSETSF2": _IN_TERMIOS,
    "TIOCGWINSZ": Param("ptr", "outstruct", "winsize"), "TIOCSWINSZ": Param("ptr", "struct", "winsize"),
    "TIOCGPGRP": OUT_INT, "TIOCSPGRP": IN_INT, "TIOCGSID": OUT_INT, "TIOCOUTQ": OUT_INT, "FIONREAD": OUT_INT,
    "FIONBIO": IN_INT, "FIOASYNC": IN_INT, "FIOCLEX": None, "FIONCLEX": None,
    "TIOCEXCL": None, "TIOCNXCL": None, "TIOCNOTTY": None, "TIOCSBRK": None, "TIOCCBRK": None,
    "TCSBRK": DEC, "TCSBRKP": DEC, "TCXONC": DEC, "TCFLSH": DEC, "TIOCSCTTY": DEC,
    "TIOCGPTN": OUT_INT, "TIOCSPTLCK": IN_INT, "TIOCGETD": OUT_INT, "FICLONE": DEC, "FIGETBSZ": OUT_INT,
    "RNDGETENTCNT": OUT_INT,
}  # fmt: skip

_NOTHING: Final = (HEX, HEX, HEX, HEX)
PRCTL: Final[dict[str, tuple[Param, ...]]] = {
    "PR_SET_PDEATHSIG": (SIGNAL,), "PR_GET_PDEATHSIG": (Param("ptr", "outstruct", "signal"),),
    "PR_GET_DUMPABLE": (), "PR_SET_DUMPABLE": (Param("int", "enum", "suid_dump"),),
    "PR_GET_KEEPCAPS": (), "PR_SET_KEEPCAPS": (ULONG,), "PR_GET_TIMING": (), "PR_SET_TIMING": (HEX,),
    "PR_SET_NAME": (Param("ptr", "name", "15"),), "PR_GET_NAME": (Param("ptr", "outstring"),), "PR_GET_SECCOMP": (),
    "PR_CAPBSET_READ": (CAP,), "PR_CAPBSET_DROP": (CAP,), "PR_SET_TSC": (Param("int", "enum", "pr_tsc"),),
    "PR_GET_TSC": (Param("ptr", "outstruct", "pr_tsc"),), "PR_GET_SECUREBITS": (),
    "PR_SET_SECUREBITS": (Param("uint", "flags", "secbits"),),
    "PR_SET_TIMERSLACK": (Param("long", "dec"),), "PR_GET_TIMERSLACK": (),
    "PR_SET_MM": (Param("int", "enum", "pr_set_mm"), HEX, HEX, HEX),
    "PR_SET_CHILD_SUBREAPER": (ULONG,), "PR_GET_CHILD_SUBREAPER": (OUT_INT,),
    "PR_SET_NO_NEW_PRIVS": _NOTHING, "PR_GET_NO_NEW_PRIVS": _NOTHING,
    "PR_GET_TID_ADDRESS": (Param("ptr", "outstruct", "pointer"),),
    "PR_SET_THP_DISABLE": _NOTHING, "PR_GET_THP_DISABLE": _NOTHING,
    "PR_CAP_AMBIENT": (Param("int", "enum", "pr_cap_ambient"), CAP, HEX, HEX),
    "PR_GET_SPECULATION_CTRL": (Param("int", "enum", "pr_spec"),),
    "PR_SET_SPECULATION_CTRL": (Param("int", "enum", "pr_spec"), Param("uint", "flags", "pr_spec_result")),
    "PR_SET_TAGGED_ADDR_CTRL": (Param("ulong", "flags", "pr_tagged_addr"), HEX, HEX, HEX),
    "PR_GET_TAGGED_ADDR_CTRL": _NOTHING, "PR_SET_IO_FLUSHER": _NOTHING, "PR_GET_IO_FLUSHER": _NOTHING,
    "PR_MCE_KILL_GET": _NOTHING,
    "PR_SET_VMA": (Param("int", "enum", "pr_set_vma"), PTR, ULONG, STRING),
    "PR_SET_PTRACER": (DEC,),
}  # fmt: skip

_ARCH_PRCTL: Final[dict[str, Param | None]] = {
    "ARCH_SET_FS": PTR, "ARCH_SET_GS": PTR, "ARCH_GET_CPUID": None, "ARCH_SET_CPUID": DEC,
    "ARCH_GET_FS": Param("ptr", "outstruct", "pointer"), "ARCH_GET_GS": Param("ptr", "outstruct", "pointer"),
}  # fmt: skip


def _without_mode(params: Params, registers: Registers) -> Params:
    """open, openat: the mode counts only when a file may be made; flags are the argument before it."""
    return params if registers[len(params) - 2] & _CREATING else params[:-1]


def _mknod(params: Params, registers: Registers) -> Params:
    """The device number counts only for devices."""
    mode = len(params) - 2
    kinds = [*params[:mode], (params[mode][0], Param("uint", "file_mode"))]
    if registers[mode] & S_IFMT in (S_IFCHR, S_IFBLK):
        kinds.append((params[-1][0], Param("uint", "device")))
    return kinds


def _by_command(table: str, position: int, arguments: dict[str, Param | None], other: Param) -> Reshape:
    """The argument after the command at `position` is what the command says."""

    def reshape(params: Params, registers: Registers) -> Params:
        command = all_tables()[table].by_value.get(convert("uint", registers[position]), "")
        kind = arguments.get(command, other)
        return [*params[: position + 1], *([(params[position + 1][0], kind)] if kind else [])]

    return reshape


def _prctl(params: Params, registers: Registers) -> Params:
    option = all_tables()["prctl"].by_value.get(convert("int", registers[0]), "")
    kinds = PRCTL.get(option, _NOTHING)
    return [params[0], *zip((name for name, _ in params[1:]), kinds, strict=False)]


def _replace(kinds: dict[int, Param]) -> Reshape:
    """Show the arguments at these positions as other kinds."""
    return lambda params, registers: [
        (name, kinds.get(position, param)) for position, (name, param) in enumerate(params)
    ]


def _drop_unless(position: int, mask: int, count: int) -> Reshape:
    """Show only `count` arguments unless the one at `position` has a bit of `mask`."""
    return lambda params, registers: params if registers[position] & mask else params[:count]


def _remap(params: Params, registers: Registers) -> Params:
    """mremap: the new address counts with MREMAP_FIXED and MREMAP_DONTUNMAP."""
    return params if registers[3] & 6 else params[:4]


def _syslog(params: Params, registers: Registers) -> Params:
    """The buffer counts only for what reads or sets the level."""
    kinds = [(params[0][0], Param("int", "commented", "syslog")), *params[1:]]
    return kinds if registers[0] & 0xFFFF_FFFF in (2, 3, 4, 8) else kinds[:1]


def _positioned(params: Params, registers: Registers) -> Params:
    """preadv and its kin: the upper half of the position is for 32-bit programs."""
    return [*params[:4], (params[4][0], HIDDEN), *params[5:]]


def _ioctl(params: Params, registers: Registers) -> Params:
    """An unknown request is taken apart instead of named."""
    fd, (name, _), *rest = _BY_IOCTL(params, registers)
    return [fd, (name, Param("uint", "ioctl")), *rest]


def _personality(params: Params, registers: Registers) -> Params:
    """All ones only asks."""
    return [(params[0][0], HEX)] if registers[0] & 0xFFFF_FFFF == 0xFFFF_FFFF else params


_REMAINING: Final = Param("ptr", "remaining", "timespec")
_BY_IOCTL: Final = _by_command("ioctl", 1, IOCTL, HEX)
_CREATION: Final = Param("int", "flags", "creation")
_RESHAPES: Final[dict[str, Reshape]] = {
    "arch_prctl": _by_command("arch_prctl", 0, _ARCH_PRCTL, PTR),
    "clock_nanosleep": _replace({3: _REMAINING}),
    "dup3": _replace({2: _CREATION}),
    "execve": _replace({2: Param("ptr", "envp")}),
    "execveat": _replace({3: Param("ptr", "envp")}),
    "fcntl": _by_command("fcntl_cmd", 1, FCNTL, HEX),
    "getcwd": _replace({0: Param("ptr", "outpath")}),
    "getrandom": _replace({0: Param("ptr", "outhex")}),
    "ioctl": _ioctl,
    "ioprio_set": _replace({2: Param("int", "ioprio")}),
    "membarrier": _drop_unless(1, 1, 2),
    "mincore": _replace({2: Param("ptr", "outstruct", "mincore")}),
    "mknod": _mknod,
    "mknodat": _mknod,
    "mremap": _remap,
    "nanosleep": _replace({1: _REMAINING}),
    "open": _without_mode,
    "openat": _without_mode,
    "personality": _personality,
    "pipe2": _replace({1: _CREATION}),
    "prctl": _prctl,
    "preadv": _positioned,
    "preadv2": _positioned,
    "pwritev": _positioned,
    "pwritev2": _positioned,
    "rseq": _replace({1: HEX}),
    "sendfile": _replace({2: Param("ptr", "inout", "off_t")}),
    "statx": _replace({2: Param("uint", "flags", "at_statx")}),
    "syslog": _syslog,
}


def reshape(name: str, params: Params, registers: Registers) -> Params:
    """The kinds by which the arguments of this call are shown."""
    change = _RESHAPES.get(name)
    return change(params, registers) if change else params
