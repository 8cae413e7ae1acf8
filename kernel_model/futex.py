"""Futexes: who waits on which word of memory, and what a task leaves behind that dies with some (kernel/futex/)."""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi.errno import EINVAL
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.mm.vma import VM_SHARED
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, U64_MASK, SyscallError, UserPtr
from kernel_model.wait import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Hashable

    from kernel_model.futex_pi import PiTable
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

FUTEX_BITSET_MATCH_ANY: Final = 0xFFFF_FFFF
_FUTEX_WAITERS: Final = 0x8000_0000
_FUTEX_OWNER_DIED: Final = 0x4000_0000
_FUTEX_TID_MASK: Final = 0x3FFF_FFFF
_ROBUST_LIST_LIMIT: Final = 2048
_WORD: Final = Struct("<I")
_LONG: Final = Struct("<Q")
_OFFSET: Final = Struct("<q")


class FutexWaiter:
    """One task that waits on one word (`struct futex_q`). Kept as `task.call_state` while it does."""

    __slots__ = ("bitset", "deadline_ns", "key", "queue", "task", "woken")

    def __init__(self, task: Task, key: Hashable, bitset: int, deadline_ns: int | None) -> None:
        self.task = task
        self.key = key
        self.bitset = bitset
        self.deadline_ns = deadline_ns
        self.woken = False
        self.queue = WaitQueue()


class FutexVector:
    """One task that waits on several words (futex_waitv(2)). Kept as `task.call_state` while it does."""

    __slots__ = ("deadline_ns", "waiters")

    def __init__(self, waiters: tuple[FutexWaiter, ...], deadline_ns: int | None) -> None:
        self.waiters = waiters
        self.deadline_ns = deadline_ns


def futex_key(mm: MemoryMap, address: int, private: bool) -> Hashable:
    """What makes two futexes the same one: kernel/futex/core.c:get_futex_key(). A waiter keeps the mapping that it is
    in, so that no other can be taken for it.
    """
    if not private:
        vma = mm.vmas.find(address)
        if vma is not None and vma.vm_flags & VM_SHARED and vma.mapping is not None:
            index = (address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
            return vma.mapping, index, address & ~PAGE_MASK
    return mm, address, private


class FutexTable:
    """All waiters by key, the one that came first in front."""

    def __init__(self) -> None:
        self._waiters: dict[Hashable, list[FutexWaiter]] = {}
        self.pi: PiTable | None = None
        """The priority-inheritance locks, once there has been one."""

    def waiting_on(self, key: Hashable) -> tuple[FutexWaiter, ...]:
        """Who waits there now, in their order."""
        return tuple(self._waiters.get(key, ()))

    def add(self, waiter: FutexWaiter) -> None:
        """`waiter` waits."""
        self._waiters.setdefault(waiter.key, []).append(waiter)

    def remove(self, waiter: FutexWaiter) -> None:
        """`waiter` waits no longer: a signal, its time, or its end."""
        waiters = self._waiters.get(waiter.key)
        if waiters and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[waiter.key]

    def task_exits(self, task: Task) -> None:
        """It waits no longer."""
        waiting = task.call_state
        if isinstance(waiting, FutexWaiter):
            self.remove(waiting)
        elif isinstance(waiting, FutexVector):
            for waiter in waiting.waiters:
                self.remove(waiter)

    def wake(self, key: Hashable, count: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
        """Wake up to `count` waiters whose bits meet `bitset`; how many. kernel/futex/waitwake.c:futex_wake().

        EINVAL when it meets one who waits for a lock: a lock is unlocked. Those before it are awake then.
        """
        woken = 0
        for waiter in self.waiting_on(key):
            if not waiter.bitset:
                raise SyscallError(EINVAL)
            if waiter.bitset & bitset:
                self._wake_up(waiter)
                woken += 1
                if woken >= count:
                    return woken
        if self.pi is not None and self.pi.is_waited_for(key):
            raise SyscallError(EINVAL)
        return woken

    def wake_one(self, key: Hashable) -> None:
        """Wake the first, if that may be: what the end of a task does, and whether it does is nobody's to know."""
        with suppress(SyscallError):
            self.wake(key, 1)

    def _wake_up(self, waiter: FutexWaiter) -> None:
        self.remove(waiter)
        waiter.woken = True
        waiter.queue.wake()

    def requeue(self, key: Hashable, wake: int, move: int, target: Hashable) -> int:
        """Wake up to `wake` and let up to `move` of the rest wait on `target` instead; how many both are.

        On `key` itself the rest keep their places, and count. EINVAL as of `wake`. kernel/futex/requeue.c:
        futex_requeue().
        """
        done = 0
        for waiter in self.waiting_on(key):
            if done - wake >= move:
                return done
            if not waiter.bitset:
                raise SyscallError(EINVAL)
            done += 1
            if done <= wake:
                self._wake_up(waiter)
            elif key != target:
                self.remove(waiter)
                waiter.key = target
                self.add(waiter)
        if done - wake < move and self.pi is not None and self.pi.is_waited_for(key):
            raise SyscallError(EINVAL)
        return done


# -- robust lists ------------------------------------------------------------------------------------------------------
def exit_robust_list(task: Task) -> None:
    """Mark the locks that the task still holds, and wake who waits for them; a broken list ends it.

    kernel/futex/core.c:exit_robust_list(). Priority-inheritance locks, whose entries have bit 0 set, are marked only.
    """
    mm, head = task.mm, task.robust_list
    task.robust_list = 0
    try:
        (entry,) = get_user(mm, UserPtr(head), _LONG)
        (offset,) = get_user(mm, UserPtr(head + 8), _OFFSET)
        (pending,) = get_user(mm, UserPtr(head + 16), _LONG)
        for _ in range(_ROBUST_LIST_LIMIT):
            if entry & ~1 == head:
                break
            following: int | None = None
            try:
                (following,) = get_user(mm, UserPtr(entry & ~1), _LONG)
            finally:
                if entry & ~1 != pending & ~1:
                    _futex_death(task, (entry & ~1) + offset & U64_MASK, pi=entry & 1, pending=False)
            entry = following
        if pending & ~1:
            _futex_death(task, (pending & ~1) + offset & U64_MASK, pi=pending & 1, pending=True)
    except SyscallError:
        return


def _futex_death(task: Task, address: int, *, pi: int, pending: bool) -> None:
    """The owner of the lock at `address` may be dying (handle_futex_death()); SyscallError where it can't be told."""
    mm = task.mm
    futexes = task.kernel.futexes
    if address & 3:
        raise SyscallError(0)
    (value,) = get_user(mm, UserPtr(address), _WORD)
    owner = value & _FUTEX_TID_MASK
    if pending and not pi and not owner:
        # It had just let go, and died before it could wake anybody.
        futexes.wake_one(futex_key(mm, address, False))
        return
    if owner != task.pid_vnr:
        return
    put_user(mm, UserPtr(address), _WORD, value & _FUTEX_WAITERS | _FUTEX_OWNER_DIED)
    if not pi and value & _FUTEX_WAITERS:
        futexes.wake_one(futex_key(mm, address, False))
