"""Waiting for descriptors: poll(2), ppoll(2), select(2), pselect6(2). fs/select.c.

What is waited for is always asked of the files anew (`File.poll`), so a call that was woken too early just
sleeps again.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_PATH
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.abi.signal import UNBLOCKABLE
from kernel_model.abi.time import NSEC_PER_SEC, NSEC_PER_USEC, TIMESPEC, TIMEVAL, USEC_PER_SEC
from kernel_model.fs.file import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    File,
)
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, get_user, put_user
from kernel_model.signal.deliver import has_deliverable
from kernel_model.syscalls.declare import Int, Size, UInt, syscall
from kernel_model.syscalls.kinds import FdSet, PollFds, PselectMask, SigSet, Timespec, Timeval
from kernel_model.task import RestartBlock
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task
    from kernel_model.wait import WaitQueue

_POLLFD: Final = struct.Struct("<iHH")
_REVENTS_OFFSET: Final = 6
_U16: Final = struct.Struct("<H")
_SIGSET: Final = struct.Struct("<Q")
_SIGSET_ARGPACK: Final = struct.Struct("<QQ")
_ALWAYS: Final = POLLERR | POLLHUP
_IN_SET: Final = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL
_OUT_SET: Final = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL
_EX_SET: Final = POLLPRI | POLLNVAL
_STICKY_TIMEOUTS: Final = 0x0400_0000


class Waiting:
    """What such a call remembers while it sleeps (`Task.call_state`)."""

    __slots__ = ("deadline_ns", "masked")

    def __init__(self, deadline_ns: int | None, masked: bool) -> None:
        self.deadline_ns = deadline_ns
        """On CLOCK_MONOTONIC; None for none."""
        self.masked = masked
        """The signal mask was replaced: `task.saved_sigmask` is the one to go back to."""


class Sources:
    """The wait queues and host streams that may end the wait."""

    __slots__ = ("queues", "reads", "writes")

    def __init__(self) -> None:
        self.queues: dict[WaitQueue, None] = {}
        self.reads: set[int] = set()
        self.writes: set[int] = set()

    def add(self, file: File, mask: int) -> None:
        """Watch `file`, whose poll said `mask`; a side that is ready already, and not asked for, would end
        it at once.
        """
        reads, writes = file.poll_sources()
        if not mask & (POLLIN | POLLRDNORM | POLLHUP | POLLERR):
            self.reads.update(reads)
        if not mask & (POLLOUT | POLLWRNORM | POLLERR):
            self.writes.update(writes)
        for queue in file.poll_queues():
            self.queues[queue] = None

    def blocked(self, deadline_ns: int | None) -> Blocked:
        """The wait itself."""
        return Blocked(
            queues=tuple(self.queues), deadline_ns=deadline_ns, read_fds=tuple(self.reads), write_fds=tuple(self.writes)
        )


class Timeout(NamedTuple):
    """Where the rest of a timeout is written, and as what; `pointer` 0 for nowhere."""

    pointer: UserPtr
    layout: struct.Struct
    units_per_second: int


def deadline_after(task: Task, seconds: int, nanoseconds: int) -> int:
    """A relative timeout as a time on CLOCK_MONOTONIC, 0 for one of no length; EINVAL.
    poll_select_set_timeout().
    """
    if seconds < 0 or not 0 <= nanoseconds < NSEC_PER_SEC:
        raise SyscallError(errno.EINVAL)
    length_ns = seconds * NSEC_PER_SEC + nanoseconds
    return task.kernel.clock.monotonic_ns() + length_ns if length_ns else 0


def set_user_sigmask(task: Task, sigmask: UserPtr, sigsetsize: int) -> bool:
    """Replace the signal mask for as long as the call lasts; False for none given.
    kernel/signal.c:set_user_sigmask().
    """
    if not sigmask:
        return False
    if sigsetsize != _SIGSET.size:
        raise SyscallError(errno.EINVAL)
    (mask,) = get_user(task.mm, sigmask, _SIGSET)
    task.saved_sigmask = task.blocked
    task.blocked = mask & ~UNBLOCKABLE
    return True


def restore_sigmask(task: Task, waiting: Waiting) -> None:
    """The call ends without a signal: its mask goes."""
    if waiting.masked and task.saved_sigmask is not None:
        task.blocked = task.saved_sigmask
        task.saved_sigmask = None


def _write_rest(task: Task, waiting: Waiting, timeout: Timeout) -> bool:
    """Tell what is left of the timeout; False where it should have been and could not
    (poll_select_finish()).
    """
    if not timeout.pointer or not waiting.deadline_ns:
        return True
    if task.personality & _STICKY_TIMEOUTS:
        return False
    rest_ns = max(0, waiting.deadline_ns - task.kernel.clock.monotonic_ns())
    seconds, nanoseconds = divmod(rest_ns, NSEC_PER_SEC)
    fraction = nanoseconds * timeout.units_per_second // NSEC_PER_SEC
    try:
        put_user(task.mm, timeout.pointer, timeout.layout, seconds, fraction)
    except SyscallError:
        return False
    return True


def _interrupted(task: Task, waiting: Waiting, timeout: Timeout) -> int:
    """A signal ends the call: the mask stays until it is delivered, and the call is made again if no
    handler runs.
    """
    if not _write_rest(task, waiting, timeout):
        raise SyscallError(errno.EINTR)
    raise SyscallError(errno.ERESTARTNOHAND)


def _over(task: Task, waiting: Waiting) -> bool:
    """Nothing is ready: has the time run out, and no signal come?"""
    if waiting.deadline_ns is None or task.kernel.clock.monotonic_ns() < waiting.deadline_ns:
        return False
    return not has_deliverable(task)


# -- poll ----------------------------------------------------------------------------------------------------
def _do_poll(task: Task, ufds: UserPtr, nfds: int, waiting: Waiting) -> int:
    """One look at all descriptors: how many have something to tell. Blocked (without `on_signal`) when none
    has yet.
    """
    if nfds > task.signal.rlim[RLIMIT_NOFILE][0]:
        raise SyscallError(errno.EINVAL)
    fds = bytearray(copy_from_user(task.mm, ufds, nfds * _POLLFD.size))
    table = task.files.fd
    sources = Sources()
    ready = 0
    offset = _REVENTS_OFFSET
    for fd, events, _ in _POLLFD.iter_unpack(bytes(fds)):
        revents = 0
        if fd >= 0:
            file = table.get(fd)
            if file is None or file.f_flags & O_PATH:
                revents = POLLNVAL
            else:
                mask = file.poll(task)
                revents = mask & (events | _ALWAYS)
                if not revents:
                    sources.add(file, mask)
        if revents:
            ready += 1
        _U16.pack_into(fds, offset, revents)
        offset += _POLLFD.size
    # also before a wait: should a signal end it, zeros are what it leaves there
    copy_to_user(task.mm, ufds, fds)
    if ready or _over(task, waiting):
        return ready
    raise sources.blocked(waiting.deadline_ns)


def do_restart_poll(task: Task, ufds: UserPtr, nfds: int, deadline_ns: int | None) -> int:
    """poll(2) until `deadline_ns` on CLOCK_MONOTONIC: also what restart_syscall(2) does for block `poll`."""
    try:
        return _do_poll(task, ufds, nfds, Waiting(deadline_ns, masked=False))
    except Blocked as blocked:
        task.call_state = Waiting(deadline_ns, masked=False)
        blocked.on_signal = partial(_poll_interrupted, task, ufds, nfds, deadline_ns)
        raise


def _poll_interrupted(task: Task, ufds: UserPtr, nfds: int, deadline_ns: int | None) -> int:
    """A signal ends poll(2): it goes on to the same end if no handler runs."""
    task.restart_block = RestartBlock("poll", (ufds, nfds, -1 if deadline_ns is None else deadline_ns))
    raise SyscallError(errno.ERESTART_RESTARTBLOCK)


@syscall()
def sys_poll(task: Task, ufds: PollFds, nfds: UInt, timeout: Int) -> int:
    """poll(2). `timeout` in milliseconds, negative for none."""
    waiting = task.call_state
    deadline_ns: int | None
    if isinstance(waiting, Waiting):
        deadline_ns = waiting.deadline_ns
    elif timeout < 0:
        deadline_ns = None
    else:
        deadline_ns = deadline_after(task, *divmod(timeout * 1_000_000, NSEC_PER_SEC))
    return do_restart_poll(task, ufds, nfds, deadline_ns)


@syscall()
def sys_ppoll(task: Task, ufds: PollFds, nfds: UInt, tsp: Timespec, sigmask: SigSet, sigsetsize: Size) -> int:
    """ppoll(2), as the system call has it: `tsp` is written back."""
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        deadline_ns = deadline_after(task, *get_user(task.mm, tsp, TIMESPEC)) if tsp else None
        waiting = Waiting(deadline_ns, set_user_sigmask(task, sigmask, sigsetsize))
    timeout = Timeout(tsp, TIMESPEC, NSEC_PER_SEC)
    try:
        ready = _do_poll(task, ufds, nfds, waiting)
    except Blocked as blocked:
        task.call_state = waiting
        blocked.on_signal = partial(_interrupted, task, waiting, timeout)
        raise
    except SyscallError:
        restore_sigmask(task, waiting)
        _write_rest(task, waiting, timeout)
        raise
    restore_sigmask(task, waiting)
    _write_rest(task, waiting, timeout)
    return ready


# -- select --------------------------------------------------------------------------------------------------
def _get_fd_set(task: Task, pointer: UserPtr, size: int) -> int:
    """A set as a bit mask, empty for NULL."""
    return int.from_bytes(copy_from_user(task.mm, pointer, size), "little") if pointer else 0


def _do_select(task: Task, n: int, sets: tuple[UserPtr, UserPtr, UserPtr], waiting: Waiting) -> int:
    """One look at all descriptors of the sets (in, out, exceptional); Blocked (without `on_signal`) when
    none is ready.
    """
    if n < 0:
        raise SyscallError(errno.EINVAL)
    n = min(n, task.files.max_fds)
    size = (n + 63) // 64 * 8
    below_n = (1 << n) - 1
    wanted_in, wanted_out, wanted_ex = (_get_fd_set(task, pointer, size) & below_n for pointer in sets)
    table = task.files.fd
    left = wanted_in | wanted_out | wanted_ex
    descriptors = []
    while left:
        bit = left & -left
        left ^= bit
        fd = bit.bit_length() - 1
        if fd not in table:
            raise SyscallError(errno.EBADF)
        descriptors.append((bit, table[fd]))
    sources = Sources()
    ready = 0
    got_in = got_out = got_ex = 0
    for bit, file in descriptors:
        mask = POLLNVAL if file.f_flags & O_PATH else file.poll(task)
        count = ready
        if wanted_in & bit and mask & _IN_SET:
            got_in |= bit
            ready += 1
        if wanted_out & bit and mask & _OUT_SET:
            got_out |= bit
            ready += 1
        if wanted_ex & bit and mask & _EX_SET:
            got_ex |= bit
            ready += 1
        if ready == count:
            sources.add(file, mask)
    if not ready and not _over(task, waiting):
        raise sources.blocked(waiting.deadline_ns)
    for pointer, got in zip(sets, (got_in, got_out, got_ex), strict=True):
        if pointer:
            copy_to_user(task.mm, pointer, got.to_bytes(size, "little"))
    return ready


def _select(task: Task, n: int, sets: tuple[UserPtr, UserPtr, UserPtr], waiting: Waiting, timeout: Timeout) -> int:
    """core_sys_select() and poll_select_finish()."""
    try:
        ready = _do_select(task, n, sets, waiting)
    except Blocked as blocked:
        task.call_state = waiting
        blocked.on_signal = partial(_interrupted, task, waiting, timeout)
        raise
    except SyscallError:
        restore_sigmask(task, waiting)
        _write_rest(task, waiting, timeout)
        raise
    restore_sigmask(task, waiting)
    _write_rest(task, waiting, timeout)
    return ready


@syscall()
def sys_select(task: Task, n: Int, inp: FdSet, outp: FdSet, exp: FdSet, tvp: Timeval) -> int:
    """select(2): `tvp` is written back."""
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        deadline_ns = None
        if tvp:
            seconds, microseconds = get_user(task.mm, tvp, TIMEVAL)
            # C's division: towards zero, with the sign in the remainder
            more = abs(microseconds) // USEC_PER_SEC * (-1 if microseconds < 0 else 1)
            deadline_ns = deadline_after(task, seconds + more, (microseconds - more * USEC_PER_SEC) * NSEC_PER_USEC)
        waiting = Waiting(deadline_ns, masked=False)
    return _select(task, n, (inp, outp, exp), waiting, Timeout(tvp, TIMEVAL, USEC_PER_SEC))


@syscall()
def sys_pselect6(task: Task, n: Int, inp: FdSet, outp: FdSet, exp: FdSet, tsp: Timespec, sig: PselectMask) -> int:
    """pselect(2), as the system call has it: `sig` points to the mask's address and size, `tsp` is written
    back.
    """
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        mask_ptr = size = 0
        if sig:
            mask_ptr, size = get_user(task.mm, sig, _SIGSET_ARGPACK)
        deadline_ns = deadline_after(task, *get_user(task.mm, tsp, TIMESPEC)) if tsp else None
        waiting = Waiting(deadline_ns, set_user_sigmask(task, UserPtr(mask_ptr), size))
    return _select(task, n, (inp, outp, exp), waiting, Timeout(tsp, TIMESPEC, NSEC_PER_SEC))
