"""Sets of files that tell which are ready: epoll(7) (fs/eventpoll.c).

An item listens to its file's wait queues, and whatever wakes them puts it on the set's ready list. A wait looks at that
list only, never at the whole set, and asks each file on it what holds in truth; what `poll` does not confirm is
dropped. A level-triggered item that was reported goes back to the list's end.

The host's streams have no wait queue that they could wake. Items on them are asked at each wait, and a wait sleeps on
the streams themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_RDWR
from kernel_model.fs.anon import anon_inode
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File, noop_llseek
from kernel_model.mm.uaccess import put_user
from kernel_model.types import SyscallError
from kernel_model.ucounts import put_ucounts
from kernel_model.wait import WaitQueue

if TYPE_CHECKING:
    from kernel_model.fs.anon import AnonInode
    from kernel_model.task import Task

EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
_PRIVATE_BITS: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
_ALWAYS: Final = POLLERR | POLLHUP
_INOUT: Final = POLLIN | POLLOUT
_READING: Final = POLLIN | POLLRDNORM
_WRITING: Final = POLLOUT | POLLWRNORM
_MAX_NESTS: Final = 4
_PATH_LIMITS: Final = (1000, 500, 100, 50, 10)
"""How many ways of each length may lead from a file to those who wait (fs/eventpoll.c:path_limits)."""
_TOO_DEEP: Final = 1 << 30


class EpollItem:
    """One file of a set (`struct epitem`), as one descriptor: `events` and `data` are the program's."""

    __slots__ = ("data", "ep", "events", "exclusive", "fd", "file", "host_mask", "queues")

    def __init__(self, ep: EpollFile, file: File, fd: int, events: int, data: int) -> None:
        self.ep = ep
        self.file = file
        self.fd = fd
        self.events = events
        self.data = data
        self.exclusive = bool(events & EPOLLEXCLUSIVE)
        self.queues: tuple[WaitQueue, ...] = ()
        self.host_mask = 0
        """Of a stream of the host: what it was when last asked, 0 since the guest used it. An edge is what is new."""

    def on_wake(self, events: int) -> bool:
        """The file's queue was woken: ep_poll_callback()."""
        wanted = self.events
        if not wanted & ~_PRIVATE_BITS or (events and not events & wanted):
            return False
        ep = self.ep
        ep.ready[self] = None
        woke = False
        if ep.wq:
            side = events & _INOUT
            woke = not side or side == _INOUT or bool(wanted & side)
            ep.wq.wake(1)
        if ep.poll_wait:
            ep.poll_wait.wake(events=_READING)
            woke = True
        return woke

    def poll(self, task: Task) -> int:
        """Which of the wanted events hold now."""
        return self.file.poll(task) & self.events


