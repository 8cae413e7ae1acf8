"""What /proc/<pid> tells of a process: stat, status, statm, limits ... (fs/proc/array.c, fs/proc/base.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_RSS, RLIMIT_SIGPENDING
from kernel_model.abi.signal import NSIG, SIG_DFL, SIG_IGN, SIGCHLD
from kernel_model.abi.time import NS_PER_TICK
from kernel_model.cputime import children_usage, process_usage, thread_usage
from kernel_model.mm.fault import PINNED
from kernel_model.mm.vma import VM_EXEC, VM_GROWSDOWN, VM_WRITE
from kernel_model.ns.pid import all_numbers
from kernel_model.placement import allowed_cpus
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U32_MASK, U64_MASK, page_align_up

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

_KIB_PER_PAGE: Final = PAGE_SIZE // 1024
_PF_RANDOMIZE: Final = 0x0040_0000
_LEGACY_SIGNALS: Final = 0x7FFF_FFFF
_DEFAULT_PRIORITY: Final = 20
# fs/proc/base.c:lnames
_LIMITS: Final = (
    (b"Max cpu time", b"seconds"), (b"Max file size", b"bytes"), (b"Max data size", b"bytes"),
    (b"Max stack size", b"bytes"), (b"Max core file size", b"bytes"), (b"Max resident set", b"bytes"),
    (b"Max processes", b"processes"), (b"Max open files", b"files"), (b"Max locked memory", b"bytes"),
    (b"Max address space", b"bytes"), (b"Max file locks", b"locks"), (b"Max pending signals", b"signals"),
    (b"Max msgqueue size", b"bytes"), (b"Max nice priority", b""), (b"Max realtime priority", b""),
    (b"Max realtime timeout", b"us"),
)  # fmt: skip


class MemoryUsage:
    """An address space counted, in pages."""

    __slots__ = ("anon", "data", "file", "lib", "stack", "text", "total")

    def __init__(self, mm: MemoryMap) -> None:
        zero_frame = mm.frames.zero_frame
        self.anon = self.file = 0
        for entry in mm.pt.values():
            if not entry & PINNED:
                self.anon += 1
            elif entry & PAGE_MASK != zero_frame:
                self.file += 1
        executable = self.stack = 0
        for vma in mm.vmas:
            if vma.vm_flags & VM_GROWSDOWN:
                self.stack += vma.pages
            elif vma.vm_flags & (VM_EXEC | VM_WRITE) == VM_EXEC:
                executable += vma.pages
        self.total = mm.total_vm
        self.data = mm.data_vm
        self.text = (page_align_up(mm.end_code) - (mm.start_code & PAGE_MASK)) >> PAGE_SHIFT
        self.lib = max(0, executable - self.text)

    @property
    def resident(self) -> int:
        """VmRSS."""
        return self.anon + self.file
_SYSCALL: Final = b"%d" + 8 * b" 0x%x" + b"\n"


def threads_of(task: Task) -> list[Task]:
    """The thread group, in order of pid."""
    tasks = task.kernel.tasks
    return [tasks[pid] for pid in sorted(tasks) if tasks[pid].tgid == task.tgid]


def _state(task: Task) -> bytes:
    if task.exit_code is not None:
        return b"Z (zombie)"
    if task.signal.stopped:
        return b"T (stopped)"
    return b"R (running)" if task is task.kernel.current else b"S (sleeping)"


def _signal_masks(task: Task) -> tuple[int, int]:
    """(ignored, caught) signals."""
    ignored = caught = 0
    for signum, action in task.sighand.action.items():
        if not 1 <= signum <= NSIG:
            continue
        if action.handler == SIG_IGN:
            ignored |= 1 << signum - 1
        elif action.handler != SIG_DFL:
            caught |= 1 << signum - 1
    return ignored, caught


def _terminal(task: Task) -> tuple[int, int]:
    """(tty_nr, tpgid) of stat."""
    from kernel_model.fs.tty import controlling_terminal

    streams = task.kernel.streams
    terminal = controlling_terminal(task)
    if terminal is None or streams is None:
        return 0, -1
    for stream in streams.inodes:
        if stream.terminal is terminal:
            return stream.i_rdev, terminal.pgrp
    return 0, -1


def stat(target: Task, *, whole: bool = True) -> bytes:
    """/proc/<pid>/stat (`whole`: of the process rather than the thread). proc(5) numbers the fields."""
    mm = target.mm
    signal = target.signal
    usage = MemoryUsage(mm)
    ignored, caught = _signal_masks(target)
    pending = target.pending.mask
    target.kernel.account.ask()
    used = process_usage(target.kernel, signal) if whole else thread_usage(target)
    theirs = children_usage(signal)
    tty_nr, tpgid = _terminal(target)
    threads = threads_of(target)
    start_ns = target.start_time_ns + target.kernel.current.nsproxy.time_ns.boottime_ns
    shown_priority = -1 - target.rt_priority if target.rt_priority else _DEFAULT_PRIORITY + target.se.nice
    fields = (
        target.parent_pid, signal.pgrp, signal.session, tty_nr, tpgid, _PF_RANDOMIZE,
        used.min_flt, theirs.min_flt, 0, 0,
        *(ns // NS_PER_TICK for ns in (used.utime_ns, used.stime_ns, theirs.utime_ns, theirs.stime_ns)),
        shown_priority, target.se.nice, len(threads), 0, start_ns // NS_PER_TICK,
        usage.total * PAGE_SIZE, usage.resident, signal.rlim.get(RLIMIT_RSS, (U64_MASK, 0))[0],
        mm.start_code, mm.end_code, mm.start_stack, 0, 0,
        pending & _LEGACY_SIGNALS, target.blocked & _LEGACY_SIGNALS,
        ignored & _LEGACY_SIGNALS, caught & _LEGACY_SIGNALS,
        0, 0, 0, SIGCHLD if whole or target.pid == target.tgid else -1,
        target.cpu, target.rt_priority, target.sched_policy, 0, 0, 0,
        mm.start_data, mm.end_data, mm.start_brk, mm.arg_start, mm.arg_end, mm.env_start, mm.env_end,
        target.exit_code or 0,
    )  # fmt: skip
    head = b"%d (%s) %s " % (target.pid, target.comm, _state(target)[:1])
    return head + b" ".join(b"%d" % field for field in fields) + b"\n"


def statm(target: Task) -> bytes:
    """/proc/<pid>/statm, in pages."""
    usage = MemoryUsage(target.mm)
    return b"%d %d %d %d 0 %d 0\n" % (
        usage.total,
        usage.resident,
        usage.file,
        usage.text,
        usage.data + usage.stack,
    )


def status(target: Task) -> bytes:
    """/proc/<pid>/status."""
    cred = target.cred
    signal = target.signal
    mm = target.mm
    usage = MemoryUsage(mm)
    ignored, caught = _signal_masks(target)
    cpus = allowed_cpus(target)
    name = target.comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    kib = _KIB_PER_PAGE
    page_tables = 4 + len({page >> 21 for page in mm.pt}) * 4
    lines = [
        b"Name:\t%s" % name,
        b"Umask:\t%04o" % target.fs.umask,
        b"State:\t%s" % _state(target),
        b"Tgid:\t%d" % target.tgid,
        b"Ngid:\t0",
        b"Pid:\t%d" % target.pid,
        b"PPid:\t%d" % target.parent_pid,
        b"TracerPid:\t0",
        b"Uid:\t%d\t%d\t%d\t%d" % (cred.uid, cred.euid, cred.suid, cred.fsuid),
        b"Gid:\t%d\t%d\t%d\t%d" % (cred.gid, cred.egid, cred.sgid, cred.fsgid),
        b"FDSize:\t%d" % target.files.max_fds,
        b"Groups:\t%s" % b"".join(b"%d " % gid for gid in cred.groups) + (b"" if cred.groups else b" "),
        *(
            label + b"".join(b"\t%d" % number for number in all_numbers(target.pid_ns, of))
            for label, of in (
                (b"NStgid:", target.tgid),
                (b"NSpid:", target.pid),
                (b"NSpgid:", signal.pgrp),
                (b"NSsid:", signal.session),
            )
        ),
        b"Kthread:\t0",
    ]
    for label, pages in (
        (b"VmPeak", usage.total), (b"VmSize", usage.total), (b"VmLck", mm.locked_vm), (b"VmPin", 0),
        (b"VmHWM", max(usage.resident, mm.hiwater_rss_pages())), (b"VmRSS", usage.resident), (b"RssAnon", usage.anon),
        (b"RssFile", usage.file), (b"RssShmem", 0), (b"VmData", usage.data), (b"VmStk", usage.stack),
        (b"VmExe", usage.text), (b"VmLib", usage.lib),
    ):  # fmt: skip
        lines.append(b"%s:\t%8d kB" % (label, pages * kib))
    lines += [
        b"VmPTE:\t%8d kB" % page_tables,
        b"VmSwap:\t       0 kB",
        b"HugetlbPages:\t       0 kB",
        b"CoreDumping:\t0",
        b"THP_enabled:\t%d" % (not target.thp_disable),
        b"untag_mask:\t0xffffffffffffffff",
        b"Threads:\t%d" % len(threads_of(target)),
        b"SigQ:\t%d/%d" % (target.ucounts.sigpending, signal.rlim[RLIMIT_SIGPENDING][0]),
        b"SigPnd:\t%016x" % target.pending.mask,
        b"ShdPnd:\t%016x" % signal.shared_pending.mask,
        b"SigBlk:\t%016x" % target.blocked,
        b"SigIgn:\t%016x" % ignored,
        b"SigCgt:\t%016x" % caught,
        b"CapInh:\t%016x" % cred.cap_inheritable,
        b"CapPrm:\t%016x" % cred.cap_permitted,
        b"CapEff:\t%016x" % cred.cap_effective,
        b"CapBnd:\t%016x" % cred.cap_bset,
        b"CapAmb:\t%016x" % cred.cap_ambient,
        b"NoNewPrivs:\t%d" % target.no_new_privs,
        b"Seccomp:\t%d" % (0 if target.seccomp is None else target.seccomp.mode),
        b"Seccomp_filters:\t%d" % (0 if target.seccomp is None else target.seccomp.filter_count),
        b"Speculation_Store_Bypass:\tunknown",
        b"SpeculationIndirectBranch:\tunknown",
        b"Cpus_allowed:\t%s" % mask_text(cpus),
        b"Cpus_allowed_list:\t%s" % list_text(cpus),
        b"Mems_allowed:\t1",
        b"Mems_allowed_list:\t0",
        b"voluntary_ctxt_switches:\t%d" % target.se.nvcsw,
        b"nonvoluntary_ctxt_switches:\t%d" % target.se.nivcsw,
        b"",
    ]
    return b"\n".join(lines)


def list_text(mask: int) -> bytes:
    """The CPUs of `mask` as ranges (`%*pbl`)."""
    ranges = []
    cpu = 0
    while mask >> cpu:
        if mask >> cpu & 1:
            first = cpu
            while mask >> cpu + 1 & 1:
                cpu += 1
            ranges.append(b"%d" % cpu if cpu == first else b"%d-%d" % (first, cpu))
        cpu += 1
    return b",".join(ranges)


def cpu_list(count: int) -> bytes:
    """CPUs 0 to `count` - 1 as sysfs writes lists."""
    return list_text((1 << count) - 1)


def cpu_mask(count: int, first: int = 0) -> bytes:
    """CPUs `first` to `count` - 1 as a mask of 32-bit words in hexadecimal."""
    return mask_text((1 << count) - (1 << first))


def mask_text(mask: int) -> bytes:
    """The CPUs of `mask` (`%*pb`)."""
    words = []
    while mask:
        words.append(mask & 0xFFFF_FFFF)
        mask >>= 32
    top = b"%x" % words.pop()
    return b",".join([top, *(b"%08x" % word for word in reversed(words))])


def limits(target: Task) -> bytes:
    """/proc/<pid>/limits."""
    out = [b"%-25s %-20s %-20s %-10s\n" % (b"Limit", b"Soft Limit", b"Hard Limit", b"Units")]
    for resource, (name, unit) in enumerate(_LIMITS):
        pair = target.signal.rlim.get(resource, (RLIM_INFINITY, RLIM_INFINITY))
        soft, hard = (b"unlimited" if value == RLIM_INFINITY else b"%d" % value for value in pair)
        out.append(b"%-25s %-20s %-20s " % (name, soft, hard) + (b"%-10s\n" % unit if unit else b"\n"))
    return b"".join(out)


def syscall(target: Task) -> bytes:
    """/proc/<pid>/syscall: number, arguments, SP and PC of the call it is in (fs/proc/base.c:proc_pid_syscall()).

    A call that bounced shows the instruction that made the real one, or the program's (`--visible`).
    """
    kernel = target.kernel
    call = target.blocked_call
    if call is not None:
        return _SYSCALL % (call.number, *call.args, call.sp, call.pc)
    if target is not kernel.current:
        return b"running\n"
    made, sp, pc, _, *args = kernel.cpu.read_call()
    number = made & U32_MASK
    return _SYSCALL % (number, *args, sp, _real_pc(target, number, pc))


def _real_pc(task: Task, number: int, pc: int) -> int:
    """PC after the instruction that made the call which `task` is in; `pc`: the program's."""
    bounce, mm = task.kernel.bounce, task.mm
    if bounce is None or task.kernel.vdso is None or bounce.visible == "origin" or not mm.vdso:
        return pc
    if mm.vdso < pc <= mm.vdso_end or (bounce.numbers is not None and number not in bounce.numbers):
        return pc
    commits = {handler: commit for _start, commit, handler in task.kernel.vdso.image.restart_ranges}
    # A plain call of the handler's own has its PC in the vDSO: this one has ended the bounce.
    handler = "redirect" if bounce.handler == "user" else bounce.handler
    return mm.vdso + commits[handler] if handler in commits else pc
