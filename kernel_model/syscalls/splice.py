"""Moving contents between descriptors, and to where they live: sendfile(2), splice(2), copy_file_range(2), sync(2) ...

fs/read_write.c, fs/splice.c, fs/sync.c, mm/fadvise.c. What Linux does by moving pages is done by copying here.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_APPEND, O_NONBLOCK
from kernel_model.abi.fs import (
    LLONG_MAX,
    MAX_RW_COUNT,
    POSIX_FADV_NOREUSE,
    SEEK_CUR,
    SPLICE_F_GIFT,
    SPLICE_F_MORE,
    SPLICE_F_MOVE,
    SPLICE_F_NONBLOCK,
    SYNC_FILE_RANGE_ALL,
)
from kernel_model.mm.uaccess import copy_iovec, get_user, put_user
from kernel_model.syscalls.declare import Fd, Offset, Size, UInt, ULong, syscall
from kernel_model.syscalls.kinds import FadviseAdvice, Iovec, OffsetPtr, SpliceFlags, SyncRangeFlags
from kernel_model.syscalls.read_write import (
    check_position,
    fdget,
    fdget_read,
    fdget_write,
    gather,
    read_segments,
    seekable,
)
from kernel_model.types import PAGE_SIZE, U64_MASK, SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.fs.pipe import Pipe
    from kernel_model.task import Task

LOFF: Final = Struct("<q")
_CHUNK_BYTES: Final = 1 << 18
_SPLICE_ALL: Final = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT
_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFDIR: Final = 0o040000
_S_IFCHR: Final = 0o020000
_DEV_NULL: Final = 0x103
_S_IFBLK: Final = 0o060000
_S_IFLNK: Final = 0o120000
_S_IFIFO: Final = 0o010000


def _kind(file: File) -> int:
    """The type bits of the file's mode."""
    return file.inode.i_mode & _S_IFMT


def _has_splice_read(file: File) -> bool:
    """Can its contents go elsewhere without passing through user space (`->splice_read`)? /dev/null's can't."""
    return _kind(file) != _S_IFDIR and not (_kind(file) == _S_IFCHR and file.inode.i_rdev == _DEV_NULL)


def _offset(task: Task, ptr: UserPtr) -> int | None:
    """The position at `ptr`; None for a null pointer, which means the file's own."""
    if not ptr:
        return None
    (pos,) = get_user(task.mm, ptr, LOFF)
    return int(pos)


def _copy(task: Task, source: File, pos: int | None, target: File, target_pos: int | None, count: int) -> int:
    """Copy up to `count` bytes, each side at its position or (None) at the description's own; how many were copied.

    What the target did not take has not been read. An error or a wait after the first bytes ends the copy with them.
    """
    done = 0
    while done < count:
        want = min(count - done, _CHUNK_BYTES)
        try:
            data = source.read(task, want) if pos is None else source.pread(task, want, pos + done)
            if not data:
                break
            taken = 0
            try:
                if target_pos is None:
                    taken = target.write(task, data)
                else:
                    taken = target.pwrite(task, data, target_pos + done)
            finally:
                if pos is None and taken < len(data):
                    source.llseek(task, taken - len(data), SEEK_CUR)
        except (SyscallError, Blocked):
            if done:
                break
            raise
        done += taken
        if taken < len(data):
            break
    return done


@syscall()
def sys_sendfile(task: Task, out_fd: Fd, in_fd: Fd, offset: OffsetPtr, count: Size) -> int:
    """sendfile(2): from what can be seeked, to anything but a file opened with O_APPEND. do_sendfile()."""
    pos = _offset(task, offset)
    source = fdget_read(task, in_fd)
    if pos is not None and not seekable(source):
        raise SyscallError(errno.ESPIPE)
    check_position(source.f_pos if pos is None else pos, count)
    target = fdget_write(task, out_fd)
    if not seekable(source) or (count and not _has_splice_read(source)):
        raise SyscallError(errno.EINVAL)
    if target.f_flags & O_APPEND and _kind(target) == _S_IFREG:
        raise SyscallError(errno.EINVAL)
    done = _copy(task, source, pos, target, None, min(count, MAX_RW_COUNT))
    if pos is not None:
        put_user(task.mm, offset, LOFF, pos + done)
    return done


