"""epoll(7): fs/eventpoll.c's system calls; the sets are in `kernel_model.fs.eventpoll`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.abi.time import NSEC_PER_SEC, TIMESPEC
from kernel_model.fs.anon import install
from kernel_model.fs.eventpoll import EPOLLET, EPOLLEXCLUSIVE, EPOLLWAKEUP, EpollFile, can_poll
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLOUT, File
from kernel_model.mm.uaccess import access_ok, get_user
from kernel_model.syscalls.declare import Fd, Int, Size, syscall
from kernel_model.syscalls.kinds import EpollCtlOp, EpollEvent, EpollEvents, EpollFlags, SigSet, Timespec
from kernel_model.syscalls.poll import Waiting, deadline_after, restore_sigmask, set_user_sigmask
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
_INT_MAX: Final = (1 << 31) - 1
_EXCLUSIVE_OK: Final = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE


@syscall(returns="fd")
def sys_epoll_create(task: Task, size: Int) -> int:
    """epoll_create(2): the size means nothing."""
    if size <= 0:
        raise SyscallError(errno.EINVAL)
    return install(task, EpollFile(task), 0)


@syscall(returns="fd")
def sys_epoll_create1(task: Task, flags: EpollFlags) -> int:
    """epoll_create1(2)."""
    if flags & ~O_CLOEXEC:
        raise SyscallError(errno.EINVAL)
    return install(task, EpollFile(task), flags)


@syscall()
def sys_epoll_ctl(task: Task, epfd: Fd, op: EpollCtlOp, fd: Fd, event: EpollEvent) -> int:
    """epoll_ctl(2), in the order of fs/eventpoll.c:do_epoll_ctl()."""
    events = data = 0
    if op != EPOLL_CTL_DEL:
        events, data = get_user(task.mm, event, task.kernel.arch.EPOLL_EVENT)
    ep = fdget(task, epfd)
    file = fdget(task, fd)
    if not can_poll(file):
        raise SyscallError(errno.EPERM)
    # EPOLLWAKEUP without CAP_BLOCK_SUSPEND is dropped unsaid; nothing suspends here.
    events &= ~EPOLLWAKEUP
    if file is ep or not isinstance(ep, EpollFile):
        raise SyscallError(errno.EINVAL)
    if op != EPOLL_CTL_DEL and events & EPOLLEXCLUSIVE:
        if op == EPOLL_CTL_MOD or (op == EPOLL_CTL_ADD and _not_exclusive(file, events)):
            raise SyscallError(errno.EINVAL)
    item = ep.items.get((file, fd))
    if op == EPOLL_CTL_ADD:
        if item is not None:
            raise SyscallError(errno.EEXIST)
        ep.insert(task, file, fd, events | POLLERR | POLLHUP, data)
    elif op == EPOLL_CTL_DEL:
        if item is None:
            raise SyscallError(errno.ENOENT)
        ep.remove(item)
    elif op == EPOLL_CTL_MOD:
        if item is None:
            raise SyscallError(errno.ENOENT)
        if item.exclusive:
            raise SyscallError(errno.EINVAL)
        ep.modify(task, item, events | POLLERR | POLLHUP, data)
    else:
        raise SyscallError(errno.EINVAL)
    return 0


def _not_exclusive(file: File, events: int) -> bool:
    """What EPOLLEXCLUSIVE does not go with."""
    return isinstance(file, EpollFile) or bool(events & ~_EXCLUSIVE_OK)


# -- waiting ----------------------------------------------------------------------------------------------------------
def _wait(task: Task, epfd: int, events: UserPtr, maxevents: int, waiting: Waiting) -> int:
    """fs/eventpoll.c:do_epoll_wait(), ep_poll()."""
    size = task.kernel.arch.EPOLL_EVENT.size
    if not 0 < maxevents <= _INT_MAX // size:
        raise SyscallError(errno.EINVAL)
    access_ok(task.mm, events, maxevents * size)
    ep = fdget(task, epfd)
    if not isinstance(ep, EpollFile):
        raise SyscallError(errno.EINVAL)
    if ep.host_items:
        ep.look_at_host(task)
    if ep.ready:
        sent = ep.send_events(task, events, maxevents)
        if sent:
            return sent
    deadline_ns = waiting.deadline_ns
    if deadline_ns is not None and (not deadline_ns or task.kernel.clock.monotonic_ns() >= deadline_ns):
        return 0
    reads, writes = ep.poll_sources() if ep.host_items else ((), ())
    task.call_state = waiting
    raise Blocked(
        queues=(ep.wq,),
        deadline_ns=deadline_ns,
        read_fds=reads,
        write_fds=writes,
        interrupted=errno.EINTR,
    )


@syscall()
def sys_epoll_wait(task: Task, epfd: Fd, events: EpollEvents, maxevents: Int, timeout: Int) -> int:
    """epoll_wait(2). `timeout` in milliseconds, negative for none."""
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        waiting = Waiting(_deadline_of(task, timeout), masked=False)
    return _wait(task, epfd, events, maxevents, waiting)


def _deadline_of(task: Task, timeout: int) -> int | None:
    """Milliseconds as a time on CLOCK_MONOTONIC; None for ever."""
    if timeout <= 0:
        return None if timeout else 0
    return deadline_after(task, *divmod(timeout * 1_000_000, NSEC_PER_SEC))


def _pwait(task: Task, epfd: int, events: UserPtr, maxevents: int, waiting: Waiting) -> int:
    """The wait, and the signal mask back unless a signal ends it (do_epoll_pwait())."""
    try:
        sent = _wait(task, epfd, events, maxevents, waiting)
    except SyscallError:
        restore_sigmask(task, waiting)
        raise
    restore_sigmask(task, waiting)
    return sent


@syscall()
def sys_epoll_pwait(
    task: Task, epfd: Fd, events: EpollEvents, maxevents: Int, timeout: Int, sigmask: SigSet, sigsetsize: Size
) -> int:
    """epoll_pwait(2)."""
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        deadline_ns = _deadline_of(task, timeout)
        waiting = Waiting(deadline_ns, set_user_sigmask(task, sigmask, sigsetsize))
    return _pwait(task, epfd, events, maxevents, waiting)


@syscall()
def sys_epoll_pwait2(
    task: Task, epfd: Fd, events: EpollEvents, maxevents: Int, timeout: Timespec, sigmask: SigSet, sigsetsize: Size
) -> int:
    """epoll_pwait2(2)."""
    waiting = task.call_state
    if not isinstance(waiting, Waiting):
        deadline_ns = deadline_after(task, *get_user(task.mm, timeout, TIMESPEC)) if timeout else None
        waiting = Waiting(deadline_ns, set_user_sigmask(task, sigmask, sigsetsize))
    return _pwait(task, epfd, events, maxevents, waiting)
