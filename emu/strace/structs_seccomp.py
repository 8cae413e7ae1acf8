"""The structures of seccomp(2), and what a SIGSYS says of a call; see `emu.strace.structs`."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final

from emu.strace import tables
from emu.strace.text import hexadecimal, pointer
from kernel_model.abi.errno import errno_name
from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.abi.seccomp import (
    NOTIF_SIZES,
    SECCOMP_DATA,
    SECCOMP_NOTIF_ADDFD,
    SECCOMP_NOTIF_HEAD,
    SECCOMP_NOTIF_RESP,
    SOCK_FPROG,
)
from kernel_model.syscalls.table import names

if TYPE_CHECKING:
    from emu.strace.call import Call

Shower = Callable[["Call", int], str]

_ACTION: Final = Struct("<I")
_ID: Final = Struct("<Q")


def _sock_fprog(call: Call, address: int) -> str:
    length, program = call.unpack(SOCK_FPROG, address)
    return f"{{len={length}, filter={pointer(program)}}}"


def _action(call: Call, address: int) -> str:
    (action,) = call.unpack(_ACTION, address)
    return f"[{tables.enum('seccomp_ret', action)}]"


def _notif_sizes(call: Call, address: int) -> str:
    notif, response, data = call.unpack(NOTIF_SIZES, address)
    return f"{{seccomp_notif={notif}, seccomp_notif_resp={response}, seccomp_data={data}}}"


def _number(number: int, arch: str) -> str:
    """`__NR_getppid`; the plain number where there is no such call."""
    known = names(arch.removeprefix("AUDIT_ARCH_").lower()) if arch.startswith("AUDIT_ARCH_") else {}
    return f"__NR_{known[number].name}" if number in known else str(number & 0xFFFF_FFFF)


def refused_call(number: int, arch: int) -> dict[str, object]:
    """The fields of a SIGSYS's siginfo that tell which call it was: its number, and an AUDIT_ARCH_*."""
    name = tables.enum("audit_arch", arch)
    return {"si_syscall": _number(number, name), "si_arch": name}


def _notif(call: Call, address: int) -> str:
    number, pid, flags = call.unpack(SECCOMP_NOTIF_HEAD, address)
    nr, arch, ip, *args = call.unpack(SECCOMP_DATA, address + SECCOMP_NOTIF_HEAD.size)
    name = tables.enum("audit_arch", arch)
    shown = ", ".join(map(hexadecimal, args))
    data = f"{{nr={_number(nr, name)}, arch={name}, instruction_pointer={pointer(ip)}, args=[{shown}]}}"
    return f"{{id={hexadecimal(number)}, pid={pid}, flags={flags}, data={data}}}"


def _notif_resp(call: Call, address: int) -> str:
    number, val, error, flags = call.unpack(SECCOMP_NOTIF_RESP, address)
    error = f"-{errno_name(-error)}" if -4096 < error < 0 else str(error)
    flags = tables.flags("seccomp_user_notif", flags)
    return f"{{id={hexadecimal(number)}, val={val}, error={error}, flags={flags}}}"


def _notif_addfd(call: Call, address: int) -> str:
    number, flags, srcfd, newfd, newfd_flags = call.unpack(SECCOMP_NOTIF_ADDFD, address)
    words = f"flags={tables.flags('seccomp_addfd', flags)}, srcfd={srcfd}, newfd={newfd}"
    cloexec = "O_CLOEXEC" if newfd_flags == O_CLOEXEC else hexadecimal(newfd_flags)
    return f"{{id={hexadecimal(number)}, {words}, newfd_flags={cloexec}}}"


def _notif_id(call: Call, address: int) -> str:
    return f"[{hexadecimal(*call.unpack(_ID, address))}]"


STRUCTS: Final[dict[str, Shower]] = {
    "seccomp_action": _action,
    "seccomp_notif": _notif,
    "seccomp_notif_addfd": _notif_addfd,
    "seccomp_notif_id": _notif_id,
    "seccomp_notif_resp": _notif_resp,
    "seccomp_notif_sizes": _notif_sizes,
    "sock_fprog": _sock_fprog,
}
