"""poll, ppoll, select, pselect6: what is ready, what is waited for, and what a timeout or a signal leaves
behind.
"""

from __future__ import annotations

import os
import struct
import threading

import pytest

from kernel_model.abi.errno import EBADF, EFAULT, EINTR, EINVAL, ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from kernel_model.abi.fcntl import O_PATH
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT
from kernel_model.signal.deliver import send_signal
from kernel_model.signal.sighand import SigAction, SigInfo
from kernel_model.types import SyscallError
from tests.filecalls.calls import BAD, Calls
from tests.filecalls.calls import calls as calls  # noqa: PLC0414 - a fixture
from tests.filecalls.calls import x86 as x86  # noqa: PLC0414 - a fixture
from tests.fs.hosted import Machines
from tests.fs.hosted import hosted as hosted  # noqa: PLC0414 - a fixture

SIGUSR1 = 10
USR1_BIT = 1 << SIGUSR1 - 1
STICKY_TIMEOUTS = 0x400_0000


def fds(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<ihh", fd, events, 0x55) for fd, events in entries)


def revents(calls: Calls, pointer: int, count: int) -> list[int]:
    return [got for _, _, got in struct.iter_unpack("<ihh", calls.model.get(pointer, 8 * count))]


def poll(calls: Calls, *entries: tuple[int, int], timeout: int = 0) -> tuple[int, list[int]]:
    """ppoll(2), which both architectures have, with a timeout in milliseconds."""
    pointer = calls.model.put(fds(*entries))
    timespec = calls.model.put(struct.pack("<qq", *divmod(timeout * 1_000_000, 10**9)))
    return calls("ppoll", pointer, len(entries), timespec, 0, 8), revents(calls, pointer, len(entries))


def select(calls: Calls, n: int, *sets: set[int] | None, timeout: int = 0) -> tuple[int, list[set[int]]]:
    """pselect6(2) with sets of descriptors; what is left in each."""
    pointers = []
    for wanted in sets:
        bits = None if wanted is None else sum(1 << fd for fd in wanted).to_bytes(128, "little")
        pointers.append(0 if bits is None else calls.model.put(bits))
    timespec = calls.model.put(struct.pack("<qq", *divmod(timeout * 1_000_000, 10**9)))
    result = calls("pselect6", n, *pointers, timespec, 0)
    left = []
    for pointer in pointers:
        bits_left = int.from_bytes(calls.model.get(pointer, 128), "little") if pointer else 0
        left.append({fd for fd in range(1024) if bits_left >> fd & 1})
    return result, left


def catch(calls: Calls, signum: int) -> None:
    """Install a handler, so that the signal is not dropped."""
    calls.task.sighand.action[signum] = SigAction(handler=0x1000)


# -- poll ----------------------------------------------------------------------------------------------------
def test_what_is_ready(calls: Calls) -> None:
    r, w = calls.pipe()
    assert poll(calls, (r, POLLIN), (w, POLLOUT)) == (1, [0, POLLOUT])
    calls("write", w, calls.model.put(b"x"), 1)
    assert poll(calls, (r, POLLIN), (w, POLLOUT), (w, POLLIN)) == (2, [POLLIN, POLLOUT, 0])
    calls("close", w)
    assert poll(calls, (r, 0), (w, POLLIN), (-5, POLLIN)) == (2, [POLLHUP, POLLNVAL, 0])
    calls("close", r)


def test_errors_are_told_unasked(calls: Calls) -> None:
    r, w = calls.pipe()
    calls("close", r)
    assert poll(calls, (w, 0)) == (1, [POLLERR])


def test_a_regular_file_is_always_ready(calls: Calls) -> None:
    fd = calls.open(calls.make(b"file"))
    assert poll(calls, (fd, POLLIN | POLLOUT)) == (1, [POLLIN | POLLOUT])
    assert poll(calls, (calls.open(b"file", O_PATH), POLLIN)) == (1, [POLLNVAL])


def test_poll_arguments(x86: Calls) -> None:
    assert x86("poll", 0, 0, 0) == 0
    assert x86("poll", BAD, 1, 0) == -EFAULT
    x86.task.signal.rlim[RLIMIT_NOFILE] = (4, 4)
    assert x86("poll", x86.model.put(fds(*[(-1, 0)] * 5)), 5, 0) == -EINVAL
    assert x86("poll", x86.model.put(fds(*[(-1, 0)] * 4)), 4, 0) == 0
    assert x86("poll", 0, 0xFFFF_FFFF, 0) == -EINVAL


@pytest.mark.parametrize("timespec", [(-1, 0), (0, -1), (0, 10**9)])
def test_bad_timeouts(calls: Calls, timespec: tuple[int, int]) -> None:
    pointer = calls.model.put(struct.pack("<qq", *timespec))
    assert calls("ppoll", 0, 0, pointer, 0, 8) == -EINVAL
    assert calls("pselect6", 0, 0, 0, 0, pointer, 0) == -EINVAL
    assert calls("ppoll", 0, 0, BAD, 0, 8) == -EFAULT


def test_a_timeout_ends_it(x86: Calls) -> None:
    r, _ = x86.pipe()
    clock = x86.model.kernel.clock
    pointer = x86.model.put(fds((r, POLLIN)))
    start = clock.monotonic_ns()
    blocked = x86.blocks("poll", pointer, 1, 250)
    assert blocked.deadline_ns is not None
    assert blocked.deadline_ns >= start + 250_000_000
    clock.sleep_towards(blocked.deadline_ns)
    assert x86.again("poll", pointer, 1, 250) == 0
    assert revents(x86, pointer, 1) == [0]


def test_no_timeout(x86: Calls) -> None:
    r, w = x86.pipe()
    pointer = x86.model.put(fds((r, POLLIN)))
    assert x86.blocks("poll", pointer, 1, -1).deadline_ns is None
    x86.task.files.fd[w].write(x86.task, b"x")
    assert x86.again("poll", pointer, 1, -1) == 1
    assert revents(x86, pointer, 1) == [POLLIN]


def test_poll_goes_on_after_a_signal_without_handler(x86: Calls) -> None:
    blocked = x86.blocks("poll", 0, 0, 1000)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as caught:
        blocked.on_signal()
    assert caught.value.errno == ERESTART_RESTARTBLOCK
    block = x86.task.restart_block
    assert block is not None
    assert (block.function, block.data[2]) == ("poll", blocked.deadline_ns)


def test_what_is_left_of_a_timeout_is_told(calls: Calls) -> None:
    clock = calls.model.kernel.clock
    timespec = calls.model.put(struct.pack("<qq", 2, 500))
    blocked = calls.blocks("ppoll", 0, 0, timespec, 0, 8)
    assert blocked.deadline_ns is not None
    clock.sleep_towards(blocked.deadline_ns - 700_000_000)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as caught:
        blocked.on_signal()
    assert caught.value.errno == ERESTARTNOHAND
    assert struct.unpack("<qq", calls.model.get(timespec, 16)) == (0, 700_000_000)


def test_timeouts_that_stay(calls: Calls) -> None:
    calls.task.personality = STICKY_TIMEOUTS
    timespec = calls.model.put(struct.pack("<qq", 2, 0))
    blocked = calls.blocks("ppoll", 0, 0, timespec, 0, 8)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError) as caught:
        blocked.on_signal()
    assert caught.value.errno == EINTR
    assert struct.unpack("<qq", calls.model.get(timespec, 16)) == (2, 0)


