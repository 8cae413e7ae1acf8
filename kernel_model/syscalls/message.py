"""Sending and receiving on sockets: sendmsg(2), recvmsg(2) and their kin (net/socket.c, net/core/scm.c)."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi import socket as abi
from kernel_model.abi.fcntl import O_NONBLOCK
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.abi.time import NSEC_PER_SEC, TIMESPEC
from kernel_model.cred import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from kernel_model.fs.file import File, put_file
from kernel_model.mm.uaccess import (
    MAX_RW_COUNT,
    UIO_MAXIOV,
    access_ok,
    copy_from_user,
    copy_iovec,
    copy_to_user,
    copy_to_user_partial,
    get_user,
    put_user,
)
from kernel_model.net.socket import NO_ANCILLARY, NOBODY, Ancillary, SocketFile, Ucred
from kernel_model.ns.pid import find_vpid, pid_vnr
from kernel_model.syscalls.declare import Fd, Int, OutBuffer, Size, UInt, syscall
from kernel_model.syscalls.kinds import (
    InOutLength,
    InOutTimespec,
    MmsgVec,
    MsgFlags,
    MsgHdr,
    OutMmsgVec,
    OutMsgHdr,
    OutSockAddr,
    SockAddr,
    SocketBuffer,
)
from kernel_model.syscalls.read_write import CHUNK_BYTES, Segments, gather
from kernel_model.syscalls.socket import read_name, sockfd_lookup, write_name
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

_INT: Final = Struct("<i")
_UINT: Final = Struct("<I")
_ULONG: Final = Struct("<Q")
_NAMELEN_OFFSET, _CONTROLLEN_OFFSET, _FLAGS_OFFSET = 8, 40, 48
_OPTMEM_MAX: Final = 131_072


class _Progress:
    """What a send or receive that sleeps remembers (`Task.call_state`)."""

    __slots__ = ("cred", "deadline_ns", "done")

    def __init__(self, done: int, deadline_ns: int | None, cred: Ucred | None = None) -> None:
        self.done = done
        self.deadline_ns = deadline_ns
        self.cred = cred


class _Many:
    """The same of sendmmsg(2) and recvmmsg(2): how many messages are done, and how far the present one is."""

    __slots__ = ("deadline_ns", "done", "inner")

    def __init__(self, deadline_ns: int | None) -> None:
        self.done = 0
        self.inner: object | None = None
        self.deadline_ns = deadline_ns


class _Got(NamedTuple):
    """A finished receive: its result, MSG_* flags to tell, whose it was, and files that came along."""

    result: int
    flags: int = 0
    cred: Ucred = NOBODY
    files: tuple[File, ...] = ()


def _wait(task: Task, file: SocketFile, progress: _Progress, flags: int, timeout_ns: int | None) -> Blocked:
    """The wait for data or room: EAGAIN where the call does not wait, or not any longer."""
    if flags & abi.MSG_DONTWAIT or file.f_flags & O_NONBLOCK or timeout_ns == 0:
        raise SyscallError(errno.EAGAIN)
    if timeout_ns is not None:
        now_ns = task.kernel.clock.monotonic_ns()
        if progress.deadline_ns is None:
            progress.deadline_ns = now_ns + timeout_ns
        elif now_ns >= progress.deadline_ns:
            raise SyscallError(errno.EAGAIN)
    task.call_state = progress
    interrupted = errno.ERESTARTSYS if timeout_ns is None else errno.EINTR
    return Blocked(queues=(file.socket.wq,), deadline_ns=progress.deadline_ns, interrupted=interrupted)


# -- sending ----------------------------------------------------------------------------------------------------------
def _read_control(task: Task, pointer: UserPtr, length: int) -> Ancillary:
    """net/core/scm.c:__scm_send(): the files and credentials to send along."""
    if length > (1 << 31) - 1 or length > _OPTMEM_MAX:
        raise SyscallError(errno.ENOBUFS)
    control = copy_from_user(task.mm, pointer, length)
    cred: Ucred | None = None
    files: list[File] = []
    offset = 0
    header = abi.CMSGHDR
    while offset + header.size <= length:
        size, level, kind = header.unpack_from(control, offset)
        if not header.size <= size <= length - offset:
            raise SyscallError(errno.EINVAL)
        data = control[offset + header.size : offset + size]
        offset += size + 7 & -8
        if level != abi.SOL_SOCKET:
            continue
        if kind == abi.SCM_RIGHTS:
            _take_files(task, data, files)
        elif kind == abi.SCM_CREDENTIALS:
            if len(data) != abi.UCRED.size:
                raise SyscallError(errno.EINVAL)
            cred = _check_cred(task, Ucred(*abi.UCRED.unpack(data)))
        else:
            raise SyscallError(errno.EINVAL)
    return Ancillary(cred, tuple(files))


def _take_files(task: Task, data: bytes, files: list[File]) -> None:
    """scm_fp_copy(); EINVAL for too many, EBADF, ETOOMANYREFS."""
    count = len(data) // _INT.size
    if len(files) + count > abi.SCM_MAX_FD:
        raise SyscallError(errno.EINVAL)
    kernel, cred = task.kernel, task.cred
    if kernel.unix_inflight + count > task.signal.rlim[RLIMIT_NOFILE][0]:
        if not cred.capable(CAP_SYS_RESOURCE) and not cred.capable(CAP_SYS_ADMIN):
            raise SyscallError(errno.ETOOMANYREFS)
    # QUIRK: Sockets that are on their way to each other in a ring, with nobody to receive them, stay until the end.
    for (fd,) in _INT.iter_unpack(data[: count * _INT.size]):
        files.append(task.files.get(fd))


def _check_cred(task: Task, given: Ucred) -> Ucred:
    """The same, with the kernel's number. scm_check_creds(): a program tells the truth about itself, or may lie."""
    cred = task.cred
    if not (
        (given.pid == task.tgid_vnr or cred.capable(CAP_SYS_ADMIN))
        and (given.uid in (cred.uid, cred.euid, cred.suid) or cred.capable(CAP_SETUID))
        and (given.gid in (cred.gid, cred.egid, cred.sgid) or cred.capable(CAP_SETGID))
    ):
        raise SyscallError(errno.EPERM)
    pid = find_vpid(task, given.pid)
    if pid not in task.kernel.tasks:
        raise SyscallError(errno.ESRCH)
    return given._replace(pid=pid)


