"""Which task runs. One CPU runs all tasks of all processes in turn, each until it blocks, yields or is gone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.abi.time import KTIME_MAX_NS
from kernel_model.signal import deliver

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task
    from kernel_model.wait import Blocked


class BlockedCall(NamedTuple):
    """A system call that could not go on: what to call again when its task wakes."""

    handler: RawHandler
    number: int
    args: tuple[int, int, int, int, int, int]
    blocked: Blocked


class Scheduler:
    """The run queue, and the tasks that sleep in a call (`task.blocked_call`).

    A sleeper whose call names wait queues is woken by them. One that names none is asked again when everybody else
    has had a turn, for anything that another task did may be what it waits for.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.runqueue: deque[Task] = deque()
        self.sleepers: dict[int, Task] = {}
        """By pid, in the order in which they fell asleep."""
        self.parked: list[Task] = []
        """Tasks of stopped processes whose turn had come."""
        self.progress = False
        """Some task has run since the sleepers without a wait queue were last asked."""

    def enqueue(self, task: Task, *, first: bool = False) -> None:
        """Let `task` run when its turn comes."""
        if first:
            self.runqueue.appendleft(task)
        else:
            self.runqueue.append(task)

    def sleep(self, task: Task, call: BlockedCall) -> None:
        """`task` waits for what `call` says."""
        task.blocked_call = call
        self.sleepers[task.pid] = task
        for queue in call.blocked.queues:
            queue.add(task)

    def wake(self, task: Task) -> None:
        """Let a sleeper make its call again."""
        if self.sleepers.pop(task.pid, None) is not None:
            self._leave_queues(task)
            self.runqueue.append(task)

    def forget(self, task: Task) -> None:
        """`task` is gone."""
        if self.sleepers.pop(task.pid, None) is not None:
            self._leave_queues(task)
        elif task in self.runqueue:
            self.runqueue.remove(task)
        elif task in self.parked:
            self.parked.remove(task)

    def unpark(self, signal: SignalStruct) -> None:
        """A stopped process goes on."""
        if self.parked:
            self.runqueue.extend(task for task in self.parked if task.signal is signal)
            self.parked = [task for task in self.parked if task.signal is not signal]

    @staticmethod
    def _leave_queues(task: Task) -> None:
        call = task.blocked_call
        if call is not None:
            for queue in call.blocked.queues:
                queue.remove(task)

    def next_task(self) -> Task | None:
        """The task whose turn it is, off the run queue; sleeps until there is one. None when nobody is left."""
        while True:
            while self.runqueue:
                task = self.runqueue.popleft()
                if not task.signal.stopped:
                    return task
                self.parked.append(task)
            if not self.sleepers and not self.parked:
                return None
            if self.progress:
                self.progress = False
                self._ask_again()
            else:
                self._idle()

    def yield_to_others(self) -> None:
        """Somebody gives up the CPU: those that nothing wakes get a turn too."""
        if self.progress and self.sleepers:
            self.progress = False
            self._ask_again()

    def _ask_again(self) -> None:
        """Wake every sleeper that waits for nothing in particular."""
        for task in list(self.sleepers.values()):
            call = task.blocked_call
            if call is not None and not call.blocked.queues:
                self.wake(task)

    def _idle(self) -> None:
        """Everybody waits: give the host's CPU away until something may be over."""
        kernel = self._kernel
        deadline_ns = deliver.next_timer(kernel)
        reads: list[int] = []
        writes: list[int] = []
        sleepers = list(self.sleepers.values())
        for task in sleepers:
            call = task.blocked_call
            assert call is not None
            blocked = call.blocked
            own_ns = blocked.deadline_ns
            if own_ns is not None and own_ns < (KTIME_MAX_NS if deadline_ns is None else deadline_ns):
                deadline_ns = own_ns
            reads += blocked.read_fds
            writes += blocked.write_fds
        timeout_ns = None if deadline_ns is None else kernel.clock.sleep_towards(deadline_ns)
        if timeout_ns is None or timeout_ns > 0:
            kernel.host.wait(reads, writes, timeout_ns)
        deliver.collect_host_signals(kernel)
        now_ns = kernel.clock.monotonic_ns()
        for task in sleepers:
            call = task.blocked_call
            if call is None or task.pid not in self.sleepers:
                continue
            blocked = call.blocked
            due = blocked.deadline_ns is not None and blocked.deadline_ns <= now_ns
            if due or blocked.read_fds or blocked.write_fds or deliver.has_deliverable(task):
                self.wake(task)
