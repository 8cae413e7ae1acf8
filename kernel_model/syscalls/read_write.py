"""read(2), write(2), lseek(2) and their kin (fs/read_write.c).

Contents move through `bytes` of at most `CHUNK_BYTES`; a longer transfer is several, so that no length that a guest
names makes the host allocate as much.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_APPEND, O_DSYNC, O_NONBLOCK, O_PATH, O_WRONLY
from kernel_model.abi.fs import (
    LLONG_MAX,
    MAX_RW_COUNT,
    RWF_APPEND,
    RWF_DSYNC,
    RWF_HIPRI,
    RWF_NOAPPEND,
    RWF_NOWAIT,
    RWF_SYNC,
    SEEK_CUR,
    SEEK_HOLE,
)
from kernel_model.fs.file import File, noop_llseek
from kernel_model.mm.uaccess import (
    access_ok,
    copy_from_user,
    copy_from_user_partial,
    copy_iovec,
    copy_to_user,
    copy_to_user_partial,
)
from kernel_model.syscalls.declare import Fd, InBuffer, Long, Offset, OutBuffer, Size, ULong, syscall
from kernel_model.syscalls.kinds import Iovec, OutIovec, RwFlags, Whence
from kernel_model.types import PAGE_MASK, SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.task import Task

CHUNK_BYTES: Final = 1 << 20
"""The most that moves in one piece."""

_NOT_READABLE: Final = O_PATH | O_WRONLY
_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFIFO: Final = 0o010000
_S_IFSOCK: Final = 0o140000
_RWF_ANY: Final = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND


def _as_it_is(done: int, before: Callable[[], int] | None) -> int:
    """What a signal makes of a transfer that has begun; `before`: what it made of the last piece."""
    if before is not None:
        with suppress(SyscallError):
            before()
    return done


Segments = list[tuple[UserPtr, int]]


class WriteProgress:
    """What a write that blocked had moved before (`Task.call_state`)."""

    __slots__ = ("done",)

    def __init__(self, done: int) -> None:
        self.done = done


# -- descriptors ------------------------------------------------------------------------------------------------------
def fdget(task: Task, fd: int) -> File:
    """The description behind `fd` for a call that does something with the file: EBADF for one opened with O_PATH."""
    file = task.files.fd.get(fd)
    if file is None or file.f_flags & O_PATH:
        raise SyscallError(errno.EBADF)
    return file


def fdget_read(task: Task, fd: int) -> File:
    """The same, open for reading; EBADF."""
    file = task.files.fd.get(fd)
    if file is None or file.f_flags & _NOT_READABLE:
        raise SyscallError(errno.EBADF)
    return file


def fdget_write(task: Task, fd: int) -> File:
    """The same, open for writing; EBADF."""
    file = task.files.fd.get(fd)
    if file is None or not file.f_flags + 1 & 2:
        raise SyscallError(errno.EBADF)
    return file


def check_position(pos: int, count: int) -> None:
    """EINVAL for a range that does not fit a file (rw_verify_area())."""
    if pos < 0 or count > LLONG_MAX or pos + count > LLONG_MAX:
        raise SyscallError(errno.EINVAL)


def seekable(file: File) -> bool:
    """Can the kind be read or written at a position (FMODE_PREAD, FMODE_PWRITE)?"""
    return type(file).llseek not in (File.llseek, noop_llseek)


# -- moving contents --------------------------------------------------------------------------------------------------
def _take(file: File, task: Task, count: int, pos: int | None) -> bytes:
    """Up to `count` bytes from the position of `file`, or from `pos`."""
    return file.read(task, count) if pos is None else file.pread(task, count, pos)


def _unread(file: File, task: Task, data: bytes, stored: int) -> int:
    """The guest's buffer took only `stored` bytes of what was read: the rest has not been read, where that can be
    undone. How many have.
    """
    if seekable(file):
        file.llseek(task, stored - len(data), SEEK_CUR)
        return stored
    return file.unread(data, stored)


def read_segments(task: Task, file: File, segments: Segments, pos: int | None) -> int:
    """Read into the guest's `segments`, at the file's position or at `pos`; the number of bytes.

    A fault, or an error after the first piece, ends it with what has been moved.
    """
    total = sum(length for _, length in segments)
    done = 0
    index = 0
    offset = 0
    chunk_bytes = CHUNK_BYTES if total <= CHUNK_BYTES or not file.keeps_boundaries else total
    while True:
        want = min(total - done, chunk_bytes)
        try:
            data = _take(file, task, want, None if pos is None else pos + done)
        except (SyscallError, Blocked):
            if done:
                return done
            raise
        copied = 0
        while copied < len(data):
            base, length = segments[index]
            size = min(length - offset, len(data) - copied)
            if size:
                piece = data[copied : copied + size]
                try:
                    copy_to_user(task.mm, base + offset, piece)
                    copied += size
                except SyscallError:
                    copied += copy_to_user_partial(task.mm, base + offset, piece)
                    if pos is None:
                        copied = _unread(file, task, data, copied)
                    if done + copied:
                        return done + copied
                    raise SyscallError(errno.EFAULT) from None
                offset += size
            if offset == length:
                index += 1
                offset = 0
        done += copied
        if copied < want or done == total or file.keeps_boundaries:
            return done


def gather(task: Task, segments: Segments, skip: int, limit: int) -> bytes:
    """Up to `limit` bytes of the guest's `segments` from byte `skip` on: what comes before the first that faults."""
    parts = []
    room = limit
    for base, length in segments:
        if skip >= length:
            skip -= length
            continue
        size = min(length - skip, room)
        data = copy_from_user_partial(task.mm, UserPtr(base + skip), size)
        parts.append(data)
        room -= len(data)
        if len(data) < size or not room:
            break
        skip = 0
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_segments(task: Task, file: File, segments: Segments, pos: int | None) -> int:
    """Write the guest's `segments` at the file's position or at `pos`; the number of bytes.

    A file that takes only a part is asked again, and may block; a fault or an error ends it with what has been moved.
    """
    total = sum(length for _, length in segments)
    if file.DISCARDS:
        return total
    state = task.call_state
    done = state.done if isinstance(state, WriteProgress) else 0
    task.call_state = None
    chunk_bytes = CHUNK_BYTES
    if total > CHUNK_BYTES and file.keeps_boundaries:
        file.check_message(total)
        chunk_bytes = total
    while True:
        want = min(total - done, chunk_bytes)
        data = gather(task, segments, done, want)
        try:
            if len(data) < want and file.inode.i_mode & _S_IFMT in (_S_IFIFO, _S_IFSOCK):
                # a pipe drops a page that can't be filled (pipe_write()), a socket the message
                data = data[: len(data) & PAGE_MASK] if file.inode.i_mode & _S_IFMT == _S_IFIFO else b""
            if want and not data:
                raise SyscallError(errno.EFAULT)
            taken = file.write(task, data) if pos is None else file.pwrite(task, data, pos + done)
        except SyscallError:
            if done:
                return done
            raise
        except Blocked as blocked:
            if done:
                task.call_state = WriteProgress(done)
                blocked.on_signal = partial(_as_it_is, done, blocked.on_signal)
            raise
        done += taken
        if done >= total or not taken or (taken == len(data) and taken < want):
            return done


