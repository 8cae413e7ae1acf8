"""Signal state: dispositions (`sighand`), what is pending, and what the threads of a group share (`signal`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kernel_model.abi.resource import default_limits
from kernel_model.abi.signal import SIG_DFL, SIGCHLD
from kernel_model.wait import WaitQueue


class SigAction(NamedTuple):
    """`struct k_sigaction`. `handler`: SIG_DFL, SIG_IGN or an address; `mask` as `Task.blocked`."""

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


_DEFAULT: Final = SigAction()


@dataclass(slots=True)
class SighandStruct:
    """Dispositions by signal number 1 .. 64, shared by the tasks that CLONE_SIGHAND made."""

    action: dict[int, SigAction] = field(default_factory=dict)
    users: int = 1

    def get(self, signal: int) -> SigAction:
        """The disposition of `signal`."""
        return self.action.get(signal, _DEFAULT)


class SigInfo(NamedTuple):
    """`siginfo_t`: signo, errno, code, and the fields of its kind by Linux's names (pid, uid, addr, value, status ...).

    `raw`: the whole structure as rt_sigqueueinfo(2) gave it; empty for one that the kernel made.
    """

    signo: int
    code: int = 0
    errno: int = 0
    fields: tuple[tuple[str, int], ...] = ()
    raw: bytes = b""


@dataclass(slots=True)
class PendingSignals:
    """Queued signals, oldest first. A standard signal is there once at most."""

    queue: list[SigInfo] = field(default_factory=list)
    mask: int = 0


@dataclass(slots=True)
class SigAltStack:
    """sigaltstack(2): `size` 0 when there is none. `flags` as they were set, SS_DISABLE once it has disarmed itself."""

    sp: int = 0
    size: int = 0
    flags: int = 0


@dataclass(slots=True)
class SignalStruct:
    """What the threads of one group share (`struct signal_struct`)."""

    tgid: int
    pgrp: int
    session: int
    parent_tgid: int = 0
    shared_pending: PendingSignals = field(default_factory=PendingSignals)
    rlim: dict[int, tuple[int, int]] = field(default_factory=default_limits)
    """RLIMIT_* to (soft, hard); RLIM_INFINITY for none."""
    threads: int = 1
    """Living tasks of the group."""
    exit_signal: int = SIGCHLD
    """What its parent gets when it is gone; 0 for nothing."""
    wait_chldexit: WaitQueue = field(default_factory=WaitQueue)
    """Tasks of the group in wait4(2)."""
    is_child_subreaper: bool = False
    group_exit_code: int | None = None
    stopped: bool = False
    """Stopped by a signal, until SIGCONT comes."""
    stop_code: int = 0
    """The signal that stopped it, until wait4(2) has told."""
    continued: bool = False
    """SIGCONT has come, and wait4(2) has not told yet; `tell_continued`: nor has SIGCHLD."""
    tell_continued: bool = False
    maxrss_pages: int = 0
    oom_score_adj: int = 0
    nice: int = 0
