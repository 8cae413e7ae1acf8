"""Numbers of tasks, by pid namespace (kernel/pid.c, kernel/pid_namespace.c).

`Task.pid`, and every number of a process, group or session that the kernel model keeps, is that of the initial
namespace: it is what Linux's `struct pid` is there. What a program is told, and what it says, is a number of its own
namespace: it is translated where it enters or leaves the kernel. A task's own three, which user space asks for most,
are kept beside it: `Task.pid_vnr`, `Task.tgid_vnr`, `SignalStruct.parent_vnr`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.ns.nsproxy import CLONE_NEWPID, Namespace
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

PID_MAX: Final = 4_194_304
_RESERVED_PIDS: Final = 300


class PidNamespace(Namespace):
    """`struct pid_namespace`. The initial one has no parent, and needs no translation."""

    __slots__ = ("adding", "child_reaper", "global_of", "last_pid", "level", "local_of", "parent")
    name = b"pid"
    ns_type = CLONE_NEWPID

    def __init__(self, inum: int, parent: PidNamespace | None = None) -> None:
        super().__init__(inum)
        self.parent = parent
        self.level: int = 0 if parent is None else parent.level + 1
        self.global_of: dict[int, int] = {}
        """Its numbers, to those of the initial namespace; `local_of` the other way round."""
        self.local_of: dict[int, int] = {}
        self.last_pid = 0
        self.child_reaper = 0
        """The process that is its 1, whose end is its own; 0 while there was none."""
        self.adding = True
        """False once that has ended: there are no new tasks."""

    def nr(self, number: int) -> int:
        """What the task, group or session `number` is here; 0 if it can't be seen (pid_nr_ns())."""
        return number if self.parent is None else self.local_of.get(number, 0)

    def find(self, nr: int) -> int:
        """What its `nr` is in the initial namespace; 0 if there is no such number (find_pid_ns())."""
        return nr if self.parent is None else self.global_of.get(nr, 0)

    def up(self) -> Iterator[PidNamespace]:
        """It and those that it is in, but for the initial one."""
        ns = self
        while ns.parent is not None:
            yield ns
            ns = ns.parent

    def is_within(self, ancestor: PidNamespace) -> bool:
        """Is it `ancestor`, or in it? (pidns_is_ancestor())"""
        ns: PidNamespace | None = self
        while ns is not None and ns.level > ancestor.level:
            ns = ns.parent
        return ns is ancestor


def find_task_by_vpid(task: Task, nr: int) -> Task | None:
    """The task that `task` means by `nr`."""
    ns = task.pid_ns
    return task.kernel.tasks.get(nr if ns.parent is None else ns.global_of.get(nr, 0))


def find_vpid(task: Task, nr: int) -> int:
    """The process, group or session that `task` means by `nr`; a number that nobody has for none."""
    ns = task.pid_ns
    return nr if ns.parent is None else ns.global_of.get(nr, 0)


def pid_vnr(task: Task, number: int) -> int:
    """What `task` is told of the task, group or session `number`; 0 for one that it can't see."""
    ns = task.pid_ns
    return number if ns.parent is None else ns.local_of.get(number, 0)


def all_numbers(of: PidNamespace, number: int) -> list[int]:
    """What `number` is in each namespace from the initial one to `of`."""
    return [number, *(ns.nr(number) for ns in reversed(list(of.up())))]


# -- giving them out and taking them back -----------------------------------------------------------------------------
def alloc_pid(kernel: Kernel, ns: PidNamespace, set_tid: Sequence[int] = ()) -> list[int]:
    """A number in each namespace from the initial one to `ns`; nothing is recorded yet. kernel/pid.c:alloc_pid().

    `set_tid`: those that are asked for, from `ns` outwards. EINVAL, EEXIST; EAGAIN without a free one, ENOMEM in a
    namespace whose first process has ended.
    """
    if len(set_tid) > ns.level + 1:
        raise SyscallError(errno.EINVAL)
    numbers: list[int] = []
    one: PidNamespace | None = ns
    while one is not None:
        if len(numbers) < len(set_tid):
            numbers.append(_take(kernel, one, set_tid[len(numbers)]))
        else:
            numbers.append(_next(kernel, one))
        one = one.parent
    if not ns.adding:
        raise SyscallError(errno.ENOMEM)
    numbers.reverse()
    return numbers


def _used(kernel: Kernel, ns: PidNamespace) -> dict[int, Task] | dict[int, int]:
    return kernel.tasks if ns.parent is None else ns.global_of


def _take(kernel: Kernel, ns: PidNamespace, nr: int) -> int:
    """`nr`, if it may be had: a namespace begins with 1."""
    if not 1 <= nr < PID_MAX or (nr != 1 and ns.parent is not None and not ns.child_reaper):
        raise SyscallError(errno.EINVAL)
    if nr in _used(kernel, ns):
        raise SyscallError(errno.EEXIST)
    return nr


def _next(kernel: Kernel, ns: PidNamespace) -> int:
    """The next free number, going round."""
    used = _used(kernel, ns)
    if ns.parent is not None and not ns.child_reaper:
        ns.last_pid = 0  # the first process could not be made, the last time
    for _ in range(PID_MAX):
        ns.last_pid = ns.last_pid + 1 if ns.last_pid < PID_MAX - 1 else _RESERVED_PIDS
        if ns.last_pid not in used:
            return ns.last_pid
    raise SyscallError(errno.EAGAIN)


def attach_pid(task: Task, numbers: Sequence[int]) -> None:
    """`task`, just made in a namespace other than the initial one, has these numbers from now on.

    The first of a namespace is its init.
    """
    task.kernel.ns_of_pid[task.pid] = task.pid_ns
    for ns in task.pid_ns.up():
        nr = numbers[ns.level]
        ns.global_of[nr] = task.pid
        ns.local_of[task.pid] = nr
    if numbers[-1] == 1:
        task.pid_ns.child_reaper = task.pid
        task.signal.unkillable = True


def release_pids(task: Task) -> None:
    """A task is gone: what numbers of its own, of its group and its session are nobody's any more is free."""
    kernel = task.kernel
    for number in {task.pid, task.signal.pgrp, task.signal.session} & kernel.ns_of_pid.keys():
        free_pid(kernel, number)


def free_pid(kernel: Kernel, number: int) -> None:
    """Somebody's task, group or session `number` it is no longer; if it is nobody's now, it is free."""
    for task in kernel.tasks.values():
        if number in (task.pid, task.tgid, task.signal.pgrp, task.signal.session):
            return
    for ns in kernel.ns_of_pid.pop(number).up():
        del ns.global_of[ns.local_of.pop(number)]
