"""When a signal's handler is given the program's own instruction instead of the vDSO's, and when it is not."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import signal as abi
from kernel_model.abi.mman import PROT_WRITE
from kernel_model.arch import signal_ops
from kernel_model.bounce import FRAME, REDIRECT, BounceOptions
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.signal.deliver import do_signal, force_memory_fault, send_signal
from kernel_model.signal.sighand import SigAction, SigAltStack, SigInfo
from kernel_model.task import Rseq
from kernel_model.task_page import map_task_page
from kernel_model.types import U64_MASK, SyscallError, UserPtr
from kernel_model.vdso import Vdso
from tests.support.model import Model, make_model
from vdso_image.image import ARCHITECTURES, load
from vdso_image.vvar import pack_vvar

HANDLER, RESTORER = 0x40_1000, 0x40_2000
NUMBER, SP_BEFORE, SITE = 1 << 63 | 63, 0x1234, 0x40_0100
FLAGS = {"x86_64": 0x202 | 0x8D5, "aarch64": 0xA000_0000}
PC_AND_SP_OF_CONTEXT = {"x86_64": (48 + 128, 48 + 120), "aarch64": (304 + 8 + 256, 304 + 8 + 248)}
"""Where the signal frame has them, from the handler's SP."""
NR_RESTART_SYSCALL = {"x86_64": 219, "aarch64": 128}
_WORD = Struct("<Q")


class Bounced:
    """A task in the vDSO's handler, with the frame of a bounce at its SP."""

    def __init__(self, arch: str, handler: str = "redirect") -> None:
        self.model: Model = make_model(arch)
        kernel, task = self.model.kernel, self.model.task
        kernel.bounce = BounceOptions(handler=handler)
        self.image = load(arch)
        kernel.vdso = Vdso(kernel, self.image, pack_vvar)
        kernel.vdso.map_into(task.mm, task.nsproxy.time_ns)
        self.task = task
        self.arch = kernel.arch
        self.range = next(one for one in self.image.restart_ranges if one.handler == handler)
        self.stack = UserPtr(self.model.alloc(1 << 16) + (1 << 15))
        size = {"x86_64": 512, "aarch64": 528}[arch]
        self.model.cpu.fpregs = bytes(24) + (0x1F80).to_bytes(4, "little") + bytes(size - 28)
        self.sp = self.stack + 4096 + 8
        self.regs = [0x5000 + index for index in range(len(self.arch.GREG_NAMES))]
        self.regs[self.arch.PC_INDEX] = task.mm.vdso + self.range.start
        self.regs[self.arch.SP_INDEX] = self.stack
        self.regs[-1] = FLAGS[arch]
        task.sighand.action[abi.SIGUSR1] = self.action()
        task.sighand.action[abi.SIGSEGV] = self.action()
        self.frame()

    @staticmethod
    def action(flags: int = 0) -> SigAction:
        return SigAction(HANDLER, flags | abi.SA_RESTORER | abi.SA_SIGINFO, RESTORER, 0)

    def frame(self, *, number: int = NUMBER, flags: int | None = None) -> None:
        """Write the bounce's frame."""
        pc = SITE + self.arch.SYSCALL_INSTRUCTION_BYTES
        words = (number, self.sp, pc, FLAGS[self.arch.NAME] if flags is None else flags)
        copy_to_user(self.task.mm, self.stack, FRAME.pack(*words))

    def sigreturn(self) -> None:
        """The handler returns."""
        cpu, arch = self.model.cpu, self.arch
        if arch.NAME == "x86_64":
            cpu.gregs[arch.SP_INDEX] += 8
        signal_ops(arch.NAME).restore_frame(self.task)

    def deliver(self) -> tuple[int, int]:
        """Deliver what is pending: PC and SP that the handler finds in its context."""
        cpu = self.model.cpu
        cpu.gregs = list(self.regs)
        do_signal(self.task.kernel, self.task, None)
        assert cpu.gregs[self.arch.PC_INDEX] == HANDLER
        frame = cpu.gregs[self.arch.SP_INDEX]
        pc, sp = (
            _WORD.unpack(copy_from_user(self.task.mm, UserPtr(frame + at), 8))[0]
            for at in PC_AND_SP_OF_CONTEXT[self.arch.NAME]
        )
        return pc, sp

    def signal(self, number: int = abi.SIGUSR1) -> tuple[int, int]:
        """Send a signal and deliver it."""
        send_signal(self.task.kernel, self.task, SigInfo(number))
        return self.deliver()

    @property
    def here(self) -> tuple[int, int]:
        """PC and SP in the vDSO's handler."""
        return self.regs[self.arch.PC_INDEX], self.stack

    @property
    def program(self) -> tuple[int, int]:
        """PC and SP at the program's instruction."""
        return SITE, self.sp


