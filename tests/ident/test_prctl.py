"""prctl(2) and arch_prctl(2). What concerns credentials is compared with Linux in test_cred."""

from __future__ import annotations

from struct import Struct

import pytest

from kernel_model.abi import errno
from kernel_model.abi import prctl as abi
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ
from kernel_model.cred import CAP_FULL_SET, CAP_SYS_RESOURCE
from tests.filecalls.calls import BAD, Calls

INT = Struct("<i")
LONG = Struct("<Q")


def prctl(calls: Calls, option: int, *args: int) -> int:
    return calls("prctl", option, *args, *[0] * (4 - len(args)))


def told(calls: Calls, option: int) -> int:
    """A value that is written to memory."""
    out = calls.out(INT)
    assert prctl(calls, option, out) == 0
    (value,) = INT.unpack(calls.model.get(out, 4))
    return int(value)


def test_name(calls: Calls) -> None:
    out = calls.model.put(b"\xee" * 20)
    assert prctl(calls, abi.PR_SET_NAME, calls.model.put_string(b"sixteen letters and more")) == 0
    assert calls.task.comm == b"sixteen letters"
    assert prctl(calls, abi.PR_GET_NAME, out) == 0
    assert calls.model.get(out, 17) == b"sixteen letters\0\xee"
    assert prctl(calls, abi.PR_SET_NAME, calls.model.put(b"x\0y")) == 0
    assert prctl(calls, abi.PR_GET_NAME, out) == 0
    assert calls.model.get(out, 16) == b"x".ljust(16, b"\0")
    end = calls.model.alloc(4096) + 4096
    assert prctl(calls, abi.PR_SET_NAME, end - 3) == 0  # a NUL before the end
    assert prctl(calls, abi.PR_SET_NAME, BAD) == prctl(calls, abi.PR_GET_NAME, BAD) == -errno.EFAULT


def test_what_a_task_says_of_itself(calls: Calls) -> None:
    assert prctl(calls, abi.PR_SET_PDEATHSIG, 9) == 0
    assert told(calls, abi.PR_GET_PDEATHSIG) == 9
    assert prctl(calls, abi.PR_SET_PDEATHSIG, 65) == -errno.EINVAL
    assert prctl(calls, abi.PR_GET_PDEATHSIG, BAD) == -errno.EFAULT
    assert prctl(calls, abi.PR_SET_DUMPABLE, 0) == 0
    assert prctl(calls, abi.PR_GET_DUMPABLE) == 0
    assert prctl(calls, abi.PR_SET_DUMPABLE, 2) == -errno.EINVAL
    assert prctl(calls, abi.PR_SET_CHILD_SUBREAPER, 7) == 0
    assert told(calls, abi.PR_GET_CHILD_SUBREAPER) == 1
    assert prctl(calls, abi.PR_SET_TIMERSLACK, 7) == 0
    assert prctl(calls, abi.PR_GET_TIMERSLACK) == 7
    assert prctl(calls, abi.PR_SET_TIMERSLACK, 0) == 0
    assert prctl(calls, abi.PR_GET_TIMERSLACK) == 50_000
    calls.task.clear_child_tid = 0x123456789
    out = calls.out(LONG)
    assert prctl(calls, abi.PR_GET_TID_ADDRESS, out) == 0
    assert LONG.unpack(calls.model.get(out, 8)) == (0x123456789,)
    assert prctl(calls, abi.PR_GET_SECCOMP) == prctl(calls, abi.PR_GET_TIMING) == 0
    assert prctl(calls, abi.PR_SET_SECCOMP, 3) == prctl(calls, abi.PR_SET_TIMING, 1) == -errno.EINVAL
    for option in (0, 5, 9, 10, 11, 12, 17, 18, 19, 20, 43, 44, 45, 46, 48, 49, 50, 51, 54, 1000):
        assert prctl(calls, option) == -errno.EINVAL


def test_no_new_privs(calls: Calls) -> None:
    assert prctl(calls, abi.PR_GET_NO_NEW_PRIVS) == 0
    assert prctl(calls, abi.PR_SET_NO_NEW_PRIVS, 0) == prctl(calls, abi.PR_SET_NO_NEW_PRIVS, 1, 1) == -errno.EINVAL
    assert prctl(calls, abi.PR_SET_NO_NEW_PRIVS, 1) == 0
    assert prctl(calls, abi.PR_GET_NO_NEW_PRIVS) == 1
    assert prctl(calls, abi.PR_GET_NO_NEW_PRIVS, 1) == -errno.EINVAL


