"""AF_UNIX sockets (net/unix/af_unix.c): pairs so far, which never had a name.

A message is kept in the queue of whom it is for, and counted on whom it is from until it has been taken: as much as
Linux's buffer for it would have, so a writer waits where it would there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import socket as abi
from kernel_model.abi.socket import MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, RCV_SHUTDOWN, SEND_SHUTDOWN
from kernel_model.fs.file import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    File,
    get_file,
    put_file,
)
from kernel_model.net.socket import NOBODY, Ancillary, Received, Socket, Ucred
from kernel_model.types import PAGE_MASK, PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_SKB_BYTES: Final = 256
_SHARED_INFO_BYTES: Final = 320
_MAX_HEAD: Final = PAGE_SIZE - _SHARED_INFO_BYTES
_MAX_ALLOC: Final = 4 * PAGE_SIZE - _SHARED_INFO_BYTES
_MAX_FRAGS_BYTES: Final = 17 * PAGE_SIZE
_MAX_MESSAGE_BYTES: Final = (4 << 20) - _SHARED_INFO_BYTES + _MAX_FRAGS_BYTES
"""The largest kmalloc() and all the pages that a buffer can have besides."""
_STREAM_FRAGS_BYTES: Final = 32_768
_STREAM_PIECE_BYTES: Final = _MAX_HEAD + _STREAM_FRAGS_BYTES
_SMALLEST_SLAB: Final = 9
_MEMORY_SHARE: Final = 8
"""All queues together hold no more than the machine's memory over this."""
_READABLE: Final = POLLIN | POLLRDNORM
_WRITABLE: Final = POLLOUT | POLLWRNORM | POLLWRBAND


def _head_bytes(linear: int) -> int:
    """What a buffer with so many bytes in one piece takes (kmalloc_reserve(), SKB_TRUESIZE())."""
    need = (linear + 63 & -64) + _SHARED_INFO_BYTES
    return (1 << max((need - 1).bit_length(), _SMALLEST_SLAB)) + _SKB_BYTES


def _page_align(count: int) -> int:
    return count + PAGE_SIZE - 1 & PAGE_MASK


def stream_truesize(count: int) -> int:
    """What Linux counts for `count` bytes of a stream in one buffer (unix_stream_sendmsg())."""
    paged = min(count, _page_align(max(0, count - _MAX_HEAD)))
    return _head_bytes(count - paged) + _page_align(paged)


def message_truesize(count: int) -> int:
    """The same for a message (unix_dgram_sendmsg())."""
    paged = _page_align(min(count - _MAX_ALLOC, _MAX_FRAGS_BYTES)) if count > _MAX_ALLOC else 0
    return _head_bytes(count - paged) + paged


class _Skb:
    """A message, or a piece of a stream of which bytes from `start` are left (`struct sk_buff`)."""

    __slots__ = ("cred", "data", "files", "sender", "start", "truesize")

    def __init__(self, sender: UnixSocket, data: bytes, truesize: int, cred: Ucred, files: tuple[File, ...]) -> None:
        self.sender = sender
        self.data = data
        self.start = 0
        self.truesize = truesize
        self.cred = cred
        self.files = files


