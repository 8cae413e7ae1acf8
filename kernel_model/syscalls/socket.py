"""Sockets: making them, their names and options (net/socket.c, net/core/sock.c). Messages are in `message`."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import socket as abi
from kernel_model.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.abi.time import NSEC_PER_SEC, NSEC_PER_USEC, TIMEVAL, USEC_PER_SEC
from kernel_model.cred import CAP_NET_ADMIN
from kernel_model.fs.anon import install
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user, put_user
from kernel_model.net.socket import WMEM_MAX, Socket, SocketFile
from kernel_model.net.unix import UnixSocket, unix_pair
from kernel_model.ns.pid import pid_vnr
from kernel_model.syscalls.declare import Fd, Int, syscall
from kernel_model.syscalls.kinds import (
    FdPair,
    InOutLength,
    OutSockAddr,
    OutSockOpt,
    ShutdownHow,
    SockAddr,
    SocketFamily,
    SocketLevel,
    SocketOption,
    SocketType,
    SockOpt,
)
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

_INT: Final = Struct("<i")
_FD_PAIR: Final = Struct("<ii")
_LINGER: Final = Struct("<ii")
_MIN_SNDBUF: Final = 4608
_MIN_RCVBUF: Final = 2304
_UNIX_TYPES: Final = {
    abi.SOCK_STREAM: abi.SOCK_STREAM,
    abi.SOCK_DGRAM: abi.SOCK_DGRAM,
    abi.SOCK_RAW: abi.SOCK_DGRAM,
    abi.SOCK_SEQPACKET: abi.SOCK_SEQPACKET,
}
_MAX_PRIORITY: Final = 6


def sockfd_lookup(task: Task, fd: int) -> SocketFile:
    """The socket behind `fd`; EBADF, ENOTSOCK."""
    file = fdget(task, fd)
    if not isinstance(file, SocketFile):
        raise SyscallError(errno.ENOTSOCK)
    return file


def _check_type_flags(kind: int) -> None:
    """SOCK_CLOEXEC and SOCK_NONBLOCK may go with a type."""
    if kind & ~abi.SOCK_TYPE_MASK & ~(O_CLOEXEC | O_NONBLOCK):
        raise SyscallError(errno.EINVAL)


def _check_kind(family: int, kind: int, protocol: int) -> int:
    """The type that such a socket of AF_UNIX has, without the flags; errors as __sock_create() has them."""
    _check_type_flags(kind)
    kind &= abi.SOCK_TYPE_MASK
    if not 0 <= family < abi.NPROTO:
        raise SyscallError(errno.EAFNOSUPPORT)
    if kind >= abi.SOCK_MAX:
        raise SyscallError(errno.EINVAL)
    if family != abi.AF_UNIX:
        # QUIRK: There is no network: sockets of all families but AF_UNIX are refused with EAFNOSUPPORT.
        raise SyscallError(errno.EAFNOSUPPORT)
    if protocol not in (0, abi.AF_UNIX):
        raise SyscallError(errno.EPROTONOSUPPORT)
    if kind not in _UNIX_TYPES:
        raise SyscallError(errno.ESOCKTNOSUPPORT)
    return _UNIX_TYPES[kind]


@syscall(returns="fd", partial="AF_UNIX only; such a socket can't be bound, and connects to nobody.")
def sys_socket(task: Task, family: SocketFamily, type: SocketType, protocol: Int) -> int:
    """socket(2)."""
    kind = _check_kind(family, type, protocol)
    return install(task, SocketFile(task, UnixSocket(task.kernel, kind), type), type)


@syscall()
def sys_socketpair(task: Task, family: SocketFamily, type: SocketType, protocol: Int, usockvec: FdPair) -> int:
    """socketpair(2)."""
    _check_type_flags(type)
    # the numbers are told before there is anything behind them
    limit = task.signal.rlim[RLIMIT_NOFILE][0]
    one = task.files.lowest_free(task.files.next_fd, limit)
    two = task.files.lowest_free(one + 1, limit)
    put_user(task.mm, usockvec, _FD_PAIR, one, two)
    for socket in unix_pair(task, _check_kind(family, type, protocol)):
        install(task, SocketFile(task, socket, type), type)
    return 0


# -- names ------------------------------------------------------------------------------------------------------------
def read_name(task: Task, pointer: UserPtr, length: int) -> bytes:
    """An address that the guest gives (move_addr_to_kernel()); EINVAL, EFAULT."""
    if not 0 <= length <= abi.SOCKADDR_STORAGE_BYTES:
        raise SyscallError(errno.EINVAL)
    return copy_from_user(task.mm, pointer, length)


def write_name(task: Task, name: bytes, pointer: UserPtr, length_ptr: UserPtr) -> None:
    """Tell the guest an address, cut to its room, and its whole length (move_addr_to_user())."""
    (room,) = get_user(task.mm, length_ptr, _INT)
    if room < 0:
        raise SyscallError(errno.EINVAL)
    copy_to_user(task.mm, pointer, name[:room])
    put_user(task.mm, length_ptr, _INT, len(name))


@syscall()
def sys_getsockname(task: Task, fd: Fd, usockaddr: OutSockAddr, usockaddr_len: InOutLength) -> int:
    """getsockname(2)."""
    write_name(task, sockfd_lookup(task, fd).socket.name(), usockaddr, usockaddr_len)
    return 0


@syscall()
def sys_getpeername(task: Task, fd: Fd, usockaddr: OutSockAddr, usockaddr_len: InOutLength) -> int:
    """getpeername(2)."""
    write_name(task, sockfd_lookup(task, fd).socket.peer_name(), usockaddr, usockaddr_len)
    return 0


@syscall(partial="Nobody listens: ECONNREFUSED, or ENOENT where there is no such file.")
def sys_connect(task: Task, fd: Fd, uservaddr: SockAddr, addrlen: Int) -> int:
    """connect(2)."""
    socket = sockfd_lookup(task, fd).socket
    return socket.connect(task, read_name(task, uservaddr, addrlen))


@syscall()
def sys_shutdown(task: Task, fd: Fd, how: ShutdownHow) -> int:
    """shutdown(2)."""
    socket = sockfd_lookup(task, fd).socket
    if how not in (abi.SHUT_RD, abi.SHUT_WR, abi.SHUT_RDWR):
        raise SyscallError(errno.EINVAL)
    socket.shutdown(how)
    return 0


# -- options ----------------------------------------------------------------------------------------------------------
def _timeval(timeout_ns: int | None) -> bytes:
    """SO_RCVTIMEO as it is told: zeros for no timeout."""
    seconds, rest_ns = divmod(timeout_ns or 0, NSEC_PER_SEC)
    return TIMEVAL.pack(seconds, rest_ns // NSEC_PER_USEC)


def _option(task: Task, socket: Socket, name: int) -> bytes:
    """What getsockopt(2) tells at SOL_SOCKET; ENOPROTOOPT."""
    numbers = {
        abi.SO_TYPE: socket.type,
        abi.SO_DOMAIN: socket.family,
        abi.SO_PROTOCOL: socket.protocol,
        abi.SO_SNDBUF: socket.sndbuf,
        abi.SO_RCVBUF: socket.rcvbuf,
        abi.SO_PASSCRED: int(socket.passcred),
        abi.SO_KEEPALIVE: int(socket.keepalive),
        abi.SO_BROADCAST: int(socket.broadcast),
        abi.SO_REUSEADDR: int(socket.reuseaddr),
        abi.SO_PRIORITY: socket.priority,
        abi.SO_RCVLOWAT: socket.rcvlowat,
        abi.SO_SNDLOWAT: 1,
        abi.SO_ACCEPTCONN: 0,
        abi.SO_DONTROUTE: 0,
        abi.SO_OOBINLINE: 0,
        abi.SO_REUSEPORT: 0,
    }
    if name in numbers:
        return _INT.pack(numbers[name])
    if name == abi.SO_ERROR:
        return _INT.pack(socket.take_error())
    if name == abi.SO_LINGER:
        return _LINGER.pack(*socket.linger)
    if name == abi.SO_PEERCRED:
        pid, *ids = socket.peer_cred
        return abi.UCRED.pack(pid_vnr(task, pid), *ids)
    if name in (abi.SO_RCVTIMEO, abi.SO_RCVTIMEO_NEW):
        return _timeval(socket.rcvtimeo_ns)
    if name in (abi.SO_SNDTIMEO, abi.SO_SNDTIMEO_NEW):
        return _timeval(socket.sndtimeo_ns)
    raise SyscallError(errno.ENOPROTOOPT)


@syscall()
def sys_getsockopt(
    task: Task, fd: Fd, level: SocketLevel, optname: SocketOption, optval: OutSockOpt, optlen: InOutLength
) -> int:
    """getsockopt(2)."""
    socket = sockfd_lookup(task, fd).socket
    if level != abi.SOL_SOCKET:
        raise SyscallError(errno.EOPNOTSUPP)
    (room,) = get_user(task.mm, optlen, _INT)
    if room < 0:
        raise SyscallError(errno.EINVAL)
    value = _option(task, socket, optname)[:room]
    copy_to_user(task.mm, optval, value)
    put_user(task.mm, optlen, _INT, len(value))
    return 0


def _read_timeout(task: Task, pointer: UserPtr, length: int) -> int | None:
    """sock_set_timeout(): ns; None (given as zeros) for ever, 0 (given as negative) for not at all."""
    if length < TIMEVAL.size:
        raise SyscallError(errno.EINVAL)
    seconds, microseconds = get_user(task.mm, pointer, TIMEVAL)
    if not 0 <= microseconds < USEC_PER_SEC:
        raise SyscallError(errno.EDOM)
    if seconds < 0:
        return 0
    return seconds * NSEC_PER_SEC + microseconds * NSEC_PER_USEC or None


def _buffer_size(number: int, least: int, *, forced: bool) -> int:
    """SO_SNDBUF, SO_RCVBUF: twice what was asked for, within limits (sk_setsockopt())."""
    wanted = min(number & 0xFFFF_FFFF, (1 << 30) - 1) if forced else min(number & 0xFFFF_FFFF, WMEM_MAX)
    return max(wanted * 2, least)


@syscall()
def sys_setsockopt(
    task: Task, fd: Fd, level: SocketLevel, optname: SocketOption, optval: SockOpt, optlen: Int
) -> int:
    """setsockopt(2), as sk_setsockopt() at SOL_SOCKET."""
    if optlen < 0:
        raise SyscallError(errno.EINVAL)
    socket = sockfd_lookup(task, fd).socket
    if level != abi.SOL_SOCKET:
        raise SyscallError(errno.EOPNOTSUPP)
    if optlen < _INT.size:
        raise SyscallError(errno.EINVAL)
    (number,) = get_user(task.mm, optval, _INT)
    _set_option(task, socket, optname, number, optval, optlen)
    return 0


def _set_option(task: Task, socket: Socket, name: int, number: int, optval: UserPtr, optlen: int) -> None:
    """One option; `number` is its value taken as an int. ENOPROTOOPT, EPERM, EINVAL, EDOM."""
    match name:
        case abi.SO_SNDBUF:
            socket.sndbuf = _buffer_size(number, _MIN_SNDBUF, forced=False)
            socket.wq.wake()
        case abi.SO_RCVBUF:
            socket.rcvbuf = _buffer_size(number, _MIN_RCVBUF, forced=False)
        case abi.SO_SNDBUFFORCE | abi.SO_RCVBUFFORCE:
            if not task.cred.capable(CAP_NET_ADMIN):
                raise SyscallError(errno.EPERM)
            if name == abi.SO_SNDBUFFORCE:
                socket.sndbuf = _buffer_size(max(number, 0), _MIN_SNDBUF, forced=True)
                socket.wq.wake()
            else:
                socket.rcvbuf = _buffer_size(max(number, 0), _MIN_RCVBUF, forced=True)
        case abi.SO_PASSCRED:
            socket.passcred = bool(number)
        case abi.SO_KEEPALIVE:
            socket.keepalive = bool(number)
        case abi.SO_BROADCAST:
            socket.broadcast = bool(number)
        case abi.SO_REUSEADDR:
            socket.reuseaddr = bool(number)
        case abi.SO_PRIORITY:
            if not 0 <= number <= _MAX_PRIORITY and not task.cred.capable(CAP_NET_ADMIN):
                raise SyscallError(errno.EPERM)
            socket.priority = number
        case abi.SO_RCVLOWAT:
            socket.rcvlowat = number if number > 0 else 1 if not number else (1 << 31) - 1
        case abi.SO_LINGER:
            if optlen < _LINGER.size:
                raise SyscallError(errno.EINVAL)
            on, seconds = get_user(task.mm, optval, _LINGER)
            socket.linger = int(bool(on)), seconds if on else socket.linger[1]
        case abi.SO_RCVTIMEO | abi.SO_RCVTIMEO_NEW:
            socket.rcvtimeo_ns = _read_timeout(task, optval, optlen)
        case abi.SO_SNDTIMEO | abi.SO_SNDTIMEO_NEW:
            socket.sndtimeo_ns = _read_timeout(task, optval, optlen)
        case _:
            raise SyscallError(errno.ENOPROTOOPT)
