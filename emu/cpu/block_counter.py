"""A hook in machine code of the host's: it counts blocks of guest code, and stops the engine when it is time.

The engine's translated code calls it at the start of every block. A hook in Python would cost two hundred times as
much, and one alone is called directly: guest code runs at about five sixths of its speed. A stop from here falls
between two instructions, so that the guest can go on afterwards, and since blocks are counted, not time, it falls at
the same place in every run.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from typing import Final

from emu.cpu.binding import lib

_PAGE: Final = mmap.PAGESIZE
_COUNT, _FLAG, _TARGET = 0, 8, 16
"""Where the data page has how many blocks are left (u64), whether to stop now (u32), and the address of the stop."""


def _x86_64(data: int) -> bytes:
    """dec [count]; je stop; cmp [flag], 0; jne stop; ret; stop: jmp [target]. `data` lies a page behind the code."""

    def at(field: int, end: int) -> bytes:
        return (_PAGE + field - end).to_bytes(4, "little")

    return (
        bytes.fromhex("48ff0d") + at(_COUNT, 7) + bytes.fromhex("740a")
        + bytes.fromhex("833d") + at(_FLAG, 16) + bytes.fromhex("00 7501 c3")
        + bytes.fromhex("ff25") + at(_TARGET, 25)
    )  # fmt: skip


def _aarch64(data: int) -> bytes:
    """The same: the address of the data page is the literal at the end."""
    instructions = (
        0x58000144,  # ldr x4, data
        0xF9400085,  # ldr x5, [x4, #0]
        0xF10004A5,  # subs x5, x5, #1
        0xF9000085,  # str x5, [x4, #0]
        0x54000060,  # b.eq stop
        0xB9400885,  # ldr w5, [x4, #8]
        0x34000065,  # cbz w5, done
        0xF9400885,  # stop: ldr x5, [x4, #16]
        0xD61F00A0,  # br x5
        0xD65F03C0,  # done: ret
    )
    return b"".join(word.to_bytes(4, "little") for word in instructions) + data.to_bytes(8, "little")


CODE: Final = {"x86_64": _x86_64, "amd64": _x86_64, "aarch64": _aarch64, "arm64": _aarch64}
"""By the host's machine name: the code, from the address of its data."""


def stop_address() -> int:
    """The host's function that stops the engine it is given."""
    stop = ctypes.cast(lib.uc_emu_stop, ctypes.c_void_p).value
    assert stop is not None
    return stop


class BlockCounter:
    """The hook (`address`, to be called with the engine as first argument) and its counter."""

    def __init__(self, stop: int, machine: str | None = None) -> None:
        """`stop`: the address of the host function that stops the engine. OSError on a host without such a hook."""
        build = CODE.get((machine or platform.machine()).lower())
        if build is None:
            raise OSError(f"no block counter for a host like {platform.machine()}")
        self._pages = mmap.mmap(-1, 2 * _PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        data = self.address + _PAGE
        code = build(data)
        self._pages[: len(code)] = code
        # The page becomes executable after it was written: that is when a kernel sees to the instruction cache.
        if ctypes.CDLL(None, use_errno=True).mprotect(
            ctypes.c_void_p(self.address), ctypes.c_size_t(_PAGE), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise OSError(ctypes.get_errno(), "a page can't be made executable")
        self._count = ctypes.c_uint64.from_address(data + _COUNT)
        self._flag = ctypes.c_uint32.from_address(data + _FLAG)
        ctypes.c_uint64.from_address(data + _TARGET).value = stop

    def restart(self, blocks: int) -> None:
        """Stop after `blocks` blocks; what was asked for before is done."""
        self._flag.value = 0
        self._count.value = blocks

    def more(self, blocks: int) -> None:
        """Let it be `blocks` more than were left."""
        self._count.value += blocks

    def stop_now(self) -> None:
        """Stop at the next block; from any thread."""
        self._flag.value = 1

    @property
    def left(self) -> int:
        """After so many blocks it stops."""
        return self._count.value
