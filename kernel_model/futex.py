"""Futexes: who waits on which word of memory (kernel/futex/)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.mm.vma import VM_SHARED
from kernel_model.types import PAGE_MASK, PAGE_SHIFT
from kernel_model.wait import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Hashable

    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

FUTEX_BITSET_MATCH_ANY = 0xFFFF_FFFF


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


def futex_key(mm: MemoryMap, address: int, private: bool) -> Hashable:
    """What makes two futexes the same one: kernel/futex/core.c:get_futex_key()."""
    if not private:
        vma = mm.vmas.find(address)
        if vma is not None and vma.vm_flags & VM_SHARED and vma.mapping is not None:
            index = (address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
            return id(vma.mapping), index, address & ~PAGE_MASK
    return id(mm), address


class FutexTable:
    """All waiters by key, the one that came first in front."""

    def __init__(self) -> None:
        self._waiters: dict[Hashable, list[FutexWaiter]] = {}

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

    def wake(self, key: Hashable, count: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
        """Wake up to `count` waiters whose bits meet `bitset`; how many. kernel/futex/waitwake.c:futex_wake()."""
        waiters = self._waiters.get(key)
        if not waiters:
            return 0
        woken = [waiter for waiter in waiters if waiter.bitset & bitset][:count]
        for waiter in woken:
            self.remove(waiter)
            waiter.woken = True
            waiter.queue.wake()
        return len(woken)

    def requeue(self, key: Hashable, wake: int, move: int, target: Hashable) -> tuple[int, int]:
        """Wake up to `wake` and let up to `move` of the rest wait on `target` instead; (woken, moved)."""
        woken = self.wake(key, wake)
        moved = self._waiters.get(key, [])[:move] if key != target else []
        for waiter in moved:
            self.remove(waiter)
            waiter.key = target
            self.add(waiter)
        return woken, len(moved)
