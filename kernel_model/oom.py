"""No memory is left: the largest process is killed, so that the others can go on (mm/oom_kill.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.signal import SI_KERNEL, SIGKILL
from kernel_model.events import OomKilled
from kernel_model.fs.procfs_status import MemoryUsage
from kernel_model.signal.send import KILL_BIT, send_signal
from kernel_model.signal.sighand import SigInfo
from kernel_model.types import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

OOM_SCORE_ADJ_MIN: Final = -1000
_ENTRIES_PER_TABLE: Final = 512


def badness(task: Task) -> int | None:
    """How many pages its end would give back, give or take what oom_score_adj says; None for never (oom_badness())."""
    adj = task.signal.oom_score_adj
    if adj == OOM_SCORE_ADJ_MIN:
        return None
    pages = MemoryUsage(task.mm).resident
    return pages + pages // _ENTRIES_PER_TABLE + adj * task.kernel.frames.total_frames // 1000


def oom_score(task: Task) -> int:
    """/proc/<pid>/oom_score (proc_oom_score())."""
    bad = badness(task)
    return 0 if bad is None else max(0, (1000 + bad * 1000 // task.kernel.frames.total_frames) * 2 // 3)


def out_of_memory(kernel: Kernel, task: Task) -> None:
    """A page fault of `task` found no frame: it is made again when somebody has been killed, if that is not `task`."""
    kernel.need_resched = kernel.signal_work = True
    living = [other for other in kernel.tasks.values() if other.exit_code is None]
    if any((other.pending.mask | other.signal.shared_pending.mask) & KILL_BIT for other in living):
        return  # somebody is about to give back what he has
    scores = {other: bad for other in living if (bad := badness(other)) is not None}
    victim = max(scores, key=scores.__getitem__, default=task)
    if kernel.events.watched:
        total = kernel.frames.total_frames
        kernel.events.emit_rare(OomKilled(victim, MemoryUsage(victim.mm).resident, total))
    for other in living:
        if other.mm is victim.mm and other.pid == other.tgid:
            send_signal(kernel, other, SigInfo(SIGKILL, SI_KERNEL), group=True)


def is_out_of_memory(kernel: Kernel) -> bool:
    """Did the fault that was just refused find no frame?"""
    frames = kernel.frames
    ran_out, frames.ran_out = frames.ran_out, False
    return ran_out and frames.free_frames << PAGE_SHIFT < 1 << 16
