"""A task (`struct task_struct`): no real distinction between threads and processes, they are all tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.cred import Cred
from kernel_model.signal.sighand import PendingSignals, SigAltStack, SighandStruct, SignalStruct
from kernel_model.ucounts import alloc_ucounts

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import FilesStruct
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.ns.nsproxy import NsProxy
    from kernel_model.ns.pid import PidNamespace
    from kernel_model.sched import BlockedCall
    from kernel_model.seccomp.filter import Seccomp
    from kernel_model.signal.rewind import HeldSignal
    from kernel_model.syscall_work import UserDispatch
    from kernel_model.user_pages import UserPage
    from kernel_model.wait import WaitQueue

class FsStruct:
    """Where a task stands in the tree (`struct fs_struct`), shared by the tasks that CLONE_FS made."""

    def __init__(self, root: Path, pwd: Path, umask: int = 0o022) -> None:
        self.root = root
        self.pwd = pwd
        self._umask = umask
        self.users = 1
        self.page: UserPage | None = None
        """Where the umask is instead, if the tasks may write it themselves (`kernel_model.user_pages`)."""

    @property
    def umask(self) -> int:
        """The bits that files are made without; a page's other bits count no more than those of umask(2)'s argument."""
        return self._umask if self.page is None else self.page.get("umask") & 0o777

    @umask.setter
    def umask(self, mask: int) -> None:
        self._umask = mask
        if self.page is not None:
            self.page.set("umask", mask)


class RestartBlock(NamedTuple):
    """What restart_syscall(2) will do: call `function` (a name that `syscalls.signal` knows) with `data`."""

    function: str
    data: tuple[int, ...] = ()


class Rseq(NamedTuple):
    """The registered restartable-sequence area; `address` 0 means none."""

    address: int = 0
    length: int = 0
    signature: int = 0


class SchedEntity:
    """What the scheduler knows of a task (`struct sched_entity`, and some beside it in Linux)."""

    __slots__ = ("nice", "nivcsw", "nvcsw", "sum_exec_runtime_ns", "vruntime_ns")

    def __init__(self, nice: int = 0, vruntime_ns: int = 0) -> None:
        self.sum_exec_runtime_ns = 0
        """CPU time it has used, but for the turn that it has now (`kernel_model.cputime`)."""
        self.nvcsw = 0
        """How often it has slept; `nivcsw`: how often others had a turn although it could have gone on."""
        self.nivcsw = 0
        self.nice = nice
        self.vruntime_ns = vruntime_ns
        """Where nice values count: what it has used, by its weight (`kernel_model.placement`)."""


class Task:
    """One task. Field names are Linux's."""

    numa_node: Final = 0
    """All CPUs are of one node."""

    def __init__(
        self,
        kernel: Kernel,
        pid: int,
        tgid: int,
        mm: MemoryMap,
        files: FilesStruct,
        fs: FsStruct,
        cred: Cred,
        sighand: SighandStruct,
        signal: SignalStruct,
        start_time_ns: int = 0,
    ) -> None:
        self.kernel = kernel
        self.variables: UserPage | None = None
        """Its own page of variables, which hold instead of its attributes then (`kernel_model.user_pages`)."""
        self.variable_calls = 0
        """How many calls it has made that such a page would have served."""
        self.pid = pid
        self.tgid = tgid
        self.nsproxy: NsProxy = kernel.init_nsproxy
        self.pid_ns: PidNamespace = kernel.init_pid_ns
        """Whose numbers it sees (task_active_pid_ns())."""
        self.pid_vnr = pid
        """What it is there itself; `tgid_vnr` likewise."""
        self.tgid_vnr = tgid
        self.mm = mm
        self.files = files
        self.fs: FsStruct = fs
        self.cred = cred
        self.ucounts = alloc_ucounts(kernel, cred.uid)
        self.sighand = sighand
        self.signal: SignalStruct = signal
        self.comm: bytes = b""
        self.exe: Path | None = None
        self.argv: list[bytes] = []
        self.auxv: bytes = b""
        """The auxiliary vector as it stands on the stack, for /proc/self/auxv."""
        self.blocked: int = 0
        """Signal mask: bit n-1 stands for signal n."""
        self.real_blocked = 0
        """The mask behind one that rt_sigtimedwait(2) opened for its wait: what is in it is not ignored meanwhile."""
        self.pending = PendingSignals(self.ucounts)
        self.saved_sigmask: int | None = None
        """The mask to put back when the signal that ended a sigsuspend, ppoll ... has been dealt with."""
        self.held_signal: HeldSignal | None = None
        """A signal that was taken in the tail of a bounce (`kernel_model.signal.rewind`)."""
        self.sas = SigAltStack()
        self.restart_block: RestartBlock | None = None
        self.fault_address = 0
        """Of the last memory fault, as signal frames show it; `error_code` (ESR on AArch64) and `trap_nr` likewise."""
        self.error_code = 0
        self.trap_nr = 0
        self.clear_child_tid = 0
        self.robust_list: int = 0
        self.rseq = Rseq()
        self.personality: int = 0
        self.ptrace_dumpable = 1
        self.no_new_privs = False
        self.syscall_work = 0
        """What is done with its calls before the table, bit by bit (`kernel_model.syscall_work`)."""
        self.syscall_dispatch: UserDispatch | None = None
        self.seccomp: Seccomp | None = None
        """Which calls it may make; None while it may make all (`kernel_model.seccomp.filter`)."""
        self.nproc_exceeded = False
        """It became a user who had more tasks than RLIMIT_NPROC allows (`kernel_model.ucounts`)."""
        self.pdeath_signal: int = 0
        self.timer_slack_ns: int = 50_000
        self.default_timer_slack_ns = 50_000
        self.mce_kill = 2
        """PR_MCE_KILL_*; PR_MCE_KILL_DEFAULT."""
        self.ioprio = 0
        self.sched_policy = 0
        """SCHED_*; `rt_priority` and `sched_flags` (SCHED_FLAG_*) as sched_setattr(2) has them."""
        self.rt_priority = 0
        self.sched_flags = 0
        self.pi_priority = 0
        """The highest real-time priority of those that wait for a priority-inheritance lock of its."""
        self.cpu = 0
        """The logical CPU it is on."""
        self.rseq_event = False
        """It was switched out or moved: `kernel_model.signal.rseq` sees to that before it goes on."""
        self.cpus_mask: int | None = None
        """Logical CPUs it may run on, bit by bit; None for all."""
        self.thp_disable = False
        self.call_state: object | None = None
        """What a call that blocked must remember until it is made again (see `kernel_model.wait`)."""
        self.task_page = 0
        """Where the frames of its bounces go under `--bounce-frame task-page` (`kernel_model.task_page`)."""
        self.data_offset = 0
        """Where its data are in `[vthread]` (`kernel_model.data_pages`), in bytes from the end; 0 for nowhere."""
        self.stopped_call: tuple[int, int, int] | None = None
        """(number as made, first argument, result) of the call that was interrupted when the task was stopped."""
        self.blocked_call: BlockedCall | None = None
        """The call it sleeps in; None while it runs or could."""
        self.context: object | None = None
        """Its registers (`Cpu.save_context`) while another task is on the CPU."""
        self.vfork_done: WaitQueue | None = None
        """Where the parent of a vfork waits for this child's execve or end."""
        self.exit_code: int | None = None
        """The wait status once the task is gone."""
        self.start_time_ns = start_time_ns
        """CLOCK_BOOTTIME at its start."""
        self.se = SchedEntity()

    @property
    def parent_pid(self) -> int:
        """Its parent's number in the initial pid namespace; 0 while nobody in the guest started it."""
        return self.signal.parent_tgid
