"""`siginfo_t` as bytes, the same on both architectures (include/uapi/asm-generic/siginfo.h)."""

from __future__ import annotations

import struct
from typing import Final

from kernel_model.abi import signal as abi
from kernel_model.abi.signal import SIGINFO_BYTES
from kernel_model.signal.sighand import SigInfo

_INT: Final = struct.Struct("<i")
_HEAD: Final = struct.Struct("<iii")
_WHOLE: Final = {
    ("pid", 2): struct.Struct("<iii4xiI104x"), ("addr", 1): struct.Struct("<iii4xQ104x"),
    ("call_addr", 3): struct.Struct("<iii4xQiI96x"),
}  # fmt: skip
"""By the first field and their number, the whole structure of kill(2) and tgkill(2), of a fault, and of SIGSYS."""
_FIELDS: Final = {
    "pid": struct.Struct("<i"), "uid": struct.Struct("<I"), "value": struct.Struct("<q"),
    "status": struct.Struct("<i"), "utime": struct.Struct("<q"), "stime": struct.Struct("<q"),
    "tid": struct.Struct("<i"), "overrun": struct.Struct("<i"), "addr": struct.Struct("<Q"),
    "band": struct.Struct("<q"), "fd": struct.Struct("<i"),
    "call_addr": struct.Struct("<Q"), "syscall": struct.Struct("<i"), "arch": struct.Struct("<I"),
}  # fmt: skip
_OFFSETS: Final = {
    "pid": 16, "uid": 20, "value": 24, "status": 24, "utime": 32, "stime": 40, "tid": 16, "overrun": 20, "addr": 16,
    "band": 16, "fd": 24, "call_addr": 16, "syscall": 24, "arch": 28,
}  # fmt: skip


def pack(info: SigInfo) -> bytes:
    """The 128 bytes that a handler or rt_sigtimedwait(2) sees."""
    if info.raw:
        return info.raw.ljust(SIGINFO_BYTES, b"\0")
    fields = info.fields
    if fields:
        whole = _WHOLE.get((fields[0][0], len(fields)))
        if whole is not None:
            return whole.pack(info.signo, info.errno, info.code, *[value for _, value in fields])
    data = bytearray(SIGINFO_BYTES)
    _HEAD.pack_into(data, 0, info.signo, info.errno, info.code)
    for name, value in fields:
        _FIELDS[name].pack_into(data, _OFFSETS[name], value)
    return bytes(data)


_SI_ASYNCNL: Final = -60
_SI_DETHREAD: Final = -7
_NSIGPOLL: Final = 6
_MAX_CODE: Final = {
    abi.SIGILL: 11, abi.SIGFPE: 15, abi.SIGSEGV: 10, abi.SIGBUS: 5, abi.SIGTRAP: 6, abi.SIGCHLD: 6, abi.SIGIO: 6,
    abi.SIGSYS: 2,
}  # fmt: skip
"""The highest si_code of each signal that has its own (kernel/signal.c:sig_sicodes)."""


def has_known_layout(signal: int, code: int) -> bool:
    """Does Linux know what lies behind this si_code? (known_siginfo_layout())"""
    if code == abi.SI_KERNEL:
        return True
    if code > abi.SI_USER:
        return code <= _MAX_CODE.get(signal, _NSIGPOLL)
    return code >= _SI_DETHREAD or code == _SI_ASYNCNL


def unpack(signal: int, data: bytes) -> SigInfo:
    """What a program queues with rt_sigqueueinfo(2), whatever signal number it wrote into it."""
    _, error, code = _HEAD.unpack_from(data)
    fields = tuple((name, _FIELDS[name].unpack_from(data, _OFFSETS[name])[0]) for name in ("pid", "uid", "value"))
    return SigInfo(signal, code, error, fields, _INT.pack(signal) + data[4:])


_FAULTS: Final = frozenset((abi.SIGILL, abi.SIGFPE, abi.SIGSEGV, abi.SIGBUS, abi.SIGTRAP))
_OWN_LAYOUTS: Final = {abi.SIGCHLD: "chld", abi.SIGSYS: "sys"}
_SI_SIGIO: Final = -5
_BUS_MCEERR: Final = (4, 5)


def layout_of(signal: int, code: int) -> str:
    """Which fields a siginfo has: kill, timer, poll, fault, mceerr, chld, rt or sys.

    kernel/signal.c:siginfo_layout()
    """
    if abi.SI_USER < code < abi.SI_KERNEL:
        if code <= _MAX_CODE.get(signal, 0):
            if signal == abi.SIGBUS and code in _BUS_MCEERR:
                return "mceerr"
            return "fault" if signal in _FAULTS else _OWN_LAYOUTS.get(signal, "poll")
        return "poll" if code <= _NSIGPOLL else "kill"
    if code == abi.SI_TIMER:
        return "timer"
    if code == _SI_SIGIO:
        return "poll"
    return "rt" if code < 0 else "kill"
