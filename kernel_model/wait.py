"""Blocking. A handler that can't go on raises `Blocked`; it is called again with the same arguments when it may.

What must survive between the calls (an absolute deadline, bytes already moved) is kept as plain data in
`task.call_state`, which is None when a call starts and is cleared when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.errno import ERESTARTSYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.task import Task


class WaitQueue:
    """Tasks that wait for one thing, the one that came first in front."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """`task` waits too."""
        self._tasks[task.pid] = task

    def remove(self, task: Task) -> None:
        """`task` waits no longer."""
        self._tasks.pop(task.pid, None)

    def wake(self, count: int | None = None) -> int:
        """Let the first `count` of them (all, if None) make their calls again; how many there were."""
        tasks = list(self._tasks.values())[:count]
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
    the call's, or it raises SyscallError. `uninterruptible`: no signal ends it.
    """

    __slots__ = ("deadline_ns", "interrupted", "on_signal", "queues", "read_fds", "uninterruptible", "write_fds")

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
    ) -> None:
        super().__init__()
        self.queues = queues
        self.deadline_ns = deadline_ns
        self.read_fds = read_fds
        self.write_fds = write_fds
        self.interrupted = interrupted
        self.on_signal = on_signal
        self.uninterruptible = uninterruptible