# -- the calls --------------------------------------------------------------------------------------------------------
@syscall()
def sys_read(task: Task, fd: Fd, buf: OutBuffer, count: Size) -> int:
    """read(2)."""
    file = task.files.fd.get(fd)
    if file is None or file.f_flags & _NOT_READABLE:
        raise SyscallError(errno.EBADF)
    mm = task.mm
    if count > CHUNK_BYTES or buf + count > mm.task_size:
        plain = UserPtr(access_ok(task.mm, buf, count))
        return read_segments(task, file, [(plain, min(count, MAX_RW_COUNT))], None)
    data = file.read(task, count)
    try:
        copy_to_user(mm, buf, data)
    except SyscallError:
        stored = copy_to_user_partial(mm, buf, data)
        stored = _unread(file, task, data, stored)
        if not stored:
            raise
        return stored
    return len(data)


@syscall()
def sys_write(task: Task, fd: Fd, buf: InBuffer, count: Size) -> int:
    """write(2)."""
    file = task.files.fd.get(fd)
    if file is None or not file.f_flags + 1 & 2:
        raise SyscallError(errno.EBADF)
    mm = task.mm
    if task.call_state is None and count <= CHUNK_BYTES and buf + count <= mm.task_size:
        try:
            data = copy_from_user(mm, buf, count)
        except SyscallError:
            pass
        else:
            written = file.write(task, data)
            if written == count:
                return written
            task.call_state = WriteProgress(written)
    plain = UserPtr(access_ok(mm, buf, count))
    return write_segments(task, file, [(plain, min(count, MAX_RW_COUNT))], None)


