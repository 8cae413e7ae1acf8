"""The CPU. Nothing outside this folder knows which engine executes the guest's instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.cpu.engine import GuestRam, UnicornCpu


def create_cpu(arch: str, ram: GuestRam, code_frames: set[int]) -> UnicornCpu:
    """A CPU of `arch` (aarch64 | x86_64) over `ram`.

    `code_frames`: where the CPU notes each frame whose code it may have translated (`FrameAllocator.code_frames`).
    """
    if arch == "aarch64":
        from emu.cpu.aarch64 import Aarch64Cpu

        return Aarch64Cpu(ram, code_frames)
    from emu.cpu.x86_64 import X8664Cpu

    return X8664Cpu(ram, code_frames)
