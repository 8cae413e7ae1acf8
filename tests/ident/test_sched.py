"""Scheduling calls: what is asked for is checked, kept and told."""

from __future__ import annotations

from struct import Struct

from kernel_model.abi import errno
from kernel_model.abi.resource import RLIMIT_NICE, RLIMIT_RTPRIO
from tests.filecalls.calls import BAD, Calls

INT = Struct("<i")
ATTR = Struct("<IIQiIQQQII")
NORMAL, FIFO, RR, BATCH, IDLE, DEADLINE = 0, 1, 2, 3, 5, 6


def set_policy(calls: Calls, policy: int, priority: int) -> int:
    return calls("sched_setscheduler", 0, policy, calls.out(INT, priority))


def test_policies(calls: Calls) -> None:
    assert calls("sched_getscheduler", 0) == NORMAL
    assert set_policy(calls, FIFO, 10) == 0
    assert calls("sched_getscheduler", calls.task.pid) == FIFO
    out = calls.out(INT)
    assert calls("sched_getparam", 0, out) == 0
    assert INT.unpack(calls.model.get(out, 4)) == (10,)
    assert calls("sched_setparam", 0, calls.out(INT, 99)) == 0
    for policy, priority in ((FIFO, 0), (FIFO, 100), (FIFO, -1), (NORMAL, 1), (IDLE, 1), (4, 0), (7, 0), (DEADLINE, 0)):
        assert set_policy(calls, policy, priority) == -errno.EINVAL
    assert set_policy(calls, -1, 0) == -errno.EINVAL
    assert set_policy(calls, RR | 0x4000_0000, 1) == 0
    assert calls("sched_getscheduler", 0) == RR | 0x4000_0000
    assert calls("sched_setscheduler", 0, NORMAL, 0) == calls("sched_getparam", 0, 0) == -errno.EINVAL
    assert calls("sched_setscheduler", 0, NORMAL, BAD) == calls("sched_getparam", 0, BAD) == -errno.EFAULT
    assert calls("sched_getscheduler", 77777) == -errno.ESRCH
    assert calls("sched_getscheduler", -1) == -errno.EINVAL


def test_priorities(calls: Calls) -> None:
    for policy in (NORMAL, BATCH, IDLE, DEADLINE):
        assert calls("sched_get_priority_min", policy) == calls("sched_get_priority_max", policy) == 0
    for policy in (FIFO, RR):
        assert calls("sched_get_priority_min", policy) == 1
        assert calls("sched_get_priority_max", policy) == 99
    for policy in (4, 8, -1):
        assert calls("sched_get_priority_min", policy) == calls("sched_get_priority_max", policy) == -errno.EINVAL


def test_a_user(calls: Calls) -> None:
    with calls.user(1000):
        assert set_policy(calls, FIFO, 1) == -errno.EPERM
        assert set_policy(calls, BATCH, 0) == 0
        assert set_policy(calls, IDLE, 0) == 0
        assert set_policy(calls, NORMAL, 0) == -errno.EPERM
        calls.task.signal.rlim[RLIMIT_NICE] = (20, 20)
        assert set_policy(calls, NORMAL, 0) == 0
        calls.task.signal.rlim[RLIMIT_RTPRIO] = (5, 5)
        assert set_policy(calls, FIFO, 5) == 0
        assert set_policy(calls, FIFO, 6) == -errno.EPERM
        assert set_policy(calls, NORMAL | 0x4000_0000, 0) == 0
        assert set_policy(calls, NORMAL, 0) == -errno.EPERM  # a flag that is not taken back


