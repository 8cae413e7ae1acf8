"""/proc: the processes, and what the kernel tells of itself. The formats are those of proc(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.time import NSEC_PER_SEC, USER_HZ
from kernel_model.abi.utsname import RELEASE, SYSNAME, VERSION
from kernel_model.fs.inode import DirEntry, Inode
from kernel_model.fs.procfs_sys import sys_node
from kernel_model.fs.procfs_task import TaskDir, task_ino
from kernel_model.fs.pseudo import S_IFDIR, KernelSuperBlock, Node, PseudoDir, constant, link_node, text_node
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

PROC_SUPER_MAGIC: Final = 0x9FA0
_ROOT_INO: Final = 1
_DYNAMIC_FIRST: Final = 0xF000_0000
"""PROC_DYNAMIC_FIRST: where the numbers of what stays begin."""
_KIB_PER_PAGE: Final = PAGE_SIZE // 1024
_NS_PER_TICK: Final = NSEC_PER_SEC // USER_HZ
_FILE_SYSTEMS: Final = (b"sysfs", b"tmpfs", b"proc", b"devtmpfs", b"devpts", b"pipefs")
_MEMINFO_ZEROS: Final = (
    b"SwapCached", b"Active", b"Inactive", b"Active(anon)", b"Inactive(anon)", b"Active(file)",
    b"Inactive(file)", b"Unevictable", b"Mlocked", b"SwapTotal", b"SwapFree", b"Dirty", b"Writeback",
)  # fmt: skip


def _cpuinfo(task: Task) -> bytes:
    return task.kernel.arch.cpuinfo(task.kernel.cpu_count)


def _uptime(task: Task) -> bytes:
    """Seconds since the start, and idle ones of all CPUs."""
    clock = task.kernel.clock
    up_ns = clock.boottime_ns()
    idle_ns = max(0, up_ns - clock.cpu_ns())
    up_ns += task.nsproxy.time_ns.boottime_ns
    hundredth_ns = NSEC_PER_SEC // 100
    return b"%d.%02d %d.%02d\n" % (*divmod(up_ns // hundredth_ns, 100), *divmod(idle_ns // hundredth_ns, 100))


def _loadavg(task: Task) -> bytes:
    """Nothing is averaged; how many tasks there are is true."""
    tasks = task.kernel.tasks
    return b"0.00 0.00 0.00 1/%d %d\n" % (len(tasks), max(tasks))


def _stat(task: Task) -> bytes:
    """Times in ticks, by CPU; boot time; counts of processes."""
    kernel = task.kernel
    clock = kernel.clock
    user_ns, system_ns = clock.cpu_times_ns()
    idle_ns = max(0, clock.boottime_ns() - user_ns - system_ns)
    times = b" %d 0 %d %d 0 0 0 0 0 0\n" % tuple(ns // _NS_PER_TICK for ns in (user_ns, system_ns, idle_ns))
    boot = (clock.realtime_ns() - clock.boottime_ns() - task.nsproxy.time_ns.boottime_ns) // NSEC_PER_SEC
    return b"".join(
        (
            b"cpu ",
            times,
            *(b"cpu%d%s" % (cpu, times) for cpu in range(kernel.cpu_count)),
            b"intr 0\nctxt 0\nbtime %d\nprocesses %d\nprocs_running 1\nprocs_blocked 0\n" % (boot, len(kernel.tasks)),
            b"softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        )
    )


def _locks(task: Task) -> bytes:
    from kernel_model.fs.procfs_locks import locks

    return locks(task)


def _vmstat(task: Task) -> bytes:
    """Pages, and faults of the processes that there are; of the many counters those that the model keeps."""
    # QUIRK: /proc/vmstat has only the counters that the model keeps, and counts no faults of processes that have ended.
    kernel = task.kernel
    frames = kernel.frames
    used = frames.total_frames - frames.free_frames
    cached = min(used, sum(cache.nrpages for cache in frames.caches if hasattr(cache, "nrpages")))
    spaces = {other.mm for other in kernel.tasks.values() if other.exit_code is None}
    faults = sum(mm.min_flt for mm in spaces)
    values = (
        (b"nr_free_pages", frames.free_frames), (b"nr_anon_pages", used - cached), (b"nr_mapped", cached),
        (b"nr_file_pages", cached), (b"nr_dirty", 0), (b"nr_writeback", 0), (b"nr_shmem", 0), (b"pgpgin", 0),
        (b"pgpgout", 0), (b"pswpin", 0), (b"pswpout", 0), (b"pgfault", faults), (b"pgmajfault", 0),
    )  # fmt: skip
    return b"".join(b"%s %d\n" % value for value in values)


def _meminfo(task: Task) -> bytes:
    """Memory in KiB; what the model does not count is 0."""
    frames = task.kernel.frames
    total, free = frames.total_frames, frames.free_frames
    cached = min(total - free, sum(cache.nrpages for cache in frames.caches if hasattr(cache, "nrpages")))
    values = [
        (b"MemTotal", total), (b"MemFree", free), (b"MemAvailable", free + cached), (b"Buffers", 0),
        (b"Cached", cached), *((name, 0) for name in _MEMINFO_ZEROS), (b"AnonPages", total - free - cached),
        (b"Mapped", cached), (b"Shmem", 0), (b"KReclaimable", 0), (b"Slab", 0), (b"SReclaimable", 0),
        (b"SUnreclaim", 0), (b"KernelStack", 0), (b"PageTables", 0), (b"CommitLimit", total // 2),
        (b"Committed_AS", total - free), (b"VmallocTotal", (1 << 35) // _KIB_PER_PAGE), (b"VmallocUsed", 0),
        (b"VmallocChunk", 0),
    ]  # fmt: skip
    lines = [b"%-16s%8d kB\n" % (name + b":", pages * _KIB_PER_PAGE) for name, pages in values]
    lines.append(
        b"HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
        b"HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n"
    )
    return b"".join(lines)


def _version() -> bytes:
    return b"%s version %s (uabi-emu@localhost) (uabi-emu) %s\n" % (SYSNAME, RELEASE, VERSION)


def _filesystems() -> bytes:
    return b"".join(b"nodev\t%s\n" % name for name in _FILE_SYSTEMS) + b"\text4\n"


class ProcRoot(PseudoDir):
    """/proc itself: what stays, and a directory for each process."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`. A thread's number works too, though it is not listed."""
        if name[:1].isdigit():
            tasks = self.i_sb.kernel.tasks
            target = tasks.get(int(name)) if name.isdigit() and name[:1] != b"0" and len(name) < 10 else None
            if target is None:
                raise SyscallError(errno.ENOENT)
            return TaskDir(self.i_sb, target)
        return super().lookup(name)

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        tasks = self.i_sb.kernel.tasks
        processes = [
            DirEntry(b"%d" % pid, task_ino(tasks[pid], 0), S_IFDIR >> 12)
            for pid in sorted(tasks)
            if tasks[pid].tgid == pid
        ]
        return super().iterate() + processes


def make_root(kernel: Kernel) -> Inode:
    """The root of /proc."""
    sb = KernelSuperBlock(kernel, "proc", kernel.mounts.new_dev(), PROC_SUPER_MAGIC, _DYNAMIC_FIRST - 1)
    sb.blksize = 1024
    sb.create_errno = errno.ENOENT
    entries: dict[bytes, Node] = {
        b"self": link_node(lambda task: b"%d" % task.tgid),
        b"thread-self": link_node(lambda task: b"%d/task/%d" % (task.tgid, task.pid)),
        b"cmdline": constant(b"root=/dev/root rw\n"),
        b"cpuinfo": text_node(_cpuinfo),
        b"filesystems": constant(_filesystems()),
        b"loadavg": text_node(_loadavg),
        b"locks": text_node(_locks),
        b"meminfo": text_node(_meminfo),
        b"mounts": link_node(lambda task: b"self/mounts"),
        b"stat": text_node(_stat),
        b"swaps": constant(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
        b"sys": sys_node(kernel),
        b"uptime": text_node(_uptime),
        b"version": constant(_version()),
        b"vmstat": text_node(_vmstat),
    }
    root = ProcRoot(sb, entries, ino=_ROOT_INO)
    root.i_nlink = 3
    return root
