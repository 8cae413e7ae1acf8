"""futex(2) and futex_waitv(2) (kernel/futex/syscalls.c, waitwake.c, requeue.c)."""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.futex import FUTEX2_PRIVATE, FUTEX2_SIZE_U32, FUTEX_WAITV, FUTEX_WAITV_MAX
from kernel_model.abi.time import CLOCK_MONOTONIC, CLOCK_REALTIME, NSEC_PER_SEC, TIMESPEC
from kernel_model.futex import FUTEX_BITSET_MATCH_ANY, FutexVector, FutexWaiter, futex_key
from kernel_model.mm.uaccess import get_user, put_user
from kernel_model.syscalls.declare import ClockId, Hex, Ptr, UInt, syscall
from kernel_model.syscalls.kinds import FutexOp, FutexWaitvs, Timespec
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP = 0, 1, 3, 4, 5
FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = range(6, 11)
FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2 = 11, 12, 13
_ON_EITHER_CLOCK: Final = frozenset((FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2))
_PRIORITY_INHERITANCE: Final = frozenset(
    (
        FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2,
    )
)  # fmt: skip
FUTEX_PRIVATE_FLAG: Final = 128
FUTEX_CLOCK_REALTIME: Final = 256
_WORD: Final = Struct("<I")


@syscall()
def sys_futex(task: Task, uaddr: Ptr, op: FutexOp, val: UInt, timeout: Hex, uaddr2: Ptr, val3: UInt) -> int:
    """futex(2). `timeout` is a count for the operations that move waiters."""
    command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    private = bool(op & FUTEX_PRIVATE_FLAG)
    if op & FUTEX_CLOCK_REALTIME and command not in _ON_EITHER_CLOCK:
        raise SyscallError(errno.ENOSYS)
    if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        bitset = val3 if command == FUTEX_WAIT_BITSET else FUTEX_BITSET_MATCH_ANY
        return _wait(task, uaddr, op, val, timeout, bitset)
    if command in (FUTEX_WAKE, FUTEX_WAKE_BITSET):
        bitset = val3 if command == FUTEX_WAKE_BITSET else FUTEX_BITSET_MATCH_ANY
        if not bitset:
            raise SyscallError(errno.EINVAL)
        return task.kernel.futexes.wake(_key(task, uaddr, private), _count(val), bitset)
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        first, second = _key(task, uaddr, private), _key(task, uaddr2, private)
        move = timeout & 0xFFFF_FFFF
        if val >> 31 or move >> 31:
            raise SyscallError(errno.EINVAL)
        if command == FUTEX_CMP_REQUEUE and get_user(task.mm, uaddr, _WORD)[0] != val3:
            raise SyscallError(errno.EAGAIN)
        return task.kernel.futexes.requeue(first, val, move, second)
    if command == FUTEX_WAKE_OP:
        return _wake_op(task, uaddr, private, val, timeout & 0xFFFF_FFFF, uaddr2, val3)
    if command in _PRIORITY_INHERITANCE:
        return _pi(task, command, (uaddr, uaddr2), op, val, timeout, val3)
    raise SyscallError(errno.ENOSYS)


def _pi(
    task: Task, command: int, words: tuple[UserPtr, UserPtr], op: int, val: int, timeout: int, val3: int
) -> int:
    """The operations with priority inheritance."""
    from kernel_model import futex_pi

    uaddr, uaddr2 = words
    private = bool(op & FUTEX_PRIVATE_FLAG)
    if command == FUTEX_CMP_REQUEUE_PI:
        move = timeout & 0xFFFF_FFFF
        if val >> 31 or move >> 31 or uaddr == uaddr2:
            raise SyscallError(errno.EINVAL)
        both = _key(task, uaddr, private), _key(task, uaddr2, private)
        return futex_pi.cmp_requeue_pi(task, both, val, move, uaddr, uaddr2, val3)
    deadline_ns = None
    if timeout and command in (FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_REQUEUE_PI):
        on = op | FUTEX_CLOCK_REALTIME if command == FUTEX_LOCK_PI else op
        deadline_ns = _deadline_ns(task, on, timeout)
    if command == FUTEX_WAIT_REQUEUE_PI:
        if uaddr == uaddr2:
            raise SyscallError(errno.EINVAL)
        both = _key(task, uaddr, private), _key(task, uaddr2, private)
        return futex_pi.wait_requeue_pi(task, both, val, uaddr, uaddr2, deadline_ns)
    key = _key(task, uaddr, private)
    if command == FUTEX_UNLOCK_PI:
        return futex_pi.unlock_pi(task, key, uaddr)
    return futex_pi.lock_pi(task, key, uaddr, deadline_ns, only_try=command == FUTEX_TRYLOCK_PI)