# -- signal masks --------------------------------------------------------------------------------------------
def test_the_mask_lasts_as_long_as_the_call(calls: Calls) -> None:
    r, w = calls.pipe()
    calls.task.blocked = 1
    mask = calls.model.put(struct.pack("<Q", USR1_BIT))
    pointer = calls.model.put(fds((r, POLLIN)))
    calls.blocks("ppoll", pointer, 1, 0, mask, 8)
    assert calls.task.blocked == USR1_BIT
    assert calls.task.saved_sigmask == 1
    calls.task.files.fd[w].write(calls.task, b"x")
    assert calls.again("ppoll", pointer, 1, 0, mask, 8) == 1
    assert calls.task.blocked == 1
    assert calls.task.saved_sigmask is None


def test_the_mask_goes_when_the_call_fails(calls: Calls) -> None:
    mask = calls.model.put(struct.pack("<Q", USR1_BIT))
    assert calls("ppoll", BAD, 1, 0, mask, 8) == -EFAULT
    assert calls.task.blocked == 0
    assert calls.task.saved_sigmask is None
    assert calls("ppoll", 0, 0, 0, mask, 4) == -EINVAL
    assert calls("ppoll", 0, 0, 0, BAD, 8) == -EFAULT
    argpack = calls.model.put(struct.pack("<QQ", mask, 7))
    assert calls("pselect6", 0, 0, 0, 0, 0, argpack) == -EINVAL


