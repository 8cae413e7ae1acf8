"""What becomes pending, in which order it is taken, what is dropped; against a plain model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import signal as abi
from kernel_model.abi.resource import RLIMIT_CORE, RLIMIT_SIGPENDING
from kernel_model.signal.action import dequeue_signal, get_signal, set_blocked
from kernel_model.signal.deliver import has_deliverable
from kernel_model.signal.send import force_signal, send_signal
from kernel_model.signal.sighand import SigAction, SigInfo
from kernel_model.types import TaskExit
from tests.support.model import make_model

HANDLER = 0x400000
# Without the stop signals and SIGCONT, which push each other out.
ORDINARY = tuple(set(range(1, 65)) - {9, 18, 19, 20, 21, 22})
signals = st.sampled_from(ORDINARY)


def expected_order(queue: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Synchronous signals, then the rest, by number and then by age."""
    return sorted(queue, key=lambda entry: (not abi.SYNCHRONOUS_MASK >> entry[0] - 1 & 1, entry[0]))


@given(
    sent=st.lists(st.tuples(signals, st.booleans(), st.integers(0, 99)), max_size=30),
    blocked=st.sets(signals),
    ignored=st.sets(signals),
)
def test_order_and_dropping(sent: list[tuple[int, bool, int]], blocked: set[int], ignored: set[int]) -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    for number in ORDINARY:
        task.sighand.action[number] = SigAction(abi.SIG_IGN if number in ignored else HANDLER)
    task.blocked = abi.sigmask(*blocked)
    queues: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for number, group, tag in sent:
        send_signal(kernel, task, SigInfo(number, abi.SI_QUEUE, tag), group=group)
        there = any(other == number for other, _ in queues[group])
        if (number in blocked or number not in ignored) and not (there and number < abi.SIGRTMIN):
            queues[group].append((number, tag))
    ready = [[entry for entry in queues[group] if entry[0] not in blocked] for group in (False, True)]
    assert has_deliverable(task) == bool(ready[0] or ready[1])
    taken = []
    while (info := dequeue_signal(task, task.blocked)) is not None:
        taken.append((info.signo, info.errno))
    assert taken == expected_order(ready[0]) + expected_order(ready[1])
    task.blocked = 0
    rest = []
    while (info := dequeue_signal(task, 0)) is not None:
        rest.append((info.signo, info.errno))
    assert sorted(rest) == sorted(entry for queue in queues.values() for entry in queue if entry[0] in blocked)
    assert not task.pending.mask | task.signal.shared_pending.mask


def test_a_fault_goes_first() -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    for number in range(1, 32):
        task.sighand.action[number] = SigAction(HANDLER)
    send_signal(kernel, task, SigInfo(abi.SIGHUP))
    send_signal(kernel, task, SigInfo(abi.SIGILL, abi.SI_TKILL))
    force_signal(kernel, task, SigInfo(abi.SIGSEGV, abi.SEGV_MAPERR, fields=(("addr", 5),)))
    order = []
    while (taken := get_signal(kernel, task)) is not None:
        order.append(taken[0].signo)
    assert order == [abi.SIGSEGV, abi.SIGILL, abi.SIGHUP]


@pytest.mark.parametrize("state", ["blocked", "ignored", "fatal"])
def test_a_fault_can_not_be_held_back(state: str) -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    task.sighand.action[abi.SIGSEGV] = SigAction(abi.SIG_IGN if state == "ignored" else HANDLER)
    if state == "blocked":
        task.blocked = abi.sigmask(abi.SIGSEGV)
    force_signal(kernel, task, SigInfo(abi.SIGSEGV, abi.SI_KERNEL), fatal=state == "fatal")
    with pytest.raises(TaskExit) as gone:
        get_signal(kernel, task)
    assert gone.value.code == abi.SIGSEGV


def test_default_actions() -> None:
    for number in set(range(1, 65)) - {abi.SIGSTOP, abi.SIGTSTP, abi.SIGTTIN, abi.SIGTTOU}:
        model = make_model()
        kernel, task = model.kernel, model.task
        assert send_signal(kernel, task, SigInfo(number))
        if number in (abi.SIGCONT, abi.SIGCHLD, abi.SIGWINCH, abi.SIGURG):
            assert not has_deliverable(task)
            continue
        with pytest.raises(TaskExit) as gone:
            get_signal(kernel, task)
        assert gone.value.code == number


def test_a_core_is_said_to_be_dumped_where_linux_would() -> None:
    model = make_model()
    model.task.signal.rlim[RLIMIT_CORE] = (1 << 20, 1 << 20)
    for number, code in ((abi.SIGABRT, abi.SIGABRT | 0x80), (abi.SIGTERM, abi.SIGTERM)):
        send_signal(model.kernel, model.task, SigInfo(number))
        with pytest.raises(TaskExit) as gone:
            get_signal(model.kernel, model.task)
        assert gone.value.code == code


def test_stop_and_continue_push_each_other_out() -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    task.blocked = ~0 & (1 << 64) - 1 & ~abi.UNBLOCKABLE
    send_signal(kernel, task, SigInfo(abi.SIGCONT))
    send_signal(kernel, task, SigInfo(abi.SIGTSTP), group=True)
    assert not task.pending.mask
    send_signal(kernel, task, SigInfo(abi.SIGCONT))
    assert task.pending.mask == abi.sigmask(abi.SIGCONT)
    assert not task.signal.shared_pending.mask


def test_the_queue_is_limited() -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    task.signal.rlim[RLIMIT_SIGPENDING] = (3, 3)
    task.blocked = abi.sigmask(40)
    sent = [send_signal(kernel, task, SigInfo(40, abi.SI_QUEUE)) for _ in range(5)]
    assert sent == [True, True, True, False, False]
    assert send_signal(kernel, task, SigInfo(40, abi.SI_USER))
    assert task.pending.charged() == task.ucounts.sigpending == 3
    assert send_signal(kernel, task, SigInfo(abi.SIGUSR1))


def test_a_storm_keeps_to_the_limit_and_loses_no_realtime_signal_below_it() -> None:
    model = make_model()
    kernel, task = model.kernel, model.task
    task.signal.rlim[RLIMIT_SIGPENDING] = (1000, 1000)
    task.blocked = abi.sigmask(40) | abi.sigmask(abi.SIGUSR1)
    sent = 0
    for number in range(50_000):
        send_signal(kernel, task, SigInfo(abi.SIGUSR1, abi.SI_QUEUE), group=True)
        sent += send_signal(kernel, task, SigInfo(40, abi.SI_QUEUE, fields=(("value", number),)))
    assert sent == task.pending.charged() == 999
    assert task.signal.shared_pending.charged() == 1
    assert task.ucounts.sigpending == 1000
    taken = [dequeue_signal(task, 0) for _ in range(1000)]
    numbers = [info.fields[0][1] for info in taken if info is not None and info.signo == 40]
    assert numbers == list(range(999))
    assert dequeue_signal(task, 0) is None


def test_kill_and_stop_are_never_blocked() -> None:
    model = make_model()
    set_blocked(model.task, (1 << 64) - 1)
    send_signal(model.kernel, model.task, SigInfo(abi.SIGKILL))
    assert has_deliverable(model.task)
    with pytest.raises(TaskExit):
        get_signal(model.kernel, model.task)
