"""Filters of a task: how they are installed, inherited and asked (kernel/seccomp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi import seccomp as abi
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.exit import threads_of
from kernel_model.mm.uaccess import copy_from_user, get_user
from kernel_model.seccomp.bpf import Evaluate, Program, always_allows, check_filter, compile_filter, converted_length
from kernel_model.syscall_work import SECCOMP, set_work
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.seccomp.notify import Notification
    from kernel_model.task import Task

_SIGN: Final = 0x8000_0000
_ALLOW_RANK: Final = abi.SECCOMP_RET_ALLOW ^ _SIGN
"""An action's rank is its signed number, moved up so that it is positive: that of KILL_PROCESS is the lowest."""
_ALLOWED: Final[tuple[int, SeccompFilter | None]] = (abi.SECCOMP_RET_ALLOW, None)
_CACHED_NUMBERS: Final = 512
_MIN_INSNS: Final = 4 * abi.MAX_INSNS_PER_PATH
_INSNS_PER_FRAME: Final = 4
_PENALTY_INSNS: Final = 4
"""What each filter that is there already adds to the length of a task's filters."""


class SeccompFilter:
    """One installed program (`struct seccomp_filter`). Newer filters point to older ones; many tasks share them."""

    __slots__ = ("evaluate", "length", "notif", "prev", "program", "users", "wait_killable_recv")

    def __init__(self, program: Program, flags: int) -> None:
        self.program = program
        self.evaluate: Evaluate = compile_filter(program)
        self.length = converted_length(program)
        """In instructions of eBPF."""
        self.wait_killable_recv = bool(flags & abi.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
        self.prev: SeccompFilter | None = None
        self.notif: Notification | None = None
        """Who is asked on USER_NOTIF; None without a listener, or when that was closed."""
        self.users = 0
        """Tasks whose newest filter it is, and filters that came after it."""


class Seccomp:
    """What a task is allowed (`struct seccomp`), shared with its children. Never changed: a task gets another one."""

    __slots__ = ("allowed", "filter", "filter_count", "mode", "only")

    def __init__(self, mode: int, newest: SeccompFilter | None = None, filter_count: int = 0) -> None:
        self.mode = mode
        self.filter = newest
        self.filter_count = filter_count
        self.allowed: dict[int, bool] = {}
        """By number, for calls made before: do all filters always allow it (`struct action_cache`)?"""
        self.only: Evaluate | None = newest.evaluate if newest is not None and newest.prev is None else None
        """The one filter that there is, if there is one."""


def run_filters(
    task: Task, number: int, ip: int, args: tuple[int, int, int, int, int, int]
) -> tuple[int, SeccompFilter | None]:
    """What a task's filters say of a call: the whole word of the winner, and the winner (None when all allow it).

    `number`: 32 bits as made, without REDIRECT; `ip`: what filters see as instruction_pointer (bytes); `args`: 64 bits
    each. The lowest action wins, compared as signed; of equal ones the newest (kernel/seccomp.c:seccomp_run_filters()).
    """
    seccomp = task.seccomp
    assert seccomp is not None
    if seccomp.allowed.get(number):
        return _ALLOWED
    walker = seccomp.filter
    arch = abi.AUDIT_ARCH_64BIT_LE | task.kernel.arch.E_MACHINE
    if number < _CACHED_NUMBERS and number not in seccomp.allowed:
        seccomp.allowed[number] = _always_allowed(walker, number, arch)
    mm = task.mm
    start, end = mm.vdso, mm.vdso_end
    result, match = _ALLOWED
    lowest = _ALLOW_RANK
    while walker is not None:
        action = walker.evaluate(number, arch, ip, args, start, end)
        if action != abi.SECCOMP_RET_ALLOW:
            rank = (action & abi.SECCOMP_RET_ACTION_FULL) ^ _SIGN
            if rank < lowest:
                lowest = rank
                result = action
                match = walker
        walker = walker.prev
    return result, match


def _always_allowed(walker: SeccompFilter | None, number: int, arch: int) -> bool:
    """Do all filters always allow a call of that number?"""
    while walker is not None:
        if not always_allows(walker.program, number, arch):
            return False
        walker = walker.prev
    return True


# -- sharing ----------------------------------------------------------------------------------------------------------
def get_seccomp_filter(child: Task) -> None:
    """A new task has the filters of the one that made it (kernel/fork.c:copy_seccomp())."""
    if child.seccomp is not None and child.seccomp.filter is not None:
        child.seccomp.filter.users += 1


def seccomp_filter_release(task: Task) -> None:
    """The task is gone: whoever listens for a filter that nobody has any more is told."""
    seccomp = task.seccomp
    if seccomp is not None and seccomp.filter is not None:
        task.seccomp = Seccomp(seccomp.mode, None, seccomp.filter_count)
        _put(task.kernel, seccomp.filter)


def _put(kernel: Kernel, walker: SeccompFilter | None) -> None:
    """One user less (kernel/seccomp.c:__seccomp_filter_orphan())."""
    while walker is not None:
        walker.users -= 1
        if walker.users:
            return
        if walker.notif is not None:
            walker.notif.orphaned()
        kernel.seccomp_insns -= walker.length
        walker = walker.prev


# -- installing -------------------------------------------------------------------------------------------------------
def set_mode_strict(task: Task) -> int:
    """Only read, write, exit and rt_sigreturn from now on (kernel/seccomp.c:seccomp_set_mode_strict())."""
    _may_assign_mode(task, abi.SECCOMP_MODE_STRICT)
    # QUIRK: Strict mode lets rdtsc be: the engine executes it by itself.
    task.seccomp = Seccomp(abi.SECCOMP_MODE_STRICT)
    set_work(task, task.syscall_work | SECCOMP)
    return 0


def set_mode_filter(task: Task, flags: int, fprog: int) -> int:
    """Install a filter: 0, a listener's descriptor, or the thread that TSYNC can't take along.

    Errors and their order as kernel/seccomp.c:seccomp_set_mode_filter().
    """
    _check_flags(flags)
    new = _prepare(task, flags, fprog)
    listener = 0
    if flags & abi.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        from kernel_model.seccomp.notify import prepare_listener

        listener = prepare_listener(task, new)
    _may_assign_mode(task, abi.SECCOMP_MODE_FILTER)
    if new.notif is not None and _has_listener(task):
        raise SyscallError(errno.EBUSY)
    failed = _attach(task, flags, new)
    if failed:
        return failed
    if flags & abi.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        from kernel_model.seccomp.notify import install_listener

        install_listener(task, new, listener)
    return listener


def _check_flags(flags: int) -> None:
    tsync_without_esrch = flags & (abi.SECCOMP_FILTER_FLAG_TSYNC | abi.SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
    listens = flags & abi.SECCOMP_FILTER_FLAG_NEW_LISTENER
    if (
        flags & ~abi.SECCOMP_FILTER_FLAG_MASK
        or (listens and tsync_without_esrch == abi.SECCOMP_FILTER_FLAG_TSYNC)
        or (flags & abi.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV and not listens)
    ):
        raise SyscallError(errno.EINVAL)


def _prepare(task: Task, flags: int, fprog: int) -> SeccompFilter:
    """The program that the guest passes, checked (kernel/seccomp.c:seccomp_prepare_user_filter())."""
    length, pointer = get_user(task.mm, fprog, abi.SOCK_FPROG)
    if not 0 < length <= abi.BPF_MAXINSNS:
        raise SyscallError(errno.EINVAL)
    if not task.no_new_privs and not task.cred.capable(CAP_SYS_ADMIN):
        raise SyscallError(errno.EACCES)
    if not pointer:
        raise SyscallError(errno.EINVAL)  # net/core/filter.c:bpf_check_basics_ok()
    data = copy_from_user(task.mm, pointer, length * abi.SOCK_FILTER.size)
    program: Program = tuple(abi.SOCK_FILTER.iter_unpack(data))
    extended = task.kernel.filters_see_vdso
    check_filter(program, abi.SECCOMP_DATA_WITH_BOUNDS_BYTES if extended else abi.SECCOMP_DATA_BYTES)
    return SeccompFilter(program, flags)


def _may_assign_mode(task: Task, mode: int) -> None:
    """EINVAL when the task is in the other mode: there is no way from one to the other."""
    if task.seccomp is not None and task.seccomp.mode != mode:
        raise SyscallError(errno.EINVAL)


def _has_listener(task: Task) -> bool:
    """Does a filter of the task have a listener already (has_duplicate_listener())?"""
    walker = None if task.seccomp is None else task.seccomp.filter
    while walker is not None:
        if walker.notif is not None:
            return True
        walker = walker.prev
    return False


def _attach(task: Task, flags: int, new: SeccompFilter) -> int:
    """Put the filter before those that are there; 0, or the id of a thread that can't follow.

    ENOMEM, ESRCH: kernel/seccomp.c:seccomp_attach_filter().
    """
    old = task.seccomp or Seccomp(abi.SECCOMP_MODE_FILTER)
    total = new.length
    walker = old.filter
    while walker is not None:
        total += walker.length + _PENALTY_INSNS
        walker = walker.prev
    kernel = task.kernel
    # QUIRK: All filters together may have 4 instructions for each page of memory, or 131,072; Linux charges a cgroup.
    if total > abi.MAX_INSNS_PER_PATH or kernel.seccomp_insns + new.length > max(
        _MIN_INSNS, _INSNS_PER_FRAME * kernel.frames.total_frames
    ):
        raise SyscallError(errno.ENOMEM)
    siblings: list[Task] = []
    if flags & abi.SECCOMP_FILTER_FLAG_TSYNC:
        siblings = [other for other in threads_of(task) if other is not task]
        for thread in siblings:
            if not _can_sync(thread, old.filter):
                if flags & abi.SECCOMP_FILTER_FLAG_TSYNC_ESRCH:
                    raise SyscallError(errno.ESRCH)
                return thread.pid_vnr
    new.prev = old.filter
    new.users = 1
    kernel.seccomp_insns += new.length
    task.seccomp = Seccomp(abi.SECCOMP_MODE_FILTER, new, old.filter_count + 1)
    set_work(task, task.syscall_work | SECCOMP)
    for thread in siblings:
        _sync(task, thread)
    return 0


def _can_sync(thread: Task, newest: SeccompFilter | None) -> bool:
    """Has the thread no filter but those of the caller's (seccomp_can_sync_threads())?"""
    theirs = thread.seccomp
    if theirs is None:
        return True
    if theirs.mode != abi.SECCOMP_MODE_FILTER:
        return False
    while newest is not None:
        if newest is theirs.filter:
            return True
        newest = newest.prev
    return False


def _sync(caller: Task, thread: Task) -> None:
    """Give a thread the caller's filters (seccomp_sync_threads())."""
    theirs = thread.seccomp
    thread.seccomp = caller.seccomp
    get_seccomp_filter(thread)
    _put(caller.kernel, None if theirs is None else theirs.filter)
    if caller.no_new_privs:
        thread.no_new_privs = True
    set_work(thread, thread.syscall_work | SECCOMP)