def test_attributes(calls: Calls) -> None:
    buf = calls.out(ATTR, 48, BATCH, 0, 7, 0, 0, 0, 0, 0, 0)
    assert calls("sched_setattr", 0, buf, 0) == 0
    out = calls.model.put(b"\xee" * 64)
    assert calls("sched_getattr", 0, out, 48, 0) == 0
    size, policy, flags, nice, priority, *_ = ATTR.unpack(calls.model.get(out, 56))
    assert (size, policy, flags, nice, priority) == (48, BATCH, 0, 7, 0)
    assert calls.model.get(out + 48, 1) == b"\xee"
    assert calls("sched_getattr", 0, out, 64, 0) == 0
    assert calls.model.get(out, 4) == b"\x38\0\0\0"
    assert calls.model.get(out + 56, 8) == bytes(8)
    for size in (0, 47, 4097):
        assert calls("sched_getattr", 0, out, size, 0) == -errno.EINVAL
    assert calls("sched_getattr", 0, out, 48, 1) == calls("sched_setattr", 0, out, 1) == -errno.EINVAL
    assert calls("sched_getattr", 0, BAD, 48, 0) == calls("sched_setattr", 0, BAD, 0) == -errno.EFAULT
    # a size that is unknown, with something in the part that is
    big = calls.model.put(ATTR.pack(64, NORMAL, 0, 0, 0, 0, 0, 0, 0, 0) + bytes(7) + b"\1")
    assert calls("sched_setattr", 0, big, 0) == -errno.E2BIG
    assert calls.model.get(big, 4) == b"\x38\0\0\0"
    assert calls("sched_setattr", 0, calls.out(ATTR, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0) == -errno.E2BIG
    assert calls("sched_setattr", 0, calls.model.put(ATTR.pack(64, *[0] * 9) + bytes(8)), 0) == 0
    # KEEP_POLICY, KEEP_PARAMS
    assert set_policy(calls, RR, 3) == 0
    assert calls("sched_setattr", 0, calls.out(ATTR, 56, 0, 0x18, 5, 9, 0, 0, 0, 0, 0), 0) == 0
    assert calls("sched_getattr", 0, out, 56, 0) == 0
    assert ATTR.unpack(calls.model.get(out, 56))[1:5] == (RR, 0, 0, 3)
    assert calls("sched_setattr", 0, calls.out(ATTR, 48, 0, 0x80, 0, 0, 0, 0, 0, 0, 0), 0) == -errno.EINVAL


def test_intervals(calls: Calls) -> None:
    out = calls.out(Struct("<qq"))
    assert calls("sched_rr_get_interval", 0, out) == 0
    assert calls("sched_rr_get_interval", -1, out) == -errno.EINVAL
    assert calls("sched_rr_get_interval", 77777, out) == -errno.ESRCH
    assert calls("sched_rr_get_interval", 0, BAD) == -errno.EFAULT
    set_policy(calls, FIFO, 1)
    assert calls("sched_rr_get_interval", 0, out) == 0
    assert calls.model.get(out, 16) == bytes(16)
    set_policy(calls, RR, 1)
    assert calls("sched_rr_get_interval", 0, out) == 0
    assert Struct("<qq").unpack(calls.model.get(out, 16)) == (0, 100_000_000)


def test_affinity(calls: Calls) -> None:
    count = calls.task.kernel.cpu_count
    mask = calls.model.put(b"\xee" * 128)
    assert calls("sched_getaffinity", 0, 128, mask) == 8
    assert int.from_bytes(calls.model.get(mask, 8), "little") == (1 << count) - 1
    assert calls.model.get(mask + 8, 1) == b"\xee"
    assert calls("sched_getaffinity", 0, 4, mask) == -errno.EINVAL
    assert calls("sched_getaffinity", 0, 0, mask) == -errno.EINVAL
    assert calls("sched_getaffinity", 0, 8, BAD) == -errno.EFAULT
    assert calls("sched_getaffinity", 77777, 8, mask) == -errno.ESRCH
    assert calls("sched_setaffinity", 0, 1, calls.model.put(b"\1")) == 0
    assert calls("sched_getaffinity", 0, 8, mask) == 8
    assert calls.model.get(mask, 8) == b"\1" + bytes(7)
    assert calls("sched_setaffinity", 0, 8, calls.model.put((1 << count).to_bytes(16, "little"))) == -errno.EINVAL
    assert calls("sched_setaffinity", 0, 0, mask) == -errno.EINVAL
    assert calls("sched_setaffinity", 0, 8, BAD) == -errno.EFAULT
    assert calls("sched_setaffinity", 0, 1 << 31, calls.model.put(b"\xff" * 128)) == 0


def test_getcpu(calls: Calls) -> None:
    out = calls.model.put(b"\xee" * 8)
    assert calls("getcpu", out, out + 4, BAD) == 0
    assert calls.model.get(out, 8) == bytes(8)
    assert calls("getcpu", 0, 0, 0) == 0
    assert calls("getcpu", BAD, 0, 0) == -errno.EFAULT