# -- splice -----------------------------------------------------------------------------------------------------------
def _wait_for_data(pipe: Pipe, *, nonblock: bool) -> bool:
    """Wait until there is something to take; False when nothing will come. fs/splice.c:ipipe_prep()."""
    if pipe.bufs:
        return True
    pipe.forget_interrupted_opens()
    if not pipe.writers:
        return False
    if nonblock:
        raise SyscallError(errno.EAGAIN)
    raise Blocked(queues=(pipe.rd_wait,))


def _wait_for_space(task: Task, pipe: Pipe, *, nonblock: bool) -> int:
    """Wait until a page is free; how many bytes may be put. EPIPE. fs/splice.c:wait_for_space()."""
    from kernel_model.fs.pipe import broken_pipe

    pipe.forget_interrupted_opens()
    if not pipe.readers:
        raise broken_pipe(task)
    if pipe.full:
        if nonblock:
            raise SyscallError(errno.EAGAIN)
        raise Blocked(queues=(pipe.wr_wait,))
    return (pipe.max_usage - len(pipe.bufs)) * PAGE_SIZE


@syscall()
def sys_splice(
    task: Task, fd_in: Fd, off_in: OffsetPtr, fd_out: Fd, off_out: OffsetPtr, len: Size, flags: SpliceFlags
) -> int:
    """splice(2): one side at least is a pipe. fs/splice.c:do_splice()."""
    from kernel_model.fs.pipe import pipe_of

    if not len:
        return 0
    if flags & ~_SPLICE_ALL:
        raise SyscallError(errno.EINVAL)
    source = fdget(task, fd_in)
    target = fdget(task, fd_out)
    from_pipe = pipe_of(source)
    to_pipe = pipe_of(target)
    if (from_pipe and off_in) or (to_pipe and off_out):
        raise SyscallError(errno.ESPIPE)
    out_pos = _offset(task, off_out)
    in_pos = _offset(task, off_in)
    if not source.readable or not target.writable:
        raise SyscallError(errno.EBADF)
    len = min(len, MAX_RW_COUNT)
    if from_pipe and to_pipe:
        if from_pipe is to_pipe:
            raise SyscallError(errno.EINVAL)
        nonblock = bool(flags & SPLICE_F_NONBLOCK or (source.f_flags | target.f_flags) & O_NONBLOCK)
        if not _wait_for_data(from_pipe, nonblock=nonblock):
            return 0
        room = _wait_for_space(task, to_pipe, nonblock=nonblock)
        return _bytes_taken(from_pipe, to_pipe.put(from_pipe.peek(min(len, room)), False))
    if from_pipe:
        nonblock = bool(flags & SPLICE_F_NONBLOCK or source.f_flags & O_NONBLOCK)
        done = _splice_from(task, from_pipe, target, out_pos, len, nonblock=nonblock)
        if out_pos is not None:
            put_user(task.mm, off_out, LOFF, out_pos + done)
        return done
    if to_pipe:
        nonblock = bool(flags & SPLICE_F_NONBLOCK or target.f_flags & O_NONBLOCK)
        done = _splice_to(task, source, in_pos, to_pipe, len, nonblock=nonblock)
        if in_pos is not None:
            put_user(task.mm, off_in, LOFF, in_pos + done)
        return done
    raise SyscallError(errno.EINVAL)


def _bytes_taken(pipe: Pipe, count: int) -> int:
    """`count` bytes have gone elsewhere: out of the pipe with them."""
    pipe.take(count)
    return count


