"""The structures of sockets; see `emu.strace.structs`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from emu.strace import tables
from emu.strace.structs_task import Shower
from emu.strace.text import STRING_LIMIT, pointer, quote
from kernel_model.abi import socket as abi
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from emu.strace.call import Call

_INT: Final = Struct("<i")
_UINT: Final = Struct("<I")
_LINGER: Final = Struct("<ii")
_IOVEC: Final = Struct("<QQ")
_SHOWN: Final = 32
_CONTROL_SHOWN: Final = 4096
_RECEIVING: Final = ("recvmsg", "recvmmsg")


def _sockaddr(call: Call, address: int) -> str:
    """What a getsockname(2) filled in, or what a call was given; the length is the argument behind."""
    index = call.values.index(address) + 1
    length = call.values[index]
    if call.arguments[index].kind.show == "inout":
        (length,) = call.unpack(_INT, length)
    if length <= 0:
        return pointer(address)
    data = call.read(address, min(length, abi.SOCKADDR_STORAGE_BYTES))
    if len(data) < abi.SA_FAMILY.size:
        return quote(data)
    (family,) = abi.SA_FAMILY.unpack_from(data)
    text = f"sa_family={tables.enum('address_family', family)}"
    rest = data[abi.SA_FAMILY.size :]
    if not rest:
        return f"{{{text}}}"
    if family == abi.AF_UNIX:
        sign, path = ("", rest.split(b"\0", 1)[0]) if rest[0] else ("@", rest[1:])
        return f"{{{text}, sun_path={sign}{quote(path)}}}"
    return f"{{{text}, sa_data={quote(rest)}}}"


def _sockopt(call: Call, address: int) -> str:
    """The value of an option, as its name says; its length is the argument behind."""
    _, level, name, _, length = call.values
    if call.arguments[4].kind.show == "inout":
        (length,) = call.unpack(_INT, length)
    if length <= 0:
        return pointer(address)
    if level == abi.SOL_SOCKET:
        if name == abi.SO_PEERCRED and length == abi.UCRED.size:
            return _ucred(call.read(address, length))
        if name == abi.SO_LINGER and length == _LINGER.size:
            on, seconds = call.unpack(_LINGER, address)
            return f"{{l_onoff={on}, l_linger={seconds}}}"
    if length == _INT.size:
        return f"[{call.unpack(_INT, address)[0]}]"
    return quote(call.read(address, min(length, STRING_LIMIT)), more=length > STRING_LIMIT)


def _ucred(data: bytes) -> str:
    pid, uid, gid = abi.UCRED.unpack(data)
    return f"{{pid={pid}, uid={uid}, gid={gid}}}"


def _socklen(call: Call, address: int) -> str:
    return f"[{call.unpack(_INT, address)[0]}]"


def _msghdr(call: Call, address: int) -> str:
    return _message(call, address, call.result if call.name in _RECEIVING else None)


def _message(call: Call, address: int, moved: int | None) -> str:
    """One message; of a received one as many bytes as came."""
    name, name_length, iov, count, control, control_length, flags = call.unpack(abi.MSGHDR, address)
    shown = [f"msg_name={pointer(name)}", f"msg_namelen={name_length}"]
    shown += [f"msg_iov={_vector(call, iov, count, moved)}", f"msg_iovlen={count}"]
    if control_length and control:
        shown.append(f"msg_control={_control(call, control, control_length)}")
    shown += [f"msg_controllen={control_length}", f"msg_flags={tables.flags('msg', flags)}"]
    return f"{{{', '.join(shown)}}}"


def _vector(call: Call, iov: int, count: int, moved: int | None) -> str:
    if not iov:
        return "NULL"
    items = []
    try:
        for index in range(min(count, _SHOWN)):
            base, length = call.unpack(_IOVEC, iov + _IOVEC.size * index)
            size = length if moved is None else min(length, moved)
            if moved is not None:
                moved -= size
            data = quote(call.read(base, min(size, STRING_LIMIT)), more=size > STRING_LIMIT) if base else "NULL"
            items.append(f"{{iov_base={data}, iov_len={length}}}")
    except SyscallError:
        return pointer(iov)
    return f"[{', '.join(items + ['...'] * (count > _SHOWN))}]"


def _control(call: Call, control: int, length: int) -> str:
    """The ancillary data, item by item."""
    data = call.read(control, min(length, _CONTROL_SHOWN))
    header = abi.CMSGHDR
    items = []
    offset = 0
    while offset + header.size <= len(data):
        size, level, kind = header.unpack_from(data, offset)
        if size < header.size:
            break
        words = [f"cmsg_len={size}", f"cmsg_level={tables.enum('socket_level', level)}"]
        value = data[offset + header.size : offset + size]
        if level == abi.SOL_SOCKET:
            words.append(f"cmsg_type={tables.enum('scm', kind)}")
            if kind == abi.SCM_RIGHTS:
                whole = value[: len(value) & -_INT.size]
                words.append(f"cmsg_data=[{', '.join(str(fd) for (fd,) in _INT.iter_unpack(whole))}]")
            elif kind == abi.SCM_CREDENTIALS and len(value) == abi.UCRED.size:
                words.append(f"cmsg_data={_ucred(value)}")
        else:
            words.append(f"cmsg_type={kind:#x}")
        items.append(f"{{{', '.join(words)}}}")
        offset += size + 7 & -8
    return f"[{', '.join(items)}]" if items else pointer(control)


def _mmsghdr(call: Call, address: int) -> str:
    """As many messages as the result says."""
    items = []
    for index in range(min(call.result or 0, _SHOWN)):
        one = address + abi.MMSGHDR_BYTES * index
        (moved,) = call.unpack(_UINT, one + abi.MSGHDR.size)
        text = _message(call, one, moved if call.name in _RECEIVING else None)
        items.append(f"{{msg_hdr={text}, msg_len={moved}}}")
    return f"[{', '.join(items)}]"


STRUCTS: Final[dict[str, Shower]] = {
    "mmsghdr": _mmsghdr,
    "msghdr": _msghdr,
    "sockaddr": _sockaddr,
    "socklen": _socklen,
    "sockopt": _sockopt,
}
