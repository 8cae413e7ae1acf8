"""`siginfo_t` as bytes, the same on both architectures (include/uapi/asm-generic/siginfo.h)."""

from __future__ import annotations

import struct
from typing import Final

from kernel_model.abi.signal import SIGINFO_BYTES
from kernel_model.signal.sighand import SigInfo

_HEAD: Final = struct.Struct("<iii")
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
    data = bytearray(SIGINFO_BYTES)
    _HEAD.pack_into(data, 0, info.signo, info.errno, info.code)
    for name, value in info.fields:
        _FIELDS[name].pack_into(data, _OFFSETS[name], value)
    return bytes(data)
