"""Filters of a task: which of several wins, what a hostile pointer leads to, who still has a filter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi import seccomp as abi
from kernel_model.cred import Cred
from kernel_model.exit import do_exit
from kernel_model.fork import CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, CloneArgs, copy_process
from kernel_model.seccomp.filter import SeccompFilter, run_filters
from kernel_model.syscall_work import SECCOMP
from kernel_model.task import Task
from tests.filecalls.calls import ARCHES, BAD, Calls
from tests.seccomp import programs

ACTIONS = (*abi.ACTION_NAMES, 0x0001_0000, 0x7FFE_0000, 0x8001_0000, 0xFFFF_0000)
NO_ARGS = (0,) * 6
END = [(0x06, 0, 0, abi.SECCOMP_RET_ALLOW)]


@pytest.fixture(params=ARCHES)
def calls(request: pytest.FixtureRequest) -> Iterator[Calls]:
    yield Calls(request.param)


def returning(action: int) -> list[tuple[int, int, int, int]]:
    """A filter that always returns that; it looks at the call before."""
    return [(0x20, 0, 0, 16), (0x06, 0, 0, action)]


def fprog(calls: Calls, program: list[tuple[int, int, int, int]]) -> int:
    code = calls.model.put(b"".join(abi.SOCK_FILTER.pack(*instruction) for instruction in program))
    return calls.model.put(abi.SOCK_FPROG.pack(len(program), code))


def install(calls: Calls, program: list[tuple[int, int, int, int]], flags: int = 0) -> int:
    return calls("seccomp", abi.SECCOMP_SET_MODE_FILTER, flags, fprog(calls, program))


def chain(task: Task) -> list[SeccompFilter]:
    """A task's filters, the newest first."""
    found: list[SeccompFilter] = []
    walker = None if task.seccomp is None else task.seccomp.filter
    while walker is not None:
        found.append(walker)
        walker = walker.prev
    return found


def signed(action: int) -> int:
    return (action ^ 1 << 31) - (1 << 31)


def test_the_lowest_action_wins_and_of_equal_ones_the_newest() -> None:
    calls = Calls()
    for older, newer in product(ACTIONS, repeat=2):
        calls.task.seccomp = None
        assert install(calls, returning(older | 1)) == install(calls, returning(newer | 2)) == 0
        newest, oldest = chain(calls.task)
        winner, by = (older | 1, oldest) if signed(older) < signed(newer) else (newer | 2, newest)
        milder = signed(winner & ~3) >= signed(abi.SECCOMP_RET_ALLOW)
        wanted = (abi.SECCOMP_RET_ALLOW, None) if milder else (winner, by)
        assert run_filters(calls.task, 39, 0x1000, NO_ARGS) == wanted, (hex(older), hex(newer))


@given(
    st.sampled_from([39, 100, 511, 512, 599, 7]),
    st.lists(st.sampled_from([39, 100, 511, 512, 599]), min_size=1, max_size=6),
)
def test_what_is_always_allowed_is_remembered_and_nothing_else(refused: int, numbers: list[int]) -> None:
    """A filter that looks at no more than the number, and one that looks at an argument as well."""
    calls = Calls()
    only_number = [(0x20, 0, 0, 0), (0x15, 0, 1, refused), (0x06, 0, 0, 0x0005_0001), *END]
    argument = [(0x20, 0, 0, 0), (0x15, 0, 3, 100), (0x20, 0, 0, 16), (0x15, 0, 1, 7), (0x06, 0, 0, 0x0005_0002), *END]
    assert install(calls, only_number) == install(calls, argument) == 0
    for number in numbers * 2:
        for first in (7, 8):
            of_number = 0x0005_0001 if number == refused else abi.SECCOMP_RET_ALLOW
            of_argument = 0x0005_0002 if (number, first) == (100, 7) else abi.SECCOMP_RET_ALLOW
            # Of equal actions the newest filter's
            wanted = of_argument if of_argument != abi.SECCOMP_RET_ALLOW else of_number
            assert run_filters(calls.task, number, 0, (first, 0, 0, 0, 0, 0))[0] == wanted