def _transmit(
    task: Task, file: SocketFile, segments: Segments, name: bytes, ancillary: Ancillary, flags: int
) -> int:
    """Send all of it, or as much as goes without waiting any longer."""
    socket = file.socket
    progress = task.call_state
    if not isinstance(progress, _Progress):
        progress = _Progress(0, None)
        if name:
            socket.check_name(task, name)
    total = sum(length for _, length in segments)
    whole = socket.keeps_boundaries
    if whole:
        socket.check_length(total)
    while True:
        done = progress.done
        want = total if whole else min(total - done, CHUNK_BYTES)
        data = gather(task, segments, done, want)
        try:
            if len(data) < want:
                raise SyscallError(errno.EFAULT)
            if done:
                sent = socket.send(task, data, NO_ANCILLARY, flags | abi.MSG_NOSIGNAL)
            else:
                sent = socket.send(task, data, ancillary, flags)
            if sent < 0:
                blocked = _wait(task, file, progress, flags, socket.sndtimeo_ns)
        except SyscallError:
            if done:
                return done
            raise
        if sent < 0:
            if done:
                blocked.on_signal = partial(int, done)
            raise blocked
        progress.done += sent
        if whole or progress.done >= total:
            return progress.done


def _sendmsg(task: Task, file: SocketFile, msg: UserPtr, flags: int) -> int:
    """net/socket.c:___sys_sendmsg()."""
    name_ptr, name_length, iov, iov_count, control, control_length, _ = get_user(task.mm, msg, abi.MSGHDR)
    segments = _segments(task, iov, iov_count)
    name = _message_name(task, name_ptr, name_length)
    first = not isinstance(task.call_state, _Progress) or not task.call_state.done
    ancillary = _read_control(task, control, control_length) if control_length and first else NO_ANCILLARY
    return _transmit(task, file, segments, name, ancillary, flags)


