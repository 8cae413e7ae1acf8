"""Time namespaces: what their tasks' CLOCK_MONOTONIC and CLOCK_BOOTTIME are, and /proc/<pid>/timens_offsets.

kernel/time/namespace.c, time_namespaces(7). What is kept in the kernel model is the machine's time; what a program is
told, or says, is translated where it enters or leaves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.cred import CAP_SYS_TIME
from kernel_model.ns.create import create_new_namespaces, timens_on_fork
from kernel_model.ns.nsproxy import CLONE_NEWTIME
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.ns.nsproxy import TimeNamespace
    from kernel_model.task import Task

_CLOCKS: Final = {
    b"monotonic": abi.CLOCK_MONOTONIC, b"boottime": abi.CLOCK_BOOTTIME,
    b"1": abi.CLOCK_MONOTONIC, b"7": abi.CLOCK_BOOTTIME,
}  # fmt: skip
# "%9s %lld %lu" of sscanf(9)
_LINE: Final = re.compile(rb"\s*(\S{1,9}+)\s*([+-]?\d++)\s*(-?\d+)")
_MAX_LINES: Final = 2
_LAST_SECOND: Final = abi.KTIME_SEC_MAX // 2


def timens_commit(task: Task) -> None:
    """`task` is in another time namespace from now on: its offsets stay, and its memory shows the clocks as they are.

    kernel/time/namespace.c:timens_commit().
    """
    time_ns = task.nsproxy.time_ns
    time_ns.frozen_offsets = True
    vdso = task.kernel.vdso
    if vdso is not None:
        vdso.join_timens(task.mm, time_ns)


def exec_task_namespaces(task: Task) -> None:
    """A program begins in the time namespace that its task has for children (kernel/nsproxy.c)."""
    task.nsproxy = timens_on_fork(task.nsproxy)
    task.nsproxy.time_ns.frozen_offsets = True


class NoSuchTime(Exception):
    """A clock would be out of its bounds; the message is for a person."""


def start_in_time_ns(task: Task, monotonic_s: int, boottime_s: int) -> None:
    """The machine's first task, which has no program yet, begins in a time namespace with these offsets. NoSuchTime."""
    kernel = task.kernel
    for name, clock_id, offset_s in (
        ("CLOCK_MONOTONIC", abi.CLOCK_MONOTONIC, monotonic_s), ("CLOCK_BOOTTIME", abi.CLOCK_BOOTTIME, boottime_s)
    ):  # fmt: skip
        now_s = kernel.clock.now_ns(clock_id) // abi.NSEC_PER_SEC
        if not _may_move(kernel, clock_id, offset_s * abi.NSEC_PER_SEC):
            least, most = -now_s, _LAST_SECOND - now_s
            raise NoSuchTime(f"{name} can't be {offset_s} s ahead: choose between {least} and {most}")
    task.nsproxy = create_new_namespaces(task, CLONE_NEWTIME)
    offsets_ns = {
        abi.CLOCK_MONOTONIC: monotonic_s * abi.NSEC_PER_SEC,
        abi.CLOCK_BOOTTIME: boottime_s * abi.NSEC_PER_SEC,
    }
    _set_offsets(task.nsproxy.time_ns_for_children, offsets_ns)
    exec_task_namespaces(task)


def _may_move(kernel: Kernel, clock_id: int, offset_ns: int) -> bool:
    """Is the clock with that offset neither before 0 nor within 146 years of its end?"""
    if abs(offset_ns // abi.NSEC_PER_SEC) > abi.KTIME_SEC_MAX:
        return False
    return 0 <= (kernel.clock.now_ns(clock_id) + offset_ns) // abi.NSEC_PER_SEC <= _LAST_SECOND


def _set_offsets(time_ns: TimeNamespace, offsets_ns: dict[int, int]) -> None:
    """Move the clocks, by clock id; nobody is in the namespace yet."""
    time_ns.monotonic_ns = offsets_ns.get(abi.CLOCK_MONOTONIC, time_ns.monotonic_ns)
    time_ns.boottime_ns = offsets_ns.get(abi.CLOCK_BOOTTIME, time_ns.boottime_ns)


def offsets_text(target: Task) -> bytes:
    """/proc/<pid>/timens_offsets: those of the namespace that its children will be in."""
    time_ns = target.nsproxy.time_ns_for_children
    return b"".join(
        b"%-10s %10d %9d\n" % (name, *divmod(offset_ns, abi.NSEC_PER_SEC))
        for name, offset_ns in ((b"monotonic", time_ns.monotonic_ns), (b"boottime", time_ns.boottime_ns))
    )


def write_offsets(target: Task, task: Task, data: bytes) -> int:
    """Set them; how many bytes were taken. fs/proc/base.c:timens_offsets_write(), proc_timens_set_offset()."""
    if len(data) >= PAGE_SIZE:
        raise SyscallError(errno.EINVAL)
    offsets_ns = {}
    taken = 0
    text = data.split(b"\0")[0]
    for line in text.split(b"\n")[:_MAX_LINES]:
        if taken and taken >= len(text):
            break
        found = _LINE.match(line)
        if found is None or found[1] not in _CLOCKS:
            raise SyscallError(errno.EINVAL)
        nanoseconds = int(found[3])
        if not 0 <= nanoseconds < abi.NSEC_PER_SEC:
            raise SyscallError(errno.EINVAL)
        offsets_ns[_CLOCKS[found[1]]] = int(found[2]) * abi.NSEC_PER_SEC + nanoseconds
        taken += len(line) + 1
    if not task.cred.capable(CAP_SYS_TIME):
        raise SyscallError(errno.EPERM)
    if not all(_may_move(target.kernel, clock_id, offset_ns) for clock_id, offset_ns in offsets_ns.items()):
        raise SyscallError(errno.ERANGE)
    time_ns = target.nsproxy.time_ns_for_children
    if time_ns.frozen_offsets:
        raise SyscallError(errno.EACCES)
    _set_offsets(time_ns, offsets_ns)
    return min(taken, len(data))