def test_filters_see_the_call(calls: Calls) -> None:
    """The number as unsigned, the architecture, the instruction pointer, 64 bits of arguments, the vDSO's bounds."""
    calls.model.kernel.filters_see_vdso = True
    calls.task.mm.vdso, calls.task.mm.vdso_end = 0x7_1234_5000, 0x7_1234_7000
    arch = abi.AUDIT_ARCH_64BIT_LE | calls.arch.E_MACHINE
    ip, args = 0x1234_5678_9ABC, tuple((i + 1) << 40 | i for i in range(6))
    values = [(0, 0xFFFF_FFFF), (4, arch)]
    values += [(8, ip & 0xFFFF_FFFF), (12, ip >> 32), (64, 0x1234_5000), (68, 7), (72, 0x1234_7000), (76, 7)]
    for i in range(6):
        values += [(16 + 8 * i, i), (20 + 8 * i, (i + 1) << 8)]
    program = []
    for offset, value in values:
        program += [(0x20, 0, 0, offset), (0x15, 1, 0, value), (0x06, 0, 0, abi.SECCOMP_RET_ERRNO | offset)]
    assert install(calls, [*program, *END]) == 0
    a0, a1, a2, a3, a4, a5 = args
    assert run_filters(calls.task, 0xFFFF_FFFF, ip, (a0, a1, a2, a3, a4, a5))[0] == abi.SECCOMP_RET_ALLOW


def test_without_an_extended_abi_there_are_no_bounds(calls: Calls) -> None:
    assert install(calls, [(0x20, 0, 0, 64), *END]) == -errno.EINVAL
    assert install(calls, list(programs.slide(0xC000_00B7))) == -errno.EINVAL
    calls.model.kernel.filters_see_vdso = True
    assert install(calls, list(programs.slide(0xC000_00B7))) == 0


def test_any_operation_with_any_pointer(calls: Calls) -> None:
    """Errors, and never an exception; nothing is installed by what can't be read."""
    calls.task.no_new_privs = True
    end = calls.model.alloc(4096) + 4096
    for operation in (*range(6), 1 << 31, (1 << 64) - 1):
        for flags in (0, 1, 8, 9, 25, 32, 40, 63, 64, (1 << 32) - 1):
            for pointer in (0, 1, BAD, end - 1, end - 8, end, 1 << 47, 1 << 63, (1 << 64) - 1):
                if operation == abi.SECCOMP_SET_MODE_STRICT and not flags and not pointer:
                    continue
                asks = operation in (abi.SECCOMP_GET_ACTION_AVAIL, abi.SECCOMP_GET_NOTIF_SIZES)
                good = asks and not flags and pointer == end - 8
                assert (calls("seccomp", operation, flags, pointer) == 0) == good
    for length in (0, 1, 4096, 4097, 65535):
        for code in (0, BAD, end - 4, end - 8, end, 1 << 47, (1 << 64) - 8):
            result = calls("seccomp", 1, 0, calls.model.put(abi.SOCK_FPROG.pack(length, code)))
            assert result in (-errno.EFAULT, -errno.EINVAL)
    assert calls.task.seccomp is None
    assert calls.task.syscall_work == 0


def test_privileges(calls: Calls) -> None:
    calls.task.cred = Cred.of(1000, 1000, ())
    assert install(calls, END) == -errno.EACCES
    calls.task.cred.cap_effective = 1 << 21
    assert install(calls, END) == 0
    assert not calls.task.no_new_privs


def test_a_second_listener_is_refused_while_there_is_one(calls: Calls) -> None:
    first = install(calls, END, abi.SECCOMP_FILTER_FLAG_NEW_LISTENER)
    assert first == 0
    assert install(calls, END, abi.SECCOMP_FILTER_FLAG_NEW_LISTENER) == -errno.EBUSY
    assert install(calls, END) == 0
    assert install(calls, END, abi.SECCOMP_FILTER_FLAG_NEW_LISTENER) == -errno.EBUSY
    assert calls("close", first) == 0
    assert install(calls, END, abi.SECCOMP_FILTER_FLAG_NEW_LISTENER) == first