class UnixSocket(Socket):
    """One AF_UNIX socket. `wmem_alloc`: what it has sent and nobody has taken, in Linux's buffers (bytes)."""

    __slots__ = ("connected", "dead", "own_cred", "peer", "queue", "taken", "wmem_alloc")

    def __init__(self, kernel: Kernel, kind: int) -> None:
        super().__init__(kernel, abi.AF_UNIX, kind, 0)
        self.queue: deque[_Skb] = deque()
        self.peer: UnixSocket | None = None
        self.connected = False
        self.dead = False
        self.wmem_alloc = 0
        self.own_cred: Ucred | None = None
        self.taken: tuple[tuple[int, ...], Ucred] = ((), NOBODY)
        """Of which pieces, in bytes, what a stream gave last was made, and whose they are."""

    @property
    def peer_cred(self) -> Ucred:
        """Who made the pair."""
        return super().peer_cred if self.own_cred is None else self.own_cred

    @property
    def _connection_based(self) -> bool:
        return self.type != abi.SOCK_DGRAM

    # -- sending ------------------------------------------------------------------------------------------------------
    def send(self, task: Task, data: bytes, ancillary: Ancillary, flags: int) -> int:
        """See `Socket`. EPIPE with SIGPIPE for a stream, EMSGSIZE, ENOTCONN."""
        if flags & MSG_OOB:
            # QUIRK: Streams of AF_UNIX have no byte out of band: MSG_OOB fails with EOPNOTSUPP.
            raise SyscallError(errno.EOPNOTSUPP)
        if self.type == abi.SOCK_STREAM:
            return self._send_bytes(task, data, ancillary, flags)
        return self._send_message(task, data, ancillary)

    def _send_bytes(self, task: Task, data: bytes, ancillary: Ancillary, flags: int) -> int:
        """unix_stream_sendmsg(): pieces, as long as there is room before each."""
        other = self.peer
        if other is None:
            raise SyscallError(errno.ENOTCONN)
        if self.shutdown_mask & SEND_SHUTDOWN or other.dead or other.shutdown_mask & RCV_SHUTDOWN:
            raise self._broken_pipe(task, flags)
        size = len(data)
        piece_bytes = min((self.sndbuf >> 1) - 64, _STREAM_PIECE_BYTES)
        done = 0
        cred = self._cred_to_send(task, other, ancillary)
        files = ancillary.files
        while done < size:
            if self.wmem_alloc >= self.sndbuf:
                break
            piece = data if size <= piece_bytes else data[done : done + piece_bytes]
            if not self._deliver(other, piece, stream_truesize(len(piece)), cred, files):
                if not done:
                    raise SyscallError(errno.ENOBUFS)
                break
            files = ()
            done += len(piece)
        if size and not done:
            error = self.take_error()
            if error:
                raise SyscallError(error)
            return -1
        return done

    def _send_message(self, task: Task, data: bytes, ancillary: Ancillary) -> int:
        """unix_dgram_sendmsg(), unix_seqpacket_sendmsg()."""
        error = self.take_error()
        if error:
            raise SyscallError(error)
        other = self.peer
        if other is None:
            raise SyscallError(errno.ENOTCONN)
        if len(data) > self.sndbuf - 32:
            raise SyscallError(errno.EMSGSIZE)
        if self.shutdown_mask & SEND_SHUTDOWN:
            raise SyscallError(errno.EPIPE)
        if self.wmem_alloc >= self.sndbuf:
            return -1
        if other.dead:
            if self._connection_based:
                raise SyscallError(errno.EPIPE)
            self.peer = None
            self.connected = False
            raise SyscallError(errno.ECONNREFUSED)
        if other.shutdown_mask & RCV_SHUTDOWN:
            raise SyscallError(errno.EPIPE)
        cred = self._cred_to_send(task, other, ancillary)
        if not self._deliver(other, data, message_truesize(len(data)), cred, ancillary.files):
            raise SyscallError(errno.ENOBUFS)
        return len(data)

    def check_length(self, count: int) -> None:
        """See `Socket`. EMSGSIZE, ENOBUFS."""
        if count > _MAX_MESSAGE_BYTES:
            raise SyscallError(errno.EMSGSIZE if count > self.sndbuf - 32 else errno.ENOBUFS)

    def _cred_to_send(self, task: Task, other: UnixSocket, ancillary: Ancillary) -> Ucred:
        """Those that the sender gave, or its own where either end wants to know (maybe_add_creds())."""
        if ancillary.cred is not None:
            return ancillary.cred
        if self.passcred or other.passcred:
            return Ucred(task.tgid, task.cred.uid, task.cred.gid)
        return NOBODY

    def _deliver(self, other: UnixSocket, data: bytes, truesize: int, cred: Ucred, files: tuple[File, ...]) -> bool:
        """Queue it at the other end; False when the machine's memory is full of such."""
        kernel = self.kernel
        if kernel.socket_bytes + truesize > kernel.frames.total_frames * PAGE_SIZE // _MEMORY_SHARE:
            return False
        kernel.socket_bytes += truesize
        self.wmem_alloc += truesize
        for file in files:
            get_file(file)
        kernel.unix_inflight += len(files)
        other.queue.append(_Skb(self, data, truesize, cred, files))
        if other.wq:
            other.wq.wake(events=_READABLE)
        return True

    def _broken_pipe(self, task: Task, flags: int) -> SyscallError:
        """EPIPE, and SIGPIPE unless the call said no."""
        if flags & MSG_NOSIGNAL:
            return SyscallError(errno.EPIPE)
        from kernel_model.fs.pipe import broken_pipe

        return broken_pipe(task)

    def check_name(self, task: Task, name: bytes) -> None:
        """unix_stream_sendmsg(): a pair has no other to send to; a datagram's may be tried."""
        if self.type == abi.SOCK_SEQPACKET:
            return
        if self.type == abi.SOCK_STREAM:
            raise SyscallError(errno.EISCONN if self.connected else errno.EOPNOTSUPP)
        self.connect(task, name)

    def connect(self, task: Task, name: bytes) -> int:
        """connect(2): nobody listens. ECONNREFUSED, or ENOENT where there is not even a file (unix_find_bsd())."""
        from kernel_model.abi.fcntl import AT_FDCWD
        from kernel_model.fs.namei import path_at

        if len(name) < abi.SA_FAMILY.size or len(name) > abi.SOCKADDR_UN_BYTES:
            raise SyscallError(errno.EINVAL)
        (family,) = abi.SA_FAMILY.unpack_from(name)
        if family == abi.AF_UNSPEC and self.type == abi.SOCK_DGRAM:
            self._disconnect()
            return 0
        if family != abi.AF_UNIX or len(name) == abi.SA_FAMILY.size:
            raise SyscallError(errno.EINVAL)
        if self.connected and self.type != abi.SOCK_DGRAM:
            raise SyscallError(errno.EISCONN)
        if name[abi.UNIX_PATH_OFFSET]:
            path_at(task, AT_FDCWD, name[abi.UNIX_PATH_OFFSET :].split(b"\0", 1)[0])
        raise SyscallError(errno.ECONNREFUSED)

    def _disconnect(self) -> None:
        """A datagram socket has no peer any longer; what came from it is lost (unix_dgram_disconnected())."""
        other, self.peer = self.peer, None
        self.connected = False
        if other is not None and self.queue:
            files = self._purge()
            if not other.dead and other.peer is self:
                other.err = errno.ECONNRESET
                other.wq.wake(events=POLLERR)
            self._put_files(files)

    # -- receiving ----------------------------------------------------------------------------------------------------
    def receive(self, task: Task, count: int, flags: int, like: Ucred | None) -> Received | None:
        """See `Socket`. No data at all means that the other end has closed."""
        if flags & MSG_OOB:
            raise SyscallError(errno.EINVAL if self.type == abi.SOCK_STREAM else errno.EOPNOTSUPP)
        if self._connection_based and not self.connected:
            raise SyscallError(errno.EINVAL if self.type == abi.SOCK_STREAM else errno.ENOTCONN)
        if self.type != abi.SOCK_STREAM and self.err:
            raise SyscallError(self.take_error())
        if not self.queue:
            if self.err:
                raise SyscallError(self.take_error())
            return Received(b"", 0, at_boundary=True) if self.shutdown_mask & RCV_SHUTDOWN else None
        if self.type == abi.SOCK_STREAM:
            return self._receive_bytes(count, bool(flags & MSG_PEEK), like)
        skb = self.queue[0]
        if flags & MSG_PEEK:
            files = skb.files
            for file in files:
                get_file(file)
        else:
            self.queue.popleft()
            files = self._taken(skb)
        return Received(skb.data[:count], len(skb.data), skb.cred, files, at_boundary=True)

    def _receive_bytes(self, count: int, peek: bool, like: Ucred | None) -> Received:
        """unix_stream_read_generic(): pieces are joined up to one with files."""
        first = self.queue[0]
        cred = first.cred
        pieces = []
        files: tuple[File, ...] = ()
        boundary = False
        apart = self.passcred
        if apart and like is not None and cred != like:
            return Received(b"", 0, cred, at_boundary=True)
        for skb in list(self.queue) if peek else self.queue:
            if apart and skb.cred != cred:
                boundary = True
                break
            piece = skb.data[skb.start : skb.start + count] if count < len(skb.data) or skb.start else skb.data
            pieces.append(piece)
            count -= len(piece)
            boundary = bool(skb.files)
            if boundary:
                files = skb.files
            if peek:
                for file in files:
                    get_file(file)
            else:
                skb.start += len(piece)
                if boundary:
                    skb.files = ()
                    self.kernel.unix_inflight -= len(files)
            if boundary or not count:
                break
        if not peek:
            queue = self.queue
            while queue and queue[0].start >= len(queue[0].data):
                self._taken(queue.popleft())
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.taken = tuple(map(len, pieces)), cred
        return Received(data, len(data), cred, files, boundary)

    def _taken(self, skb: _Skb) -> tuple[File, ...]:
        """A buffer is free: the sender has more room. Its files are the caller's."""
        sender = skb.sender
        sender.wmem_alloc -= skb.truesize
        kernel = self.kernel
        kernel.socket_bytes -= skb.truesize
        kernel.unix_inflight -= len(skb.files)
        if sender.wq and sender.wmem_alloc << 2 <= sender.sndbuf:
            sender.wq.wake(events=_WRITABLE)
        return skb.files

    def put_back(self, data: bytes, stored: int, files: tuple[File, ...]) -> int:
        """See `Socket`. A message is lost; of a stream a piece that was stored in part has not been received at all, as
        unix_stream_read_generic() has it.
        """
        if self.type != abi.SOCK_STREAM:
            return super().put_back(data, stored, files)
        lengths, cred = self.taken
        consumed = end = len(data)
        for length in reversed(lengths):
            if end <= stored:
                break
            consumed = end - length
            self.queue.appendleft(_Skb(self, data[consumed:end], 0, cred, files))
            self.kernel.unix_inflight += len(files)
            files = ()
            end = consumed
        return consumed

    # -- state --------------------------------------------------------------------------------------------------------
    def poll(self) -> int:
        """unix_poll(), unix_dgram_poll()."""
        mask = POLLERR if self.err else 0
        shutdown = self.shutdown_mask
        if shutdown == RCV_SHUTDOWN | SEND_SHUTDOWN:
            mask |= POLLHUP
        if shutdown & RCV_SHUTDOWN:
            mask |= POLLRDHUP | _READABLE
        if self.queue:
            mask |= _READABLE
        if self._connection_based and not self.connected:
            mask |= POLLHUP
        if self.wmem_alloc << 2 <= self.sndbuf:
            mask |= _WRITABLE
        return mask

    def peer_name(self) -> bytes:
        """A pair's other end has no name."""
        if self.peer is None:
            raise SyscallError(errno.ENOTCONN)
        return abi.SA_FAMILY.pack(abi.AF_UNIX)

    def shutdown(self, how: int) -> None:
        """unix_shutdown(): the other end of a connection sees it."""
        mode = how + 1
        self.shutdown_mask |= mode
        other = self.peer
        if other is not None and self._connection_based:
            other.shutdown_mask |= (SEND_SHUTDOWN if mode & RCV_SHUTDOWN else 0) | (
                RCV_SHUTDOWN if mode & SEND_SHUTDOWN else 0
            )
            other.wq.wake()
        self.wq.wake()

    def queued_bytes(self) -> int:
        """unix_inq_len(): of datagrams only the first."""
        if self.type == abi.SOCK_DGRAM:
            return len(self.queue[0].data) if self.queue else 0
        return sum(len(skb.data) - skb.start for skb in self.queue)

    def unsent_bytes(self) -> int:
        """unix_outq_len()."""
        return self.wmem_alloc

    def release(self) -> None:
        """unix_release_sock(): what was sent to it is lost."""
        self.dead = True
        unread = bool(self.queue)
        files = self._purge()
        other, self.peer = self.peer, None
        if other is not None:
            if self._connection_based:
                other.shutdown_mask = RCV_SHUTDOWN | SEND_SHUTDOWN
                if unread:
                    other.err = errno.ECONNRESET
            other.wq.wake()
        self._put_files(files)

    def _purge(self) -> list[File]:
        """Throw away what was sent to it; the files among it."""
        files: list[File] = []
        while self.queue:
            files += self._taken(self.queue.popleft())
        return files

    def _put_files(self, files: list[File]) -> None:
        """Give back what was on its way to this socket. A socket there may hold another, and so on as deep as a program
        likes: one goes after the other, not within it (fs/file_table.c:____fput()).
        """
        kernel = self.kernel
        if kernel.dying_files is not None:
            kernel.dying_files += files
        elif files:
            kernel.dying_files = files
            for file in files:  # which grows meanwhile
                put_file(file, None)
            kernel.dying_files = None


def unix_pair(task: Task, kind: int) -> tuple[UnixSocket, UnixSocket]:
    """Two connected sockets (unix_socketpair())."""
    kernel = task.kernel
    first, second = UnixSocket(kernel, kind), UnixSocket(kernel, kind)
    first.peer, second.peer = second, first
    first.connected = second.connected = True
    first.own_cred = second.own_cred = Ucred(task.tgid, task.cred.euid, task.cred.egid)
    return first, second