def test_a_signal_let_through_by_the_mask_interrupts_even_a_look(calls: Calls) -> None:
    catch(calls, SIGUSR1)
    calls.task.blocked = USR1_BIT
    send_signal(calls.model.kernel, calls.task, SigInfo(SIGUSR1))
    zero = calls.model.put(bytes(16))
    mask = calls.model.put(bytes(8))
    blocked = calls.blocks("ppoll", 0, 0, zero, mask, 8)
    assert blocked.on_signal is not None
    with pytest.raises(SyscallError):
        blocked.on_signal()
    # the mask to go back to is kept for the signal's delivery
    assert calls.task.saved_sigmask == USR1_BIT


# -- select --------------------------------------------------------------------------------------------------
def test_select_counts_bits(calls: Calls) -> None:
    r, w = calls.pipe()
    assert select(calls, w + 1, {r}, {w}, {r, w}) == (1, [set(), {w}, set()])
    calls("write", w, calls.model.put(b"x"), 1)
    assert select(calls, w + 1, {r}, {w}, None) == (2, [{r}, {w}, set()])
    assert select(calls, r, {r}, None, None)[0] == 0
    calls("close", w)
    assert select(calls, r + 1, {r}, None, None) == (1, [{r}, set(), set()])


def test_select_arguments(calls: Calls) -> None:
    r, _ = calls.pipe()
    assert select(calls, -1, {r}, None, None)[0] == -EINVAL
    assert select(calls, 64, {50}, None, None) == (-EBADF, [{50}, set(), set()])
    # beyond the descriptor table nothing is looked at
    assert select(calls, 1000, {999}, None, None) == (0, [{999}, set(), set()])
    assert calls("pselect6", 1, BAD, 0, 0, 0, 0) == -EFAULT
    assert calls("pselect6", 0, 0, 0, 0, 0, BAD) == -EFAULT


def test_select_waits(x86: Calls) -> None:
    r, w = x86.pipe()
    sets = x86.model.put((1 << r).to_bytes(8, "little"))
    timeval = x86.model.put(struct.pack("<qq", 1, 500_000))
    blocked = x86.blocks("select", r + 1, sets, 0, 0, timeval)
    assert blocked.deadline_ns is not None
    x86.model.kernel.clock.sleep_towards(blocked.deadline_ns - 250_000_000)
    x86.task.files.fd[w].write(x86.task, b"x")
    assert x86.again("select", r + 1, sets, 0, 0, timeval) == 1
    assert x86.model.get(sets, 8) == (1 << r).to_bytes(8, "little")
    seconds, microseconds = struct.unpack("<qq", x86.model.get(timeval, 16))
    assert (seconds, microseconds // 1000) in ((0, 250), (0, 249))


def test_select_times_out_with_empty_sets(x86: Calls) -> None:
    r, _ = x86.pipe()
    sets = x86.model.put((1 << r).to_bytes(8, "little"))
    assert x86("select", r + 1, sets, 0, 0, x86.model.put(bytes(16))) == 0
    assert x86.model.get(sets, 8) == bytes(8)
    assert x86("select", 0, 0, 0, 0, x86.model.put(struct.pack("<qq", 0, -1))) == -EINVAL


# -- the host's streams --------------------------------------------------------------------------------------
def test_waiting_for_the_host(hosted: Machines) -> None:
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    machine = hosted(in_r, out_w)
    inner, _ = machine.pipe()
    pointer = machine.model.put(fds((0, POLLIN), (inner, POLLIN), (1, POLLIN)))
    blocked = machine.blocks("poll", pointer, 3, -1)
    assert (blocked.read_fds, blocked.write_fds) == ((0,), ())
    writer = threading.Timer(0.05, os.write, (in_w, b"x"))
    writer.start()
    assert machine.patiently("poll", pointer, 3, -1) == 1
    assert revents(machine, pointer, 3) == [POLLIN, 0, 0]
    writer.join()
    os.close(in_w)
    os.close(out_r)
