"""Signal state: dispositions (`sighand`), what is pending, and what the threads of a group share (`signal`)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi.resource import default_limits
from kernel_model.abi.signal import SI_USER, SIG_DFL, SIGCHLD
from kernel_model.wait import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.cputime import Usage
    from kernel_model.signal.posix_timers import PosixTimer
    from kernel_model.ucounts import UserCounts


class SigAction(NamedTuple):
    """`struct k_sigaction`. `handler`: SIG_DFL, SIG_IGN or an address; `mask` as `Task.blocked`."""

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


_DEFAULT: Final = SigAction()
_NOBODY: Final = (("pid", 0), ("uid", 0))


class SighandStruct:
    """Dispositions by signal number 1 .. 64, shared by the tasks that CLONE_SIGHAND made."""

    def __init__(self, action: dict[int, SigAction] | None = None) -> None:
        self.action: dict[int, SigAction] = {} if action is None else action
        self.users = 1
        self.signalfd_wqh: WaitQueue | None = None
        """Woken for each signal sent to one of its tasks, once one of them has used signalfd(2)."""

    def get(self, signal: int) -> SigAction:
        """The disposition of `signal`."""
        return self.action.get(signal, _DEFAULT)


class SigInfo(NamedTuple):
    """`siginfo_t`: signo, errno, code, and the fields of its kind by Linux's names (pid, uid, addr, value, status ...).

    `raw`: the whole structure as rt_sigqueueinfo(2) gave it; empty for one that the kernel made. `timer`: whose it is,
    who is told when it is taken.
    """

    signo: int
    code: int = 0
    errno: int = 0
    fields: tuple[tuple[str, int], ...] = ()
    raw: bytes = b""
    timer: PosixTimer | None = None


class PendingSignals:
    """Queued signals. A standard signal is there once at most. One that is pending without being queued came when
    there was no more room (RLIMIT_SIGPENDING): nothing is known of it but the number.
    """

    __slots__ = ("_queues", "mask", "ucounts")

    def __init__(self, ucounts: UserCounts) -> None:
        self._queues: dict[int, deque[SigInfo]] = {}
        """By signal number, as their first ones came; oldest first."""
        self.mask = 0
        self.ucounts = ucounts
        """Whose limit it counts for. A timer's signal does not: the timer itself does."""

    def __iter__(self) -> Iterator[SigInfo]:
        return (info for queue in self._queues.values() for info in queue)

    def add(self, info: SigInfo) -> None:
        """One more."""
        signal = info.signo
        queue = self._queues.get(signal)
        if queue is None:
            self.mask |= 1 << signal - 1
            self._queues[signal] = deque((info,))
        else:
            queue.append(info)
        if info.timer is None:
            self.ucounts.sigpending += 1

    def add_bare(self, signal: int) -> None:
        """It is pending, and there is no room to say more."""
        self.mask |= 1 << signal - 1

    def take(self, signal: int) -> SigInfo:
        """The oldest of one number, which is pending."""
        queue = self._queues.get(signal)
        if queue is None:
            self.mask &= ~(1 << signal - 1)
            return SigInfo(signal, SI_USER, fields=_NOBODY)
        info = queue.popleft()
        if not queue:
            del self._queues[signal]
            self.mask &= ~(1 << signal - 1)
        if info.timer is not None:
            return info.timer.take(info)
        self.ucounts.sigpending -= 1
        return info

    def discard(self, timer: PosixTimer) -> None:
        """Take the signal of `timer` back."""
        queue = self._queues.get(timer.signo, ())
        for index, info in enumerate(queue):
            if info.timer is timer:
                del self._queues[timer.signo][index]
                if not queue:
                    del self._queues[timer.signo]
                    self.mask &= ~(1 << timer.signo - 1)
                return

    def flush(self, mask: int) -> None:
        """Forget the signals of `mask`."""
        if self.mask & mask:
            for signal in [number for number in self._queues if mask >> number - 1 & 1]:
                for info in self._queues.pop(signal):
                    if info.timer is None:
                        self.ucounts.sigpending -= 1
                    else:
                        info.timer.flushed()
            self.mask &= ~mask

    def charged(self) -> int:
        """How many of them count for the limit."""
        return sum(info.timer is None for info in self)

    def charge(self, ucounts: UserCounts) -> None:
        """Count them for `ucounts`, and those that come; they are off the old ones."""
        self.ucounts = ucounts
        ucounts.sigpending += self.charged()


class SigAltStack(NamedTuple):
    """sigaltstack(2): `size` 0 when there is none. `flags` as they were set, SS_DISABLE once it has disarmed itself."""

    sp: int = 0
    size: int = 0
    flags: int = 0


class SignalStruct:
    """What the threads of one group share (`struct signal_struct`)."""

    def __init__(
        self,
        ucounts: UserCounts,
        tgid: int,
        pgrp: int,
        session: int,
        parent_tgid: int = 0,
        rlim: dict[int, tuple[int, int]] | None = None,
        exit_signal: int = SIGCHLD,
        oom_score_adj: int = 0,
    ) -> None:
        self.tgid = tgid
        self.pgrp = pgrp
        self.session = session
        self.parent_tgid = parent_tgid
        self.parent_vnr = parent_tgid
        """getppid(2): the same as its own tasks see it, 0 for a parent outside of their pid namespace."""
        self.unkillable = False
        """The first of a pid namespace: signals from within do no more to it than it asks for (SIGNAL_UNKILLABLE)."""
        self.shared_pending = PendingSignals(ucounts)
        self.rlim: dict[int, tuple[int, int]] = default_limits() if rlim is None else rlim
        """RLIMIT_* to (soft, hard); RLIM_INFINITY for none."""
        self.threads = 1
        """Living tasks of the group."""
        self.exit_signal = exit_signal
        """What its parent gets when it is gone; 0 for nothing."""
        self.children: dict[int, None] = {}
        """The pids of the processes whose parent it is, oldest first; they are there until they are waited for."""
        self.wait_chldexit = WaitQueue()
        """Tasks of the group in wait4(2)."""
        self.is_child_subreaper = False
        self.group_exit_code: int | None = None
        self.stopped = False
        """Stopped by a signal, until SIGCONT comes."""
        self.stop_code = 0
        """The signal that stopped it, until wait4(2) has told."""
        self.continued = False
        """SIGCONT has come, and wait4(2) has not told yet; `tell_continued`: nor has SIGCHLD."""
        self.tell_continued = False
        self.sum_sched_runtime_ns = 0
        """CPU time of threads that are gone; `nvcsw`, `nivcsw`: theirs."""
        self.nvcsw = 0
        self.nivcsw = 0
        self.maxrss_pages = 0
        """The most pages that programs before this one held; `min_flt`: page faults of theirs."""
        self.min_flt = 0
        self.mm_min_flt = 0
        """Page faults that its memory had seen when it got it: those of others."""
        self.children_usage: Usage | None = None
        """What children that were waited for have used."""
        self.oom_score_adj = oom_score_adj
        self.posix_timers: dict[int, PosixTimer] = {}
        """Those of timer_create(2), by number; `next_posix_timer_id`: the next one's."""
        self.next_posix_timer_id = 0
