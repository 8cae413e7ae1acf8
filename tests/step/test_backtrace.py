"""From every instruction of every handler the backtrace leads through the program to main."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from guests.build import ARCHES, compile_to
from tests.step.driver import FLAGS, QUIET, getppid, transcript, walk

VARIANTS = [
    (arch, options)
    for arch in ARCHES
    for options in ((), ("--bounce-frame", "task-page"), ("--bounce-return", "user"))
    if (arch, options[-1:]) != ("aarch64", ("user",))
]


def backtraces(text: str) -> list[list[str]]:
    """The names of each `bt` in a transcript."""
    parts = text.split("(step) bt\n")[1:]
    return [re.findall(r"^#\d+ +\w+  ([\w.]+)", part.split("(step)")[0], re.M) for part in parts]


@pytest.mark.parametrize(("arch", "options"), VARIANTS)
def test_from_each_instruction_of_a_bounce_to_main(arch: str, options: tuple[str, ...]) -> None:
    commands = "break main\nc\nbounce\n" + "bt\np pc >= vdso && pc < vdso_end\nstep\n" * 16
    seen = transcript(*QUIET, *options, getppid(arch), commands=commands).stdout.decode()
    found = [names for names in backtraces(seen) if names[0].startswith("__kernel_bounce")]
    assert len(found) >= 2
    for names in found:
        assert names[1:] == ["getppid", "main", "_start"], seen


@pytest.mark.parametrize("arch", ARCHES)
def test_from_each_instruction_of_the_program_to_main(arch: str) -> None:
    """Prologues, leaf functions and epilogues too: the tables tell."""
    commands = "break main\nc\n" + "bt\nstep\n" * 24
    found = backtraces(transcript(*QUIET, getppid(arch), commands=commands).stdout.decode())
    assert len(found) == 24
    within = [names for names in found if names[0] in ("main", "getppid")]
    assert len(within) > 10
    for names in within:
        assert names in (["main", "_start"], ["getppid", "main", "_start"])


@pytest.mark.parametrize("arch", ARCHES)
def test_through_a_signal_handler(arch: str) -> None:
    seen = transcript(*QUIET, walk(arch), "signal", commands="break handler\nc\nbt\n").stdout.decode()
    names = backtraces(seen)[0]
    assert names[:2] in (["handler", "__restore"], ["handler", "__restore_rt"])
    assert "<signal>" in seen
    assert "raise" in names
    assert "main" in names


def test_by_frame_records_through_a_signal(tmp_path: Path) -> None:
    program = tmp_path / "record"
    compile_to(Path(__file__).parent / "record.c", "aarch64-linux-musl", FLAGS, program)
    commands = "break handler\nc\nbt\nbreak syscall getppid\nc\nbt\n"
    first, second = backtraces(transcript(*QUIET, program, commands=commands).stdout.decode())
    assert "main" in first
    assert second[second.index("handler") :] == first


@pytest.mark.parametrize("arch", ARCHES)
def test_within_a_c_library(arch: str) -> None:
    seen = transcript(*QUIET, walk(arch), "echo", commands="break syscall read\nc\nbt\n").stdout.decode()
    assert "main" in backtraces(seen)[0], seen


def _uleb(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _uleb(value >> 7)


def _nested(depth: int) -> bytes:
    """An expression of entry values of entry values."""
    code = b""
    for _ in range(depth):
        code = b"\xa3" + _uleb(len(code)) + code
    return code


def _escaped(code: bytes) -> str:
    return "".join(f".cfi_escape {byte}\n" for byte in code)


def _cfa(expression: bytes) -> str:
    return _escaped(b"\x0f" + _uleb(len(expression)) + expression)


MANY_COLUMNS = _escaped(b"".join(b"\x07" + _uleb(column) for column in range(128, 3000)))
HOSTILE = {
    "a cut-off operand": _cfa(b"\x0a\x01"),
    "a deep expression": _cfa(_nested(3000)),
    "an empty expression": _cfa(b""),
    "no such return column": ".cfi_return_column 99\n",
    "a register without an offset": _cfa(b"\x30") + ".cfi_escape 0x0d, 0x07\n",
    "more states than forgotten": ".cfi_escape 0x0b\n",
    "a gigabyte of states": MANY_COLUMNS + ".cfi_escape 0x0a\n" * 30_000,
}


@pytest.mark.parametrize("rules", [pytest.param(text, id=name.replace(" ", "-")) for name, text in HOSTILE.items()])
def test_tables_that_mean_no_good(rules: str, tmp_path: Path) -> None:
    """They are as if they were not there."""
    seen = transcript(*QUIET, _program(rules, tmp_path), commands="break leaf\nc\nbt\n")
    assert seen.status == 0
    assert backtraces(seen.stdout.decode()) == [["leaf", "_start"]]


def test_an_entry_before_the_file(tmp_path: Path) -> None:
    """What it has in common with others is said to lie at a negative offset."""
    program = _program("", tmp_path)
    data = bytearray(program.read_bytes())
    for header in struct.iter_unpack("<IIQQQQQQ", data[64 : 64 + 56 * data[56]]):
        if header[0] == 0x6474E550:  # PT_GNU_EH_FRAME
            offset = header[2]
    (count,) = struct.unpack_from("<I", data, offset + 8)
    for _, entry in struct.iter_unpack("<ii", data[offset + 12 : offset + 12 + 8 * count]):
        struct.pack_into("<I", data, offset + entry + 4, 0x7FFF_FFFF)
    program.write_bytes(data)
    seen = transcript(*QUIET, program, commands="break leaf\nc\nbt\n")
    assert (seen.status, seen.stderr) == (0, b"")
    assert backtraces(seen.stdout.decode()) == [["leaf", "_start"]]


def _program(rules: str, folder: Path) -> Path:
    """Two functions with these rules for unwinding, of which one calls the other."""
    function = ".type {0},@function\n{0}: .cfi_startproc\n" + rules + "{1}\n.cfi_endproc\n.size {0},.-{0}\n"
    text = ".globl _start\n" + function.format("_start", "call leaf\nnop") + function.format("leaf", "nop\nhlt")
    (folder / "hostile.S").write_text(text)
    program = folder / "hostile"
    compile_to(folder / "hostile.S", "x86_64-linux-musl", ("-nostdlib", "-static", "-Wl,--eh-frame-hdr"), program)
    return program
