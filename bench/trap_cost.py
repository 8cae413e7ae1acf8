"""What one trap costs at the least: the yardstick that system calls are measured by.

200,000 `svc` in a loop on a bare Unicorn, where each trap does in the interrupt hook what the first half of a
bounce would: read ten registers in one batch, pack four words into guest memory, write two registers. Called
"v3" in the tables. It is measured beside the benchmarks, in the same run, since machines drift.

    python bench/trap_cost.py        prints microseconds a trap, the best of the ways to call the library
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import struct
import time
from pathlib import Path
from typing import Any

# By name, so that its half-typed classes are no concern of the type checker.
unicorn: Any = importlib.import_module("unicorn")
reg: Any = importlib.import_module("unicorn.arm64_const")

TRAPS = 200_000
# movz x19, #TRAPS & 0xffff; movk x19, #TRAPS >> 16, lsl #16
# loop: movz x8, #172; svc #0; subs x19, x19, #1; b.ne loop; brk #1
CODE = struct.pack(
    "<7I",
    0xD2800013 | (TRAPS & 0xFFFF) << 5,
    0xF2A00013 | (TRAPS >> 16) << 5,
    0xD2801588,
    0xD4000001,
    0xF1000673,
    0x54FFFFA1,
    0xD4200020,
)
TEXT, DATA = 0x10000, 0x80000
SVC = 2


def _pointers(values: ctypes.Array[Any]) -> ctypes.Array[Any]:
    base = ctypes.addressof(values)
    return (ctypes.c_void_p * len(values))(*[base + 8 * i for i in range(len(values))])


def trap_us(library: ctypes.CDLL, hook_type: Any) -> float:
    """Microseconds a trap, with one way of calling the library and being called by it."""
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    uc.ctl_set_cpu_model(reg.UC_CPU_ARM64_MAX)
    uc.mem_map(TEXT, 0x1000)
    uc.mem_write(TEXT, CODE)
    memory = mmap.mmap(-1, 0x1000)
    uc.mem_map_ptr(DATA, 0x1000, 7, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    handle = ctypes.c_void_p(uc._uch.value)
    names = (reg.UC_ARM64_REG_X8, reg.UC_ARM64_REG_SP, reg.UC_ARM64_REG_PC, reg.UC_ARM64_REG_PSTATE)
    first = reg.UC_ARM64_REG_X0
    ids = (ctypes.c_int * 10)(*names, *range(first, first + 6))
    written_ids = (ctypes.c_int * 2)(first, reg.UC_ARM64_REG_PC)
    values, written = (ctypes.c_uint64 * 10)(), (ctypes.c_uint64 * 2)()
    pointers, written_pointers = _pointers(values), _pointers(written)
    read_batch, write_batch = library.uc_reg_read_batch, library.uc_reg_write_batch
    read_args = (handle, ctypes.byref(ids), ctypes.byref(pointers), ctypes.c_int(10))
    write_args = (handle, ctypes.byref(written_ids), ctypes.byref(written_pointers), ctypes.c_int(2))
    pack_into = struct.Struct("<4Q").pack_into

    def interrupt(_uc: int, number: int, _data: int) -> None:
        if number != SVC:
            library.uc_emu_stop(handle)
            return
        read_batch(*read_args)
        pack_into(memory, 0x800, values[0], values[1], values[2], values[3])
        written[0] = 42
        written[1] = values[2]
        write_batch(*write_args)

    callback = hook_type(interrupt)
    hook = ctypes.c_size_t()
    kind = ctypes.c_int(unicorn.UC_HOOK_INTR)
    everywhere = (ctypes.c_uint64(1), ctypes.c_uint64(0))
    library.uc_hook_add(handle, ctypes.byref(hook), kind, callback, None, *everywhere)
    began = time.perf_counter()
    nothing = ctypes.c_uint64(0)
    library.uc_emu_start(handle, ctypes.c_uint64(TEXT), nothing, nothing, ctypes.c_size_t(0))
    return (time.perf_counter() - began) / TRAPS * 1e6


def best_us() -> float:
    """The cheaper way: releasing the interpreter's lock around calls, or not."""
    path = str(next((Path(unicorn.__file__).parent / "lib").glob("libunicorn.so*")))
    arguments = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
    ways = [
        (ctypes.CDLL(path), ctypes.CFUNCTYPE(None, *arguments)),
        (ctypes.PyDLL(path), ctypes.PYFUNCTYPE(None, *arguments)),
    ]
    return min(trap_us(library, hook) for library, hook in ways)


if __name__ == "__main__":
    print(f"{best_us():.3f}")
