"""Disassembly around a place."""

from __future__ import annotations

from emu import disasm

X86 = bytes.fromhex("4889e5 897dfc 488b05ad4c0a00 8b10 8b45fc".replace(" ", ""))
ARM = bytes.fromhex("e00313aa 8501 0094 a80f40f9".replace(" ", ""))


def test_decode() -> None:
    lines = disasm.decode("x86_64", X86, 0x1000)
    assert [line.address for line in lines] == [0x1000, 0x1003, 0x1006, 0x100D, 0x100F]
    assert lines[0].text == "mov rbp, rsp"
    assert b"".join(line.data for line in lines) == X86
    assert [line.text.split()[0] for line in disasm.decode("aarch64", ARM, 0)] == ["mov", "bl", "ldr"]


def test_what_is_no_instruction_ends_it() -> None:
    assert disasm.decode("x86_64", b"\x06", 0) == []
    assert disasm.decode("aarch64", b"\0\0", 0) == []


def test_before_ends_exactly_there() -> None:
    lines = disasm.before("x86_64", X86, 0x1000, 2)
    assert [line.text for line in lines] == ["mov edx, dword ptr [rax]", "mov eax, dword ptr [rbp - 4]"]
    assert lines[-1].address + len(lines[-1].data) == 0x1000
    # cut in the middle of an instruction: what remains is found again
    assert disasm.before("x86_64", X86[4:], 0x1000, 1)[0].text == "mov eax, dword ptr [rbp - 4]"
    assert len(disasm.before("aarch64", ARM, 0x1000, 5)) == 3
    assert disasm.before("aarch64", b"", 0x1000, 5) == []