def test_a_listener_needs_a_descriptor(calls: Calls) -> None:
    calls.task.signal.rlim[7] = (0, 0)
    assert install(calls, END, abi.SECCOMP_FILTER_FLAG_NEW_LISTENER) == -errno.EMFILE
    assert calls.task.seccomp is None


def test_filters_are_counted_by_who_has_them(calls: Calls) -> None:
    """A filter's users are the tasks whose newest it is, and the filters that came after it."""
    task = calls.task
    install(calls, END)
    oldest = chain(task)[0]
    assert oldest.users == 1
    child = copy_process(task, CloneArgs(0, 17))
    thread = copy_process(task, CloneArgs(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0))
    assert chain(child) == chain(thread) == [oldest]
    assert oldest.users == 3
    assert child.syscall_work == thread.syscall_work == SECCOMP
    install(calls, END)
    newest = chain(task)[0]
    assert (newest.users, oldest.users) == (1, 3)
    install(calls, END, abi.SECCOMP_FILTER_FLAG_TSYNC)
    synced = chain(task)[0]
    assert chain(thread) == [synced, newest, oldest]
    assert (synced.users, newest.users, oldest.users) == (2, 1, 2)
    do_exit(thread, 0)
    assert (synced.users, oldest.users) == (1, 2)
    do_exit(child, 0)
    assert (synced.users, newest.users, oldest.users) == (1, 1, 1)


def test_all_filters_of_all_tasks_have_a_limit(calls: Calls) -> None:
    """A crowd of tasks can't fill the host's memory with programs; what ends gives its room back."""
    kernel = calls.model.kernel
    program = fprog(calls, [(0x06, 0, 0, abi.SECCOMP_RET_ALLOW)] * 4000)
    tasks: list[Task] = []
    first = calls.task
    try:
        while len(tasks) < 20:
            calls.task = copy_process(first, CloneArgs(0, 17))
            tasks.append(calls.task)
            while (result := calls("prctl", 22, 2, program)) == 0:
                assert kernel.seccomp_insns < 4 * 32768 + 4 * kernel.frames.total_frames
            assert result == -errno.ENOMEM
        assert kernel.seccomp_insns < 4 * 32768 + 4 * kernel.frames.total_frames
        assert calls.task.seccomp is None, "no room for a single one"
    finally:
        calls.task = first
    for task in tasks:
        do_exit(task, 0)
    assert kernel.seccomp_insns == 0
    assert calls("prctl", 22, 2, program) == 0


def told(calls: Calls, path: bytes) -> bytes:
    """What a file of /proc says."""
    fd, buffer = calls.open(path), calls.model.alloc(256)
    count = calls("read", fd, buffer, 256)
    calls("close", fd)
    return calls.model.get(buffer, count)


def test_which_actions_are_logged(calls: Calls) -> None:
    avail, logged = b"/proc/sys/kernel/seccomp/actions_avail", b"/proc/sys/kernel/seccomp/actions_logged"
    every = b"kill_process kill_thread trap errno user_notif trace log"
    assert told(calls, avail) == every + b" allow\n"
    assert told(calls, logged) == every + b"\n"

    def write(text: bytes) -> int:
        fd = calls.open(logged, 1)
        result = calls("write", fd, calls.model.put(text), len(text))
        calls("close", fd)
        return result

    for text, kept in {
        b"log errno\n": b"errno log", b"errno  trap": b"errno", b"trap\n\nlog": b"trap", b"trap\0log": b"trap",
        b" ": b"", b"trap trap": b"trap", every + b" " * 50: every,
    }.items():  # fmt: skip
        assert write(text) == len(text)
        assert told(calls, logged) == kept + b"\n", text
    for text in (b"allow", b"bogus", b"kill_process,trap", b"TRAP", b"\ttrap"):
        assert write(text) == -errno.EINVAL
    assert told(calls, logged) == every + b"\n"
    calls.task.cred.cap_effective = 0
    fd = calls.open(logged, 1)
    assert calls("write", fd, calls.model.put(b"log"), 3) == -errno.EPERM
