"""Which task runs. One CPU runs all tasks of all processes in turn, each until it blocks, yields or is gone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi.time import KTIME_MAX_NS
from kernel_model.cpu import SLICE_BLOCKS
from kernel_model.signal import deliver

if TYPE_CHECKING:
    from kernel_model.fs.held import HeldFile
    from kernel_model.kernel import Kernel
    from kernel_model.placement import Chooser
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task
    from kernel_model.wait import Blocked


SLICE_NS: Final = 500_000
"""What a time slice of computing takes under virtual time."""
_SCHED_FIFO: Final = 1
_LONELY_SLICES: Final = 100
"""So many time slices without anybody else who waits for the CPU or the time, and slicing ends."""


class BlockedCall(NamedTuple):
    """A system call that could not go on: what to call again when its task wakes.

    `made`: all 64 bits of the number as the program made the call. `pc`, `sp`: what /proc/<pid>/syscall shows.
    `held`: a file that was closed meanwhile.
    """

    handler: RawHandler
    number: int
    args: tuple[int, int, int, int, int, int]
    blocked: Blocked
    made: int
    pc: int
    sp: int
    held: HeldFile | None = None


class Scheduler:
    """The run queue, and the tasks that sleep in a call (`task.blocked_call`).

    A sleeper whose call names wait queues, a time or host streams is woken by them. One that names nothing at all is
    asked again when everybody else has had a turn, for anything that another task did may be what it waits for.

    While somebody waits for a turn, or sleeps until a time or for the world outside, whoever runs is stopped at the end
    of each time slice (`Cpu.set_preemptible`). That costs, so a task that is alone runs without.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.runqueue: deque[Task] = deque()
        self.sleepers: dict[int, Task] = {}
        """By pid, in the order in which they fell asleep."""
        self.timed: dict[int, Task] = {}
        """Those among them that wait for a time or for the host's streams."""
        self.unnamed: dict[int, Task] = {}
        """Those among them that wait for nothing in particular."""
        self.preempting = False
        """Whoever runs is stopped at the end of its time slice."""
        self._lonely_slices = 0
        self.chooser: Chooser | None = None
        """Who says whose turn it is, where it is not just who has waited longest."""
        self.any_real_time = False
        """Some task has had a real-time priority."""
        self.any_weight = False
        """Some task has had another nice value than 0, or SCHED_IDLE."""
        self.yielded = False
        """Whoever runs gives up its turn of its own will."""
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
        if not self.preempting:
            self._no_longer_alone()

    def _no_longer_alone(self) -> None:
        """Whoever runs now has others who want a turn: it is given time slices (`check_slicing`)."""
        kernel = self._kernel
        kernel.signal_work = True
        account = kernel.account
        if not account.asked and kernel.current.blocked_call is None and account.read() - account.since_ns > SLICE_NS:
            account.settle()

    def requeue(self, task: Task) -> None:
        """Whoever ran gives up the CPU: at the end of its slice a SCHED_FIFO task stays the first of its priority."""
        task.se.nivcsw += 1
        if self.any_real_time and task.sched_policy == _SCHED_FIFO and not self.yielded:
            self.runqueue.appendleft(task)
        else:
            self.runqueue.append(task)
            if self.any_weight and self.yielded:
                from kernel_model.placement import pass_over

                pass_over(task)
        self.yielded = False

    def choose(self) -> None:
        """From now on it matters who is next: under a seed, or with real-time priorities."""
        if self.chooser is None:
            from kernel_model.placement import Chooser

            self.chooser = Chooser(self._kernel)

    def real_time(self) -> None:
        """A task has got a real-time priority."""
        self.any_real_time = True
        self.choose()
        self._kernel.need_resched = self._kernel.signal_work = True

    def weigh(self) -> None:
        """A task has got another weight than most."""
        self.any_weight = True
        self.choose()

    def sleep(self, task: Task, call: BlockedCall) -> None:
        """`task` waits for what `call` says."""
        task.blocked_call = call
        task.se.nvcsw += 1
        self.sleepers[task.pid] = task
        blocked = call.blocked
        if blocked.queues is not None:
            for queue in blocked.queues:
                queue.add(task)
        if blocked.deadline_ns is not None or blocked.read_fds or blocked.write_fds:
            self.timed[task.pid] = task
        elif blocked.queues is None:
            self.unnamed[task.pid] = task

    def wake(self, task: Task) -> None:
        """Let a sleeper make its call again."""
        if self.sleepers.pop(task.pid, None) is not None:
            self._leave_queues(task)
            self.runqueue.append(task)
            if not self.preempting:
                self._no_longer_alone()
            if self.any_real_time:
                self._kernel.need_resched = self._kernel.signal_work = True

    def forget(self, task: Task) -> None:
        """`task` is gone. In the run queue it is passed over when its turn comes."""
        if self.sleepers.pop(task.pid, None) is not None:
            self._leave_queues(task)
        elif task in self.parked:
            self.parked.remove(task)

    def unpark(self, signal: SignalStruct) -> None:
        """A stopped process goes on."""
        if self.parked:
            self.runqueue.extend(task for task in self.parked if task.signal is signal)
            self.parked = [task for task in self.parked if task.signal is not signal]

    def _leave_queues(self, task: Task) -> None:
        pid = task.pid
        if self.timed:
            self.timed.pop(pid, None)
        if self.unnamed:
            self.unnamed.pop(pid, None)
        call = task.blocked_call
        if call is not None and call.blocked.queues is not None:
            for queue in call.blocked.queues:
                queue.remove(task)

    def next_task(self) -> Task | None:
        """The task whose turn it is, off the run queue; sleeps until there is one. None when nobody is left."""
        while True:
            while self.runqueue:
                task = self.runqueue.popleft() if self.chooser is None else self.chooser.take()
                if task.exit_code is not None:
                    continue
                if not task.signal.stopped:
                    return task
                self.parked.append(task)
            if not self.sleepers and not self.parked:
                return None
            if self.progress and self.unnamed:
                self.progress = False
                self._ask_again()
            else:
                self._idle()

    def yield_to_others(self) -> None:
        """Somebody gives up the CPU: those that nothing wakes get a turn too."""
        if self.progress and self.unnamed:
            self.progress = False
            self._ask_again()

    def _ask_again(self) -> None:
        """Wake every sleeper that waits for nothing in particular."""
        for task in list(self.unnamed.values()):
            self.wake(task)

    # -- time slices --------------------------------------------------------------------------------------------------
    def check_slicing(self) -> None:
        """Somebody is about to run: with others around, not for longer than a time slice."""
        if not self.preempting and (self.runqueue or self.timed or self.unnamed):
            self.preempting = True
            self._lonely_slices = 0
            self._new_slice()
            self._kernel.cpu.set_preemptible(True)

    def _new_slice(self) -> None:
        """Say how long a slice is, where that is not always the same."""
        if self._kernel.chance is not None:
            from kernel_model.placement import slice_blocks

            self._kernel.cpu.slice_blocks = slice_blocks(self._kernel)

    def slice_is_over(self) -> None:
        """Whoever runs has had the CPU for a while: who waits for the time or the host is looked after, who waits for a
        turn gets it.
        """
        kernel = self._kernel
        if kernel.clock.virtual:
            kernel.clock.tick(SLICE_NS * kernel.cpu.slice_blocks // SLICE_BLOCKS)
        kernel.account.settle()
        self._new_slice()
        if self.timed:
            self._wake_timed(list(self.timed.values()), 0)
        else:
            deliver.collect_host_signals(kernel)
        if self.unnamed:
            self._ask_again()
        if self.runqueue:
            kernel.need_resched = True
            if kernel.cpu_count > 1:
                from kernel_model.placement import balance

                balance(kernel)
        if self.runqueue or self.timed:
            self._lonely_slices = 0
        elif self.preempting:
            self._lonely_slices += 1
            if self._lonely_slices > _LONELY_SLICES:
                self.preempting = False
                if not kernel.stay_preemptible:
                    kernel.cpu.set_preemptible(False)

    # -- nothing to do ------------------------------------------------------------------------------------------------
    def _idle(self) -> None:
        """Everybody waits: give the host's CPU away until something may be over."""
        kernel = self._kernel
        deadline_ns = deliver.next_timer(kernel)
        timed = list(self.timed.values())
        for task in timed:
            call = task.blocked_call
            assert call is not None
            own_ns = call.blocked.deadline_ns
            if own_ns is not None and own_ns < (KTIME_MAX_NS if deadline_ns is None else deadline_ns):
                deadline_ns = own_ns
        if deadline_ns is None and not timed and not self.parked:
            from kernel_model.stuck import see_to_it

            see_to_it(kernel)
            if self.runqueue:
                return
        self._wake_timed(timed, None if deadline_ns is None else kernel.clock.sleep_towards(deadline_ns))
        if kernel.timers or kernel.hrtimers:
            deliver.clocks_run_again(kernel)

    def _wake_timed(self, timed: list[Task], timeout_ns: int | None) -> None:
        """Wait for `timeout_ns` at most (None: for ever) until one of the sleepers `timed` is due; wake who is."""
        kernel = self._kernel
        reads: list[int] = []
        writes: list[int] = []
        for task in timed:
            call = task.blocked_call
            assert call is not None
            reads += call.blocked.read_fds
            writes += call.blocked.write_fds
        if timeout_ns != 0:
            kernel.account.settle()
            kernel.host.wait(reads, writes, timeout_ns)
            kernel.account.resume()
        elif reads or writes:
            kernel.host.wait(reads, writes, 0)
        deliver.collect_host_signals(kernel)
        now_ns = kernel.clock.monotonic_ns()
        for task in timed:
            call = task.blocked_call
            if call is None or task.pid not in self.sleepers:
                continue
            blocked = call.blocked
            due = blocked.deadline_ns is not None and blocked.deadline_ns <= now_ns
            if due or blocked.read_fds or blocked.write_fds:
                self.wake(task)
