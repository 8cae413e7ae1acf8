"""The numbers that `emu.cpu` gives to Unicorn are those of the installed package."""

from __future__ import annotations

from unicorn import arm64_const, unicorn_const, x86_const

from emu.cpu import aarch64, binding, x86_64


def test_engine_constants() -> None:
    names = [name for name in vars(binding) if name.startswith("UC_")]
    assert len(names) > 15
    for name in names:
        assert getattr(binding, name) == getattr(unicorn_const, name), name


def test_aarch64_registers() -> None:
    assert aarch64.UC_CPU_ARM64_MAX == arm64_const.UC_CPU_ARM64_MAX
    assert tuple(getattr(arm64_const, f"UC_ARM64_REG_X{i}") for i in range(31)) == aarch64.X
    names = {"CP": "CP_REG", "CPACR": "CPACR_EL1"}
    for name in [name for name in vars(aarch64) if name.startswith("REG_")]:
        short = name.removeprefix("REG_")
        assert getattr(aarch64, name) == getattr(arm64_const, f"UC_ARM64_REG_{names.get(short, short)}"), name


def test_x86_64_registers() -> None:
    assert x86_64.UC_CPU_X86_EPYC_ROME == x86_const.UC_CPU_X86_EPYC_ROME
    for name in [name for name in vars(x86_64) if name.startswith(("REG_", "INS_"))]:
        assert getattr(x86_64, name) == getattr(x86_const, f"UC_X86_{name}"), name
