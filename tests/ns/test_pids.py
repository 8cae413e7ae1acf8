"""Numbers by pid namespace, and offsets of clocks, on the kernel model alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi.signal import SIGCHLD, SIGKILL
from kernel_model.abi.time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, KTIME_SEC_MAX, NSEC_PER_SEC
from kernel_model.exit import do_exit, exit_group, release_task
from kernel_model.fork import CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, CloneArgs, copy_process
from kernel_model.ns.create import create_new_namespaces
from kernel_model.ns.nsproxy import CLONE_NEWPID, CLONE_NEWTIME
from kernel_model.ns.pid import PidNamespace, alloc_pid, find_task_by_vpid, pid_vnr
from kernel_model.ns.time import offsets_text, write_offsets
from kernel_model.task import Task
from kernel_model.types import SyscallError
from tests.support.model import Model, make_model

THREAD = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM


def alive(model: Model) -> list[Task]:
    return [task for task in model.kernel.tasks.values() if task.exit_code is None]


def check(model: Model) -> None:
    """Every task has one number in each namespace that it is in, and is found by it; nobody else's is left."""
    kernel = model.kernel
    in_use = {
        number
        for task in kernel.tasks.values()
        for number in (task.pid, task.tgid, task.signal.pgrp, task.signal.session)
    }
    assert set(kernel.ns_of_pid) <= in_use
    for task in kernel.tasks.values():
        ns = task.pid_ns
        assert task.pid_vnr == ns.nr(task.pid) == pid_vnr(task, task.pid)
        assert task.tgid_vnr == ns.nr(task.tgid)
        assert task.signal.parent_vnr == ns.nr(task.signal.parent_tgid)
        assert find_task_by_vpid(task, task.pid_vnr) is task
        for one in ns.up():
            assert one.find(one.nr(task.pid)) == task.pid
            assert {number: nr for nr, number in one.global_of.items()} == one.local_of
            assert set(one.local_of) <= in_use
            assert one.child_reaper in kernel.tasks


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("fork", "newpid", "thread", "unshare", "enter", "session", "group", "exit", "reap", "kill")),
        st.integers(0, 99), st.integers(0, 99),
    ),
    max_size=40,
)  # fmt: skip


def step(model: Model, action: str, task: Task, other: Task) -> None:
    kernel = model.kernel
    kernel.current = task
    if action in ("fork", "newpid", "thread"):
        flags = {"fork": 0, "newpid": CLONE_NEWPID, "thread": THREAD}[action]
        copy_process(task, CloneArgs(flags, 0 if action == "thread" else SIGCHLD))
    elif action == "unshare":
        task.nsproxy = create_new_namespaces(task, CLONE_NEWPID)
    elif action == "enter" and other.pid_ns.is_within(task.pid_ns):
        task.nsproxy = other.nsproxy
    elif action in ("session", "group"):
        from kernel_model.syscalls.process import sys_setpgid, sys_setsid

        if action == "session":
            sys_setsid(task)
        else:
            sys_setpgid(task, 0, pid_vnr(task, other.signal.pgrp))
    elif action == "exit" and task is not model.task:
        do_exit(task, 0)
    elif action == "kill" and task.signal is not model.task.signal:
        exit_group(task, SIGKILL)
    elif action == "reap":
        for pid in list(task.signal.children):
            child = kernel.tasks[pid]
            if child.exit_code is not None and not child.signal.threads:
                release_task(child)


@settings(max_examples=200)
@given(steps=STEPS)
def test_numbers_are_one_to_one_whatever_tasks_do(steps: list[tuple[str, int, int]]) -> None:
    model = make_model()
    for action, who, whom in steps:
        tasks = alive(model)
        try:
            step(model, action, tasks[who % len(tasks)], tasks[whom % len(tasks)])
        except SyscallError as error:
            assert error.errno in (errno.EINVAL, errno.ENOMEM, errno.EPERM, errno.ESRCH, errno.ENOSPC)
        check(model)


def test_no_more_than_32_namespaces_are_in_one_another() -> None:
    model = make_model()
    task = model.task
    for level in range(1, 33):
        task = copy_process(task, CloneArgs(CLONE_NEWPID, SIGCHLD))
        assert (task.pid_vnr, task.pid_ns.level) == (1, level)
    with pytest.raises(SyscallError) as refused:
        copy_process(task, CloneArgs(CLONE_NEWPID, SIGCHLD))
    assert refused.value.errno == errno.ENOSPC
    assert len(copy_process(task, CloneArgs(0, SIGCHLD, set_tid=(77,) * 32 + (7777,))).pid_ns.local_of) == 2


def test_a_first_process_that_can_not_be_made_leaves_its_number() -> None:
    model = make_model()
    model.task.nsproxy = create_new_namespaces(model.task, CLONE_NEWPID)
    alloc_pid(model.kernel, model.task.nsproxy.pid_ns_for_children)  # and nobody takes it
    child = copy_process(model.task, CloneArgs(0, SIGCHLD))
    assert (child.pid_vnr, child.signal.unkillable) == (1, True)


def test_numbers_go_round() -> None:
    model = make_model()
    first = copy_process(model.task, CloneArgs(CLONE_NEWPID, SIGCHLD))
    ns: PidNamespace = first.pid_ns
    ns.last_pid = 4_194_302
    numbers = [copy_process(first, CloneArgs(0, SIGCHLD)).pid_vnr for _ in range(3)]
    assert numbers == [4_194_303, 300, 301]


# -- offsets -----------------------------------------------------------------------------------------------------------
LINES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.builds(
            lambda clock, seconds, ns: b"%s %d %d" % (clock, seconds, ns),
            st.sampled_from((b"monotonic", b"boottime", b"1", b"7", b"0", b"realtime")),
            st.integers(-(1 << 70), 1 << 70) | st.integers(-5, KTIME_SEC_MAX),
            st.integers(-5, 1 << 31),
        ),
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(lines=LINES, end=st.sampled_from((b"", b"\n", b"\0x")))
def test_whatever_is_written_the_clocks_stay_in_their_bounds(lines: list[bytes], end: bytes) -> None:
    model = make_model()
    task = model.task
    task.nsproxy = create_new_namespaces(task, CLONE_NEWTIME)
    data = b"\n".join(lines) + end
    time_ns = task.nsproxy.time_ns_for_children
    try:
        taken = write_offsets(task, task, data)
    except SyscallError as error:
        assert error.errno in (errno.EINVAL, errno.ERANGE)
        assert offsets_text(task) == b"monotonic           0         0\nboottime            0         0\n"
        return
    assert 0 < taken <= len(data)
    for clock, offset_ns in ((CLOCK_MONOTONIC, time_ns.monotonic_ns), (CLOCK_BOOTTIME, time_ns.boottime_ns)):
        now_s = (model.kernel.clock.now_ns(clock) + offset_ns) // NSEC_PER_SEC
        assert 0 <= now_s <= KTIME_SEC_MAX // 2
