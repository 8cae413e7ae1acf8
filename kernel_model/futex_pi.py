"""Priority-inheritance futexes: locks whose word names their owner, and which are handed over by the kernel.

kernel/futex/pi.c, kernel/futex/requeue.c. The word holds the owner's tid, FUTEX_WAITERS when somebody waits in the
kernel, and FUTEX_OWNER_DIED when an owner died with the lock.
"""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.futex import FutexWaiter
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.ns.pid import find_task_by_vpid, pid_vnr
from kernel_model.placement import priority
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Hashable

    from kernel_model.futex import FutexTable
    from kernel_model.task import Task

FUTEX_WAITERS: Final = 0x8000_0000
FUTEX_OWNER_DIED: Final = 0x4000_0000
FUTEX_TID_MASK: Final = 0x3FFF_FFFF
_WORD: Final = Struct("<I")


class PiWaiter:
    """One task that waits for the lock whose word it has at `address` (`struct rt_mutex_waiter`). Kept as
    `task.call_state` while it does.
    """

    __slots__ = ("address", "deadline_ns", "has_lock", "queue", "state", "task")

    def __init__(self, task: Task, state: PiState, address: UserPtr, deadline_ns: int | None) -> None:
        self.task = task
        self.address = address
        self.state = state
        self.deadline_ns = deadline_ns
        self.has_lock = False
        self.queue = WaitQueue()


class PiState:
    """A lock that somebody waits for (`struct futex_pi_state`)."""

    __slots__ = ("key", "owner", "waiters")

    def __init__(self, key: Hashable, owner: Task) -> None:
        self.key = key
        self.owner: Task | None = owner
        self.waiters: list[PiWaiter] = []


class RequeueWaiter(FutexWaiter):
    """One that waits on a condition and will then want a lock (FUTEX_WAIT_REQUEUE_PI)."""

    __slots__ = ("address", "lock", "pi", "target")

    def __init__(self, task: Task, key: Hashable, deadline_ns: int | None, target: Hashable, address: UserPtr) -> None:
        super().__init__(task, key, 0, deadline_ns)  # no bit: a plain wake does not meet it
        self.target = target
        self.address = address
        self.pi: PiWaiter | None = None
        """Its place in the lock's queue, once it was moved there."""