def test_thp_and_machine_checks(calls: Calls) -> None:
    assert prctl(calls, abi.PR_SET_THP_DISABLE, 5) == 0
    assert prctl(calls, abi.PR_GET_THP_DISABLE) == 1
    assert prctl(calls, abi.PR_GET_THP_DISABLE, 1) == -errno.EINVAL
    assert prctl(calls, abi.PR_MCE_KILL_GET) == abi.PR_MCE_KILL_DEFAULT
    assert prctl(calls, abi.PR_MCE_KILL, abi.PR_MCE_KILL_SET, 1) == 0
    assert prctl(calls, abi.PR_MCE_KILL_GET) == 1
    assert prctl(calls, abi.PR_MCE_KILL, abi.PR_MCE_KILL_CLEAR) == 0
    assert prctl(calls, abi.PR_MCE_KILL_GET) == abi.PR_MCE_KILL_DEFAULT
    assert prctl(calls, abi.PR_MCE_KILL, abi.PR_MCE_KILL_SET, 3) == -errno.EINVAL
    assert prctl(calls, abi.PR_MCE_KILL, 2) == -errno.EINVAL


def test_cpu(calls: Calls) -> None:
    x86 = calls.arch.NAME == "x86_64"
    out = calls.out(INT)
    assert prctl(calls, abi.PR_GET_TSC, out) == (0 if x86 else -errno.EINVAL)
    assert prctl(calls, abi.PR_SET_TSC, abi.PR_TSC_ENABLE) == (0 if x86 else -errno.EINVAL)
    assert prctl(calls, abi.PR_SET_TSC, 2) == -errno.EINVAL
    assert prctl(calls, abi.PR_GET_SPECULATION_CTRL, 0) == 0
    assert prctl(calls, abi.PR_GET_SPECULATION_CTRL, 3) == -errno.ENODEV
    assert prctl(calls, abi.PR_SET_SPECULATION_CTRL, 0, 4) == -errno.ENXIO
    assert prctl(calls, abi.PR_SET_TAGGED_ADDR_CTRL, 1) == (-errno.EINVAL if x86 else 0)
    assert prctl(calls, abi.PR_GET_TAGGED_ADDR_CTRL) == (-errno.EINVAL if x86 else 1)
    if not x86:
        tagged = out | 0x5A << 56
        assert calls("getresuid", tagged, tagged, tagged) == 0
        assert prctl(calls, abi.PR_SET_TAGGED_ADDR_CTRL, 2) == -errno.EINVAL
        assert prctl(calls, abi.PR_SET_TAGGED_ADDR_CTRL, 0) == 0
        assert calls("getresuid", tagged, tagged, tagged) == -errno.EFAULT


def test_io_flusher(calls: Calls) -> None:
    assert prctl(calls, abi.PR_SET_IO_FLUSHER, 1) == 0
    calls.task.cred.cap_effective = CAP_FULL_SET & ~(1 << CAP_SYS_RESOURCE)
    assert prctl(calls, abi.PR_SET_IO_FLUSHER, 1) == -errno.EPERM


def test_auxv(calls: Calls) -> None:
    calls.task.auxv = bytes(range(64))
    out = calls.model.put(b"\xee" * 70)
    assert prctl(calls, abi.PR_GET_AUXV, out, 10) == 64
    assert calls.model.get(out, 11) == bytes(range(10)) + b"\xee"
    assert prctl(calls, abi.PR_GET_AUXV, out, 1 << 60) == 64
    assert calls.model.get(out, 65) == bytes(range(64)) + b"\xee"
    assert prctl(calls, abi.PR_GET_AUXV, out, 10, 1) == -errno.EINVAL
    assert prctl(calls, abi.PR_GET_AUXV, BAD, 10) == -errno.EFAULT


