"""The clocks: virtual time's rules, what may be set, which ids there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi import time as abi
from kernel_model.timekeeping import VIRTUAL_BOOT_NS, VIRTUAL_ENTRY_NS, VIRTUAL_EPOCH_NS, Timekeeper
from kernel_model.types import SyscallError
from tests.support.model import make_model

CLOCKS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11)


def virtual() -> Timekeeper:
    return make_model().kernel.clock


def host() -> Timekeeper:
    return make_model(virtual_time=False).kernel.clock


def test_virtual_time_stands_still_between_entries() -> None:
    clock = virtual()
    assert clock.monotonic_ns() == clock.monotonic_ns() == VIRTUAL_BOOT_NS
    assert clock.realtime_ns() == VIRTUAL_BOOT_NS + VIRTUAL_EPOCH_NS
    assert clock.cpu_ns() == 0


def test_each_entry_takes_a_microsecond() -> None:
    model = make_model()
    clock = model.kernel.clock
    model.kernel.stats.kernel_entries += 7
    clock.tick()
    assert clock.monotonic_ns() == VIRTUAL_BOOT_NS + 8 * VIRTUAL_ENTRY_NS
    assert clock.cpu_ns() == 8 * VIRTUAL_ENTRY_NS
    assert sum(clock.cpu_times_ns()) == clock.cpu_ns()


def test_a_virtual_sleep_is_over_at_once() -> None:
    clock = virtual()
    deadline_ns = clock.monotonic_ns() + 10**18
    assert clock.sleep_towards(deadline_ns) == 0
    assert clock.monotonic_ns() == deadline_ns
    assert clock.sleep_towards(deadline_ns - 1) == 0
    assert clock.monotonic_ns() == deadline_ns
    assert clock.cpu_ns() == 0


def test_a_host_sleep_tells_how_long() -> None:
    clock = host()
    now_ns = clock.monotonic_ns()
    left_ns = clock.sleep_towards(now_ns + 10**12)
    assert left_ns is not None
    assert 0 < left_ns <= 10**12
    assert clock.sleep_towards(now_ns - 1) == 0


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 10**6)),
            st.tuples(st.just("sleep"), st.integers(0, 10**15)),
            st.tuples(st.just("set"), st.integers(0, 4 * 10**18)),
        ),
        max_size=20,
    )
)
def test_only_realtime_ever_jumps(steps: list[tuple[str, int]]) -> None:
    model = make_model()
    clock = model.kernel.clock
    monotonic_ns, offset_ns = clock.monotonic_ns(), VIRTUAL_EPOCH_NS
    for what, value in steps:
        if what == "enter":
            model.kernel.stats.kernel_entries += value
            monotonic_ns += value * VIRTUAL_ENTRY_NS
        elif what == "sleep":
            clock.sleep_towards(monotonic_ns + value)
            monotonic_ns += value
        elif value < monotonic_ns:
            with pytest.raises(SyscallError):
                clock.set_realtime(value)
        else:
            clock.set_realtime(value)
            offset_ns = value - monotonic_ns
        assert clock.monotonic_ns() == monotonic_ns
        for clock_id in (abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_BOOTTIME, abi.CLOCK_BOOTTIME_ALARM):
            assert clock.now_ns(clock_id) == monotonic_ns
        for clock_id in (abi.CLOCK_REALTIME, abi.CLOCK_TAI, abi.CLOCK_REALTIME_ALARM):
            assert clock.now_ns(clock_id) == monotonic_ns + offset_ns
        coarse = clock.now_ns(abi.CLOCK_REALTIME_COARSE)
        assert coarse % abi.TICK_NSEC == 0
        assert 0 <= monotonic_ns + offset_ns - coarse < abi.TICK_NSEC


def test_the_hosts_clock_is_never_set() -> None:
    first, second = host(), host()
    first.set_realtime(first.realtime_ns() + 10**15)
    assert first.realtime_ns() - second.realtime_ns() > 10**14
    assert first.now_ns(abi.CLOCK_TAI) - second.now_ns(abi.CLOCK_TAI) > 10**14
    assert abs(first.monotonic_ns() - second.monotonic_ns()) < 10**11


@pytest.mark.parametrize("make", [virtual, host])
def test_ids(make: object) -> None:
    model = make_model(virtual_time=make is virtual)
    clock, task = model.kernel.clock, model.task
    for clock_id in range(-64, 32):
        known = clock_id in CLOCKS
        if clock_id < 0:
            pid, which = ~(clock_id >> 3), clock_id & 3
            known = pid == 0 and which != abi.CLOCKFD
        if known:
            assert clock.now_ns(clock_id, task) >= 0
            coarse = clock_id in (5, 6) or (clock_id < 0 and clock_id & 3 != abi.CPUCLOCK_SCHED)
            assert clock.resolution_ns(clock_id, task) == (4_000_000 if coarse else 1)
        else:
            for ask in (clock.now_ns, clock.resolution_ns):
                with pytest.raises(SyscallError) as failure:
                    ask(clock_id, task)
                assert failure.value.errno == errno.EINVAL


def test_cpu_clocks_of_others() -> None:
    model = make_model()
    clock, task = model.kernel.clock, model.task
    own = ~task.pid << 3 | abi.CPUCLOCK_SCHED
    assert clock.now_ns(own, task) == clock.cpu_ns()
    assert clock.now_ns(own | abi.CPUCLOCK_PERTHREAD_MASK, task) == clock.cpu_ns()
    with pytest.raises(SyscallError):
        clock.now_ns(~(task.pid + 1) << 3 | abi.CPUCLOCK_SCHED, task)


def test_deadlines_on_any_clock() -> None:
    clock = virtual()
    wall_ns = clock.realtime_ns() + 5
    assert clock.to_monotonic_ns(abi.CLOCK_REALTIME, wall_ns) == clock.monotonic_ns() + 5
    assert clock.to_monotonic_ns(abi.CLOCK_MONOTONIC, 77) == 77
