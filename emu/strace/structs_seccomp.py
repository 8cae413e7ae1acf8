"""The structures of seccomp(2), and what a SIGSYS says of a call; see `emu.strace.structs`."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final

from emu.strace import tables
from emu.strace.text import pointer
from kernel_model.abi.seccomp import NOTIF_SIZES, SOCK_FPROG
from kernel_model.syscalls.table import names

if TYPE_CHECKING:
    from emu.strace.call import Call

Shower = Callable[["Call", int], str]

_ACTION: Final = Struct("<I")


def _sock_fprog(call: Call, address: int) -> str:
    length, program = call.unpack(SOCK_FPROG, address)
    return f"{{len={length}, filter={pointer(program)}}}"


def _action(call: Call, address: int) -> str:
    (action,) = call.unpack(_ACTION, address)
    return f"[{tables.enum('seccomp_ret', action)}]"


def _notif_sizes(call: Call, address: int) -> str:
    notif, response, data = call.unpack(NOTIF_SIZES, address)
    return f"{{seccomp_notif={notif}, seccomp_notif_resp={response}, seccomp_data={data}}}"


def refused_call(number: int, arch: int) -> dict[str, object]:
    """The fields of a SIGSYS's siginfo that tell which call it was: its number, and an AUDIT_ARCH_*."""
    name = tables.enum("audit_arch", arch)
    known = names(name.removeprefix("AUDIT_ARCH_").lower()) if name.startswith("AUDIT_ARCH_") else {}
    return {"si_syscall": f"__NR_{known[number].name}" if number in known else number, "si_arch": name}


STRUCTS: Final[dict[str, Shower]] = {
    "seccomp_action": _action,
    "seccomp_notif_sizes": _notif_sizes,
    "sock_fprog": _sock_fprog,
}