class PiTable:
    """All locks with waiters."""

    def __init__(self) -> None:
        self._states: dict[Hashable, PiState] = {}

    def is_waited_for(self, key: Hashable) -> bool:
        """Does anybody wait for the lock?"""
        return key in self._states

    # -- taking -------------------------------------------------------------------------------------------------------
    def try_lock(self, task: Task, key: Hashable, address: UserPtr) -> PiState | None:
        """Take the lock for `task`, if nobody has it: None; else the state to wait on, with FUTEX_WAITERS set.

        futex_lock_pi_atomic(): EDEADLK for the owner itself, ESRCH when the owner is nobody, EINVAL when word and
        waiters don't agree.
        """
        mm = task.mm
        (value,) = get_user(mm, address, _WORD)
        owner = value & FUTEX_TID_MASK
        if owner == task.pid_vnr:
            raise SyscallError(errno.EDEADLK)
        state = self._states.get(key)
        if state is not None:
            self._check_owner(task, state, value)
            return state
        if not owner:
            put_user(mm, address, _WORD, value & FUTEX_OWNER_DIED | task.pid_vnr)
            return None
        put_user(mm, address, _WORD, value | FUTEX_WAITERS)
        found = find_task_by_vpid(task, owner)
        if found is None or found.exit_code is not None:
            raise SyscallError(errno.ESRCH)
        return PiState(key, found)

    @staticmethod
    def _check_owner(task: Task, state: PiState, value: int) -> None:
        """attach_to_pi_state(): the word must name the owner that the waiters know."""
        owner = value & FUTEX_TID_MASK
        if value & FUTEX_OWNER_DIED and state.owner is None and not owner:
            return
        if state.owner is None or owner != pid_vnr(task, state.owner.pid):
            raise SyscallError(errno.EINVAL)

    def wait_on(self, task: Task, state: PiState, address: UserPtr, deadline_ns: int | None) -> PiWaiter:
        """Put `task` among the waiters, the most important first; EDEADLK when the owner waits for `task`."""
        owner: Task | None = state.owner
        seen = 0
        while owner is not None and seen < 1024:  # max_lock_depth
            if owner is task:
                raise SyscallError(errno.EDEADLK)
            held_up = _waiter_of(owner)
            owner = None if held_up is None else held_up.state.owner
            seen += 1
        waiter = PiWaiter(task, state, address, deadline_ns)
        place = 0
        while place < len(state.waiters) and priority(state.waiters[place].task) >= priority(task):
            place += 1
        state.waiters.insert(place, waiter)
        self._states[state.key] = state
        self._boost(state.owner)
        return waiter

    # -- giving up, handing over --------------------------------------------------------------------------------------
    def leave(self, waiter: PiWaiter) -> None:
        """`waiter` waits no longer: its time, a signal, or its end."""
        state = waiter.state
        if waiter in state.waiters:
            state.waiters.remove(waiter)
            if not state.waiters:
                del self._states[state.key]
            self._boost(state.owner)

    def unlock(self, task: Task, key: Hashable, address: UserPtr) -> None:
        """futex_unlock_pi(): the first waiter gets the lock; EPERM for who does not own it."""
        mm = task.mm
        (value,) = get_user(mm, address, _WORD)
        if value & FUTEX_TID_MASK != task.pid_vnr:
            raise SyscallError(errno.EPERM)
        state = self._states.get(key)
        if state is None:
            put_user(mm, address, _WORD, 0)
            return
        if state.owner is not task:
            raise SyscallError(errno.EINVAL)
        heir = pid_vnr(task, state.waiters[0].task.pid)
        put_user(mm, address, _WORD, FUTEX_WAITERS | heir)  # EFAULT: nothing has changed
        self._hand_over(task, state)

    def _hand_over(self, task: Task, state: PiState) -> None:
        """The first waiter of a lock of `task`'s has it now, as the word says already (wake_futex_pi())."""
        waiter = state.waiters.pop(0)
        if not state.waiters:
            del self._states[state.key]
        heir = waiter.task
        state.owner = heir
        waiter.has_lock = True
        self._boost(task)
        self._boost(heir)
        waiter.queue.wake()

    def task_exits(self, task: Task) -> None:
        """exit_pi_state_list(): locks that it holds go to who waits, marked; it waits no longer itself."""
        mine = _waiter_of(task)
        if mine is not None:
            self.leave(mine)
        for state in [state for state in self._states.values() if state.owner is task]:
            heir = state.waiters[0]
            with suppress(SyscallError):  # who gets the lock will see what became of its word
                put_user(heir.task.mm, heir.address, _WORD, FUTEX_WAITERS | FUTEX_OWNER_DIED | heir.task.pid_vnr)
            self._hand_over(task, state)

    def _boost(self, owner: Task | None) -> None:
        """The owner is as important as the most important one that waits for it."""
        if owner is not None:
            waiting = [priority(w.task) for s in self._states.values() if s.owner is owner for w in s.waiters]
            owner.pi_priority = max(waiting, default=0)


def _waiter_of(task: Task) -> PiWaiter | None:
    """Where `task` waits for a lock, if it does."""
    state = task.call_state
    if isinstance(state, RequeueWaiter):
        return state.pi
    return state if isinstance(state, PiWaiter) else None


def table_of(futexes: FutexTable) -> PiTable:
    """The table, made when it is first needed."""
    if futexes.pi is None:
        futexes.pi = PiTable()
    return futexes.pi


# -- the operations ----------------------------------------------------------------------------------------------------
def lock_pi(task: Task, key: Hashable, address: UserPtr, deadline_ns: int | None, *, only_try: bool) -> int:
    """FUTEX_LOCK_PI, LOCK_PI2 and TRYLOCK_PI (futex_lock_pi())."""
    table = table_of(task.kernel.futexes)
    waiter = task.call_state
    if not isinstance(waiter, PiWaiter):
        state = table.try_lock(task, key, address)
        if state is None:
            return 0
        if only_try:
            raise SyscallError(errno.EAGAIN)
        waiter = table.wait_on(task, state, address, deadline_ns)
    return _until_locked(task, table, waiter, waiter, errno.ERESTARTNOINTR)


