"""Calls whose arguments depend on one another, or are shown in a way that their declaration does not say.

`reshape` gives the kinds to show instead of the declared ones: fewer where strace leaves out what the kernel does not
look at, other ones where an earlier argument decides what a later one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from emu.strace.call import Argument, Registers, convert
from emu.strace.tables import all_tables
from kernel_model.abi.fcntl import O_CREAT
from kernel_model.abi.stat import S_IFBLK, S_IFCHR, S_IFMT
from kernel_model.syscalls.declare import Param

if TYPE_CHECKING:
    from kernel_model.arch import Arch

Arguments = list[Argument]
Reshape = Callable[[Arguments, Registers], Arguments]

_TMPFILE: Final = 0o20000000
_CREATING: Final = O_CREAT | _TMPFILE

DEC: Final = Param("int", "dec")
UDEC: Final = Param("uint", "dec")
ULONG: Final = Param("ulong", "dec")
HEX: Final = Param("ulong", "hex")
UHEX: Final = Param("uint", "hex")
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
    "NS_GET_USERNS": None, "NS_GET_PARENT": None, "NS_GET_NSTYPE": None, "NS_GET_OWNER_UID": PTR,
    "NS_GET_PID_FROM_PIDNS": DEC, "NS_GET_TGID_FROM_PIDNS": DEC, "NS_GET_PID_IN_PIDNS": DEC,
    "NS_GET_TGID_IN_PIDNS": DEC,
    "SECCOMP_IOCTL_NOTIF_RECV": Param("ptr", "outstruct", "seccomp_notif"),
    "SECCOMP_IOCTL_NOTIF_SEND": Param("ptr", "struct", "seccomp_notif_resp"),
    "SECCOMP_IOCTL_NOTIF_ID_VALID": Param("ptr", "struct", "seccomp_notif_id"),
    "SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR": Param("ptr", "struct", "seccomp_notif_id"),
    "SECCOMP_IOCTL_NOTIF_ADDFD": Param("ptr", "struct", "seccomp_notif_addfd"),
}  # fmt: skip

_TIMEOUT: Final = Param("ptr", "struct", "timespec")
_COUNT: Final = Param("uint", "dec")
_BITSET: Final = Param("uint", "bitset")
# The arguments after the operation; None for one that is not looked at.
FUTEX: Final[dict[str, tuple[Param | None, ...]]] = {
    "FUTEX_WAIT": (UDEC, _TIMEOUT),
    "FUTEX_WAKE": (UDEC,),
    "FUTEX_FD": (UDEC,),
    "FUTEX_REQUEUE": (UDEC, _COUNT, PTR),
    "FUTEX_CMP_REQUEUE": (UDEC, _COUNT, PTR, UDEC),
    "FUTEX_WAKE_OP": (UDEC, _COUNT, PTR, Param("uint", "wake_op")),
    "FUTEX_LOCK_PI": (None, _TIMEOUT),
    "FUTEX_LOCK_PI2": (None, _TIMEOUT),
    "FUTEX_UNLOCK_PI": (),
    "FUTEX_TRYLOCK_PI": (),
    "FUTEX_WAIT_BITSET": (UDEC, _TIMEOUT, None, _BITSET),
    "FUTEX_WAKE_BITSET": (UDEC, None, None, _BITSET),
    "FUTEX_WAIT_REQUEUE_PI": (UDEC, _TIMEOUT, PTR),
    "FUTEX_CMP_REQUEUE_PI": (UDEC, _COUNT, PTR, UDEC),
}
FUTEX_CMD_MASK: Final = ~(128 | 256)
SOL_SOCKET: Final = 1
MREMAP_FIXED, MREMAP_DONTUNMAP = 2, 4
CLONE_PIDFD, CLONE_SETTLS, CLONE_PARENT_SETTID = 0x1000, 0x80000, 0x100000
CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x200000, 0x1000000

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
    "PR_SET_NO_NEW_PRIVS": (ULONG, HEX, HEX, HEX), "PR_GET_NO_NEW_PRIVS": _NOTHING,
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
    "PR_SET_SYSCALL_USER_DISPATCH": (Param("ulong", "enum", "pr_sys_dispatch"), HEX, HEX, PTR),
}  # fmt: skip

_FPROG: Final = Param("ptr", "struct", "sock_fprog")
_SECCOMP_MODE: Final = Param("ulong", "enum", "seccomp_mode")
_SECCOMP_MODES: Final = {"SECCOMP_MODE_STRICT": (), "SECCOMP_MODE_FILTER": (_FPROG,)}
SECCOMP: Final[dict[str, Param]] = {
    "SECCOMP_SET_MODE_FILTER": _FPROG, "SECCOMP_GET_ACTION_AVAIL": Param("ptr", "struct", "seccomp_action"),
    "SECCOMP_GET_NOTIF_SIZES": Param("ptr", "outstruct", "seccomp_notif_sizes"),
}  # fmt: skip

_ARCH_PRCTL: Final[dict[str, Param | None]] = {
    "ARCH_SET_FS": PTR, "ARCH_SET_GS": PTR, "ARCH_GET_CPUID": None, "ARCH_SET_CPUID": DEC,
    "ARCH_GET_FS": Param("ptr", "outstruct", "pointer"), "ARCH_GET_GS": Param("ptr", "outstruct", "pointer"),
}  # fmt: skip


def _without_mode(arguments: Arguments, registers: Registers) -> Arguments:
    """open, openat: the mode counts only when a file may be made; flags are the argument before it."""
    return arguments if registers[len(arguments) - 2] & _CREATING else arguments[:-1]


def _mknod(arguments: Arguments, registers: Registers) -> Arguments:
    """The device number counts only for devices."""
    *others, mode, dev = arguments
    shown = [*others, mode._replace(kind=Param("uint", "file_mode"))]
    if registers[mode.register] & S_IFMT in (S_IFCHR, S_IFBLK):
        shown.append(dev._replace(kind=Param("uint", "device")))
    return shown


def _by_command(table: str, position: int, kinds: dict[str, Param | None], other: Param) -> Reshape:
    """The argument after the command at `position` is what the command says."""

    def reshape(arguments: Arguments, registers: Registers) -> Arguments:
        command = all_tables()[table].by_value.get(convert("uint", registers[position]), "")
        kind = kinds.get(command, other)
        after = [arguments[position + 1]._replace(kind=kind)] if kind else []
        return [*arguments[: position + 1], *after]

    return reshape


def _prctl(arguments: Arguments, registers: Registers) -> Arguments:
    option = all_tables()["prctl"].by_value.get(convert("int", registers[0]), "")
    kinds = PRCTL.get(option, _NOTHING)
    if option == "PR_SET_SECCOMP":
        mode = all_tables()["seccomp_mode"].by_value.get(registers[1], "")
        kinds = (_SECCOMP_MODE, *_SECCOMP_MODES.get(mode, (HEX, HEX, HEX)))
    rest = [argument._replace(kind=kind) for argument, kind in zip(arguments[1:], kinds, strict=False)]
    return [arguments[0], *rest]


def _seccomp(arguments: Arguments, registers: Registers) -> Arguments:
    """Only filters have flags; what the pointer leads to depends on the operation."""
    operation = all_tables()["seccomp"].by_value.get(registers[0] & 0xFFFF_FFFF, "")
    op, flags, args = arguments
    if operation != "SECCOMP_SET_MODE_FILTER":
        flags = flags._replace(kind=UHEX)
    return [op, flags, args._replace(kind=SECCOMP.get(operation, PTR))]


def _replace(kinds: dict[int, Param]) -> Reshape:
    """Show the arguments at these positions as other kinds."""
    return lambda arguments, registers: [
        argument._replace(kind=kinds.get(position, argument.kind)) for position, argument in enumerate(arguments)
    ]


def _drop_unless(position: int, mask: int, count: int) -> Reshape:
    """Show only `count` arguments unless the one at `position` has a bit of `mask`."""
    return lambda arguments, registers: arguments if registers[position] & mask else arguments[:count]


def _syslog(arguments: Arguments, registers: Registers) -> Arguments:
    """The buffer counts only for what reads or sets the level."""
    shown = [arguments[0]._replace(kind=Param("int", "commented", "syslog")), *arguments[1:]]
    return shown if registers[0] & 0xFFFF_FFFF in (2, 3, 4, 8) else shown[:1]


def _positioned(arguments: Arguments, registers: Registers) -> Arguments:
    """preadv and its kin: the upper half of the position is for 32-bit programs."""
    return [*arguments[:4], *arguments[5:]]


def _ioctl(arguments: Arguments, registers: Registers) -> Arguments:
    """An unknown request is taken apart instead of named."""
    fd, request, *rest = _BY_IOCTL(arguments, registers)
    return [fd, request._replace(kind=Param("uint", "ioctl")), *rest]


def _personality(arguments: Arguments, registers: Registers) -> Arguments:
    """All ones only asks."""
    asks = registers[0] & 0xFFFF_FFFF == 0xFFFF_FFFF
    return [arguments[0]._replace(kind=HEX)] if asks else arguments


def _futex(arguments: Arguments, registers: Registers) -> Arguments:
    """Each operation takes arguments of its own (man 2 futex)."""
    operation = all_tables()["futex"].by_value.get(registers[1] & FUTEX_CMD_MASK, "")
    kinds = FUTEX.get(operation, (UDEC, HEX, PTR, Param("uint", "hex")))
    address, op, *rest = arguments
    shown = [argument._replace(kind=kind) for argument, kind in zip(rest, kinds, strict=False) if kind]
    return [address, op._replace(kind=Param("uint", "futex_op")), *shown]


def _clone(arguments: Arguments, registers: Registers, arch: Arch) -> Arguments:
    """Labelled as strace does, and only what the flags make the kernel look at; the last two change places."""
    flags, stack, parent_tid, *last = arguments
    child_tid, tls = arch.clone_tail(0, 1)
    wanted = registers[flags.register]
    shown = [
        stack._replace(label="child_stack=", kind=PTR),
        flags._replace(label="flags=", kind=Param("ulong", "clone_flags")),
    ]
    if wanted & (CLONE_PARENT_SETTID | CLONE_PIDFD):
        shown.append(parent_tid._replace(label="parent_tid=", kind=OUT_INT))
    if wanted & CLONE_SETTLS:
        shown.append(last[tls]._replace(label="tls=", kind=PTR))
    if wanted & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID):
        shown.append(last[child_tid]._replace(label="child_tidptr=", kind=PTR))
    return shown


def _sockopt(arguments: Arguments, registers: Registers) -> Arguments:
    """The names of options are those of SOL_SOCKET."""
    fd, level, name, *rest = arguments
    return arguments if registers[1] & 0xFFFF_FFFF == SOL_SOCKET else [fd, level, name._replace(kind=UHEX), *rest]


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
    "futex": _futex,
    "getsockopt": _sockopt,
    "setsockopt": _sockopt,
    "getcwd": _replace({0: Param("ptr", "outpath")}),
    "getrandom": _replace({0: Param("ptr", "outhex")}),
    "ioctl": _ioctl,
    "ioprio_set": _replace({2: Param("int", "ioprio")}),
    "membarrier": _drop_unless(1, 1, 2),
    "mincore": _replace({2: Param("ptr", "outstruct", "mincore")}),
    "mknod": _mknod,
    "mknodat": _mknod,
    "mremap": _drop_unless(3, MREMAP_FIXED | MREMAP_DONTUNMAP, 4),
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
    "seccomp": _seccomp,
    "sendfile": _replace({2: Param("ptr", "inout", "off_t")}),
    "statx": _replace({2: Param("uint", "flags", "at_statx")}),
    "syslog": _syslog,
    "vmsplice": _replace({1: Param("ptr", "iovec", "nr_segs")}),
}


def reshape(name: str, arguments: Arguments, registers: Registers, arch: Arch) -> Arguments:
    """The arguments of this call as they are shown."""
    if name == "clone":
        return _clone(arguments, registers, arch)
    change = _RESHAPES.get(name)
    return change(arguments, registers) if change else arguments
