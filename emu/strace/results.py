"""What stands after `=`: the number in its form, the error, and what the number means where it means something."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from emu.strace import structs, tables
from emu.strace.structs_task import signal_name
from emu.strace.text import date, hexadecimal, octal, pointer
from kernel_model.abi import errno
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from emu.strace.call import Call

# Codes that never reach a program: the call is made again, or ends with EINTR, as the signal's handler decides.
_RESTARTS: Final = {
    errno.ERESTARTSYS: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    errno.ERESTARTNOINTR: "ERESTARTNOINTR (To be restarted)",
    errno.ERESTARTNOHAND: "ERESTARTNOHAND (To be restarted if no handler)",
    errno.ERESTART_RESTARTBLOCK: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}


def show_result(call: Call, returns: str) -> str:
    """The text after `= ` of a call that is over. `returns`: as the call's declaration says."""
    result = call.result
    if result is None:
        return "?"
    if -errno.MAX_ERRNO <= result < 0:
        if -result in _RESTARTS:
            return f"? {_RESTARTS[-result]}"
        return f"-1 {errno.errno_name(-result)} ({os.strerror(-result)})"
    meaning = _MEANINGS.get(call.name)
    try:
        text = meaning(call, result) if meaning else None
    except SyscallError:
        text = None
    if text is not None:
        return text
    return RESULT_FORMS[returns](result)


RESULT_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "int": str,
    "fd": str,
    "hex": hexadecimal,
    "oct": octal,
    "ptr": pointer,
    "signal": lambda result: f"{result} ({signal_name(result)})",
}
"""By what a declaration says of its result (`kernel_model.syscalls.declare.syscall`)."""


def _poll(call: Call, result: int) -> str:
    if not result:
        return "0 (Timeout)"
    left = ""
    if call.name == "ppoll" and call.values[2]:
        left = f", left {structs.timespec(call, call.values[2])}"
    return f"{result} ({structs.poll_entries(call, call.values[0], returned=True)}{left})"


def _select(call: Call, result: int) -> str:
    if not result:
        return "0 (Timeout)"
    words = []
    for word, address in zip(("in", "out", "except"), call.values[1:4], strict=True):
        if address and (shown := structs.fd_set(call, address)) != "[]":
            words.append(f"{word} {shown}")
    if call.values[4]:
        show = structs.timeval if call.name == "select" else structs.timespec
        words.append(f"left {show(call, call.values[4])}")
    return f"{result} ({', '.join(words)})"


def _fcntl(call: Call, result: int) -> str | None:
    match tables.all_tables()["fcntl_cmd"].by_value.get(call.values[1]):
        case "F_GETFL":
            flags = tables.flags("open", call.arch.open_flags_from_user(result))
            return f"{result:#x} (flags {flags})"
        case "F_GETFD" if result:
            return f"{result:#x} (flags {tables.flags('fd_flags', result)})"
        case "F_GET_SEALS" if result:
            return f"{result:#x} (seals {tables.flags('seals', result)})"
        case "F_GETLEASE":
            return f"{hexadecimal(result)} ({tables.enum('lock_type', result)})"
        case "F_GETSIG" if result:
            return f"{result} ({signal_name(result)})"
        case _:
            return None


def _prctl(call: Call, result: int) -> str | None:
    match tables.all_tables()["prctl"].by_value.get(call.values[0]):
        case "PR_GET_DUMPABLE":
            return f"{result} ({tables.enum('suid_dump', result)})"
        case "PR_GET_SECUREBITS" if result:
            return f"{result:#x} ({tables.flags('secbits', result)})"
        case "PR_MCE_KILL_GET":
            return f"{result} ({tables.enum('pr_mce_kill', result)})"
        case "PR_GET_SPECULATION_CTRL":
            return f"{hexadecimal(result)} ({tables.flags('pr_spec_result', result)})"
        case "PR_GET_TAGGED_ADDR_CTRL":
            return f"{hexadecimal(result)} ({tables.flags('pr_tagged_addr', result)})"
        case _:
            return None


def _membarrier(call: Call, result: int) -> str | None:
    return f"{result:#x} ({tables.flags('membarrier', result)})" if not call.values[0] and result else None


def _named(table: str) -> Callable[[Call, int], str | None]:
    names = tables.all_tables()[table].by_value
    return lambda call, result: f"{result} ({names[result]})" if result in names else None


def _priority(call: Call, result: int) -> str:
    kind = tables.enum("ioprio_class", result >> 13)
    return f"{hexadecimal(result)} (IOPRIO_PRIO_VALUE({kind}, {result & 0x1FFF}))"


def _personality(call: Call, result: int) -> str:
    return f"{hexadecimal(result)} ({tables.flags('personality', result)})"


_MEANINGS: Final[dict[str, Callable[[Call, int], str | None]]] = {
    "adjtimex": _named("adjtimex_state"),
    "clock_adjtime": _named("adjtimex_state"),
    "fcntl": _fcntl,
    "ioprio_get": _priority,
    "membarrier": _membarrier,
    "personality": _personality,
    "poll": _poll,
    "ppoll": _poll,
    "prctl": _prctl,
    "pselect6": _select,
    "sched_getscheduler": _named("sched_policy"),
    "select": _select,
    "time": lambda call, result: f"{result} ({date(result)[4:-3]})",
}
