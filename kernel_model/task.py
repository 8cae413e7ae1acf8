"""A task (`struct task_struct`): no real distinction between threads and processes, they are all tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model.cred import Cred
from kernel_model.signal.sighand import PendingSignals, SigAltStack, SighandStruct, SignalStruct

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import FilesStruct
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.sched import BlockedCall
    from kernel_model.wait import WaitQueue


@dataclass(slots=True)
class FsStruct:
    """Where a task stands in the tree (`struct fs_struct`), shared by the tasks that CLONE_FS made."""

    root: Path
    pwd: Path
    umask: int = 0o022
    users: int = 1


@dataclass(slots=True)
class RestartBlock:
    """What restart_syscall(2) will do: call `function` (a name that `syscalls.signal` knows) with `data`."""

    function: str
    data: tuple[int, ...] = ()


@dataclass(slots=True)
class Rseq:
    """The registered restartable-sequence area; `address` 0 means none."""

    address: int = 0
    length: int = 0
    signature: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """One task. Field names are Linux's."""

    kernel: Kernel
    pid: int
    tgid: int
    mm: MemoryMap
    files: FilesStruct
    fs: FsStruct
    cred: Cred
    sighand: SighandStruct
    signal: SignalStruct
    comm: bytes = b""
    exe: Path | None = None
    argv: list[bytes] = field(default_factory=list)
    auxv: bytes = b""
    """The auxiliary vector as it stands on the stack, for /proc/self/auxv."""
    blocked: int = 0
    """Signal mask: bit n-1 stands for signal n."""
    real_blocked: int = 0
    """The mask behind one that rt_sigtimedwait(2) opened for its wait: what is in it is not ignored meanwhile."""
    pending: PendingSignals = field(default_factory=PendingSignals)
    saved_sigmask: int | None = None
    """The mask to put back when the signal that ended a sigsuspend, ppoll ... has been dealt with."""
    sas: SigAltStack = field(default_factory=SigAltStack)
    restart_block: RestartBlock | None = None
    fault_address: int = 0
    """Of the last memory fault, as signal frames show it; `error_code` (ESR on AArch64) and `trap_nr` likewise."""
    error_code: int = 0
    trap_nr: int = 0
    clear_child_tid: int = 0
    robust_list: int = 0
    rseq: Rseq = field(default_factory=Rseq)
    personality: int = 0
    ptrace_dumpable: int = 1
    no_new_privs: bool = False
    pdeath_signal: int = 0
    timer_slack_ns: int = 50_000
    default_timer_slack_ns: int = 50_000
    mce_kill: int = 2
    """PR_MCE_KILL_*; PR_MCE_KILL_DEFAULT."""
    ioprio: int = 0
    sched_policy: int = 0
    """SCHED_*; `rt_priority` and `sched_flags` (SCHED_FLAG_*) as sched_setattr(2) has them."""
    rt_priority: int = 0
    sched_flags: int = 0
    cpus_mask: int | None = None
    """Logical CPUs it may run on, bit by bit; None for all."""
    thp_disable: bool = False
    call_state: object | None = None
    """What a call that blocked must remember until it is made again (see `kernel_model.wait`)."""
    stopped_call: tuple[int, int, int] | None = None
    """(number, first argument, result) of the call that was interrupted when the task was stopped."""
    blocked_call: BlockedCall | None = None
    """The call it sleeps in; None while it runs or could."""
    context: object | None = None
    """Its registers (`Cpu.save_context`) while another task is on the CPU."""
    vfork_done: WaitQueue | None = None
    """Where the parent of a vfork waits for this child's execve or end."""
    exit_code: int | None = None
    """The wait status once the task is gone."""
    start_time_ns: int = 0
    """CLOCK_BOOTTIME at its start."""
    min_flt: int = 0
    maj_flt: int = 0

    @property
    def parent_pid(self) -> int:
        """getppid(2): 0 while nobody in the guest started it."""
        return self.signal.parent_tgid
