"""Blocking. A handler that can't go on raises `Blocked`; it is called again with the same arguments when it may.

What must survive between the calls (an absolute deadline, bytes already moved) is kept as plain data in
`task.call_state`, which is None when a call starts and is cleared when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel_model.abi.errno import ERESTARTSYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.task import Task


class WakeListener(Protocol):
    """Somebody who is told of each wake at once, without sleeping: an epoll set."""

    exclusive: bool
    """Once one of these has taken a wake, those behind it are not told."""

    def on_wake(self, events: int) -> bool:
        """The queue was woken because of `events` (POLL* bits; 0: not known which); did that wake anybody?"""
        ...


class WaitQueue:
    """Tasks that wait for one thing, the one that came first in front; and listeners."""

    __slots__ = ("_listeners", "_tasks")

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}
        self._listeners: dict[WakeListener, None] | None = None

    def __bool__(self) -> bool:
        return bool(self._tasks or self._listeners)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """`task` waits too."""
        self._tasks[task.pid] = task

    def remove(self, task: Task) -> None:
        """`task` waits no longer."""
        self._tasks.pop(task.pid, None)

    def listen(self, listener: WakeListener) -> None:
        """Tell `listener` of each wake from now on."""
        if self._listeners is None:
            self._listeners = {}
        self._listeners[listener] = None

    def ignore(self, listener: WakeListener) -> None:
        """Tell it no longer."""
        if self._listeners:
            self._listeners.pop(listener, None)

    def _tell(self, events: int) -> None:
        """Tell the listeners: all plain ones, and of the exclusive ones the first that makes use of it."""
        exclusive = []
        for listener in list(self._listeners or ()):
            if listener.exclusive:
                exclusive.append(listener)
            else:
                listener.on_wake(events)
        for listener in exclusive:
            if listener.on_wake(events):
                return

    def wake(self, count: int | None = None, events: int = 0) -> int:
        """Let the first `count` tasks (all, if None) make their calls again; how many there were.

        `events`: the POLL* bits that have come to hold, for listeners that care for some only.
        """
        if self._listeners:
            self._tell(events)
        waiting = self._tasks
        if not waiting:
            return 0
        tasks = list(waiting.values())
        if count is not None:
            del tasks[count:]
        for task in tasks:
            task.kernel.sched.wake(task)
        return len(tasks)


class Blocked(Exception):
    """The calling task sleeps until one of these happens, or a signal interrupts it.

    `queues`: wait queues of the kernel model; None when it is not known who could wake the task: then, unless there is
    a time or a stream to wait for, it is asked again whenever all others have had a turn.
    `deadline_ns`: a time on CLOCK_MONOTONIC (the guest's); None for none. `read_fds`, `write_fds`: host streams to
    become ready. `interrupted`: the errno (a restart code or EINTR) that a signal makes of the call. `on_signal`:
    called instead, then, where a signal asks for more than a number (a sleep tells what is left of it): its result is
    the call's, or it raises SyscallError. `uninterruptible`: no signal ends it. `signal_first`: a signal counts even
    where what it waited for has happened as well.
    """

    __slots__ = (
        "deadline_ns", "interrupted", "on_signal", "queues", "read_fds", "signal_first", "uninterruptible", "write_fds",
    )  # fmt: skip

    def __init__(
        self,
        *,
        queues: tuple[WaitQueue, ...] | None = None,
        deadline_ns: int | None = None,
        read_fds: tuple[int, ...] = (),
        write_fds: tuple[int, ...] = (),
        interrupted: int = ERESTARTSYS,
        on_signal: Callable[[], int] | None = None,
        uninterruptible: bool = False,
        signal_first: bool = False,
    ) -> None:
        self.queues = queues
        self.deadline_ns = deadline_ns
        self.read_fds = read_fds
        self.write_fds = write_fds
        self.interrupted = interrupted
        self.on_signal = on_signal
        self.uninterruptible = uninterruptible
        self.signal_first = signal_first