@pytest.fixture(params=ARCHITECTURES)
def bounced(request: pytest.FixtureRequest) -> Bounced:
    return Bounced(request.param)


def test_every_instruction_up_to_the_call(bounced: Bounced) -> None:
    for offset in range(bounced.range.start, bounced.range.commit):
        bounced.regs[bounced.arch.PC_INDEX] = bounced.task.mm.vdso + offset
        bounced.task.blocked = 0
        bounced.frame()  # the last signal's frame lies over it
        assert bounced.signal() == bounced.program


def test_not_past_it(bounced: Bounced) -> None:
    bounced.regs[bounced.arch.PC_INDEX] = bounced.task.mm.vdso + bounced.range.commit
    assert bounced.signal() == bounced.here


def test_not_without_bounces(bounced: Bounced) -> None:
    bounced.task.kernel.bounce = None
    assert bounced.signal() == bounced.here


def test_where_the_vdso_was_moved_to(bounced: Bounced) -> None:
    mm = bounced.task.mm
    old, size = mm.vdso, mm.vdso_end - mm.vdso
    mm.mremap(old, size, size, 3, bounced.model.alloc(size))
    assert mm.vdso != old
    assert bounced.signal() == bounced.here, "where it was there is nothing"
    bounced.task.blocked = 0
    bounced.regs[bounced.arch.PC_INDEX] += mm.vdso - old
    assert bounced.signal() == bounced.program


def test_not_once_the_vdso_is_unmapped(bounced: Bounced) -> None:
    mm = bounced.task.mm
    mm.munmap(mm.vdso, mm.vdso_end - mm.vdso)
    assert bounced.signal() == bounced.here


def test_not_for_the_fault_of_the_instruction_itself(bounced: Bounced) -> None:
    bounced.model.cpu.gregs = list(bounced.regs)
    force_memory_fault(bounced.task.kernel, bounced.task, bounced.regs[bounced.arch.PC_INDEX] & -4096, PROT_WRITE)
    assert bounced.deliver() == bounced.here


def test_for_the_same_signal_when_somebody_sends_it(bounced: Bounced) -> None:
    assert bounced.signal(abi.SIGSEGV) == bounced.program


def test_two_at_once_only_the_first_is_at_the_instruction(bounced: Bounced) -> None:
    bounced.task.sighand.action[abi.SIGUSR2] = bounced.action()
    send_signal(bounced.task.kernel, bounced.task, SigInfo(abi.SIGUSR1))
    assert bounced.signal(abi.SIGUSR2)[0] == HANDLER


def test_not_when_the_frame_is_gone(bounced: Bounced) -> None:
    """There is nothing to go back by. (The signal's own frame needs another stack then.)"""
    task = bounced.task
    alternate = bounced.model.alloc(1 << 16)
    task.sas = SigAltStack(alternate, 1 << 16)
    task.sighand.action[abi.SIGUSR1] = bounced.action(abi.SA_ONSTACK)
    task.mm.munmap(bounced.stack & -4096, 4096)
    assert bounced.signal() == bounced.here


def test_not_by_a_frame_for_another_mode() -> None:
    """AArch64: a frame whose flags are not user space's; the flagged call would be SIGSEGV."""
    bounced = Bounced("aarch64")
    bounced.frame(flags=0x5)
    assert bounced.signal() == bounced.here


def test_flags_that_are_not_the_programs_to_set_are_dropped() -> None:
    """x86-64: IOPL and VM; what is left is the program's."""
    bounced = Bounced("x86_64")
    bounced.frame(flags=FLAGS["x86_64"] | 0x3000 | 0x20000)
    assert bounced.signal() == bounced.program
    frame = bounced.model.cpu.gregs[bounced.arch.SP_INDEX]
    assert _WORD.unpack(copy_from_user(bounced.task.mm, UserPtr(frame + 48 + 136), 8))[0] == FLAGS["x86_64"]


@pytest.mark.parametrize("flag", [0, REDIRECT])
def test_a_number_that_restart_syscall_replaced_stays(bounced: Bounced, flag: int) -> None:
    arch = bounced.arch
    words = (NUMBER, bounced.sp, SITE + arch.SYSCALL_INSTRUCTION_BYTES, FLAGS[arch.NAME])
    for number, wanted in ((63, NUMBER), (NR_RESTART_SYSCALL[arch.NAME], NR_RESTART_SYSCALL[arch.NAME])):
        regs = list(bounced.regs)
        regs[arch.NUMBER_INDEX] = number | flag
        signal_ops(arch.NAME).rewind_bounce(regs, words, FLAGS[arch.NAME])
        assert regs[arch.NUMBER_INDEX] == wanted