class EpollFile(File):
    """A set (`struct eventpoll`). `items`: by file and descriptor; `ready`: those to look at, oldest first."""

    __slots__ = ("host_items", "items", "poll_wait", "ready", "ucounts", "wq")

    inode: AnonInode

    llseek = noop_llseek

    def __init__(self, task: Task) -> None:
        super().__init__(anon_inode(task.kernel, b"[eventpoll]"), None, O_RDWR)
        self.items: dict[tuple[File, int], EpollItem] = {}
        self.ready: dict[EpollItem, None] = {}
        self.host_items: dict[EpollItem, None] = {}
        self.ucounts = task.ucounts
        """Whose limit its items count for."""
        self.wq = WaitQueue()
        """Tasks in epoll_wait(2); `poll_wait`: who polls the set itself."""
        self.poll_wait = WaitQueue()

    # -- changing the set ---------------------------------------------------------------------------------------------
    def insert(self, task: Task, file: File, fd: int, events: int, data: int) -> None:
        """EPOLL_CTL_ADD. ELOOP, ENOSPC, EINVAL for a file that too many ways lead to (ep_insert())."""
        self._check_loops(file)
        counts = self.ucounts
        if counts.epoll_watches >= task.kernel.max_user_watches:
            raise SyscallError(errno.ENOSPC)
        item = EpollItem(self, file, fd, events, data)
        if file.f_ep is None:
            file.f_ep = []
        file.f_ep.append(item)
        if _too_many_ways(file):
            file.f_ep.remove(item)
            raise SyscallError(errno.EINVAL)
        counts.epoll_watches += 1
        self.items[file, fd] = item
        item.queues = file.poll_queues()
        for queue in item.queues:
            queue.listen(item)
        if any(file.poll_sources()) or (isinstance(file, EpollFile) and file.host_items):
            self._asks_host(item)
        self._look(task, item)

    def _asks_host(self, item: EpollItem) -> None:
        """`item` has a stream of the host at or below it, and so have the sets above this one."""
        self.host_items[item] = None
        for above in self.f_ep or ():
            if above not in above.ep.host_items:
                above.ep._asks_host(above)

    def _forget_host(self, item: EpollItem) -> None:
        """It has none any longer."""
        if self.host_items.pop(item, item) is None and not self.host_items:
            for above in self.f_ep or ():
                above.ep._forget_host(above)

    def modify(self, task: Task, item: EpollItem, events: int, data: int) -> None:
        """EPOLL_CTL_MOD (ep_modify())."""
        item.events = events
        item.data = data
        item.host_mask = 0
        self._look(task, item)

    def _look(self, task: Task, item: EpollItem) -> None:
        """It is new or changed: ready already?"""
        mask = item.poll(task)
        if mask and item not in self.ready:
            self.ready[item] = None
            item.host_mask = mask
            self.wq.wake(1)
            self.poll_wait.wake(events=_READING)

    def remove(self, item: EpollItem) -> None:
        """EPOLL_CTL_DEL, or its file is gone (__ep_remove())."""
        for queue in item.queues:
            queue.ignore(item)
        if item.file.f_ep is not None:
            item.file.f_ep.remove(item)
        del self.items[item.file, item.fd]
        self.ucounts.epoll_watches -= 1
        put_ucounts(self.inode.i_sb.kernel, self.ucounts)
        self.ready.pop(item, None)
        self._forget_host(item)

    def _check_loops(self, file: File) -> None:
        """ELOOP for a set that would watch itself, or a chain of more than five."""
        if not isinstance(file, EpollFile):
            return
        below = _depth_below(file, self, 0, {})
        if below > _MAX_NESTS or below + 1 + _depth_above(self, 0, {}) > _MAX_NESTS:
            raise SyscallError(errno.ELOOP)

    # -- asking it ----------------------------------------------------------------------------------------------------
    def look_at_host(self, task: Task) -> None:
        """Put on the ready list what the host has made ready since."""
        for item in self.host_items:
            mask = item.poll(task)
            if mask and (not item.events & EPOLLET or mask & ~item.host_mask):
                self.ready[item] = None
            item.host_mask = mask

    def send_events(self, task: Task, address: int, limit: int) -> int:
        """Take up to `limit` items off the ready list that are ready in truth, and write their events to `address`;
        how many. EFAULT. fs/eventpoll.c:ep_send_events()
        """
        layout = task.kernel.arch.EPOLL_EVENT
        sent = 0
        again = []
        ready = self.ready
        while ready and sent < limit:
            item = next(iter(ready))
            del ready[item]
            events = item.poll(task)
            if not events:
                continue
            try:
                put_user(task.mm, address + sent * layout.size, layout, events, item.data)
            except SyscallError:
                self.ready = ready = {item: None, **ready}
                if not sent:
                    raise
                break
            sent += 1
            if item.events & EPOLLONESHOT:
                item.events &= _PRIVATE_BITS
            elif not item.events & EPOLLET:
                again.append(item)
            if item in ready:  # asking it made it tell its news itself
                del ready[item]
        for item in again:
            ready[item] = None
        if ready and self.wq:
            self.wq.wake(1)
        return sent

    def poll(self, task: Task) -> int:
        """Is any of its files ready (__ep_eventpoll_poll())?"""
        if self.host_items:
            self.look_at_host(task)
        ready = self.ready
        for item in list(ready):
            if item.poll(task):
                return _READING
            ready.pop(item, None)
        return 0

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """For a set or a poll(2) that watches this one."""
        return (self.poll_wait,)

    def poll_sources(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The host's streams that could make it ready: of items that wait for something and are not ready now."""
        reads: list[int] = []
        writes: list[int] = []
        for item in self.host_items:
            own_reads, own_writes = item.file.poll_sources()
            if item.events & _READING and not item.host_mask & (_READING | _ALWAYS):
                reads += own_reads
            if item.events & _WRITING and not item.host_mask & (_WRITING | POLLERR):
                writes += own_writes
        return tuple(reads), tuple(writes)

    def show_fdinfo(self, task: Task) -> bytes:
        """A line for each item (ep_show_fdinfo())."""
        return b"".join(
            b"tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n"
            % (fd, item.events, item.data, file.f_pos, file.inode.i_ino, file.inode.i_sb.dev)
            for (file, fd), item in sorted(self.items.items(), key=lambda pair: pair[0][1])
        )

    def release(self) -> None:
        """The set is gone: so are its items (ep_clear_and_put())."""
        for item in list(self.items.values()):
            self.remove(item)


def can_poll(file: File) -> bool:
    """Is it of a kind that can wait for anything (file_can_poll())?"""
    return type(file).poll is not File.poll


def eventpoll_release(file: File) -> None:
    """The file is gone, and with it its items of all sets."""
    for item in list(file.f_ep or ()):
        item.ep.remove(item)


def _depth_below(ep: EpollFile, inserting_into: EpollFile, depth: int, known: dict[EpollFile, int]) -> int:
    """How many sets hang below `ep` at most; more than Linux allows where it meets `inserting_into`
    (ep_loop_check_proc()).
    """
    if ep is inserting_into or depth > _MAX_NESTS:
        return _TOO_DEEP
    if ep in known:
        return known[ep]
    known[ep] = result = 0
    for item in ep.items.values():
        if isinstance(item.file, EpollFile):
            result = max(result, _depth_below(item.file, inserting_into, depth + 1, known) + 1)
            if result > _MAX_NESTS:
                break
    known[ep] = result
    return result


def _depth_above(ep: EpollFile, depth: int, known: dict[EpollFile, int]) -> int:
    """How many sets `ep` hangs below at most (ep_get_upwards_depth_proc())."""
    if depth > _MAX_NESTS or not ep.f_ep:
        return 0
    if ep not in known:
        known[ep] = max(_depth_above(item.ep, depth + 1, known) + 1 for item in ep.f_ep)
    return known[ep]


def forget_edges(file: File) -> None:
    """The guest has used a stream of the host: what is ready there from now on is new."""
    # QUIRK: Edge-triggered epoll on a stream of the host tells again what is still ready after each read or write.
    for item in file.f_ep or ():
        item.host_mask = 0


def _too_many_ways(file: File) -> bool:
    """Would a wake of one of the files below have too many sets to tell (reverse_path_check())?"""
    return any(not _count_ways(one, 0, [0] * len(_PATH_LIMITS)) for one in _files_below(file))


def _files_below(file: File) -> list[File]:
    """`file`, or the plain files that the sets at and below it watch."""
    if not isinstance(file, EpollFile):
        return [file] if file.f_ep and any(item.ep.f_ep for item in file.f_ep) else []
    found: dict[File, None] = {}
    sets = [file]
    for ep in sets:  # which grows meanwhile
        for item in ep.items.values():
            if item.file not in found:
                found[item.file] = None
                if isinstance(item.file, EpollFile):
                    sets.append(item.file)
    return [one for one in found if not isinstance(one, EpollFile)]


def _count_ways(file: File, depth: int, counts: list[int]) -> bool:
    """Count the ways up from `file` by their length; False when a limit is passed (reverse_path_check_proc())."""
    if depth > _MAX_NESTS:
        return False
    for item in file.f_ep or ():
        if item.ep.f_ep:
            if not _count_ways(item.ep, depth + 1, counts):
                return False
        elif depth:  # of ways of one step there may be any number (path_count_inc())
            counts[depth] += 1
            if counts[depth] > _PATH_LIMITS[depth]:
                return False
    return True
