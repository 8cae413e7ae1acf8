"""Make Unicorn forget an x86 exception that it has reported.

QEMU's CPU remembers the exception being delivered (`old_exception`) to tell a double and a triple fault, and forgets it
when the handler is entered. Under Unicorn the handler is a hook and nothing forgets: the second #GP of a program's life
would arrive as #DF, and all after it not at all. The field has no register number, but a saved context contains it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

from emu.cpu import binding
from emu.cpu.binding import Engine, SavedContext

_NONE: Final = b"\xff\xff\xff\xff"
_CODE: Final = 0x1000
# xor ecx, ecx; div ecx: #DE (0).  mov eax, 0xfff8; mov ds, ax: #GP (13)
_RAISES: Final = ((b"\x31\xc9\xf7\xf1", 0), (b"\xb8\xf8\xff\x00\x00\x8e\xd8", 13))


@cache
def old_exception_offset() -> int:
    """Where a saved context has `old_exception`: the word that is -1 at first and then the exception's number."""
    candidates: set[int] | None = None
    for code, number in _RAISES:
        engine = Engine(binding.UC_ARCH_X86, binding.UC_MODE_64)
        page = ctypes.create_string_buffer(8192)
        base = (ctypes.addressof(page) + 4095) & -4096
        ctypes.memmove(base, code, len(code))
        engine.map_ram(_CODE, 4096, base)
        engine.hook(binding.UC_HOOK_INTR, binding.INTR_CALLBACK(lambda *_, engine=engine: engine.stop()))
        context = SavedContext(engine.handle)
        context.save()
        before = bytes(context.bytes)
        engine.start(_CODE)
        context.save()
        after = bytes(context.bytes)
        wanted = number.to_bytes(4, "little")
        found = {
            offset
            for offset in range(0, len(before) - 3, 4)
            if before[offset : offset + 4] == _NONE and after[offset : offset + 4] == wanted
        }
        candidates = found if candidates is None else candidates & found
        engine.close()
    if not candidates or len(candidates) != 1:
        raise binding.EngineError(f"this engine keeps its old exception elsewhere: {candidates}")
    return candidates.pop()


def forget_exception(context: SavedContext) -> None:
    """Let the next exception of the context's engine be a first one; the context's contents are lost."""
    context.save()
    offset = old_exception_offset()
    context.bytes[offset : offset + 4] = _NONE
    context.restore()
