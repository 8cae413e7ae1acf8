"""Strings and numbers as strace writes them."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.strace.structs_task import siginfo, signal_name, signal_set
from emu.strace.text import date, octal, quote, quote_hex
from kernel_model.signal.sighand import SigInfo
from kernel_model.signal.siginfo import pack


@given(st.binary(max_size=40))
def test_a_quoted_string_is_the_same_bytes_again(data: bytes) -> None:
    """C's escapes mean the same in a Python literal."""
    text = quote(data)
    assert text.isascii()
    assert text.isprintable()
    assert ast.literal_eval("b" + text) == data
    assert ast.literal_eval("b" + quote_hex(data)) == data


def test_what_was_left_out_is_said() -> None:
    assert quote(b"ab\0", more=True) == '"ab\\0"...'


def test_a_number_before_a_digit_has_three_places() -> None:
    assert quote(b"\0007\0a") == '"\\0007\\0a"'


@pytest.mark.parametrize(("mode", "text"), [(0, "000"), (0o22, "022"), (0o644, "0644"), (0o4755, "04755")])
def test_octal(mode: int, text: str) -> None:
    assert octal(mode) == text


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_any_time_can_be_shown(seconds: int) -> None:
    assert date(seconds) == "" or date(seconds).startswith(" /* ")


def test_dates() -> None:
    assert date(1700000000, ".000000005") == " /* 2023-11-14T22:13:20.000000005+0000 */"
    assert date(0) == ""


def test_signals() -> None:
    assert [signal_name(n) for n in (0, 2, 31, 32, 33, 64, 65)] == [
        "0", "SIGINT", "SIGSYS", "SIGRTMIN", "SIGRT_1", "SIGRT_32", "65",
    ]  # fmt: skip
    assert signal_set(0) == "[]"
    assert signal_set(1 << 1 | 1 << 9) == "[INT USR1]"
    assert signal_set((1 << 64) - 1) == "~[]"
    assert signal_set((1 << 64) - 1 & ~(1 << 8)) == "~[KILL]"


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (SigInfo(11, 1, fields=(("addr", 0),)), "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}"),
        (SigInfo(11, 0x80), "{si_signo=SIGSEGV, si_code=SI_KERNEL, si_addr=NULL}"),
        (SigInfo(7, 2, fields=(("addr", 4096),)), "{si_signo=SIGBUS, si_code=BUS_ADRERR, si_addr=0x1000}"),
        (SigInfo(2, 0x80), "{si_signo=SIGINT, si_code=SI_KERNEL}"),
        (SigInfo(15, 0, fields=(("pid", 7), ("uid", 0))), "{si_signo=SIGTERM, si_code=SI_USER, si_pid=7, si_uid=0}"),
        (
            SigInfo(17, 1, fields=(("pid", 7), ("uid", 1), ("status", 3), ("utime", 4), ("stime", 5))),
            "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=1, si_status=3, si_utime=4, si_stime=5}",
        ),
        (
            SigInfo(17, 2, fields=(("pid", 7), ("uid", 1), ("status", 9))),
            "{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=7, si_uid=1, si_status=SIGKILL, si_utime=0, si_stime=0}",
        ),
        (
            SigInfo(10, -1, fields=(("pid", 7), ("uid", 1), ("value", 9))),
            "{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=7, si_uid=1, si_int=9, si_ptr=0x9}",
        ),
        (
            SigInfo(31, 1, 7, fields=(("call_addr", 0x1000), ("syscall", 121), ("arch", 0xC000_003E))),
            "{si_signo=SIGSYS, si_code=SYS_SECCOMP, si_errno=E2BIG, si_call_addr=0x1000, si_syscall=__NR_getpgid, "
            "si_arch=AUDIT_ARCH_X86_64}",
        ),
        (
            SigInfo(31, 2, fields=(("call_addr", 0x1000), ("syscall", 4660), ("arch", 0xC000_00B7))),
            "{si_signo=SIGSYS, si_code=SYS_USER_DISPATCH, si_call_addr=0x1000, si_syscall=4660, "
            "si_arch=AUDIT_ARCH_AARCH64}",
        ),
        (
            SigInfo(31, 1, fields=(("call_addr", 0x1000), ("syscall", 3), ("arch", 3))),
            "{si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x1000, si_syscall=3, "
            "si_arch=0x3 /* AUDIT_ARCH_??? */}",
        ),
    ],
)  # fmt: skip
def test_siginfo(info: SigInfo, text: str) -> None:
    assert siginfo(pack(info)) == text
