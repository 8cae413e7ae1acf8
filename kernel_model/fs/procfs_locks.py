"""/proc/locks, and the locks in /proc/<pid>/fdinfo (fs/locks.c:locks_show(), show_fd_locks())."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.fcntl import F_WRLCK
from kernel_model.abi.stat import dev_major, dev_minor
from kernel_model.fs.locks import OFFSET_MAX, FileLockContext, Range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.fs.file import File
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task


def locks(task: Task) -> bytes:
    """/proc/locks: every lock there is belongs to a file that somebody has open."""
    # QUIRK: /proc/locks does not show who waits for a lock.
    inodes = {
        file.inode: None for other in task.kernel.tasks.values() for file in other.files.fd.values() if file.inode.locks
    }
    lines = [line for inode in inodes for line in _lines(inode, None, None)]
    return b"".join(b"%d: %s\n" % (number, line) for number, line in enumerate(lines, 1))


def fd_locks(target: Task, file: File) -> bytes:
    """The locks of an open file, for /proc/<pid>/fdinfo: its own, and those that its process has of the same inode."""
    return b"".join(b"lock:\t1: %s\n" % line for line in _lines(file.inode, target, file))


def _lines(inode: Inode, target: Task | None, file: File | None) -> Iterator[bytes]:
    """One for each lock of the inode (lock_get_status()); of those of `target` and `file` only, if given."""
    held = inode.locks
    if not isinstance(held, FileLockContext):
        return
    for owner, one in held.flock.items():
        if file is None or owner is file:
            yield _line(inode, b"FLOCK  ADVISORY ", one)
    for whose, ranges in held.posix.items():
        if target is None or whose is target.files or whose is file:
            for one in ranges:
                yield _line(inode, b"OFDLCK ADVISORY " if one.pid < 0 else b"POSIX  ADVISORY ", one)


def _line(inode: Inode, kind: bytes, one: Range) -> bytes:
    stat = inode.getattr()
    end = b"EOF" if one.end == OFFSET_MAX else b"%d" % one.end
    access = b"WRITE" if one.type == F_WRLCK else b"READ"
    return b"%s %s %d %02x:%02x:%d %d %s" % (
        kind, access, one.pid, dev_major(stat.dev), dev_minor(stat.dev), stat.ino, one.start, end,
    )  # fmt: skip