def _until_locked(
    task: Task, table: PiTable, call_state: PiWaiter | RequeueWaiter, waiter: PiWaiter, when_interrupted: int
) -> int:
    """Wait for the lock, with `call_state` kept meanwhile: 0, ETIMEDOUT, or `when_interrupted`."""
    if waiter.has_lock:
        return 0
    if waiter.deadline_ns is not None and task.kernel.clock.monotonic_ns() >= waiter.deadline_ns:
        table.leave(waiter)
        raise SyscallError(errno.ETIMEDOUT)

    def interrupted() -> int:
        if waiter.has_lock:
            return 0
        table.leave(waiter)
        raise SyscallError(when_interrupted)

    task.call_state = call_state  # not before: a wait that was over at once leaves nothing behind
    raise Blocked(queues=(waiter.queue,), deadline_ns=waiter.deadline_ns, on_signal=interrupted)


def unlock_pi(task: Task, key: Hashable, address: UserPtr) -> int:
    """FUTEX_UNLOCK_PI."""
    table_of(task.kernel.futexes).unlock(task, key, address)
    return 0


def wait_requeue_pi(
    task: Task, keys: tuple[Hashable, Hashable], val: int, address: UserPtr, target: UserPtr, deadline_ns: int | None
) -> int:
    """FUTEX_WAIT_REQUEUE_PI (futex_wait_requeue_pi()): wait on the word at `address` until moved to a lock's queue."""
    futexes = task.kernel.futexes
    table = table_of(futexes)
    waiter = task.call_state
    if not isinstance(waiter, RequeueWaiter):
        if keys[0] == keys[1]:
            raise SyscallError(errno.EINVAL)
        if get_user(task.mm, address, _WORD)[0] != val:
            raise SyscallError(errno.EAGAIN)
        waiter = RequeueWaiter(task, keys[0], deadline_ns, keys[1], target)
        futexes.add(waiter)
    if waiter.woken:
        return 0  # moved, and the lock was free
    if waiter.pi is not None:
        return _until_locked(task, table, waiter, waiter.pi, errno.EAGAIN)
    if waiter.deadline_ns is not None and task.kernel.clock.monotonic_ns() >= waiter.deadline_ns:
        futexes.remove(waiter)
        raise SyscallError(errno.ETIMEDOUT)

    def interrupted() -> int:
        if waiter.woken:
            return 0
        if waiter.pi is not None:
            return _until_locked_or_gone(table, waiter.pi)
        futexes.remove(waiter)
        raise SyscallError(errno.ERESTARTNOINTR)

    task.call_state = waiter
    raise Blocked(queues=(waiter.queue,), deadline_ns=waiter.deadline_ns, on_signal=interrupted)


def _until_locked_or_gone(table: PiTable, waiter: PiWaiter) -> int:
    """A signal ends the wait of one that was moved: it can't be begun again (EAGAIN), unless it has the lock."""
    if waiter.has_lock:
        return 0
    table.leave(waiter)
    raise SyscallError(errno.EAGAIN)


def cmp_requeue_pi(
    task: Task, keys: tuple[Hashable, Hashable], wake: int, move: int, address: UserPtr, target: UserPtr, val: int
) -> int:
    """FUTEX_CMP_REQUEUE_PI (futex_requeue()): the first waiter gets the lock or waits for it, others wait for it.

    An error at one of the others is the call's, whoever was moved before.
    """
    futexes = task.kernel.futexes
    if keys[0] == keys[1] or wake != 1:
        raise SyscallError(errno.EINVAL)
    if get_user(task.mm, address, _WORD)[0] != val:
        raise SyscallError(errno.EAGAIN)
    table = table_of(futexes)
    done = 0
    for waiter in futexes.waiting_on(keys[0])[: 1 + move]:
        if not isinstance(waiter, RequeueWaiter) or waiter.target != keys[1]:
            raise SyscallError(errno.EINVAL)
        state = table.try_lock(waiter.task, keys[1], waiter.address)
        if state is not None:
            waiter.pi = table.wait_on(waiter.task, state, waiter.address, waiter.deadline_ns)
        futexes.remove(waiter)
        done += 1
        if state is None:
            waiter.woken = True
        waiter.queue.wake()
    return done
