"""The kernel's own state: what exists once per machine. Tasks reach it as `task.kernel`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from kernel_model.abi.utsname import NEW_UTS_LEN
from kernel_model.cputime import CpuAccount
from kernel_model.events import EventStream
from kernel_model.futex import FutexTable
from kernel_model.ns.nsproxy import NS_DYNAMIC_FIRST, PID_NS_INIT_INO, init_nsproxy
from kernel_model.ns.pid import PidNamespace
from kernel_model.sched import Scheduler
from kernel_model.syscalls.table import SyscallTable
from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from kernel_model.arch import Arch, ArchSignal
    from kernel_model.binfmt import BinaryFormat
    from kernel_model.bounce import BounceOptions
    from kernel_model.cpu import Cpu, SignalImages
    from kernel_model.data_pages import DataPages
    from kernel_model.fs.dentry import Mount
    from kernel_model.fs.file import File
    from kernel_model.fs.inode import Inode
    from kernel_model.fs.mount import MountNamespace
    from kernel_model.fs.pidfs import PidStruct
    from kernel_model.fs.streams import Streams
    from kernel_model.host import Host
    from kernel_model.hrtimer import TimerQueue
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.preload import Preload
    from kernel_model.signal.sighand import SignalStruct
    from kernel_model.task import Task
    from kernel_model.timekeeping import Timekeeper
    from kernel_model.ucounts import UserCounts
    from kernel_model.user_pages import UserPages
    from kernel_model.vdso import Vdso

# kernel/fork.c: a stack of four pages for each, in an eighth of the memory
_MIN_THREADS: Final = 20
_LOWMEM_PART: Final = 25
_EP_ITEM_COST_BYTES: Final = 184
_FRAMES_PER_THREAD: Final = 4 * 8


class Statistics:
    """Counters of a run. `calls[n]` counts system calls of number n (n < 512)."""

    def __init__(self) -> None:
        self.kernel_entries = 0
        """Entries but for bounces, which are counted apart: virtual time does not see them."""
        self.unknown_calls = 0
        self.bounces = 0
        self.redirected_returns = 0
        self.no_calls = 0
        """Of these, those that made no call: the handler had done the work."""
        self.served_calls = 0
        """Real calls that the handler made in place of a bounced one, and went back by itself."""
        self.rewound = 0
        """Bounces that a signal undid."""
        self.alignment_bytes_max = 0
        """The most that one bounce took of the user's stack for alignment alone (`count_alignment`)."""
        self.calls: list[int] = [0] * 512

    def served(self) -> int:
        """Bounces that ended in user space without any call (x86-64), or by the return that makes none."""
        ended = self.redirected_returns - self.no_calls + self.rewound + self.served_calls
        return max(0, self.bounces - ended)

    def count_alignment(self, size_bytes: int) -> None:
        """A bounce's frame lies that much lower because SP was not a multiple of 16."""
        self.alignment_bytes_max = max(self.alignment_bytes_max, size_bytes)


class RandomSource:
    """Every random byte of a run: from the host, or repeatable under `--seed`."""

    def __init__(self, host: Host, seed: int | None) -> None:
        self.bytes: Callable[[int], bytes] = host.random_bytes
        """That many random bytes."""
        self.chance: Random | None = None
        """Under a seed: what chooses between tasks, a sequence of its own."""
        if seed is not None:
            from random import Random

            self.bytes = Random(seed).randbytes
            self.chance = Random(f"tasks {seed}")

    def below(self, limit: int) -> int:
        """A number in [0, limit)."""
        return int.from_bytes(self.bytes(8), "little") % limit if limit else 0