def _message_name(task: Task, pointer: UserPtr, length: int) -> bytes:
    """The address of a msghdr (__copy_msghdr()): one that is too long is cut."""
    if length >> 31:
        raise SyscallError(errno.EINVAL)
    if not pointer or not length:
        return b""
    return read_name(task, pointer, min(length, abi.SOCKADDR_STORAGE_BYTES))


def _segments(task: Task, iov: int, count: int) -> Segments:
    """The vector of a msghdr; EMSGSIZE for too many parts."""
    if count > UIO_MAXIOV:
        raise SyscallError(errno.EMSGSIZE)
    return copy_iovec(task.mm, iov, count)


def _check_flags(flags: int) -> None:
    """MSG_CMSG_COMPAT is the kernel's own."""
    if flags & abi.MSG_CMSG_COMPAT:
        raise SyscallError(errno.EINVAL)


@syscall()
def sys_sendto(
    task: Task, fd: Fd, buff: SocketBuffer, len: Size, flags: MsgFlags, addr: SockAddr, addr_len: Int
) -> int:
    """sendto(2)."""
    segments = [(UserPtr(access_ok(task.mm, buff, min(len, MAX_RW_COUNT))), min(len, MAX_RW_COUNT))]
    file = sockfd_lookup(task, fd)
    name = read_name(task, addr, addr_len) if addr else b""
    return _transmit(task, file, segments, name, NO_ANCILLARY, flags)


@syscall()
def sys_sendmsg(task: Task, fd: Fd, msg: MsgHdr, flags: MsgFlags) -> int:
    """sendmsg(2)."""
    _check_flags(flags)
    return _sendmsg(task, sockfd_lookup(task, fd), msg, flags)


@syscall()
def sys_sendmmsg(task: Task, fd: Fd, mmsg: MmsgVec, vlen: UInt, flags: MsgFlags) -> int:
    """sendmmsg(2): an error after the first message ends it with how many were sent."""
    _check_flags(flags)
    file = sockfd_lookup(task, fd)
    many = task.call_state if isinstance(task.call_state, _Many) else _Many(None)
    task.call_state = many.inner
    while many.done < min(vlen, UIO_MAXIOV):
        msg = UserPtr(mmsg + many.done * abi.MMSGHDR_BYTES)
        try:
            put_user(task.mm, msg + abi.MSGHDR.size, _UINT, _sendmsg(task, file, msg, flags))
        except SyscallError:
            if many.done:
                return many.done
            raise
        except Blocked as blocked:
            raise _sleep(task, many, blocked) from None
        task.call_state = None
        many.done += 1
    return many.done


def _sleep(task: Task, many: _Many, blocked: Blocked) -> Blocked:
    """The present message waits; a signal ends the call with those before it."""
    many.inner = task.call_state
    task.call_state = many
    if many.done:
        blocked.on_signal = partial(int, many.done)
    return blocked


# -- receiving --------------------------------------------------------------------------------------------------------
def _scatter(task: Task, segments: Segments, skip: int, data: bytes) -> int:
    """Write `data` into the guest's `segments` from byte `skip` on; how much of it could be."""
    stored = 0
    for base, length in segments:
        if skip >= length:
            skip -= length
            continue
        piece = data[stored : stored + length - skip]
        if not piece:
            break
        done = copy_to_user_partial(task.mm, base + skip, piece)
        stored += done
        if done < len(piece):
            break
        skip = 0
    return stored