def _splice_from(task: Task, pipe: Pipe, target: File, pos: int | None, count: int, *, nonblock: bool) -> int:
    """From a pipe into something else, until the pipe is empty. fs/splice.c:splice_from_pipe()."""
    if pos is not None and not seekable(target):
        raise SyscallError(errno.EINVAL)
    if target.f_flags & O_APPEND and _kind(target) == _S_IFREG:
        raise SyscallError(errno.EINVAL)
    check_position(target.f_pos if pos is None else pos, count)
    if not _wait_for_data(pipe, nonblock=nonblock):
        return 0
    done = 0
    while done < count and pipe.bufs:
        data = pipe.peek(min(count - done, _CHUNK_BYTES))
        try:
            taken = target.write(task, data) if pos is None else target.pwrite(task, data, pos + done)
        except (SyscallError, Blocked):
            if done:
                break
            raise
        done += _bytes_taken(pipe, taken)
        if not taken:
            break
    return done


def _splice_to(task: Task, source: File, pos: int | None, pipe: Pipe, count: int, *, nonblock: bool) -> int:
    """From something else into a pipe, as much as fits now. fs/splice.c:splice_file_to_pipe()."""
    # QUIRK: splice and tee take only the guest's own pipes; standard streams that are pipes of the host give EINVAL.
    if pos is not None and not seekable(source):
        raise SyscallError(errno.EINVAL)
    check_position(source.f_pos if pos is None else pos, count)
    room = _wait_for_space(task, pipe, nonblock=nonblock)
    if not _has_splice_read(source):
        raise SyscallError(errno.EINVAL)
    count = min(count, room)
    data = source.read(task, count) if pos is None else source.pread(task, count, pos)
    return pipe.put(data, False)


@syscall()
def sys_tee(task: Task, fdin: Fd, fdout: Fd, len: Size, flags: SpliceFlags) -> int:
    """tee(2): from pipe to pipe, nothing taken. fs/splice.c:do_tee()."""
    from kernel_model.fs.pipe import pipe_of

    if flags & ~_SPLICE_ALL:
        raise SyscallError(errno.EINVAL)
    if not len:
        return 0
    source = fdget(task, fdin)
    target = fdget(task, fdout)
    if not source.readable or not target.writable:
        raise SyscallError(errno.EBADF)
    from_pipe = pipe_of(source)
    to_pipe = pipe_of(target)
    if from_pipe is None or to_pipe is None or from_pipe is to_pipe:
        raise SyscallError(errno.EINVAL)
    nonblock = bool(flags & SPLICE_F_NONBLOCK or (source.f_flags | target.f_flags) & O_NONBLOCK)
    if not _wait_for_data(from_pipe, nonblock=nonblock):
        return 0
    room = _wait_for_space(task, to_pipe, nonblock=nonblock)
    return to_pipe.put(from_pipe.peek(min(len, room)), False)


@syscall()
def sys_vmsplice(task: Task, fd: Fd, uiov: Iovec, nr_segs: ULong, flags: SpliceFlags) -> int:
    """vmsplice(2): into a pipe's writing end, or out of its reading end. The pages are copied, gift or not."""
    from kernel_model.fs.pipe import pipe_of

    if flags & ~_SPLICE_ALL:
        raise SyscallError(errno.EINVAL)
    file = fdget(task, fd)
    if not file.readable and not file.writable:
        raise SyscallError(errno.EBADF)
    segments = copy_iovec(task.mm, uiov, nr_segs)
    if not any(length for _, length in segments):
        return 0
    pipe = pipe_of(file)
    if pipe is None:
        raise SyscallError(errno.EBADF)
    nonblock = bool(flags & SPLICE_F_NONBLOCK or file.f_flags & O_NONBLOCK)
    if not file.writable:
        if not _wait_for_data(pipe, nonblock=nonblock):
            return 0
        return read_segments(task, file, segments, None)
    room = _wait_for_space(task, pipe, nonblock=nonblock)
    data = gather(task, segments, 0, room)
    if not data:
        raise SyscallError(errno.EFAULT)
    return pipe.put(data, False)


