"""pipe(2), pipe2(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC, O_DIRECT, O_EXCL, O_NONBLOCK
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.file import put_file
from kernel_model.fs.pipe import create_pipe
from kernel_model.mm.uaccess import put_user
from kernel_model.syscalls.declare import syscall
from kernel_model.syscalls.kinds import FdPair, PipeFlags
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.task import Task

_FD_PAIR: Final = struct.Struct("<ii")
_O_NOTIFICATION_PIPE: Final = O_EXCL


def _do_pipe(task: Task, fildes: UserPtr, flags: int) -> int:
    """fs/pipe.c:do_pipe2()."""
    flags = task.kernel.arch.open_flags_from_user(flags)
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT | _O_NOTIFICATION_PIPE):
        raise SyscallError(errno.EINVAL)
    if flags & _O_NOTIFICATION_PIPE:
        # as a kernel without CONFIG_WATCH_QUEUE
        raise SyscallError(errno.ENOPKG)
    reader, writer = create_pipe(task.kernel, task, flags)
    files = task.files
    limit = task.signal.rlim[RLIMIT_NOFILE][0]
    cloexec = bool(flags & O_CLOEXEC)
    try:
        read_fd = files.install(reader, limit, cloexec=cloexec)
    except SyscallError:
        put_file(reader, None)
        put_file(writer, None)
        raise
    try:
        write_fd = files.install(writer, limit, cloexec=cloexec)
    except SyscallError:
        files.close(read_fd, task)
        put_file(writer, None)
        raise
    try:
        put_user(task.mm, fildes, _FD_PAIR, read_fd, write_fd)
    except SyscallError:
        files.close(read_fd, task)
        files.close(write_fd, task)
        raise
    return 0


@syscall()
def sys_pipe(task: Task, fildes: FdPair) -> int:
    """pipe(2)."""
    return _do_pipe(task, fildes, 0)


@syscall()
def sys_pipe2(task: Task, fildes: FdPair, flags: PipeFlags) -> int:
    """pipe2(2)."""
    return _do_pipe(task, fildes, flags)
