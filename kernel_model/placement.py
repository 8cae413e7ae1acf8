"""Logical CPUs: which of them a task is on, and who is next where priorities or a seed have a say.

One engine runs all tasks in turn. A logical CPU is where Linux would have had a task run: sched_setaffinity(2),
getcpu(2), rseq(2) and /proc tell of it, and a real-time task keeps others from its own CPU only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.cpu import SLICE_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
_SCHED_IDLE: Final = 5
NICE_0_WEIGHT: Final = 1024
_WEIGHT_IDLEPRIO: Final = 3
# By nice value from -20: each step is a quarter more or less (sched_prio_to_weight)
_PRIO_TO_WEIGHT: Final = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501,
    1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)  # fmt: skip
_SLICE_NS: Final = 1_000_000
"""So much further behind than those that run is nobody taken to be, however long it slept."""
_MIN_SLICE_BLOCKS: Final = SLICE_BLOCKS // 50
_MOVES: Final = 4
"""Under a seed one choice in so many moves the task to another CPU as well."""
_RT_SLICES: Final = 19
"""Real-time tasks leave one slice in twenty to the others (kernel/sched/rt.c: sysctl_sched_rt_runtime)."""


def allowed_cpus(task: Task) -> int:
    """The logical CPUs it may run on, bit by bit."""
    every = (1 << task.kernel.cpu_count) - 1
    return every if task.cpus_mask is None else task.cpus_mask & every


def move_to(task: Task, cpu: int) -> None:
    """Put `task` on another logical CPU; a critical section that it is in will be aborted."""
    if task.cpu == cpu:
        return
    task.cpu = cpu
    if task.rseq.address:
        task.rseq_event = True
    kernel = task.kernel
    if task is kernel.current:
        kernel.show_cpu()
    if kernel.data_pages is not None:
        kernel.data_pages.changed(task)


def place(task: Task) -> None:
    """Choose a CPU for a task that is new, or whose CPU is no longer allowed: where the fewest are that could run.

    kernel/sched/fair.c:find_idlest_cpu(). Under a seed it is chance's choice.
    """
    kernel = task.kernel
    mask = allowed_cpus(task)
    cpus = [cpu for cpu in range(kernel.cpu_count) if mask >> cpu & 1]
    if kernel.chance is not None:
        move_to(task, kernel.chance.choice(cpus))
        return
    load = dict.fromkeys(cpus, 0)
    for other in (kernel.current, *kernel.sched.runqueue):
        if other.cpu in load and other is not task and other.exit_code is None:
            load[other.cpu] += 1
    move_to(task, min(cpus, key=load.__getitem__))


def balance(kernel: Kernel) -> None:
    """A CPU that has two tasks more to run than another gives one away (kernel/sched/fair.c:load_balance())."""
    load = [0] * kernel.cpu_count
    waiting = list(kernel.sched.runqueue)
    for task in (kernel.current, *waiting):
        load[task.cpu] += 1
    idlest = load.index(min(load))
    for task in waiting:
        if load[task.cpu] >= load[idlest] + 2 and allowed_cpus(task) >> idlest & 1:
            move_to(task, idlest)
            return


def slice_blocks(kernel: Kernel) -> int:
    """How many basic blocks the next time slice has: under a seed chance says it."""
    if kernel.chance is None:
        return SLICE_BLOCKS
    return kernel.chance.randrange(_MIN_SLICE_BLOCKS, SLICE_BLOCKS)


def priority(task: Task) -> int:
    """0 for a fair task, else its real-time priority, or that of who waits for a lock of its."""
    own = task.rt_priority if task.sched_policy in (SCHED_FIFO, SCHED_RR) else 0
    return max(own, task.pi_priority)


def weight(task: Task) -> int:
    """Its share of the CPU against others (kernel/sched/core.c:set_load_weight()); 1024 is that of nice 0."""
    return _WEIGHT_IDLEPRIO if task.sched_policy == _SCHED_IDLE else _PRIO_TO_WEIGHT[task.se.nice + 20]


def pass_over(task: Task) -> None:
    """It gave up its turn: a slice as if it had used it (kernel/sched/fair.c:yield_task_fair())."""
    task.se.vruntime_ns += _SLICE_NS * NICE_0_WEIGHT // weight(task)


class Chooser:
    """Who is next, when that is not just who has waited longest."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._rt_slices = 0
        self._turn = 0
        self._served = [0] * kernel.cpu_count
        """When each CPU was served last: all have their turns."""
        self._ran: Task | None = None
        """Who was chosen last, and what it had used by then."""
        self._ran_runtime_ns = 0
        self._min_vruntime_ns = 0

    def take(self) -> Task:
        """The next one, off the run queue, which is not empty."""
        kernel = self._kernel
        queue = kernel.sched.runqueue
        ready = self._ready() if kernel.sched.any_real_time else range(len(queue))
        if kernel.sched.any_weight:
            index = self._by_weight(ready)
        elif kernel.chance is not None:
            index = kernel.chance.choice(ready)
        else:
            index = min(ready, key=lambda i: self._served[queue[i].cpu])
        task = queue[index]
        del queue[index]
        self._turn += 1
        self._served[task.cpu] = self._turn
        if kernel.chance is not None and kernel.cpu_count > 1 and not kernel.chance.randrange(_MOVES):
            place(task)
        return task

    def _by_weight(self, ready: Sequence[int]) -> int:
        """Who has had the least by its weight, of those on the CPU whose turn it is (kernel/sched/fair.c:
        update_curr(), pick_next_entity()). Under a seed it is chance's choice, weights counted.
        """
        kernel = self._kernel
        queue = kernel.sched.runqueue
        if kernel.chance is not None:
            return kernel.chance.choices(ready, [weight(queue[i]) for i in ready])[0]
        kernel.account.settle()
        ran = self._ran
        if ran is not None:
            ran.se.vruntime_ns += (ran.se.sum_exec_runtime_ns - self._ran_runtime_ns) * NICE_0_WEIGHT // weight(ran)
        least_ns = self._min_vruntime_ns - _SLICE_NS
        for i in ready:
            queue[i].se.vruntime_ns = max(queue[i].se.vruntime_ns, least_ns)
        index = min(ready, key=lambda i: (self._served[queue[i].cpu], queue[i].se.vruntime_ns))
        self._ran = queue[index]
        self._ran_runtime_ns = self._ran.se.sum_exec_runtime_ns
        self._min_vruntime_ns = max(self._min_vruntime_ns, self._ran.se.vruntime_ns)
        return index

    def _ready(self) -> list[int]:
        """Where in the run queue those are whom nobody of a higher priority keeps from their CPUs."""
        queue = self._kernel.sched.runqueue
        top = [0] * self._kernel.cpu_count
        for task in queue:
            top[task.cpu] = max(top[task.cpu], priority(task))
        ready: list[int] = []
        held_back: list[int] = []
        for i, task in enumerate(queue):
            (held_back if priority(task) < top[task.cpu] else ready).append(i)
        if not held_back:
            self._rt_slices = 0
            return ready
        self._rt_slices += 1
        if self._rt_slices > _RT_SLICES:
            self._rt_slices = 0
            return held_back
        return ready