def _receive(task: Task, file: SocketFile, segments: Segments, flags: int) -> _Got:
    """A message, or bytes: what is there, all that was asked for with MSG_WAITALL. Blocked when nothing is yet."""
    socket = file.socket
    total = sum(length for _, length in segments)
    progress = task.call_state
    if not isinstance(progress, _Progress):
        progress = _Progress(0, None)
    while True:
        done = progress.done
        so_far = _Got(done, cred=progress.cred or NOBODY)
        try:
            got = socket.receive(task, total - done, flags, progress.cred)
            if got is None:
                if done and not flags & abi.MSG_WAITALL:
                    return so_far
                blocked = _wait(task, file, progress, flags, socket.rcvtimeo_ns)
                blocked.signal_first = not socket.keeps_boundaries  # net/unix/af_unix.c:unix_stream_read_generic()
                raise blocked
        except SyscallError:
            if done:
                return so_far
            raise
        stored = _scatter(task, segments, done, got.data)
        if stored < len(got.data):
            if flags & abi.MSG_PEEK:
                for one in got.files:
                    put_file(one, None)
            else:
                stored = socket.put_back(got.data, stored, got.files)
            if socket.keeps_boundaries or not done + stored:
                raise SyscallError(errno.EFAULT)
            return so_far._replace(result=done + stored)
        if socket.keeps_boundaries:
            cut = abi.MSG_TRUNC if got.length > len(got.data) else 0
            return _Got(got.length if flags & abi.MSG_TRUNC else stored, cut, got.cred, got.files)
        if not got.data and done:
            return so_far
        progress.done += stored
        progress.cred = got.cred
        if got.at_boundary or progress.done >= total or flags & abi.MSG_PEEK or not flags & abi.MSG_WAITALL:
            return _Got(progress.done, 0, got.cred, got.files)