def _key(task: Task, uaddr: UserPtr, private: bool) -> object:
    """The futex at `uaddr`; EINVAL when misaligned, EFAULT when it could not be a user address."""
    if uaddr & 3:
        raise SyscallError(errno.EINVAL)
    if uaddr >= task.mm.task_size:
        raise SyscallError(errno.EFAULT)
    if not private:
        get_user(task.mm, uaddr, _WORD)
    return futex_key(task.mm, uaddr, private)


def _count(value: int) -> int:
    """How many to wake: a C int of which Linux makes at least one."""
    return max(value - (1 << 32) if value >> 31 else value, 1)


def _wait(task: Task, uaddr: UserPtr, op: int, val: int, timeout: int, bitset: int) -> int:
    """kernel/futex/waitwake.c:futex_wait()."""
    waiter = task.call_state
    if not isinstance(waiter, FutexWaiter):
        if not bitset:
            raise SyscallError(errno.EINVAL)
        deadline_ns = _deadline_ns(task, op, timeout) if timeout else None
        key = _key(task, uaddr, bool(op & FUTEX_PRIVATE_FLAG))
        if get_user(task.mm, uaddr, _WORD)[0] != val:
            raise SyscallError(errno.EAGAIN)
        waiter = FutexWaiter(task, key, bitset, deadline_ns)
        task.kernel.futexes.add(waiter)
    elif waiter.woken:
        return 0
    asleep = waiter
    if asleep.deadline_ns is not None and task.kernel.clock.monotonic_ns() >= asleep.deadline_ns:
        task.kernel.futexes.remove(asleep)
        raise SyscallError(errno.ETIMEDOUT)

    def interrupted() -> int:
        task.kernel.futexes.remove(asleep)
        # QUIRK: A futex wait with a timeout that SIGCONT interrupts waits for the whole timeout again.
        raise SyscallError(errno.ERESTARTSYS if asleep.deadline_ns is None else errno.ERESTARTNOHAND)

    task.call_state = asleep  # not before: a wait that was over at once leaves nothing behind
    raise Blocked(queues=(asleep.queue,), deadline_ns=asleep.deadline_ns, on_signal=interrupted)


# -- several words -----------------------------------------------------------------------------------------------------
def _read_waitv(task: Task, waiters: UserPtr, count: int) -> list[tuple[int, UserPtr, bool]]:
    """(value, address, private) of each word; EINVAL for what is not one of 32 bits (futex_parse_waitv())."""
    words = []
    for index in range(count):
        val, uaddr, flags, reserved = get_user(task.mm, UserPtr(waiters + index * FUTEX_WAITV.size), FUTEX_WAITV)
        # QUIRK: futex_waitv(2) refuses FUTEX2_NUMA and FUTEX2_MPOL with EINVAL, as Linux did before 6.16.
        if flags & ~FUTEX2_PRIVATE != FUTEX2_SIZE_U32 or reserved or val >> 32:
            raise SyscallError(errno.EINVAL)
        words.append((val, UserPtr(uaddr), bool(flags & FUTEX2_PRIVATE)))
    return words


def _queue_all(task: Task, waiters: UserPtr, count: int, deadline_ns: int | None) -> FutexVector:
    """Wait on each word, or on none: EAGAIN where one is not as expected (futex_wait_multiple_setup())."""
    words = _read_waitv(task, waiters, count)
    keys = [_key(task, uaddr, private) for _, uaddr, private in words]
    for val, uaddr, _ in words:
        if get_user(task.mm, uaddr, _WORD)[0] != val:
            raise SyscallError(errno.EAGAIN)
    waiting = tuple(FutexWaiter(task, key, FUTEX_BITSET_MATCH_ANY, deadline_ns) for key in keys)
    for waiter in waiting:
        task.kernel.futexes.add(waiter)
    return FutexVector(waiting, deadline_ns)


