"""The structures of identity, limits, scheduling and signals; see `emu.strace.structs`."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final

from emu.strace import tables
from emu.strace.structs_seccomp import refused_call
from emu.strace.text import hexadecimal, pointer
from kernel_model.abi.errno import errno_name
from kernel_model.abi.futex import FUTEX_WAITV
from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT, SYSINFO, TMS

if TYPE_CHECKING:
    from emu.strace.call import Call

Shower = Callable[["Call", int], str]

_INT: Final = Struct("<i")
_UINT: Final = Struct("<I")
_MASK: Final = Struct("<Q")
_TIMEVALS: Final = Struct("<4q")
_SCHED_ATTR: Final = Struct("<IIQiIQQQ")
_SCHED_UTIL: Final = Struct("<II")
_CAP_HEADER: Final = Struct("<Ii")
_CAP_DATA: Final = Struct("<III")
_SIGACTION: Final = Struct("<QQQQ")
_FUTEXES_SHOWN: Final = 8
_STACK: Final = Struct("<Qi4xQ")
_CLONE_ARGS: Final = Struct("<8Q")
_CLONE_PIDFD, _CLONE_SETTLS, _CLONE_PARENT_SETTID = 0x1000, 0x80000, 0x100000
_CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x200000, 0x1000000
_GROUPS_SHOWN: Final = 32
_NSIG: Final = 64
_SIGRTMIN: Final = 32
_CAPABILITIES: Final = 64
_FAULTS: Final = ("SIGILL", "SIGFPE", "SIGSEGV", "SIGBUS")
SIGINFO_BYTES: Final = 128


def _struct(**values: object) -> str:
    return "{" + ", ".join(f"{name}={value}" for name, value in values.items()) + "}"


# -- identity --------------------------------------------------------------------------------------------------
def _uid(call: Call, address: int) -> str:
    return f"[{call.unpack(_UINT, address)[0]}]"


def _gid_list(call: Call, address: int) -> str:
    """getgroups(2) fills in as many as its result says; setgroups(2) gives as many as its first argument."""
    count = call.values[0] if call.result is None else call.result
    data = call.read(address, 4 * max(0, min(count, _GROUPS_SHOWN)))
    words = [str(gid) for (gid,) in _UINT.iter_unpack(data)]
    return f"[{', '.join([*words, '...'] if count > _GROUPS_SHOWN else words)}]"


def _cap_header(call: Call, address: int) -> str:
    version, pid = call.unpack(_CAP_HEADER, address)
    return _struct(version=tables.enum("cap_version", version), pid=pid)


def _cap_data(call: Call, address: int) -> str:
    (version,) = call.unpack(_UINT, call.values[0])
    low = call.unpack(_CAP_DATA, address)
    high = call.unpack(_CAP_DATA, address + _CAP_DATA.size) if version != 0x1998_0330 else (0, 0, 0)
    sets = [_capabilities(low[i] | high[i] << 32) for i in range(3)]
    return _struct(effective=sets[0], permitted=sets[1], inheritable=sets[2])


def _capabilities(bits: int) -> str:
    words = [f"1<<{tables.enum('cap', bit)}" for bit in range(_CAPABILITIES) if bits >> bit & 1]
    return "|".join(words) or "0"


# -- processes -------------------------------------------------------------------------------------------------
def _wait_status(call: Call, address: int) -> str:
    """What wait4(2) tells, as the macros of man 2 wait take it apart; nothing where WNOHANG found nobody."""
    if call.result == 0:
        return pointer(address)
    (status,) = call.unpack(_UINT, address)
    signal = status & 0x7F
    if status == 0xFFFF:
        text = "WIFCONTINUED(s)"
    elif status & 0xFF == 0x7F:
        text = f"WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(status >> 8 & 0xFF)}"
    elif signal:
        core = " && WCOREDUMP(s)" if status & 0x80 else ""
        text = f"WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(signal)}{core}"
    else:
        text = f"WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}"
    return f"[{{{text}}}]"


def _clone_args(call: Call, address: int) -> str:
    if call.values[1] < _CLONE_ARGS.size:
        return pointer(address)
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls = call.unpack(_CLONE_ARGS, address)
    words: dict[str, object] = {"flags": tables.flags("clone", flags)}
    if flags & _CLONE_PIDFD:
        words["pidfd"] = pointer(pidfd)
    if flags & (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID):
        words["child_tid"] = pointer(child_tid)
    if flags & _CLONE_PARENT_SETTID:
        words["parent_tid"] = pointer(parent_tid)
    words |= {"exit_signal": signal_name(exit_signal), "stack": pointer(stack), "stack_size": hexadecimal(stack_size)}
    if flags & _CLONE_SETTLS:
        words["tls"] = pointer(tls)
    return _struct(**words)


def _futex_waitv(call: Call, address: int) -> str:
    count = call.values[1]
    shown = []
    for index in range(min(count, _FUTEXES_SHOWN)):
        val, uaddr, flags, _reserved = call.unpack(FUTEX_WAITV, address + FUTEX_WAITV.size * index)
        words = {"val": hexadecimal(val), "uaddr": pointer(uaddr), "flags": tables.flags("futex2", flags)}
        shown.append(_struct(**words))
    return f"[{', '.join(shown + ['...'] * (count > _FUTEXES_SHOWN))}]"


# -- limits and scheduling -------------------------------------------------------------------------------------
def _limit(value: int) -> str:
    if value == RLIM_INFINITY:
        return "RLIM64_INFINITY"
    return f"{value // 1024}*1024" if value > 1024 and not value % 1024 else str(value)


def _rlimit(call: Call, address: int) -> str:
    current, maximum = call.unpack(RLIMIT, address)
    return _struct(rlim_cur=_limit(current), rlim_max=_limit(maximum))


def _rusage(call: Call, address: int) -> str:
    user_s, user_us, system_s, system_us = call.unpack(_TIMEVALS, address)
    user, system = _struct(tv_sec=user_s, tv_usec=user_us), _struct(tv_sec=system_s, tv_usec=system_us)
    return f"{{ru_utime={user}, ru_stime={system}, ...}}"


def _tms(call: Call, address: int) -> str:
    user, system, children_user, children_system = call.unpack(TMS, address)
    return _struct(tms_utime=user, tms_stime=system, tms_cutime=children_user, tms_cstime=children_system)


def _sysinfo(call: Call, address: int) -> str:
    values = call.unpack(SYSINFO, address)
    uptime, *loads = values[:4]
    total, free, shared, buffer, total_swap, free_swap, procs, _, high, free_high, unit = values[4:]
    return _struct(
        uptime=uptime, loads=f"[{', '.join(map(str, loads))}]", totalram=total, freeram=free, sharedram=shared,
        bufferram=buffer, totalswap=total_swap, freeswap=free_swap, procs=procs, totalhigh=high,
        freehigh=free_high, mem_unit=unit,
    )  # fmt: skip


def _sched_param(call: Call, address: int) -> str:
    return f"[{call.unpack(_INT, address)[0]}]"


def _sched_attr(call: Call, address: int) -> str:
    size, policy, flags, nice, priority, runtime, deadline, period = call.unpack(_SCHED_ATTR, address)
    words: dict[str, object] = {
        "size": size, "sched_policy": tables.enum("sched_policy", policy),
        "sched_flags": tables.flags("sched_flags", flags), "sched_nice": nice, "sched_priority": priority,
        "sched_runtime": runtime, "sched_deadline": deadline, "sched_period": period,
    }  # fmt: skip
    if size >= _SCHED_ATTR.size + _SCHED_UTIL.size:
        words["sched_util_min"], words["sched_util_max"] = call.unpack(_SCHED_UTIL, address + _SCHED_ATTR.size)
    return _struct(**words)


# -- signals ---------------------------------------------------------------------------------------------------
def signal_name(signal: int) -> str:
    """`SIGINT`, `SIGRT_3`; the number of what is no signal."""
    if _SIGRTMIN <= signal <= _NSIG:
        return f"SIGRT_{signal - _SIGRTMIN}" if signal > _SIGRTMIN else "SIGRTMIN"
    return tables.all_tables()["signal"].by_value.get(signal, str(signal))


def signal_set(mask: int) -> str:
    """`[INT USR1]`, or `~[...]` of those that are absent when most are in it."""
    inverted = mask.bit_count() >= _NSIG * 2 // 3
    shown = ~mask if inverted else mask
    names = [signal_name(bit + 1).removeprefix("SIG") for bit in range(_NSIG) if shown >> bit & 1]
    return f"{'~' if inverted else ''}[{' '.join(names)}]"


def _sigset(call: Call, address: int) -> str:
    return signal_set(call.unpack(_MASK, address)[0])


def _sigaction(call: Call, address: int) -> str:
    handler, flags, restorer, mask = call.unpack(_SIGACTION, address)
    words: dict[str, object] = {
        "sa_handler": {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler) or f"{handler:#x}",
        "sa_mask": signal_set(mask),
        "sa_flags": tables.flags("sa_flags", flags & 0xFFFF_FFFF),
    }
    if flags & 0x0400_0000:
        words["sa_restorer"] = pointer(restorer)
    return _struct(**words)


def _stack(call: Call, address: int) -> str:
    sp, flags, size = call.unpack(_STACK, address)
    return _struct(ss_sp=pointer(sp), ss_flags=tables.flags("ss_flags", flags & 0xFFFF_FFFF), ss_size=size)


def _siginfo(call: Call, address: int) -> str:
    return siginfo(call.read(address, SIGINFO_BYTES))


def signal_code(signal: int, code: int) -> str:
    """`SEGV_MAPERR`, `SI_USER`: the codes above 0 belong to the signal."""
    table = f"si_code_{signal_name(signal)}"
    if 0 < code < 0x80 and table in tables.all_tables():
        return tables.enum(table, code)
    return tables.enum("si_code", code)


def siginfo(data: bytes) -> str:
    """`{si_signo=..., si_code=..., ...}` of the 128 bytes of a siginfo_t."""
    signal, error, code = Struct("<iii").unpack_from(data)
    if not signal:
        return "{}"
    words: dict[str, object] = {"si_signo": signal_name(signal), "si_code": signal_code(signal, code)}
    if error:
        words["si_errno"] = errno_name(error)
    first, second, third = Struct("<iIi").unpack_from(data, 16)
    address, value = Struct("<Q").unpack_from(data, 16)[0], Struct("<Q").unpack_from(data, 24)[0]
    name = signal_name(signal)
    if code == -2:
        words |= {"si_timerid": first, "si_overrun": second}
    elif (code > 0 and name in _FAULTS) or (0 < code < 0x80 and name == "SIGTRAP"):
        words["si_addr"] = pointer(address)
    elif 0 < code < 0x80 and name == "SIGCHLD":
        status = str(third) if code == 1 else signal_name(third)
        user, system = Struct("<qq").unpack_from(data, 32)
        words |= {"si_pid": first, "si_uid": second, "si_status": status, "si_utime": user, "si_stime": system}
    elif code > 0 and name == "SIGSYS":
        number, arch = Struct("<iI").unpack_from(data, 24)
        words |= {"si_call_addr": pointer(address), **refused_call(number, arch)}
    elif code <= 0 or first or second:
        words |= {"si_pid": first, "si_uid": second}
    if code in (-1, -2, -3) and value:
        words |= {"si_int": third, "si_ptr": pointer(value)}
    return _struct(**words)


STRUCTS: Final[dict[str, Shower]] = {
    "cap_data": _cap_data,
    "cap_header": _cap_header,
    "clone_args": _clone_args,
    "futex_waitv": _futex_waitv,
    "gid_list": _gid_list,
    "rlimit": _rlimit,
    "rusage": _rusage,
    "sched_attr": _sched_attr,
    "sched_param": _sched_param,
    "sigaction": _sigaction,
    "siginfo": _siginfo,
    "sigset": _sigset,
    "stack_t": _stack,
    "sysinfo": _sysinfo,
    "tms": _tms,
    "uid": _uid,
    "wait_status": _wait_status,
}