@syscall()
def sys_pread64(task: Task, fd: Fd, buf: OutBuffer, count: Size, pos: Offset) -> int:
    """pread(2)."""
    if pos < 0:
        raise SyscallError(errno.EINVAL)
    file = fdget(task, fd)
    if not seekable(file):
        raise SyscallError(errno.ESPIPE)
    if file.f_flags & O_WRONLY:
        raise SyscallError(errno.EBADF)
    mm = task.mm
    if count > CHUNK_BYTES or buf + count > mm.task_size or pos + count > LLONG_MAX:
        plain = UserPtr(access_ok(mm, buf, count))
        check_position(pos, count)
        return read_segments(task, file, [(plain, min(count, MAX_RW_COUNT))], pos)
    data = file.pread(task, count, pos)
    stored = len(data)
    try:
        copy_to_user(mm, buf, data)
    except SyscallError:
        stored = copy_to_user_partial(mm, buf, data)
        if not stored:
            raise
    return stored


@syscall()
def sys_pwrite64(task: Task, fd: Fd, buf: InBuffer, count: Size, pos: Offset) -> int:
    """pwrite(2)."""
    if pos < 0:
        raise SyscallError(errno.EINVAL)
    file = fdget(task, fd)
    if not seekable(file):
        raise SyscallError(errno.ESPIPE)
    if not file.writable:
        raise SyscallError(errno.EBADF)
    mm = task.mm
    if count <= CHUNK_BYTES and buf + count <= mm.task_size and pos + count <= LLONG_MAX:
        try:
            data = copy_from_user(mm, buf, count)
        except SyscallError:
            pass
        else:
            return file.pwrite(task, data, pos)
    plain = UserPtr(access_ok(mm, buf, count))
    check_position(pos, count)
    return write_segments(task, file, [(plain, min(count, MAX_RW_COUNT))], pos)


def _readv(task: Task, fd: int, vec: UserPtr, vlen: int, pos: int | None, flags: int) -> int:
    """fs/read_write.c:vfs_readv()."""
    file = fdget(task, fd)
    if pos is not None and not seekable(file):
        raise SyscallError(errno.ESPIPE)
    if file.f_flags & O_WRONLY:
        raise SyscallError(errno.EBADF)
    segments = copy_iovec(task.mm, vec, vlen)
    total = sum(length for _, length in segments)
    if not total:
        return 0
    if pos is not None:
        check_position(pos, total)
    if not flags:
        return read_segments(task, file, segments, pos)
    kept = file.f_flags
    file.f_flags = _flags_for_call(file, flags)
    try:
        return read_segments(task, file, segments, pos)
    finally:
        file.f_flags = kept