def _leave_all(task: Task, vector: FutexVector) -> int | None:
    """Wait no longer; which word was woken, the last of several (futex_unqueue_multiple())."""
    woken = None
    for index, waiter in enumerate(vector.waiters):
        if waiter.woken:
            woken = index
        else:
            task.kernel.futexes.remove(waiter)
    return woken


@syscall()
def sys_futex_waitv(
    task: Task, waiters: FutexWaitvs, nr_futexes: UInt, flags: UInt, timeout: Timespec, clockid: ClockId
) -> int:
    """futex_waitv(2): which of several words was woken. `timeout` is absolute. kernel/futex/syscalls.c."""
    vector = task.call_state
    if not isinstance(vector, FutexVector):
        if flags or not 0 < nr_futexes <= FUTEX_WAITV_MAX or not waiters:
            raise SyscallError(errno.EINVAL)
        deadline_ns = None
        if timeout:
            if clockid not in (CLOCK_MONOTONIC, CLOCK_REALTIME):
                raise SyscallError(errno.EINVAL)
            realtime = FUTEX_CLOCK_REALTIME if clockid == CLOCK_REALTIME else 0
            deadline_ns = _deadline_ns(task, FUTEX_WAIT_BITSET | realtime, timeout)
        vector = _queue_all(task, waiters, nr_futexes, deadline_ns)
    elif any(waiter.woken for waiter in vector.waiters):
        return _leave_all(task, vector) or 0
    asleep = vector

    def ends(error: int) -> int:
        woken = _leave_all(task, asleep)
        if woken is None:
            raise SyscallError(error)
        return woken

    if vector.deadline_ns is not None and task.kernel.clock.monotonic_ns() >= vector.deadline_ns:
        return ends(errno.ETIMEDOUT)
    task.call_state = vector
    queues = tuple(waiter.queue for waiter in vector.waiters)
    raise Blocked(queues=queues, deadline_ns=vector.deadline_ns, on_signal=partial(ends, errno.ERESTARTSYS))


def _deadline_ns(task: Task, op: int, timeout: int) -> int:
    """When a wait is over, on CLOCK_MONOTONIC: FUTEX_WAIT's time is relative, FUTEX_WAIT_BITSET's absolute."""
    seconds, nanoseconds = get_user(task.mm, UserPtr(timeout), TIMESPEC)
    if seconds < 0 or not 0 <= nanoseconds < NSEC_PER_SEC:
        raise SyscallError(errno.EINVAL)
    value_ns = int(seconds) * NSEC_PER_SEC + int(nanoseconds)
    clock = task.kernel.clock
    now_ns = clock.monotonic_ns()
    if op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME) == FUTEX_WAIT:
        return now_ns + value_ns
    if op & FUTEX_CLOCK_REALTIME:
        return now_ns + value_ns - clock.now_ns(CLOCK_REALTIME, task)
    return task.nsproxy.time_ns.to_host_ns(CLOCK_MONOTONIC, value_ns)


def _wake_op(task: Task, uaddr: UserPtr, private: bool, wake: int, wake2: int, uaddr2: UserPtr, encoded: int) -> int:
    """kernel/futex/waitwake.c:futex_wake_op(): change the second word, wake waiters of the first, perhaps of it."""
    first, second = _key(task, uaddr, private), _key(task, uaddr2, private)
    operation, comparison = encoded >> 28 & 7, encoded >> 24 & 15
    operand, against = _signed12(encoded >> 12), _signed12(encoded)
    if encoded >> 31:
        operand = 1 << (operand & 31)
    (old,) = get_user(task.mm, uaddr2, _WORD)
    old = (old ^ 1 << 31) - (1 << 31)
    results = (operand, old + operand, old | operand, old & ~operand, old ^ operand)
    if operation >= len(results) or comparison > 5:
        raise SyscallError(errno.ENOSYS)
    put_user(task.mm, uaddr2, _WORD, results[operation] & 0xFFFF_FFFF)
    holds = (old == against, old != against, old < against, old <= against, old > against, old >= against)
    futexes = task.kernel.futexes
    woken = futexes.wake(first, _count(wake))
    return woken + futexes.wake(second, _count(wake2)) if holds[comparison] else woken


def _signed12(value: int) -> int:
    return ((value & 0xFFF) ^ 0x800) - 0x800
