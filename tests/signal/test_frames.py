"""A frame holds the whole context: built and taken back it changes nothing; one that was tampered with is refused.

The bytes themselves are compared with Linux by the guests `signal/frame`.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi import signal as abi
from kernel_model.arch import signal_ops
from kernel_model.mm.uaccess import copy_to_user, get_user
from kernel_model.signal.sighand import SigAction, SigAltStack, SigInfo
from kernel_model.types import SyscallError
from tests.filecalls.calls import ARCHES
from tests.support.model import Model, make_model

HANDLER, RESTORER = 0x40_1000, 0x40_2000
FPREGS_BYTES = {"x86_64": 512, "aarch64": 528}
STACK_BYTES = 1 << 16
words = st.integers(0, (1 << 64) - 1)


def machine(arch: str) -> tuple[Model, int]:
    """A machine with a stack; and the stack's top."""
    model = make_model(arch)
    top = model.alloc(STACK_BYTES) + STACK_BYTES
    return model, top


def load(model: Model, regs: list[int], sp: int, noise: bytes) -> None:
    """Put a context on the CPU."""
    arch = model.kernel.arch
    regs = list(regs[: len(arch.GREG_NAMES)])
    regs[arch.SP_INDEX] = sp
    flags = len(arch.GREG_NAMES) - 1
    regs[flags] = regs[flags] & 0xCD5 | 0x202 if arch.NAME == "x86_64" else regs[flags] & 0xF000_0000
    model.cpu.gregs = regs
    fpregs = bytearray(noise.ljust(FPREGS_BYTES[arch.NAME], b"\x5a")[: FPREGS_BYTES[arch.NAME]])
    if arch.NAME == "x86_64":
        fpregs[24:28] = (0x1F80).to_bytes(4, "little")
    else:
        fpregs[520:] = bytes(8)
    model.cpu.fpregs = bytes(fpregs)


def enter(model: Model, flags: int = 0, mask: int = 0, info: SigInfo | None = None) -> int:
    """Build a frame; where the stack pointer is then."""
    action = SigAction(HANDLER, flags | abi.SA_RESTORER | abi.SA_SIGINFO, RESTORER)
    signal_ops(model.kernel.arch.NAME).setup_rt_frame(model.task, info or SigInfo(10), action, mask)
    return model.cpu.gregs[model.kernel.arch.SP_INDEX]


def leave(model: Model) -> None:
    """What the handler's return and rt_sigreturn(2) do."""
    arch = model.kernel.arch
    if arch.NAME == "x86_64":
        model.cpu.gregs[arch.SP_INDEX] += 8
    signal_ops(arch.NAME).restore_frame(model.task)


@pytest.mark.parametrize("arch", ARCHES)
@given(
    regs=st.lists(words, min_size=34, max_size=34),
    noise=st.binary(min_size=528, max_size=528),
    mask=words,
    shift=st.integers(0, 4096),
    onstack=st.booleans(),
)
def test_there_and_back(arch: str, regs: list[int], noise: bytes, mask: int, shift: int, onstack: bool) -> None:
    model, top = machine(arch)
    if arch == "aarch64":
        regs[model.kernel.arch.PC_INDEX] &= -4  # an odd one is SIGBUS
    load(model, regs, top - (shift & -16 if arch == "aarch64" else shift), noise)
    if onstack:
        area = model.alloc(STACK_BYTES)
        model.task.sas = SigAltStack(area, STACK_BYTES)
    before = list(model.cpu.gregs), model.cpu.fpregs, model.task.sas
    sp = enter(model, abi.SA_ONSTACK, mask)
    assert model.cpu.gregs[model.kernel.arch.PC_INDEX] == HANDLER
    assert sp % 16 == (8 if arch == "x86_64" else 0)
    if onstack:
        assert model.task.sas.sp < sp <= model.task.sas.sp + STACK_BYTES
        model.task.sas = SigAltStack(flags=abi.SS_DISABLE)
    model.task.blocked = 0x1234
    model.cpu.fpregs = bytes(len(model.cpu.fpregs))
    leave(model)
    assert model.task.blocked == mask & ~abi.UNBLOCKABLE
    assert (model.cpu.gregs, model.cpu.fpregs, model.task.sas) == before


