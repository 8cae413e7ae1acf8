"""Calls that a signal interrupts, what a handler's entry changes, and returning from one."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi import signal as abi
from kernel_model.mm.uaccess import copy_to_user
from kernel_model.signal.deliver import do_signal, has_deliverable, send_signal
from kernel_model.signal.sighand import SigAction, SigAltStack, SigInfo
from kernel_model.types import KEEP_REGISTERS, TaskExit
from tests.filecalls.calls import Calls

HANDLER, RESTORER = 0x40_1000, 0x40_2000
PC, NUMBER, ARG0 = 0x40_0100, 63, 0x77
CODES = (errno.ERESTARTSYS, errno.ERESTARTNOINTR, errno.ERESTARTNOHAND, errno.ERESTART_RESTARTBLOCK)


@pytest.fixture
def ready(calls: Calls) -> Calls:
    """A task with a stack and a program counter."""
    arch = calls.arch
    calls.model.cpu.gregs = [0] * len(arch.GREG_NAMES)
    calls.model.cpu.gregs[arch.SP_INDEX] = calls.model.alloc(1 << 16) + (1 << 16)
    calls.model.cpu.gregs[arch.PC_INDEX] = PC
    calls.model.cpu.gregs[arch.NUMBER_INDEX] = NUMBER
    size = {"x86_64": 512, "aarch64": 528}[arch.NAME]
    calls.model.cpu.fpregs = bytes(24) + (0x1F80).to_bytes(4, "little") + bytes(size - 28)
    return calls


def install(calls: Calls, signal: int, flags: int = 0, mask: int = 0) -> None:
    calls.task.sighand.action[signal] = SigAction(HANDLER, flags | abi.SA_RESTORER, RESTORER, mask)


def after(calls: Calls, code: int) -> None:
    """A call has ended with `code`: what the entry path does before going back."""
    calls.model.cpu.gregs[calls.arch.RESULT_INDEX] = -code & (1 << 64) - 1
    do_signal(calls.task.kernel, calls.task, (NUMBER, ARG0, -code))


def goes_back_to(calls: Calls) -> tuple[int, int, int]:
    """(pc, result register, number register), in the frame's context if a handler was entered."""
    arch, cpu = calls.arch, calls.model.cpu
    if cpu.gregs[arch.PC_INDEX] == HANDLER:
        if arch.NAME == "x86_64":
            cpu.gregs[arch.SP_INDEX] += 8
        assert calls("rt_sigreturn") == KEEP_REGISTERS
    return cpu.gregs[arch.PC_INDEX], cpu.gregs[arch.RESULT_INDEX], cpu.gregs[arch.NUMBER_INDEX]


def made_again(calls: Calls, number: int = NUMBER) -> tuple[int, int, int]:
    """The state from which the call is made once more."""
    arch = calls.arch
    pc = PC - arch.SYSCALL_INSTRUCTION_BYTES
    return (pc, number, number) if arch.NAME == "x86_64" else (pc, ARG0, number)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("flags", [0, abi.SA_RESTART])
def test_with_a_handler(ready: Calls, code: int, flags: int) -> None:
    install(ready, abi.SIGUSR1, flags)
    send_signal(ready.task.kernel, ready.task, SigInfo(abi.SIGUSR1))
    after(ready, code)
    assert ready.model.cpu.gregs[ready.arch.PC_INDEX] == HANDLER
    restarts = code == errno.ERESTARTNOINTR or (code == errno.ERESTARTSYS and flags)
    pc, result, _ = goes_back_to(ready)
    if restarts:
        assert (pc, result) == made_again(ready)[:2]
    else:
        assert (pc, result) == (PC, -errno.EINTR & (1 << 64) - 1)


@pytest.mark.parametrize("code", CODES)
def test_without_a_handler(ready: Calls, code: int) -> None:
    after(ready, code)
    number = NUMBER
    if code == errno.ERESTART_RESTARTBLOCK:
        number = {"x86_64": 219, "aarch64": 128}[ready.arch.NAME]
    assert goes_back_to(ready) == made_again(ready, number)


def test_other_results_are_left_alone(ready: Calls) -> None:
    for code in (0, errno.EINTR, errno.ENOENT, 511, 517):
        after(ready, code)
        assert ready.model.cpu.gregs[ready.arch.PC_INDEX] == PC


def test_only_the_first_handler_decides(ready: Calls) -> None:
    """Two signals: the second's frame lies on the first's, and the call is rewound once."""
    install(ready, abi.SIGUSR1, abi.SA_RESTART)
    install(ready, abi.SIGUSR2)
    for number in (abi.SIGUSR1, abi.SIGUSR2):
        send_signal(ready.task.kernel, ready.task, SigInfo(number))
    after(ready, errno.ERESTARTSYS)
    assert goes_back_to(ready)[0] == HANDLER
    assert goes_back_to(ready) == made_again(ready)


def test_masks_while_a_handler_runs(ready: Calls) -> None:
    task = ready.task
    task.blocked = abi.sigmask(abi.SIGHUP)
    install(ready, abi.SIGUSR1, mask=abi.sigmask(abi.SIGUSR2))
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR1))
    do_signal(task.kernel, task, None)
    assert task.blocked == abi.sigmask(abi.SIGHUP, abi.SIGUSR1, abi.SIGUSR2)
    goes_back_to(ready)
    assert task.blocked == abi.sigmask(abi.SIGHUP)
    install(ready, abi.SIGUSR1, abi.SA_NODEFER | abi.SA_RESETHAND)
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR1))
    do_signal(task.kernel, task, None)
    assert task.blocked == abi.sigmask(abi.SIGHUP)
    assert task.sighand.get(abi.SIGUSR1).handler == abi.SIG_DFL


