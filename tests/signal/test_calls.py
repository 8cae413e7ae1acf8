"""The calls that no guest can show alone: timers under virtual time, waiting, permissions, bad arguments."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi import signal as abi
from kernel_model.abi.resource import RLIMIT_SIGPENDING
from kernel_model.signal.deliver import collect_host_signals, do_signal, has_deliverable, next_timer, send_signal
from kernel_model.signal.sighand import SigAction, SigInfo
from kernel_model.types import SyscallError
from tests.filecalls.calls import BAD, Calls

TS = Struct("<qq")
HANDLER = 0x40_1000
SECOND = 1_000_000_000


def catch(calls: Calls, *signals: int) -> None:
    for number in signals:
        calls.task.sighand.action[number] = SigAction(HANDLER)


def pending(calls: Calls) -> int:
    return calls.task.pending.mask | calls.task.signal.shared_pending.mask


# -- timers -----------------------------------------------------------------------------------------------------------
def set_timer(calls: Calls, which: int, value_us: int, interval_us: int = 0) -> int:
    new = calls.out(abi.ITIMERVAL, *divmod(interval_us, 1_000_000), *divmod(value_us, 1_000_000))
    return calls("setitimer", which, new, 0)


def test_a_timer_ends_a_sleep(calls: Calls) -> None:
    clock, task = calls.task.kernel.clock, calls.task
    catch(calls, abi.SIGALRM)
    assert set_timer(calls, 0, 2_000_000) == 0
    due_ns = clock.monotonic_ns() + 2 * SECOND
    assert next_timer(task.kernel) == due_ns
    clock.sleep_towards(due_ns - 1)
    collect_host_signals(task.kernel)
    assert not pending(calls)
    clock.sleep_towards(due_ns)
    collect_host_signals(task.kernel)
    assert pending(calls) == abi.sigmask(abi.SIGALRM)
    assert has_deliverable(task)
    assert next_timer(task.kernel) is None
    assert list(task.signal.shared_pending) == [SigInfo(abi.SIGALRM, abi.SI_KERNEL)]


def test_a_periodic_timer_does_not_make_up_for_what_it_missed(calls: Calls) -> None:
    clock, task = calls.task.kernel.clock, calls.task
    catch(calls, abi.SIGALRM)
    start_ns = clock.monotonic_ns()
    assert set_timer(calls, 0, 1_000_000, 300_000) == 0
    clock.sleep_towards(start_ns + 2 * SECOND)
    collect_host_signals(task.kernel)
    assert task.signal.shared_pending.charged() == 1
    assert next_timer(task.kernel) is None  # one more would change nothing
    assert task.kernel.timers == {task.tgid: {0: (start_ns + 2_200_000_000, 300_000_000)}}
    out = calls.out(abi.ITIMERVAL)
    assert calls("getitimer", 0, out) == 0
    assert abi.ITIMERVAL.unpack(calls.model.get(out, 32)) == (0, 300_000, 0, 200_000)


def test_every_entry_looks_at_virtual_timers(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    task.sighand.action[abi.SIGALRM] = SigAction(HANDLER)
    task.blocked = abi.sigmask(abi.SIGALRM)
    assert set_timer(calls, 0, 5) == 0
    assert kernel.signal_work
    for entries in range(1, 10):
        kernel.stats.kernel_entries += 1
        kernel.signal_work = False
        do_signal(kernel, task, None)
        assert bool(pending(calls)) == (entries >= 5)
        assert kernel.signal_work == (entries < 5)


def test_timers_on_cpu_time(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    catch(calls, abi.SIGPROF, abi.SIGVTALRM)
    assert set_timer(calls, 2, 1000) == 0
    assert set_timer(calls, 1, 1000) == 0
    assert next_timer(task.kernel) is None  # sleeping brings them no nearer
    kernel.clock.sleep_towards(kernel.clock.monotonic_ns() + SECOND)
    collect_host_signals(kernel)
    assert not pending(calls)
    kernel.stats.kernel_entries += 1000
    collect_host_signals(kernel)
    assert pending(calls) == abi.sigmask(abi.SIGPROF)
    kernel.stats.kernel_entries += 100
    collect_host_signals(kernel)
    assert pending(calls) == abi.sigmask(abi.SIGPROF, abi.SIGVTALRM)
    assert not kernel.timers


def test_alarm_rounds_as_linux(x86: Calls) -> None:
    clock = x86.task.kernel.clock
    assert x86("alarm", 10) == 0
    assert x86("alarm", 10) == 10
    clock.sleep_towards(clock.monotonic_ns() + 500_000_001)
    assert x86("alarm", 10) == 9
    clock.sleep_towards(clock.monotonic_ns() + 499_000_000)
    assert x86("alarm", 1) == 10
    clock.sleep_towards(clock.monotonic_ns() + 900_000_000)
    assert x86("alarm", 0) == 1
    assert x86("alarm", 0) == 0
    assert x86("alarm", 0xFFFF_FFFF) == 0
    assert x86("alarm", 0) == 0xFFFF_FFFF


# -- waiting ----------------------------------------------------------------------------------------------------------
def test_waiting_for_a_signal(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    task.blocked = abi.sigmask(40, abi.SIGUSR1)
    these, info = calls.out(abi.SIGSET, abi.sigmask(40, 41)), calls.model.alloc(128)
    blocked = calls.blocks("rt_sigtimedwait", these, info, calls.out(TS, 5, 0), 8)
    assert blocked.deadline_ns == kernel.clock.monotonic_ns() + 5 * SECOND
    # what is not waited for and blocked does not end it
    send_signal(kernel, task, SigInfo(abi.SIGUSR1))
    assert not has_deliverable(task)
    send_signal(kernel, task, SigInfo(40, abi.SI_QUEUE, fields=(("pid", 5), ("uid", 6), ("value", 7))))
    assert has_deliverable(task)
    assert blocked.on_signal is not None
    assert blocked.on_signal() == 40
    assert Struct("<iiiiiIq").unpack(calls.model.get(info, 32)) == (40, 0, abi.SI_QUEUE, 0, 5, 6, 7)
    assert task.blocked == abi.sigmask(40, abi.SIGUSR1)
    assert not task.real_blocked


def test_another_signal_ends_the_wait(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    catch(calls, abi.SIGUSR2)
    blocked = calls.blocks("rt_sigtimedwait", calls.out(abi.SIGSET, abi.sigmask(40)), 0, 0, 8)
    assert blocked.deadline_ns is None
    send_signal(kernel, task, SigInfo(abi.SIGUSR2))
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as failure:
        blocked.on_signal()
    assert failure.value.errno == errno.EINTR
    assert task.blocked == 0


def test_the_wait_runs_out(calls: Calls) -> None:
    clock, task = calls.task.kernel.clock, calls.task
    task.blocked = abi.sigmask(abi.SIGUSR1)
    args = (calls.out(abi.SIGSET, abi.sigmask(40)), 0, calls.out(TS, 5, 0), 8)
    deadline_ns = calls.blocks("rt_sigtimedwait", *args).deadline_ns
    assert deadline_ns is not None
    clock.sleep_towards(deadline_ns)
    assert calls.again("rt_sigtimedwait", *args) == -errno.EAGAIN
    assert task.blocked == abi.sigmask(abi.SIGUSR1)


def test_an_ignored_signal_that_is_blocked_can_be_waited_for(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    task.blocked = abi.sigmask(abi.SIGCHLD)
    blocked = calls.blocks("rt_sigtimedwait", calls.out(abi.SIGSET, abi.sigmask(abi.SIGCHLD)), 0, 0, 8)
    send_signal(kernel, task, SigInfo(abi.SIGCHLD))
    assert blocked.on_signal is not None
    assert blocked.on_signal() == abi.SIGCHLD


def test_pause(x86: Calls) -> None:
    assert x86.blocks("pause").interrupted == errno.ERESTARTNOHAND


# -- who may send what ------------------------------------------------------------------------------------------------
def test_a_full_queue(calls: Calls) -> None:
    task = calls.task
    task.blocked = abi.sigmask(40)
    task.signal.rlim[RLIMIT_SIGPENDING] = (2, 2)
    info = calls.model.put(Struct("<iiii").pack(0, 0, abi.SI_QUEUE, 0) + bytes(112))
    results = [calls("rt_sigqueueinfo", task.pid, 40, info) for _ in range(3)]
    assert results == [0, 0, -errno.EAGAIN]
    assert calls("kill", task.pid, 40) == 0


def test_what_is_queued_is_kept_whole(calls: Calls) -> None:
    task = calls.task
    task.blocked = abi.sigmask(40)
    raw = bytes(range(8)) + (-1).to_bytes(4, "little", signed=True) + bytes(range(12, 48)) + b"\xaa" * 80
    assert calls("rt_sigqueueinfo", task.pid, 40, calls.model.put(raw)) == 0
    out = calls.model.put(b"\xee" * 128)
    assert calls("rt_sigtimedwait", calls.out(abi.SIGSET, abi.sigmask(40)), out, 0, 8) == 40
    assert calls.model.get(out, 128) == (40).to_bytes(4, "little") + raw[4:48] + bytes(80)


def test_the_kernel_is_not_to_be_forged(calls: Calls) -> None:
    task = calls.task
    for code, expected in ((0, -errno.EPERM), (abi.SI_KERNEL, -errno.EPERM), (abi.SI_TKILL, -errno.EPERM)):
        info = calls.model.put(Struct("<iiii").pack(0, 0, code, 0) + bytes(112))
        assert calls("rt_sigqueueinfo", task.pid + 1, 10, info) == expected
    info = calls.model.put(Struct("<iiii").pack(0, 0, abi.SI_QUEUE, 0) + bytes(112))
    assert calls("rt_sigqueueinfo", task.pid + 1, 10, info) == -errno.ESRCH
    assert calls("rt_tgsigqueueinfo", task.tgid, task.pid + 1, 10, info) == -errno.ESRCH


def test_from_outside(calls: Calls) -> None:
    kernel, task = calls.task.kernel, calls.task
    host = kernel.host
    host.inject_signal(abi.SIGINT)  # type: ignore[attr-defined]
    host.inject_signal(abi.SIGTERM)  # type: ignore[attr-defined]
    collect_host_signals(kernel)
    assert [(info.signo, info.code) for info in task.signal.shared_pending] == [
        (abi.SIGINT, abi.SI_KERNEL),
        (abi.SIGTERM, abi.SI_USER),
    ]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rt_sigaction", (10, BAD, 0, 8)),
        ("rt_sigaction", (10, 0, BAD, 8)),
        ("rt_sigprocmask", (0, BAD, 0, 8)),
        ("rt_sigprocmask", (0, 0, BAD, 8)),
        ("rt_sigpending", (BAD, 8)),
        ("rt_sigsuspend", (BAD, 8)),
        ("rt_sigtimedwait", (BAD, 0, 0, 8)),
        ("rt_sigqueueinfo", (1, 10, BAD)),
        ("sigaltstack", (BAD, 0)),
        ("sigaltstack", (0, BAD)),
        ("setitimer", (0, BAD, 0)),
        ("getitimer", (0, BAD)),
    ],
)
def test_bad_pointers(calls: Calls, name: str, args: tuple[int, ...]) -> None:
    assert calls(name, *args) == -errno.EFAULT
