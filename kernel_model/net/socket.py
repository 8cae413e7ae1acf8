"""Sockets of whatever family (net/socket.c, net/core/sock.c), and the files that stand for them.

A family derives from `Socket` and says what sending, receiving and connecting mean. What waits, what is copied where,
and which ancillary data become descriptors is the same for all: `kernel_model.syscalls.message`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi import socket as abi
from kernel_model.abi.fcntl import O_NONBLOCK, O_RDWR
from kernel_model.abi.ioctls import FIONREAD
from kernel_model.abi.termios import INT
from kernel_model.fs.file import File, put_file
from kernel_model.fs.inode import Inode
from kernel_model.fs.pseudo import KernelSuperBlock
from kernel_model.mm.uaccess import put_user
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_SOCKFS_MAGIC: Final = 0x534F434B
_SOCKFS_DEV: Final = 0xFD
_S_IFSOCK: Final = 0o140000
_TIOCOUTQ: Final = 0x5411
WMEM_MAX: Final = 212_992
"""/proc/sys/net/core/wmem_max, rmem_max and their defaults (bytes)."""


class Ucred(NamedTuple):
    """Who sent something, or is at the other end."""

    pid: int
    uid: int
    gid: int


NOBODY: Final = Ucred(0, 65534, 65534)


class Ancillary(NamedTuple):
    """What goes with data: credentials that the sender wrote down, and open files."""

    cred: Ucred | None = None
    files: tuple[File, ...] = ()


NO_ANCILLARY: Final = Ancillary()


class Received(NamedTuple):
    """One piece taken from a socket. `length`: of the whole message; `at_boundary`: nothing may be joined to it."""

    data: bytes
    length: int
    cred: Ucred = NOBODY
    files: tuple[File, ...] = ()
    at_boundary: bool = False


class Socket:
    """What every socket has (`struct socket` and `struct sock`)."""

    __slots__ = (
        "broadcast", "err", "family", "keepalive", "kernel", "linger", "passcred", "priority", "protocol", "rcvbuf",
        "rcvlowat", "rcvtimeo_ns", "reuseaddr", "shutdown_mask", "sndbuf", "sndtimeo_ns", "type", "wq",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, family: int, kind: int, protocol: int) -> None:
        self.kernel = kernel
        self.family = family
        self.type = kind
        self.protocol = protocol
        self.err = 0
        """The errno that the next call tells (`sk_err`)."""
        self.shutdown_mask = 0
        """RCV_SHUTDOWN, SEND_SHUTDOWN."""
        self.sndbuf = WMEM_MAX
        self.rcvbuf = WMEM_MAX
        self.rcvlowat = 1
        self.rcvtimeo_ns: int | None = None
        """How long a call waits; None for ever."""
        self.sndtimeo_ns: int | None = None
        self.passcred = False
        self.keepalive = self.broadcast = self.reuseaddr = False
        self.priority = 0
        self.linger = (0, 0)
        self.wq = WaitQueue()
        """Who waits for data, for room, or for the other end."""

    @property
    def keeps_boundaries(self) -> bool:
        """Does it carry messages rather than bytes?"""
        return self.type != abi.SOCK_STREAM

    @property
    def peer_cred(self) -> Ucred:
        """SO_PEERCRED."""
        return Ucred(0, 0xFFFF_FFFF, 0xFFFF_FFFF)

    def take_error(self) -> int:
        """`err`, which is told once."""
        error, self.err = self.err, 0
        return error

    def send(self, task: Task, data: bytes, ancillary: Ancillary, flags: int) -> int:
        """Send a message, or as many bytes as fit; -1 when there is no room. Files that were sent get a reference."""
        raise SyscallError(errno.EOPNOTSUPP)

    def check_length(self, count: int) -> None:
        """A message of so many bytes is to be sent: an error if none can ever be so long, before its bytes are read."""

    def check_name(self, task: Task, name: bytes) -> None:
        """An address was given to send to: an error unless it can be."""
        raise SyscallError(errno.EOPNOTSUPP)

    def receive(self, task: Task, count: int, flags: int, like: Ucred | None) -> Received | None:
        """Take up to `count` bytes, or a message of which so many are wanted; None when there is nothing yet.

        With MSG_PEEK it stays there. `like`: whose the call's bytes are so far; with SO_PASSCRED no others join them.
        """
        raise SyscallError(errno.EOPNOTSUPP)

    def put_back(self, data: bytes, stored: int, files: tuple[File, ...]) -> int:
        """The program's memory took only `stored` bytes of what was received last: the rest, with `files`, is received
        next, where that can be. How many bytes count as received.
        """
        for file in files:
            put_file(file, None)
        return stored

    def poll(self) -> int:
        """POLL* bits that hold now."""
        return 0

    def name(self) -> bytes:
        """getsockname(2)."""
        return abi.SA_FAMILY.pack(self.family)

    def peer_name(self) -> bytes:
        """getpeername(2); ENOTCONN."""
        raise SyscallError(errno.ENOTCONN)

    def connect(self, task: Task, name: bytes) -> int:
        """connect(2)."""
        raise SyscallError(errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        """shutdown(2): SHUT_*."""
        raise SyscallError(errno.EOPNOTSUPP)

    def queued_bytes(self) -> int:
        """FIONREAD."""
        raise SyscallError(errno.ENOTTY)

    def unsent_bytes(self) -> int:
        """TIOCOUTQ."""
        raise SyscallError(errno.ENOTTY)

    def release(self) -> None:
        """The last descriptor is gone."""


class SocketInode(Inode):
    """An inode of sockfs."""

    __slots__ = ()

    def d_dname(self) -> bytes | None:
        """`socket:[number]`."""
        return b"socket:[%d]" % self.i_ino


class SocketFile(File):
    """A descriptor of a socket."""

    __slots__ = ("deadlines", "socket")

    def __init__(self, task: Task, socket: Socket, flags: int) -> None:
        kernel = task.kernel
        kernel.last_ino += 1
        sb = KernelSuperBlock(kernel, "sockfs", _SOCKFS_DEV, _SOCKFS_MAGIC)
        cred, now_ns = task.cred, kernel.clock.file_time_ns()
        inode = SocketInode(sb, kernel.last_ino, _S_IFSOCK | 0o777, cred.fsuid, cred.fsgid, now_ns)
        super().__init__(inode, None, O_RDWR | flags & O_NONBLOCK)
        self.socket = socket
        self.deadlines: MutableMapping[Task, int] | None = None
        """When a read(2) or write(2) that waits gives up, with SO_RCVTIMEO or SO_SNDTIMEO."""

    def read(self, task: Task, count: int) -> bytes:
        """sock_read_iter(): a message, or what bytes there are."""
        if not count:
            return b""
        socket = self.socket
        got = socket.receive(task, count, 0, None)
        if got is None:
            raise self._wait(task, socket.rcvtimeo_ns, signal_first=not socket.keeps_boundaries)
        if self.deadlines is not None:
            self.deadlines.pop(task, None)
        for file in got.files:
            put_file(file, None)
        return got.data

    @property
    def keeps_boundaries(self) -> bool:  # type: ignore[override]
        """See `File`."""
        return self.socket.keeps_boundaries

    def check_message(self, count: int) -> None:
        """See `File`."""
        self.socket.check_length(count)

    def unread(self, data: bytes, stored: int) -> int:
        """See `File`. Descriptors that came along are lost: read(2) has closed them."""
        return self.socket.put_back(data, stored, ())

    def write(self, task: Task, data: bytes) -> int:
        """sock_write_iter(): a message, or as many bytes as fit."""
        socket = self.socket
        sent = socket.send(task, data, NO_ANCILLARY, 0)
        if sent < 0:
            raise self._wait(task, socket.sndtimeo_ns)
        if self.deadlines is not None:
            self.deadlines.pop(task, None)
        return sent

    def _wait(self, task: Task, timeout_ns: int | None, *, signal_first: bool = False) -> Exception:
        """EAGAIN, or a wait that ends with it after `timeout_ns`. `signal_first`: see `Blocked`."""
        if self.f_flags & O_NONBLOCK or timeout_ns == 0:
            return SyscallError(errno.EAGAIN)
        if timeout_ns is None:
            return Blocked(queues=(self.socket.wq,), signal_first=signal_first)
        now_ns = task.kernel.clock.monotonic_ns()
        if self.deadlines is None:
            from weakref import WeakKeyDictionary

            self.deadlines = WeakKeyDictionary()  # a task that is killed in its wait leaves nothing
        deadlines = self.deadlines
        deadline_ns = deadlines.setdefault(task, now_ns + timeout_ns)
        if now_ns >= deadline_ns:
            del deadlines[task]
            return SyscallError(errno.EAGAIN)

        def interrupted() -> int:
            deadlines.pop(task, None)
            raise SyscallError(errno.EINTR)

        return Blocked(
            queues=(self.socket.wq,), deadline_ns=deadline_ns, on_signal=interrupted, signal_first=signal_first
        )

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """FIONREAD, TIOCOUTQ."""
        if cmd == FIONREAD:
            number = self.socket.queued_bytes()
        elif cmd == _TIOCOUTQ:
            number = self.socket.unsent_bytes()
        else:
            raise SyscallError(errno.ENOTTY)
        put_user(task.mm, UserPtr(arg), INT, number)
        return 0

    def poll(self, task: Task) -> int:
        """As the family says."""
        return self.socket.poll()

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """One for both sides."""
        return (self.socket.wq,)

    def release(self) -> None:
        """sock_release()."""
        self.socket.release()
