"""Process ids, groups and sessions; what a thread library registers."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.types import TaskExit
from tests.filecalls.calls import BAD, Calls

RSEQ = Struct("<IIQIII")


def test_ids(calls: Calls) -> None:
    task = calls.task
    assert calls("getpid") == task.tgid
    assert calls("gettid") == task.pid
    assert calls("getppid") == 0
    assert calls("getpgid", 0) == calls("getpgid", task.pid) == task.signal.pgrp
    assert calls("getsid", 0) == task.signal.session
    assert calls("getpgid", 77777) == calls("getsid", -1) == -errno.ESRCH


def test_groups_and_sessions(calls: Calls) -> None:
    signal = calls.task.signal
    assert calls("setsid") == -errno.EPERM  # the leader of a group
    assert calls("setpgid", 0, 0) == -errno.EPERM  # the leader of a session
    signal.session = signal.pgrp = 1
    assert calls("setpgid", 0, -1) == -errno.EINVAL
    assert calls("setpgid", 0, 555) == -errno.EPERM  # no such group in the session
    assert calls("setpgid", 77777, 0) == -errno.ESRCH
    assert calls("setpgid", 0, 0) == 0
    assert signal.pgrp == calls.task.pid
    assert calls("setsid") == -errno.EPERM
    signal.pgrp = 1
    assert calls("setsid") == calls.task.pid
    assert (signal.pgrp, signal.session) == (calls.task.pid, calls.task.pid)


def test_exit(calls: Calls) -> None:
    for name in ("exit", "exit_group"):
        for status, code in ((0, 0), (1, 0x100), (256, 0), (-1, 0xFF00)):
            with pytest.raises(TaskExit) as gone:
                calls(name, status)
            assert gone.value.code == code


def test_robust_list(calls: Calls) -> None:
    assert calls("set_robust_list", 0x1234, 24) == 0
    assert calls("set_robust_list", 0x1234, 23) == -errno.EINVAL
    out = calls.model.alloc(16)
    assert calls("get_robust_list", 0, out, out + 8) == 0
    assert calls("get_robust_list", calls.task.pid, out, out + 8) == 0
    assert Struct("<QQ").unpack(calls.model.get(out, 16)) == (0x1234, 24)
    assert calls("get_robust_list", 77777, out, out) == -errno.ESRCH
    assert calls("get_robust_list", 0, BAD, out) == -errno.EFAULT
    assert calls("get_robust_list", 0, out, BAD) == -errno.EFAULT


def test_tid_address(calls: Calls) -> None:
    assert calls("set_tid_address", 0x5000) == calls.task.pid
    assert calls.task.clear_child_tid == 0x5000


def test_rseq(calls: Calls) -> None:
    area = calls.model.put(b"\xff" * 64)
    signature = 0xF000_0001_5305_3053
    assert calls("rseq", area, 32, 2, signature) == -errno.EINVAL
    assert calls("rseq", area + 16, 32, 0, signature) == -errno.EINVAL
    assert calls("rseq", area, 31, 0, signature) == -errno.EINVAL
    assert calls("rseq", 0x20000, 32, 0, signature) == -errno.EFAULT
    assert calls("rseq", calls.arch.TASK_SIZE - 32, 64, 0, signature) == -errno.EFAULT
    assert calls("rseq", area, 32, 1, signature) == -errno.EINVAL
    assert calls("rseq", area, 32, 0, signature) == 0
    assert RSEQ.unpack(calls.model.get(area, RSEQ.size)) == (0, 0, 0, 0, 0, 0)
    assert calls("rseq", area, 32, 0, signature) == -errno.EBUSY
    assert calls("rseq", area, 32, 0, 5) == -errno.EPERM
    assert calls("rseq", area, 64, 0, signature) == -errno.EINVAL
    assert calls("rseq", area, 32, 3, signature) == -errno.EINVAL
    assert calls("rseq", area, 64, 1, signature) == -errno.EINVAL
    assert calls("rseq", area, 32, 1, 5) == -errno.EPERM
    assert calls("rseq", area, 32, 1, signature & 0xFFFF_FFFF) == 0
    assert RSEQ.unpack(calls.model.get(area, RSEQ.size)) == (0, 0xFFFF_FFFF, 0, 0, 0, 0)
    assert calls("rseq", area, 64, 0, signature) == 0
