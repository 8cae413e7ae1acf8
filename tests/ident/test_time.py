"""The calls that tell, set and wait for time."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.types import SyscallError
from kernel_model.wait import Blocked
from tests.filecalls.calls import BAD, Calls

TS = Struct("<qq")
SECOND = 1_000_000_000


def read(calls: Calls, clock: int) -> int:
    """clock_gettime(2), in nanoseconds."""
    out = calls.out(TS)
    assert calls("clock_gettime", clock, out) == 0
    seconds, nanoseconds = TS.unpack(calls.model.get(out, 16))
    return int(seconds) * SECOND + int(nanoseconds)


def test_reading(calls: Calls) -> None:
    clock = calls.task.kernel.clock
    assert read(calls, abi.CLOCK_MONOTONIC) == clock.monotonic_ns()
    out = calls.out(TS)
    assert calls("gettimeofday", out, 0) == 0
    seconds, microseconds = TS.unpack(calls.model.get(out, 16))
    assert seconds * SECOND + microseconds * 1000 == clock.realtime_ns() // 1000 * 1000
    assert calls("gettimeofday", 0, 0) == 0
    assert calls("gettimeofday", BAD, 0) == -errno.EFAULT
    assert calls("clock_gettime", 99, out) == -errno.EINVAL
    assert calls("clock_gettime", 0, BAD) == -errno.EFAULT
    assert calls("clock_getres", 0, 0) == 0
    assert calls("clock_getres", 99, 0) == -errno.EINVAL
    assert calls("clock_getres", 0, BAD) == -errno.EFAULT


def test_time(x86: Calls) -> None:
    out = x86.model.alloc(8)
    now = x86.task.kernel.clock.realtime_ns() // SECOND
    assert x86("time", out) == x86("time", 0) == now
    assert x86.model.get(out, 8) == now.to_bytes(8, "little")
    assert x86("time", BAD) == -errno.EFAULT


def test_setting(calls: Calls) -> None:
    assert calls("clock_settime", 0, calls.out(TS, 2_000_000_000, 5)) == 0
    assert read(calls, 0) == 2_000_000_000 * SECOND + 5
    for value in ((-1, 0), (0, -1), (0, SECOND), (0, 5), (1 << 62, 0)):
        assert calls("clock_settime", 0, calls.out(TS, *value)) == -errno.EINVAL
    for clock in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99):
        assert calls("clock_settime", clock, BAD) == -errno.EINVAL
    assert calls("clock_settime", -6, calls.out(TS, 0, 0)) == -errno.EPERM
    assert calls("clock_settime", 0, BAD) == -errno.EFAULT
    assert calls("settimeofday", calls.out(TS, 2_100_000_000, 7), 0) == 0
    assert read(calls, 0) == 2_100_000_000 * SECOND + 7000
    assert calls("settimeofday", calls.out(TS, 5, 1_000_001), 0) == -errno.EINVAL
    zone = calls.model.put(Struct("<ii").pack(-60, 1))
    assert calls("settimeofday", 0, zone) == 0
    assert calls("gettimeofday", 0, zone + 0) == 0
    assert calls.model.get(zone, 8) == Struct("<ii").pack(-60, 1)
    assert calls("settimeofday", 0, calls.model.put(Struct("<ii").pack(901, 0))) == -errno.EINVAL
    with calls.user(1000):
        assert calls("clock_settime", 0, calls.out(TS, 2_000_000_000, 5)) == -errno.EPERM
        assert calls("clock_settime", 0, calls.out(TS, -1, 5)) == -errno.EINVAL
        assert calls("settimeofday", 0, zone) == -errno.EPERM


def test_adjtimex(calls: Calls) -> None:
    buf = calls.model.alloc(208)
    assert calls("adjtimex", buf) == 5
    values = abi.TIMEX.unpack(calls.model.get(buf, 208))
    assert values[5] & 0x40
    assert values[9] == calls.task.kernel.clock.realtime_ns() // SECOND
    assert calls("clock_adjtime", 0, buf) == 5
    assert calls("clock_adjtime", 1, buf) == -errno.EOPNOTSUPP
    assert calls("clock_adjtime", 99, buf) == -errno.EINVAL
    assert calls("adjtimex", BAD) == -errno.EFAULT
    with calls.user(1000):
        assert calls("adjtimex", calls.model.put((1).to_bytes(208, "little"))) == -errno.EPERM
        assert calls("adjtimex", calls.model.put(bytes(208))) == 5


# -- sleeping ---------------------------------------------------------------------------------------------------------
def test_a_relative_sleep_keeps_its_end(calls: Calls) -> None:
    clock = calls.task.kernel.clock
    start_ns = clock.monotonic_ns()
    request, rest = calls.out(TS, 3, 500), calls.out(TS, 7, 7)
    blocked = calls.blocks("nanosleep", request, rest)
    end_ns = start_ns + 3 * SECOND + 500
    assert blocked.deadline_ns == end_ns
    clock.sleep_towards(start_ns + SECOND)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as failure:
        blocked.on_signal()
    assert failure.value.errno == errno.ERESTART_RESTARTBLOCK
    assert TS.unpack(calls.model.get(rest, 16)) == (2, 500)
    with pytest.raises(Blocked) as again:
        calls.again("nanosleep", request, rest)
    assert again.value.deadline_ns == end_ns
    # restart_syscall goes on to the same end
    assert calls.blocks("restart_syscall").deadline_ns == end_ns
    clock.sleep_towards(end_ns)
    assert calls("restart_syscall") == 0


def test_an_absolute_sleep_has_no_rest(calls: Calls) -> None:
    clock = calls.task.kernel.clock
    wall_ns = clock.realtime_ns() + 10 * SECOND
    blocked = calls.blocks("clock_nanosleep", 0, abi.TIMER_ABSTIME, calls.out(TS, *divmod(wall_ns, SECOND)), BAD)
    assert blocked.deadline_ns == clock.monotonic_ns() + 10 * SECOND
    assert blocked.interrupted == errno.ERESTARTNOHAND
    assert blocked.on_signal is None
    clock.set_realtime(wall_ns)
    assert calls("clock_nanosleep", 0, abi.TIMER_ABSTIME, calls.out(TS, *divmod(wall_ns, SECOND)), BAD) == 0


def test_setting_the_clock_moves_no_relative_sleep(calls: Calls) -> None:
    clock = calls.task.kernel.clock
    request = calls.out(TS, 10, 0)
    before = calls.blocks("clock_nanosleep", 0, 0, request, 0).deadline_ns
    clock.set_realtime(clock.realtime_ns() + 100 * SECOND)
    with pytest.raises(Blocked) as blocked:
        calls.again("clock_nanosleep", 0, 0, request, 0)
    assert blocked.value.deadline_ns == before


def test_which_clocks_one_can_sleep_on(calls: Calls) -> None:
    now = calls.out(TS, 0, 0)
    for clock in (0, 1, 7, 8, 9, 11):
        assert calls("clock_nanosleep", clock, 0, now, 0) == 0
    for clock in (3, 4, 5, 6):
        assert calls("clock_nanosleep", clock, 0, now, 0) == -errno.EOPNOTSUPP
    for clock in (10, 12, 99, -2, -3 & ~3 | 3):
        assert calls("clock_nanosleep", clock, 0, now, 0) == -errno.EINVAL
    assert calls.blocks("clock_nanosleep", 2, 0, calls.out(TS, 1, 0), 0).deadline_ns is None
    with calls.user(1000):
        assert calls("clock_nanosleep", 8, 0, now, 0) == -errno.EPERM
        assert calls("clock_nanosleep", 8, 2, now, 0) == -errno.EINVAL


def test_bad_requests(calls: Calls) -> None:
    for value in ((-1, 0), (0, -1), (0, SECOND)):
        assert calls("nanosleep", calls.out(TS, *value), 0) == -errno.EINVAL
        assert calls("clock_nanosleep", 1, 1, calls.out(TS, *value), 0) == -errno.EINVAL
    assert calls("nanosleep", BAD, 0) == -errno.EFAULT
    # as long as can be said, and longer than any clock
    assert calls.blocks("nanosleep", calls.out(TS, (1 << 63) - 1, 0), 0).deadline_ns is not None


def test_the_rest_has_nowhere_to_go(calls: Calls) -> None:
    blocked = calls.blocks("nanosleep", calls.out(TS, 3, 0), BAD)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as failure:
        blocked.on_signal()
    assert failure.value.errno == errno.EFAULT


def test_nothing_to_go_on_with(calls: Calls) -> None:
    assert calls("restart_syscall") == -errno.EINTR