def test_naming_memory(calls: Calls) -> None:
    mm = calls.task.mm
    start = mm.mmap(0, 5 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS)

    def name(text: bytes | None, address: int, length: int) -> int:
        pointer = 0 if text is None else calls.model.put_string(text)
        return prctl(calls, abi.PR_SET_VMA, 0, address, length, pointer)

    def names() -> list[str]:
        return [mm.vma_name(vma) for vma in mm.vmas if start <= vma.vm_start < start + 5 * 4096]

    assert name(b"heap of mine", start + 4096, 2 * 4096) == 0
    assert names() == ["", "[anon:heap of mine]", ""]
    assert name(b"x", start + 2 * 4096, 1) == 0
    assert names() == ["", "[anon:heap of mine]", "[anon:x]", ""]
    assert name(None, start, 5 * 4096) == 0
    assert set(names()) == {""}
    for bad in (b"a\nb", b"[", b"a`", b"$", b"\\", b"\x7f", b"x" * 80):
        assert name(bad, start, 4096) == -errno.EINVAL
    assert name(b"y", start + 1, 4096) == -errno.EINVAL
    assert name(b"y", start, 0) == 0
    assert name(b"y", start, -1) == -errno.EINVAL
    mm.munmap(start + 4096, 4096)
    assert name(b"y", start, 5 * 4096) == -errno.ENOMEM
    assert "[anon:y]" in names()
    assert prctl(calls, abi.PR_SET_VMA, 1, start, 4096, 0) == -errno.EINVAL
    assert prctl(calls, abi.PR_SET_VMA, 0, start, 4096, BAD) == -errno.EFAULT
    shared = mm.mmap(0, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS)
    assert name(b"s", shared, 4096) in (0, -errno.EBADF)


def test_set_mm(calls: Calls) -> None:
    mm = calls.task.mm
    mm.start_code, mm.end_code = 0x400000, 0x500000
    assert prctl(calls, abi.PR_SET_MM, 1, 0x410000) == 0
    assert mm.start_code == 0x410000
    assert prctl(calls, abi.PR_SET_MM, 1, 0x600000) == -errno.EINVAL  # past the end
    assert prctl(calls, abi.PR_SET_MM, 1, 0x1000) == -errno.EINVAL
    assert prctl(calls, abi.PR_SET_MM, 1, calls.arch.TASK_SIZE) == -errno.EINVAL
    assert prctl(calls, abi.PR_SET_MM, 14, 0x410000, 8) == -errno.EINVAL
    calls.task.auxv = bytes(48)
    assert prctl(calls, abi.PR_SET_MM, abi.PR_SET_MM_AUXV, calls.model.put(b"\1" * 48), 48) == 0
    assert calls.task.auxv == b"\1" * 32 + bytes(16)
    assert prctl(calls, abi.PR_SET_MM, abi.PR_SET_MM_AUXV, BAD, 48) == -errno.EFAULT
    assert prctl(calls, abi.PR_SET_MM, abi.PR_SET_MM_AUXV, calls.model.put(b"\1" * 64), 64) == -errno.EINVAL
    with calls.user(1000):
        assert prctl(calls, abi.PR_SET_MM, 1, 0x410000) == -errno.EPERM


def test_arch_prctl(x86: Calls) -> None:
    out = x86.out(LONG)
    assert x86("arch_prctl", 0x1002, 0x7000_1234_5678) == 0
    assert x86("arch_prctl", 0x1001, 0x1234) == 0
    assert (x86.model.cpu.tls, x86.model.cpu.gs) == (0x7000_1234_5678, 0x1234)
    values = {0x1003: 0x7000_1234_5678, 0x1004: 0x1234, 0x1021: 3, 0x4001: (1 << 64) - 1, 0x4003: 0}
    for code, value in values.items():
        assert x86("arch_prctl", code, out) == 0
        assert LONG.unpack(x86.model.get(out, 8)) == (value,)
        assert x86("arch_prctl", code, BAD) == -errno.EFAULT
    for code in (0x1001, 0x1002):
        assert x86("arch_prctl", code, x86.arch.TASK_SIZE) == -errno.EPERM
        assert x86("arch_prctl", code, -1) == -errno.EPERM
    assert x86("arch_prctl", 0x1011, 0) == 1
    assert x86("arch_prctl", 0x1012, 0) == x86("arch_prctl", 0x4002, 1) == -errno.ENODEV
    assert x86("arch_prctl", 0x1023, 17) == -errno.EOPNOTSUPP
    for code in (0, 0x3001, 0x5001, 0x5005):
        assert x86("arch_prctl", code, out) == -errno.EINVAL


@pytest.mark.parametrize("option", sorted({*range(80), abi.PR_SET_VMA, abi.PR_GET_AUXV}))
def test_any_option_with_any_pointer(option: int) -> None:
    """Nothing but a result or an errno, whatever comes."""
    calls = Calls()
    for values in ((BAD, BAD, BAD, BAD), (-1, -1, -1, -1), (1, 2, 3, 4), (1 << 63, 1 << 47, 1 << 12, 1)):
        result = prctl(calls, option, *values)
        assert isinstance(result, int)