@pytest.mark.parametrize("arch", ARCHES)
def test_what_the_handler_is_told(arch: str) -> None:
    model, top = machine(arch)
    load(model, [7] * 34, top - 64, b"")
    sp = enter(model, info=SigInfo(11, 2, fields=(("addr", 0xDEAD_BEEF_0000),)))
    regs = dict(zip(model.kernel.arch.GREG_NAMES, model.cpu.gregs, strict=True))
    if arch == "x86_64":
        signo, info, context = regs["rdi"], regs["rsi"], regs["rdx"]
        assert get_user(model.task.mm, sp, struct.Struct("<Q")) == (RESTORER,)
        assert regs["rax"] == 0
        assert int.from_bytes(model.cpu.fpregs[:2], "little") == 0x37F
        assert not any(model.cpu.fpregs[160:416])
    else:
        signo, info, context = regs["x0"], regs["x1"], regs["x2"]
        assert regs["x30"] == RESTORER
        assert get_user(model.task.mm, regs["x29"], struct.Struct("<QQ")) == (7, 7)
    assert signo == 11
    assert get_user(model.task.mm, info, struct.Struct("<iii4xQ")) == (11, 0, 2, 0xDEAD_BEEF_0000)
    assert sp <= context < top
    assert sp <= info < top


@pytest.mark.parametrize("arch", ARCHES)
def test_nowhere_to_put_it(arch: str) -> None:
    model, top = machine(arch)
    for sp in (0, 8, 1024, top - STACK_BYTES + 16, model.kernel.arch.TASK_SIZE + 8192, (1 << 64) - 16):
        load(model, [0] * 34, sp, b"")
        with pytest.raises(SyscallError):
            enter(model)
        assert model.cpu.gregs[model.kernel.arch.SP_INDEX] == sp


def test_x86_needs_a_restorer() -> None:
    model, top = machine("x86_64")
    load(model, [0] * 34, top, b"")
    with pytest.raises(SyscallError):
        signal_ops("x86_64").setup_rt_frame(model.task, SigInfo(10), SigAction(HANDLER), 0)


def test_x86_does_not_overflow_the_alternate_stack() -> None:
    model, top = machine("x86_64")
    load(model, [0] * 34, top, b"")
    area = model.alloc(8192)
    model.task.sas = SigAltStack(area + 4096, 900)
    with pytest.raises(SyscallError):
        enter(model, abi.SA_ONSTACK)
    model.task.sas = SigAltStack(area + 2048, 2048)
    sp = enter(model, abi.SA_ONSTACK)
    assert area + 2048 < sp < area + 4096
    with pytest.raises(SyscallError):  # a second one does not fit
        enter(model, abi.SA_ONSTACK)


def test_aarch64_returns_through_the_kernels_page() -> None:
    model, top = machine("aarch64")
    load(model, [0] * 34, top, b"")
    model.task.mm.sigtramp = 0x7777_0000
    signal_ops("aarch64").setup_rt_frame(model.task, SigInfo(10), SigAction(HANDLER), 0)
    assert model.cpu.gregs[30] == 0x7777_0000


@pytest.mark.parametrize("arch", ARCHES)
def test_a_fault_is_recorded(arch: str) -> None:
    model, top = machine(arch)
    ops = signal_ops(arch)
    ops.note_fault(model.task, 0x1234, 2, abi.SEGV_ACCERR)
    load(model, [0] * 34, top, b"")
    sp = enter(model)
    if arch == "x86_64":
        err, trapno, _oldmask, cr2 = get_user(model.task.mm, sp + 48 + 152, struct.Struct("<QQQQ"))
        assert (err, trapno, cr2) == (7, 14, 0x1234)
    else:
        assert get_user(model.task.mm, sp + 304, struct.Struct("<Q")) == (0x1234,)
        records = struct.Struct("<IIQII")
        assert get_user(model.task.mm, sp + 592 + 528, records) == (0x4553_5201, 16, 0x9200_004F, 0, 0)


