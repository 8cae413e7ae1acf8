"""Limits, priorities, usage."""

from __future__ import annotations

from struct import Struct

from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi import resource as abi
from kernel_model.cred import CAP_SYS_RESOURCE
from kernel_model.mm.uaccess import copy_to_user
from tests.filecalls.calls import BAD, Calls

PAIR = Struct("<QQ")
INFINITY = abi.RLIM_INFINITY


def limit(calls: Calls, resource: int) -> tuple[int, int]:
    """prlimit64(2) that asks."""
    out = calls.out(PAIR)
    assert calls("prlimit64", 0, resource, 0, out) == 0
    soft, hard = PAIR.unpack(calls.model.get(out, 16))
    return soft, hard


def test_a_fresh_process(calls: Calls) -> None:
    assert limit(calls, abi.RLIMIT_STACK) == (8 << 20, INFINITY)
    assert limit(calls, abi.RLIMIT_NOFILE) == (1024, 1 << 20)
    assert limit(calls, abi.RLIMIT_CORE) == (0, INFINITY)
    assert limit(calls, abi.RLIMIT_AS) == (INFINITY, INFINITY)


@given(
    resource=st.integers(0, 15),
    changes=st.lists(
        st.tuples(
            st.sampled_from((0, 1, 100, 1 << 20, 1 << 40, INFINITY)), st.sampled_from((0, 1, 100, 1 << 20, INFINITY))
        )
    ),
)
def test_a_user_never_raises_a_hard_limit(resource: int, changes: list[tuple[int, int]]) -> None:
    calls = Calls()
    out, pair = calls.out(PAIR), calls.out(PAIR)

    def ask() -> tuple[int, int]:
        assert calls("prlimit64", 0, resource, 0, out) == 0
        soft, hard = PAIR.unpack(calls.model.get(out, 16))
        return soft, hard

    known = ask()
    with calls.user(1000):
        for soft, hard in changes:
            copy_to_user(calls.task.mm, pair, PAIR.pack(soft, hard))
            result = calls("prlimit64", 0, resource, pair, 0)
            if soft > hard:
                assert result == -errno.EINVAL
            elif hard > known[1] or (resource == abi.RLIMIT_NOFILE and hard > abi.NR_OPEN):
                assert result == -errno.EPERM
            else:
                assert result == 0
                known = soft, hard
            assert ask() == known


def test_root_raises_limits(calls: Calls) -> None:
    pair = calls.out(PAIR, 0, 0)
    assert calls("setrlimit", abi.RLIMIT_NICE, pair) == 0
    assert calls("setrlimit", abi.RLIMIT_NICE, calls.out(PAIR, 30, 40)) == 0
    assert calls("setrlimit", abi.RLIMIT_NOFILE, calls.out(PAIR, 30, (1 << 20) + 1)) == -errno.EPERM
    assert calls("getrlimit", abi.RLIMIT_NICE, pair) == 0
    assert PAIR.unpack(calls.model.get(pair, 16)) == (30, 40)
    assert calls("getrlimit", 16, pair) == calls("setrlimit", 16, pair) == -errno.EINVAL
    assert calls("prlimit64", 0, 16, 0, 0) == -errno.EINVAL
    assert calls("prlimit64", 77777, 0, 0, 0) == -errno.ESRCH
    assert calls("prlimit64", 0, 0, BAD, 0) == calls("prlimit64", 0, 0, 0, BAD) == -errno.EFAULT
    assert calls("getrlimit", 0, BAD) == calls("setrlimit", 16, BAD) == -errno.EFAULT
    calls.task.cred.cap_effective = 1 << CAP_SYS_RESOURCE
    assert calls("setrlimit", abi.RLIMIT_NICE, calls.out(PAIR, 50, 50)) == 0


def test_priorities(calls: Calls) -> None:
    assert calls("getpriority", 0, 0) == 20
    assert calls("setpriority", 0, 0, 5) == 0
    assert calls("getpriority", 0, 0) == 15
    assert calls("setpriority", 0, 0, -100) == 0
    assert calls("getpriority", 1, 0) == calls("getpriority", 2, 0) == calls("getpriority", 0, calls.task.pid) == 40
    assert calls("getpriority", 3, 0) == calls("setpriority", -1, 0, 0) == -errno.EINVAL
    assert calls("getpriority", 0, 77777) == calls("setpriority", 0, 77777, 0) == -errno.ESRCH
    assert calls("getpriority", 2, 4242) == -errno.ESRCH
    with calls.user(1000):
        assert calls("setpriority", 0, 0, 19) == 0
        assert calls("setpriority", 0, 0, 18) == -errno.EACCES
        calls.task.signal.rlim[abi.RLIMIT_NICE] = (20, 20)
        assert calls("setpriority", 0, 0, 0) == 0
        assert calls("setpriority", 0, 0, -1) == -errno.EACCES


def test_io_priorities(calls: Calls) -> None:
    assert calls("ioprio_get", 1, 0) == 0
    assert calls("ioprio_set", 1, 0, 2 << 13 | 4) == 0
    assert calls("ioprio_get", 1, 0) == 2 << 13 | 4
    assert calls("ioprio_set", 1, 0, 4 << 13) == calls("ioprio_set", 1, 0, 1) == -errno.EINVAL
    assert calls("ioprio_set", 4, 0, 0) == calls("ioprio_get", 0, 0) == -errno.EINVAL
    assert calls("ioprio_get", 1, 77777) == -errno.ESRCH
    with calls.user(1000):
        assert calls("ioprio_set", 1, 0, 1 << 13) == -errno.EPERM
        assert calls("ioprio_set", 1, 0, 3 << 13) == 0


def test_usage(calls: Calls) -> None:
    calls.task.kernel.stats.kernel_entries = 3_000_000
    calls.task.mm.min_flt = 17
    out = calls.model.alloc(144)
    assert calls("getrusage", 0, out) == 0
    fields = abi.RUSAGE.unpack(calls.model.get(out, 144))
    assert (fields[0] + fields[2]) * 1_000_000 + fields[1] + fields[3] == 3_000_000
    assert fields[8] == 17
    assert fields[4] > 0
    assert calls("getrusage", -1, out) == 0
    assert not any(calls.model.get(out, 144))
    assert calls("getrusage", 2, out) == -errno.EINVAL
    assert calls("getrusage", 0, BAD) == -errno.EFAULT
    ticks = calls("times", out)
    assert ticks == calls.task.kernel.clock.monotonic_ns() // 10_000_000
    user, system, *children = abi.TMS.unpack(calls.model.get(out, 32))
    assert 298 <= user + system <= 300
    assert children == [0, 0]
    assert calls("times", 0) == ticks
    assert calls("times", BAD) == -errno.EFAULT


def test_sysinfo(calls: Calls) -> None:
    out = calls.model.alloc(112)
    assert calls("sysinfo", out) == 0
    uptime, *_loads, total, free, _, _, _, _, procs, _, _, _, unit = abi.SYSINFO.unpack(calls.model.get(out, 112))
    assert (uptime, procs, unit) == (1, 1, 1)
    assert total == calls.task.kernel.frames.total_frames * 4096 >= free > 0
    assert calls("sysinfo", BAD) == -errno.EFAULT