class Kernel:
    """One machine's kernel."""

    def __init__(
        self,
        *,
        host: Host,
        frames: FrameAllocator,
        clock: Timekeeper,
        seed: int | None = None,
        cpu_count: int = 1,
        arch: Arch | None = None,
        cpu: Cpu | None = None,
    ) -> None:
        self.host = host
        self.frames = frames
        self.clock = clock
        self.random = RandomSource(host, seed)
        self.mmap_places_bytes: list[int] = []
        """Where execve(2) puts mappings, of the places that chance chooses from (`kernel_model.exec_image`)."""
        self.identity = host.identity()
        self.events = EventStream()
        self.stats = Statistics()
        clock.count_entries(self.stats)
        self.account = CpuAccount(self)
        """Who has had the CPU for how long."""
        self.mounts: MountNamespace
        """The tree of mounts; set once the first file system is there."""
        self.binfmt_elf: BinaryFormat
        """The reader of program files; set by whoever builds the machine."""
        self.shm_mnt: Mount | None = None
        """What memfd_create(2) makes its files on (`kernel_model.fs.memfd`); `nsfs_mnt`: where namespaces are files."""
        self.nsfs_mnt: Mount | None = None
        self.cpu_count = cpu_count
        """Logical CPUs, which is what the guest is told of; in truth one engine runs every task in turn."""
        self.chance = self.random.chance
        self.tasks: dict[int, Task] = {}
        self.ucounts: dict[int, UserCounts] = {}
        """What each user has, by real user id (`kernel_model.ucounts`)."""
        self.current: Task
        """The task that runs, or ran last; set by whoever switches to it."""
        self.bounce: BounceOptions | None = None
        """How old-style calls bounce; None under `--abi bare`."""
        self.vdso: Vdso | None = None
        """What execve maps; None for none."""
        self.data_pages: DataPages | None = None
        """What user space may read of its tasks; None under `--vdso-data none`."""
        self.user_pages: UserPages | None = None
        """Variables that user space reads and writes itself; None under `--vdso plain`."""
        self.preload: Preload | None = None
        """A library that execve starts before the program; None for none."""
        self.filters_see_vdso = False
        """`struct seccomp_data` has the vDSO's bounds, which Linux's has not (docs/decisions/0011)."""
        self.seccomp_insns = 0
        """What all filters that some task has are long (`SeccompFilter.length`)."""
        self.seccomp_actions_logged: frozenset[bytes] | None = None
        """Names of the actions that seccomp logs, once somebody has said which."""
        self.sched = Scheduler(self)
        if self.chance is not None or cpu_count > 1:
            self.sched.choose()
        self.futexes = FutexTable()
        self.init_tgid = 0
        """The first process, with which the machine ends."""
        self.init_pid_ns = PidNamespace(PID_NS_INIT_INO)
        self.ns_of_pid: dict[int, PidNamespace] = {}
        """Of tasks, groups and sessions of other pid namespaces than that one, by number: the innermost."""
        self.init_nsproxy = init_nsproxy(self.init_pid_ns, self.identity.hostname.encode()[:NEW_UTS_LEN])
        self.last_ns_inum = NS_DYNAMIC_FIRST
        """The number of the newest namespace."""
        self.lost_pids: list[int] = []
        """Processes that had ended when the machine did, and that no parent could have waited for (`audit`)."""
        self.max_threads = max(_MIN_THREADS, frames.total_frames // _FRAMES_PER_THREAD)
        """No more tasks than this; a machine with little memory can't keep many (kernel/fork.c:set_max_threads())."""
        self.max_user_watches = frames.total_frames // _LOWMEM_PART * PAGE_SIZE // _EP_ITEM_COST_BYTES
        """How many files the epoll sets of one user may watch together (fs/eventpoll.c:eventpoll_init())."""
        self.any_stopped = False
        """Some process has been stopped by a signal."""
        self.stuck = -1
        """`Statistics.kernel_entries` when every task waited for another, for ever, which was told; -1 for never.
        `ended_stuck`: the machine ended for it."""
        self.ended_stuck = False
        self.need_resched = False
        """The running task gives up the CPU when its call is over."""
        self.stay_preemptible = False
        """The CPU is preemptible for longer than the scheduler needs that (`keep_preemptible`)."""
        self.last_ino = 0
        """The last inode number of a pipe or other file that is in no directory (fs/inode.c:get_next_ino())."""
        self.last_eventfd_id = -1
        """What /proc tells of the newest eventfd."""
        self.streams: Streams | None = None
        """The emulator's own streams, once a task has them."""
        self.sigtramp_frame = 0
        """The frame that holds `Arch.SIGTRAMP_CODE`; 0 until the first execve needs it."""
        self.timers: dict[int, dict[int, tuple[int, int]]] = {}
        """Running interval timers: tgid to ITIMER_* to (when it is due, then every), in ns. Beside them those by which
        RLIMIT_CPU is noticed (`kernel_model.signal.timers.CPU_LIMIT`)."""
        self.armed_ns = 0
        """When the host was asked to interrupt whoever computes, on CLOCK_MONOTONIC."""
        self.hrtimers: TimerQueue | None = None
        """Timers of timerfd_create(2) and timer_create(2), once there has been one."""
        self.anon_inodes: dict[bytes, Inode] = {}
        """The inodes of files that are no more than a descriptor, by their names (`kernel_model.fs.anon`)."""
        self.socket_bytes = 0
        """What the queues of all sockets hold, in Linux's buffers; `unix_inflight`: open files among it."""
        self.unix_inflight = 0
        self.dying_files: list[File] | None = None
        """Files that a socket held which is being closed, while they are given back."""
        self.pidfds: dict[SignalStruct | Task, PidStruct] = {}
        """Of which processes and threads there are descriptors (`kernel_model.fs.pidfs`)."""
        self.signal_work = False
        """A signal may be deliverable to the running task: look before going back to it."""
        if arch is not None and cpu is not None:
            self.attach_cpu(arch, cpu)

    def attach_cpu(self, arch: Arch, cpu: Cpu) -> None:
        """Give the machine its CPU: after the files are there, for the program says which kind it wants."""
        self.arch = arch
        self.cpu = cpu
        self.table = SyscallTable(arch.NAME)

    @cached_property
    def signal_ops(self) -> ArchSignal:
        """The signal half of the architecture."""
        from kernel_model.arch import signal_ops

        return signal_ops(self.arch.NAME)

    @cached_property
    def signal_images(self) -> SignalImages:
        """Room for a signal frame that is being built, and for one that is taken back."""
        return self.signal_ops.make_images(self.cpu)

    def show_cpu(self) -> None:
        """The running task is on another logical CPU than whoever ran before: getcpu in the vDSO tells it."""
        if self.vdso is not None:
            self.vdso.set_cpu(self.current.cpu)

    def keep_preemptible(self) -> None:
        """From now on something may want a computing task's attention: a timer, or a signal from outside."""
        if not self.stay_preemptible:
            self.stay_preemptible = True
            self.cpu.set_preemptible(True)