@syscall()
def sys_copy_file_range(
    task: Task, fd_in: Fd, off_in: OffsetPtr, fd_out: Fd, off_out: OffsetPtr, len: Size, flags: UInt
) -> int:
    """copy_file_range(2): between regular files of one file system. fs/read_write.c:generic_copy_file_checks()."""
    source = fdget(task, fd_in)
    target = fdget(task, fd_out)
    in_pos = _offset(task, off_in)
    out_pos = _offset(task, off_out)
    if flags:
        raise SyscallError(errno.EINVAL)
    kinds = (_kind(source), _kind(target))
    if _S_IFDIR in kinds:
        raise SyscallError(errno.EISDIR)
    if kinds != (_S_IFREG, _S_IFREG):
        raise SyscallError(errno.EINVAL)
    if not source.readable or not target.writable or target.f_flags & O_APPEND:
        raise SyscallError(errno.EBADF)
    if source.inode.i_sb is not target.inode.i_sb:
        raise SyscallError(errno.EXDEV)
    start = source.f_pos if in_pos is None else in_pos
    end = target.f_pos if out_pos is None else out_pos
    if (start & U64_MASK) + len > U64_MASK or (end & U64_MASK) + len > U64_MASK:
        raise SyscallError(errno.EOVERFLOW)
    len = max(0, min(len, source.inode.i_size - start, MAX_RW_COUNT))
    if source.inode is target.inode and end + len > start and end < start + len:
        raise SyscallError(errno.EINVAL)
    check_position(start, len)
    check_position(end, len)
    done = _copy(task, source, in_pos, target, out_pos, len)
    if in_pos is not None:
        put_user(task.mm, off_in, LOFF, in_pos + done)
    if out_pos is not None:
        put_user(task.mm, off_out, LOFF, out_pos + done)
    return done


# -- to where it lives ------------------------------------------------------------------------------------------------
@syscall()
def sys_fsync(task: Task, fd: Fd) -> int:
    """fsync(2)."""
    fdget(task, fd).fsync(task)
    return 0


@syscall()
def sys_fdatasync(task: Task, fd: Fd) -> int:
    """fdatasync(2)."""
    fdget(task, fd).fsync(task)
    return 0


@syscall()
def sys_sync(task: Task) -> int:
    """sync(2)."""
    for mnt in task.kernel.mounts.mounts:
        if mnt.made:
            mnt.mnt_sb.sync()
    return 0


@syscall()
def sys_syncfs(task: Task, fd: Fd) -> int:
    """syncfs(2)."""
    fdget(task, fd).inode.i_sb.sync()
    return 0


@syscall()
def sys_sync_file_range(task: Task, fd: Fd, offset: Offset, nbytes: Offset, flags: SyncRangeFlags) -> int:
    """sync_file_range(2): whatever the range, the whole file is written back."""
    file = fdget(task, fd)
    if flags & ~SYNC_FILE_RANGE_ALL or offset < 0 or not offset <= offset + nbytes <= LLONG_MAX:
        raise SyscallError(errno.EINVAL)
    if _kind(file) not in (_S_IFREG, _S_IFBLK, _S_IFDIR, _S_IFLNK):
        raise SyscallError(errno.ESPIPE)
    if flags:
        file.fsync(task)
    return 0


@syscall()
def sys_readahead(task: Task, fd: Fd, offset: Offset, count: Size) -> int:
    """readahead(2): pages are read when they are needed."""
    file = fdget_read(task, fd)
    if _kind(file) not in (_S_IFREG, _S_IFBLK):
        raise SyscallError(errno.EINVAL)
    return 0


@syscall()
def sys_fadvise64(task: Task, fd: Fd, offset: Offset, len: Offset, advice: FadviseAdvice) -> int:
    """posix_fadvise(2): heard and let be. mm/fadvise.c:generic_fadvise()."""
    file = fdget(task, fd)
    if _kind(file) == _S_IFIFO:
        raise SyscallError(errno.ESPIPE)
    if len < 0 or not 0 <= advice <= POSIX_FADV_NOREUSE:
        raise SyscallError(errno.EINVAL)
    return 0