class _Control:
    """The guest's buffer for ancillary data, as it is filled."""

    def __init__(self, task: Task, base: int, left: int) -> None:
        self.task = task
        self.base = base
        self.left = left
        self.truncated = False

    def _advance(self, size: int) -> None:
        step = min(size + 7 & -8, self.left)
        self.base += step
        self.left -= step

    def put(self, kind: int, data: bytes) -> None:
        """net/core/scm.c:put_cmsg(), whose EFAULT nobody looks at: the data have come all the same."""
        header = abi.CMSGHDR
        if not self.base or self.left < header.size:
            self.truncated = True
            return
        size = header.size + len(data)
        if size > self.left:
            self.truncated = True
            size = self.left
        with suppress(SyscallError):
            copy_to_user(self.task.mm, self.base, header.pack(size, abi.SOL_SOCKET, kind) + data[: size - header.size])
            self._advance(size)

    def put_files(self, files: tuple[File, ...], *, cloexec: bool) -> None:
        """scm_detach_fds(): descriptors for as many files as fit and can be told; the others are closed."""
        task = self.task
        table = task.files
        header = abi.CMSGHDR
        room = max(0, (self.left - header.size) // _INT.size) if self.base else 0
        limit = task.signal.rlim[RLIMIT_NOFILE][0]
        count = 0
        for file in files[:room]:
            try:
                fd = table.lowest_free(table.next_fd, limit)
                put_user(task.mm, self.base + header.size + count * _INT.size, _INT, fd)
            except SyscallError:
                break
            table.install(file, limit, cloexec=cloexec)
            count += 1
        for file in files[count:]:
            put_file(file, None)
        if count < len(files):
            self.truncated = True
        if count:
            size = header.size + count * _INT.size
            with suppress(SyscallError):
                copy_to_user(task.mm, self.base, header.pack(size, abi.SOL_SOCKET, abi.SCM_RIGHTS))
                self._advance(size)


def _recvmsg(task: Task, file: SocketFile, msg: UserPtr, flags: int) -> int:
    """net/socket.c:___sys_recvmsg()."""
    header = get_user(task.mm, msg, abi.MSGHDR)
    _, name_length, iov, iov_count, _, _, _ = header
    if name_length >> 31:
        raise SyscallError(errno.EINVAL)
    segments = _segments(task, iov, iov_count)
    try:
        got = _receive(task, file, segments, flags)
    except Blocked as blocked:
        progress = task.call_state
        if isinstance(progress, _Progress) and progress.done:
            so_far = _Got(progress.done, cred=progress.cred or NOBODY)
            blocked.on_signal = partial(_finish, task, file, msg, header, flags, so_far)
        raise
    return _finish(task, file, msg, header, flags, got)


def _finish(task: Task, file: SocketFile, msg: UserPtr, header: tuple[int, ...], flags: int, got: _Got) -> int:
    """Tell what came along with the data (scm_recv_unix()), and the flags. `header`: what `msg` was before the data."""
    name_ptr, _, _, _, base, length, _ = header
    control = _Control(task, base, length)
    if file.socket.passcred:
        control.put(abi.SCM_CREDENTIALS, abi.UCRED.pack(pid_vnr(task, got.cred.pid), *got.cred[1:]))
    if got.files:
        control.put_files(got.files, cloexec=bool(flags & abi.MSG_CMSG_CLOEXEC))
    out = got.flags | flags & abi.MSG_CMSG_CLOEXEC | (abi.MSG_CTRUNC if control.truncated else 0)
    if name_ptr:
        put_user(task.mm, msg + _NAMELEN_OFFSET, _UINT, 0)
    put_user(task.mm, msg + _FLAGS_OFFSET, _UINT, out)
    put_user(task.mm, msg + _CONTROLLEN_OFFSET, _ULONG, length - control.left)
    return got.result


@syscall()
def sys_recvfrom(
    task: Task, fd: Fd, ubuf: OutBuffer, size: Size, flags: MsgFlags, addr: OutSockAddr, addr_len: InOutLength
) -> int:
    """recvfrom(2): nobody here has a name to tell."""
    segments = [(UserPtr(access_ok(task.mm, ubuf, min(size, MAX_RW_COUNT))), min(size, MAX_RW_COUNT))]
    file = sockfd_lookup(task, fd)
    try:
        got = _receive(task, file, segments, flags)
    except Blocked as blocked:
        progress = task.call_state
        if isinstance(progress, _Progress) and progress.done:
            blocked.on_signal = partial(int, progress.done)
        raise
    for one in got.files:
        put_file(one, None)
    if addr:
        write_name(task, b"", addr, addr_len)
    return got.result


@syscall()
def sys_recvmsg(task: Task, fd: Fd, msg: OutMsgHdr, flags: MsgFlags) -> int:
    """recvmsg(2)."""
    _check_flags(flags)
    return _recvmsg(task, sockfd_lookup(task, fd), msg, flags)


@syscall()
def sys_recvmmsg(
    task: Task, fd: Fd, mmsg: OutMmsgVec, vlen: UInt, flags: MsgFlags, timeout: InOutTimespec
) -> int:
    """recvmmsg(2): the timeout is looked at after each message only, as the manual's BUGS say."""
    _check_flags(flags)
    many = task.call_state
    clock = task.kernel.clock
    if not isinstance(many, _Many):
        deadline_ns = None
        if timeout:
            seconds, nanoseconds = get_user(task.mm, timeout, TIMESPEC)
            if seconds < 0 or not 0 <= nanoseconds < NSEC_PER_SEC:
                raise SyscallError(errno.EINVAL)
            deadline_ns = clock.monotonic_ns() + seconds * NSEC_PER_SEC + nanoseconds
        many = _Many(deadline_ns)
    file = sockfd_lookup(task, fd)
    task.call_state = many.inner
    while many.done < min(vlen, UIO_MAXIOV):
        msg = UserPtr(mmsg + many.done * abi.MMSGHDR_BYTES)
        one_flags = flags & ~abi.MSG_WAITFORONE
        if flags & abi.MSG_WAITFORONE and many.done:
            one_flags |= abi.MSG_DONTWAIT
        try:
            put_user(task.mm, msg + abi.MSGHDR.size, _UINT, _recvmsg(task, file, msg, one_flags))
        except SyscallError:
            if not many.done:
                raise
            break
        except Blocked as blocked:
            raise _sleep(task, many, blocked) from None
        task.call_state = None
        many.done += 1
        if many.deadline_ns is not None and clock.monotonic_ns() >= many.deadline_ns:
            break
    if timeout and many.deadline_ns is not None:
        left_ns = max(0, many.deadline_ns - clock.monotonic_ns())
        put_user(task.mm, timeout, TIMESPEC, *divmod(left_ns, NSEC_PER_SEC))
    return many.done