def _writev(task: Task, fd: int, vec: UserPtr, vlen: int, pos: int | None, flags: int) -> int:
    """fs/read_write.c:vfs_writev()."""
    file = fdget(task, fd)
    if pos is not None and not seekable(file):
        raise SyscallError(errno.ESPIPE)
    if not file.writable:
        raise SyscallError(errno.EBADF)
    mm = task.mm
    segments = copy_iovec(mm, vec, vlen)
    total = 0
    for _, length in segments:
        total += length
    if not total:
        return 0
    if pos is not None:
        check_position(pos, total)
    elif not flags and total <= CHUNK_BYTES and task.call_state is None:
        try:
            data = b"".join([copy_from_user(mm, base, length) for base, length in segments])
        except SyscallError:
            pass
        else:
            written = file.write(task, data)
            if written == total:
                return written
            task.call_state = WriteProgress(written)
    if not flags:
        return write_segments(task, file, segments, pos)
    kept = file.f_flags
    file.f_flags = _flags_for_call(file, flags)
    try:
        return write_segments(task, file, segments, pos)
    finally:
        file.f_flags = kept


def _flags_for_call(file: File, flags: int) -> int:
    """The description's flags while one call with RWF_* `flags` runs. include/linux/fs.h:kiocb_set_rw_flags()."""
    # QUIRK: RWF_NOWAIT works on pipes only; regular files refuse it with EOPNOTSUPP, as tmpfs does.
    kind = file.inode.i_mode & _S_IFMT
    if flags & ~_RWF_ANY or (kind not in (_S_IFREG, _S_IFIFO) and flags & ~RWF_HIPRI):
        raise SyscallError(errno.EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise SyscallError(errno.EINVAL)
    result = file.f_flags
    if flags & RWF_NOWAIT:
        if kind != _S_IFIFO:
            raise SyscallError(errno.EOPNOTSUPP)
        result |= O_NONBLOCK
    if flags & (RWF_DSYNC | RWF_SYNC):
        result |= O_DSYNC
    if flags & RWF_APPEND:
        result |= O_APPEND
    if flags & RWF_NOAPPEND:
        result &= ~O_APPEND
    return result


@syscall()
def sys_readv(task: Task, fd: Fd, vec: OutIovec, vlen: ULong) -> int:
    """readv(2)."""
    return _readv(task, fd, vec, vlen, None, 0)


@syscall()
def sys_writev(task: Task, fd: Fd, vec: Iovec, vlen: ULong) -> int:
    """writev(2)."""
    return _writev(task, fd, vec, vlen, None, 0)


@syscall()
def sys_preadv(task: Task, fd: Fd, vec: OutIovec, vlen: ULong, pos: Long, pos_h: ULong) -> int:
    """preadv(2). `pos_h` counts only where a register has 32 bits."""
    if pos < 0:
        raise SyscallError(errno.EINVAL)
    return _readv(task, fd, vec, vlen, pos, 0)


@syscall()
def sys_pwritev(task: Task, fd: Fd, vec: Iovec, vlen: ULong, pos: Long, pos_h: ULong) -> int:
    """pwritev(2)."""
    if pos < 0:
        raise SyscallError(errno.EINVAL)
    return _writev(task, fd, vec, vlen, pos, 0)


@syscall()
def sys_preadv2(task: Task, fd: Fd, vec: OutIovec, vlen: ULong, pos: Long, pos_h: ULong, flags: RwFlags) -> int:
    """preadv2(2): position -1 is the file's own."""
    if pos < -1:
        raise SyscallError(errno.EINVAL)
    return _readv(task, fd, vec, vlen, None if pos == -1 else pos, flags)


@syscall()
def sys_pwritev2(task: Task, fd: Fd, vec: Iovec, vlen: ULong, pos: Long, pos_h: ULong, flags: RwFlags) -> int:
    """pwritev2(2)."""
    if pos < -1:
        raise SyscallError(errno.EINVAL)
    return _writev(task, fd, vec, vlen, None if pos == -1 else pos, flags)


@syscall()
def sys_lseek(task: Task, fd: Fd, offset: Offset, whence: Whence) -> int:
    """lseek(2)."""
    file = fdget(task, fd)
    if whence > SEEK_HOLE:
        raise SyscallError(errno.EINVAL)
    return file.llseek(task, offset, whence)