def test_sigsuspend(ready: Calls) -> None:
    task = ready.task
    task.blocked = abi.sigmask(abi.SIGUSR1)
    install(ready, abi.SIGUSR1)
    install(ready, abi.SIGUSR2)
    wait_for = ready.out(abi.SIGSET, abi.sigmask(abi.SIGUSR2))
    blocked = ready.blocks("rt_sigsuspend", wait_for, 8)
    assert blocked.interrupted == errno.ERESTARTNOHAND
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR2))
    assert not has_deliverable(task)
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR1))
    assert has_deliverable(task)
    after(ready, blocked.interrupted)
    # SIGUSR1's handler first, with the waiting mask; the frame holds the old one, under which SIGUSR2 gets through
    assert goes_back_to(ready)[1] == -errno.EINTR & (1 << 64) - 1
    assert task.blocked == abi.sigmask(abi.SIGUSR1)
    assert task.saved_sigmask is None
    assert has_deliverable(task)


def test_a_wait_that_ends_in_nothing_gets_its_mask_back(ready: Calls) -> None:
    task = ready.task
    task.saved_sigmask, task.blocked = abi.sigmask(5), 0
    after(ready, errno.ERESTARTNOHAND)
    assert task.blocked == abi.sigmask(5)
    assert not task.saved_sigmask
    assert goes_back_to(ready) == made_again(ready)


def test_no_stack_is_a_segmentation_fault(ready: Calls) -> None:
    task = ready.task
    install(ready, abi.SIGUSR1)
    ready.model.cpu.gregs[ready.arch.SP_INDEX] = 4096
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR1))
    with pytest.raises(TaskExit) as gone:
        do_signal(task.kernel, task, None)
    assert gone.value.code == abi.SIGSEGV


def test_a_handler_on_another_stack_sees_it(ready: Calls) -> None:
    task = ready.task
    install(ready, abi.SIGUSR1)
    install(ready, abi.SIGSEGV, abi.SA_ONSTACK)
    area = ready.model.alloc(1 << 14)
    task.sas = SigAltStack(area, 1 << 14)
    ready.model.cpu.gregs[ready.arch.SP_INDEX] = 4096
    send_signal(task.kernel, task, SigInfo(abi.SIGUSR1))
    do_signal(task.kernel, task, None)
    assert ready.model.cpu.gregs[ready.arch.PC_INDEX] == HANDLER
    assert area < ready.model.cpu.gregs[ready.arch.SP_INDEX] < area + (1 << 14)
    assert task.blocked == abi.sigmask(abi.SIGSEGV)


def test_a_handler_for_it_without_a_stack_is_no_help(ready: Calls) -> None:
    task = ready.task
    install(ready, abi.SIGSEGV)
    ready.model.cpu.gregs[ready.arch.SP_INDEX] = 4096
    send_signal(task.kernel, task, SigInfo(abi.SIGSEGV))
    with pytest.raises(TaskExit):
        do_signal(task.kernel, task, None)


def test_returning_from_nowhere(ready: Calls) -> None:
    ready.model.cpu.gregs[ready.arch.SP_INDEX] = 4096
    assert ready("rt_sigreturn") == 0
    assert ready.task.pending.mask == abi.sigmask(abi.SIGSEGV)
    with pytest.raises(TaskExit):
        do_signal(ready.task.kernel, ready.task, None)


# -- restartable sequences --------------------------------------------------------------------------------------------
RSEQ_CS = Struct("<IIQQQ")


def registered(calls: Calls, *, start: int, length: int, signature: int = 0x5305_3053) -> tuple[int, int]:
    """A registered area with a critical section; the section's pointer and the abort handler."""
    area = calls.model.alloc(4096)
    assert calls("rseq", area, 32, 0, 0x5305_3053) == 0
    abort = calls.model.put(signature.to_bytes(4, "little")) + 4
    section = calls.model.put(RSEQ_CS.pack(0, 0, start, length, abort))
    pointer = area + 8
    copy_to_user(calls.task.mm, pointer, section.to_bytes(8, "little"))
    return pointer, abort


@pytest.mark.parametrize(("start", "inside"), [(PC - 8, True), (PC, True), (PC - 16, False), (PC + 4, False)])
def test_a_signal_aborts_the_critical_section(ready: Calls, start: int, inside: bool) -> None:
    pointer, abort = registered(ready, start=start, length=16)
    install(ready, abi.SIGUSR1)
    send_signal(ready.task.kernel, ready.task, SigInfo(abi.SIGUSR1))
    do_signal(ready.task.kernel, ready.task, None)
    assert ready.model.get(pointer, 8) == bytes(8)
    assert goes_back_to(ready)[0] == (abort if inside else PC)


def test_a_section_with_another_signature_is_fatal(ready: Calls) -> None:
    registered(ready, start=PC, length=16, signature=1)
    install(ready, abi.SIGUSR1)
    send_signal(ready.task.kernel, ready.task, SigInfo(abi.SIGUSR1))
    with pytest.raises(TaskExit) as gone:
        do_signal(ready.task.kernel, ready.task, None)
    assert gone.value.code == abi.SIGSEGV
