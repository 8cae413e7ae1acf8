"""Advisory locks of an inode: POSIX ranges, open-file-description ranges, flock(2). fs/locks.c.

A range belongs to an owner: the table of descriptors for fcntl(2)'s process locks (so they go when any descriptor of
the file is closed through that table), the description for F_OFD_* locks. Ends are inclusive, as in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_UNLCK, F_WRLCK
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.fs.file import File, FilesStruct
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task

OFFSET_MAX: Final = (1 << 63) - 1
_MAX_DEADLOCK_STEPS: Final = 10

Owner: TypeAlias = "FilesStruct | File"


class Range(NamedTuple):
    """A locked range of bytes, both ends in it. `type`: F_RDLCK or F_WRLCK; `pid`: whose, -1 for a description."""

    start: int
    end: int
    type: int
    pid: int


class LockWait:
    """What a task that waits for a POSIX lock waits for (`Task.call_state`): `blocker` holds what `owner` wants."""

    __slots__ = ("blocker", "owner")

    def __init__(self, owner: Owner, blocker: Owner) -> None:
        self.owner = owner
        self.blocker = blocker


class FileLockContext:
    """The locks of one inode (`struct file_lock_context`)."""

    __slots__ = ("flock", "posix", "waiters")

    def __init__(self) -> None:
        self.flock: dict[File, Range] = {}
        """flock(2): of the whole file, by description."""
        self.posix: dict[Owner, list[Range]] = {}
        """Each owner's ranges: sorted, apart from each other, and merged where they touch and agree in type."""
        self.waiters = WaitQueue()
        """Tasks that want what somebody else has."""

    def conflict(self, owner: Owner, kind: int, start: int, end: int) -> tuple[Owner, Range] | None:
        """Who keeps `owner` from locking [start, end] as `kind`, and with which range; None: nobody.

        For F_UNLCK the first range of its own there (F_OFD_GETLK tells a description of its own locks with it).
        """
        for other, ranges in self.posix.items():
            if (other is owner) != (kind == F_UNLCK):
                continue
            for held in ranges:
                if held.start > end:
                    break
                if held.end >= start and (kind == F_UNLCK or F_WRLCK in (kind, held.type)):
                    return other, held
        return None

    def set_range(self, owner: Owner, pid: int, kind: int, start: int, end: int) -> None:
        """Make [start, end] of `owner` locked as `kind`, or free with F_UNLCK: split and merge what it had."""
        kept: list[Range] = []
        for held in self.posix.get(owner, ()):
            if held.type == kind and held.end + 1 >= start and held.start <= end + 1:
                start = min(start, held.start)
                end = max(end, held.end)
            elif held.end < start or held.start > end:
                kept.append(held)
            else:
                if held.start < start:
                    kept.append(held._replace(end=start - 1))
                if held.end > end:
                    kept.append(held._replace(start=end + 1))
        if kind != F_UNLCK:
            kept.append(Range(start, end, kind, pid))
            kept.sort()
        if kept:
            self.posix[owner] = kept
        else:
            self.posix.pop(owner, None)
        self.waiters.wake()

    def forget(self, owner: Owner) -> None:
        """The owner has gone: its ranges go."""
        if self.posix.pop(owner, None) is not None:
            self.waiters.wake()


def context(inode: Inode) -> FileLockContext:
    """The inode's locks, made when the first is taken."""
    locks = inode.locks
    if not isinstance(locks, FileLockContext):
        locks = inode.locks = FileLockContext()
    return locks


def posix_lock(task: Task, inode: Inode, owner: Owner, pid: int, request: tuple[int, int, int], *, wait: bool) -> None:
    """Lock or unlock a range: `request` is (F_RDLCK, F_WRLCK or F_UNLCK; first byte; last byte).

    EAGAIN where another owner is in the way; with `wait` it blocks instead, or EDEADLK where process locks would wait
    for each other. fs/locks.c:posix_lock_inode()
    """
    kind, start, end = request
    locks = context(inode)
    if kind != F_UNLCK:
        found = locks.conflict(owner, kind, start, end)
        if found is not None:
            if not wait:
                raise SyscallError(errno.EAGAIN)
            if pid >= 0:
                if _would_deadlock(task, owner, found[0]):
                    raise SyscallError(errno.EDEADLK)
                task.call_state = LockWait(owner, found[0])
            raise Blocked(queues=(locks.waiters,))
    task.call_state = None
    locks.set_range(owner, pid, kind, start, end)


def _would_deadlock(task: Task, owner: Owner, blocker: Owner) -> bool:
    """Does `blocker`, directly or by others, wait for `owner`? fs/locks.c:posix_locks_deadlock()."""
    for _ in range(_MAX_DEADLOCK_STEPS):
        for other in task.kernel.tasks.values():
            state = other.call_state
            if other is not task and isinstance(state, LockWait) and state.owner is blocker:
                blocker = state.blocker
                break
        else:
            return False
        if blocker is owner:
            return True
    return False


def flock_lock(inode: Inode, file: File, pid: int, kind: int, *, wait: bool) -> None:
    """flock(2): F_RDLCK, F_WRLCK or F_UNLCK for the whole file, held by the description.

    A lock of another type is given up before the new one is asked for, so EAGAIN leaves none
    (fs/locks.c:flock_lock_inode()).
    """
    locks = context(inode)
    held = locks.flock
    mine = held.get(file)
    if mine is not None and mine.type == kind:
        return
    if held.pop(file, None) is not None:
        locks.waiters.wake()
    if kind == F_UNLCK:
        return
    if held and (kind == F_WRLCK or any(other.type == F_WRLCK for other in held.values())):
        if wait:
            raise Blocked(queues=(locks.waiters,))
        raise SyscallError(errno.EAGAIN)
    held[file] = Range(0, OFFSET_MAX, kind, pid)


def locks_remove_posix(inode: Inode, owner: Owner) -> None:
    """A descriptor of the file was closed through this table: the process's ranges go."""
    locks = inode.locks
    if isinstance(locks, FileLockContext):
        locks.forget(owner)


def locks_remove_file(file: File) -> None:
    """The description is gone: its ranges and its flock(2) lock go."""
    locks = file.inode.locks
    if isinstance(locks, FileLockContext):
        locks.forget(file)
        if locks.flock.pop(file, None) is not None:
            locks.waiters.wake()