def test_before_restartable_sequences(bounced: Bounced) -> None:
    """A critical section that the program's instruction is in is aborted: its handler finds the section's abort PC."""
    signature, abort = 0x5305_3053, UserPtr(bounced.model.alloc(4096) + 64)
    mm = bounced.task.mm
    copy_to_user(mm, UserPtr(abort - 4), signature.to_bytes(4, "little"))
    section = bounced.model.put(Struct("<IIQQQ").pack(0, 0, SITE, 16, abort))
    area = bounced.model.put(bytes(8) + _WORD.pack(section) + bytes(16))
    bounced.task.rseq = Rseq(area, 32, signature)
    assert bounced.signal() == (abort, bounced.sp)


def test_before_the_alternate_stack_is_looked_at(bounced: Bounced) -> None:
    """The program is on it, the bounce's frame is not: the signal's frame goes below the program's SP."""
    task = bounced.task
    task.sas = SigAltStack(bounced.stack + 64, 1 << 13)
    task.sighand.action[abi.SIGUSR1] = bounced.action(abi.SA_ONSTACK)
    bounced.sp = bounced.stack + 64 + (1 << 13) - 512
    bounced.frame()
    assert bounced.signal() == bounced.program
    assert bounced.model.cpu.gregs[bounced.arch.SP_INDEX] < bounced.sp


def test_registers_of_a_syscall_are_as_one_leaves_them() -> None:
    """x86-64: rcx and r11, which the bounce destroyed as the instruction itself would have."""
    bounced = Bounced("x86_64")
    bounced.signal()
    frame = bounced.model.cpu.gregs[bounced.arch.SP_INDEX]
    words = Struct("<18Q").unpack(copy_from_user(bounced.task.mm, UserPtr(frame + 48), 144))
    wanted = list(bounced.regs)
    for name, value in (
        ("rax", NUMBER), ("rcx", SITE + 2), ("r11", FLAGS["x86_64"]), ("rsp", bounced.sp), ("rip", SITE),
    ):  # fmt: skip
        wanted[bounced.arch.GREG_NAMES.index(name)] = value
    assert [value & U64_MASK for value in words] == wanted


@pytest.mark.parametrize("where", ["past its call", "its own fault"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_frame_in_the_tasks_page_survives_the_signals_handler(arch: str, where: str) -> None:
    """The page has the only copy, and a handler that makes a call of its own has another frame written over it."""
    bounced = Bounced(arch, "task-page")
    task, mm = bounced.task, bounced.task.mm
    task.task_page = page = map_task_page(mm)
    words = FRAME.pack(NUMBER, bounced.sp, SITE, FLAGS[arch])
    copy_to_user(mm, UserPtr(page), words)
    bounced.regs[bounced.arch.PC_INDEX] = pc = mm.vdso + bounced.image.symbols["__kernel_bounce_return_task_page"]
    if where == "its own fault":
        bounced.regs[bounced.arch.PC_INDEX] = pc = mm.vdso + bounced.range.start
        bounced.model.cpu.gregs = list(bounced.regs)
        force_memory_fault(task.kernel, task, pc & -4096, PROT_WRITE)
        assert bounced.deliver() == (pc, bounced.stack)
    else:
        assert bounced.signal() == (pc, bounced.stack)
    copy_to_user(mm, UserPtr(page), bytes(32))
    bounced.sigreturn()
    assert copy_from_user(mm, UserPtr(page), 32) == words
    assert bounced.model.cpu.gregs == bounced.regs


def test_a_frame_of_a_bounce_is_not_known_where_there_are_none(bounced: Bounced) -> None:
    """AArch64: the record is one that rt_sigreturn refuses; x86-64: uc_flags are not looked at."""
    bounced.frame(flags=FLAGS[bounced.arch.NAME])
    bounced.regs[bounced.arch.PC_INDEX] = HANDLER + 64
    bounced.signal()
    frame = bounced.model.cpu.gregs[bounced.arch.SP_INDEX]
    if bounced.arch.NAME == "x86_64":
        copy_to_user(bounced.task.mm, UserPtr(frame + 8), _WORD.pack(1 << 16))
        bounced.sigreturn()
    else:
        copy_to_user(bounced.task.mm, UserPtr(frame + 592 + 528), Struct("<II40x8x").pack(0x424E_4301, 48))
        with pytest.raises(SyscallError):
            bounced.sigreturn()