# -- frames that are not sound ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
@given(offset=st.integers(0, 5200), junk=st.binary(min_size=1, max_size=64))
def test_any_frame_is_taken_or_refused(arch: str, offset: int, junk: bytes) -> None:
    model, top = machine(arch)
    load(model, [0] * 34, top - 8192 & -16, b"")
    sp = enter(model)
    copy_to_user(model.task.mm, sp + offset, junk)
    before = list(model.cpu.gregs)
    try:
        leave(model)
    except SyscallError:
        after = model.cpu.gregs
        assert after[0] == before[0]
        return
    regs = model.cpu.gregs
    flags = regs[len(model.kernel.arch.GREG_NAMES) - 1]
    if arch == "aarch64":
        assert flags & 0x3FF == 0  # EL0, no mask
    else:
        assert flags & 0x3200 == 0x200 & before[17]  # no I/O privilege, interrupts as they were


def refused(model: Model) -> None:
    with pytest.raises(SyscallError):
        leave(model)


def test_aarch64_frames_that_linux_refuses() -> None:
    for where, data in (
        (304 + 8 + 33 * 8, b"\x05"),  # EL1
        (304 + 8 + 33 * 8, b"\x40"),  # a masked exception
        (592, bytes(4)),  # no vector registers
        (592 + 4, (500).to_bytes(4, "little")),  # of another size
        (592 + 528, struct.pack("<II", 0x4650_8001, 16)),  # twice
        (592 + 528, struct.pack("<II", 0x5356_4501, 16)),  # SVE
        (592 + 528, struct.pack("<II", 0, 16)),  # an end with a size
        (592 + 528, struct.pack("<II", 0x4553_5201, 4)),  # shorter than its head
    ):
        model, top = machine("aarch64")
        load(model, [0] * 34, top - 64, b"")
        sp = enter(model)
        copy_to_user(model.task.mm, sp + where, data)
        refused(model)


def test_aarch64_records_may_go_on_elsewhere() -> None:
    model, top = machine("aarch64")
    load(model, [0] * 34, top - 8192, b"\x11" * 512)
    sp = enter(model)
    mm = model.task.mm
    fpsimd = model.get(sp + 592, 528)
    after = sp + 592 + 32 + 16
    copy_to_user(mm, sp + 592, struct.pack("<IIQI12xII8x", 0x4558_5401, 32, after, 544, 0, 0) + fpsimd + bytes(16))
    model.cpu.fpregs = bytes(528)
    leave(model)
    assert model.cpu.fpregs[:512] == b"\x11" * 512
    for data, size in ((after + 16, 544), (after, 543), (after, 1 << 31), (after, 16)):
        model.cpu.gregs[31] = sp
        copy_to_user(mm, sp + 592, struct.pack("<IIQI12xII8x", 0x4558_5401, 32, data, size, 0, 0))
        refused(model)


def test_x86_frames_that_linux_refuses() -> None:
    model, top = machine("x86_64")
    load(model, [0] * 34, top - 64, b"")
    sp = enter(model)
    copy_to_user(model.task.mm, sp + 48 + 184, (0x1008).to_bytes(8, "little"))  # floating-point state that is not there
    refused(model)
    model, top = machine("x86_64")
    load(model, [0] * 34, top - 64, b"")
    sp = enter(model)
    (fpstate,) = get_user(model.task.mm, sp + 48 + 184, struct.Struct("<Q"))
    copy_to_user(model.task.mm, fpstate + 24, b"\xff" * 4)  # reserved bits of MXCSR
    refused(model)


def test_x86_without_floating_point_state() -> None:
    model, top = machine("x86_64")
    load(model, [0] * 34, top - 64, b"\x11" * 512)
    sp = enter(model)
    copy_to_user(model.task.mm, sp + 48 + 184, bytes(8))
    leave(model)
    assert model.cpu.fpregs[24:28] == (0x1F80).to_bytes(4, "little")
    assert not any(model.cpu.fpregs[160:416])
