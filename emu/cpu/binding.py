"""Unicorn's C library through ctypes.

Its Python package costs more to import than a whole `hello` takes, and its register calls more than a whole trap, so
only the library that the package carries is used. Numbers are of Unicorn 2.1's headers; a test compares them with the
package's own.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

UC_ARCH_ARM64: Final = 2
UC_ARCH_X86: Final = 4
UC_MODE_ARM: Final = 0
UC_MODE_64: Final = 8
UC_PROT_ALL: Final = 7

UC_ERR_OK: Final = 0
UC_ERR_INSN_INVALID: Final = 10
UC_ERR_EXCEPTION: Final = 21

UC_HOOK_INTR: Final = 1
UC_HOOK_INSN: Final = 2
UC_HOOK_CODE: Final = 4
UC_HOOK_BLOCK: Final = 8
UC_HOOK_TLB_FILL: Final = 1 << 17

UC_MEM_READ: Final = 16
UC_MEM_WRITE: Final = 17
UC_MEM_FETCH: Final = 18

UC_CTL_UC_PAGE_SIZE: Final = 1
UC_CTL_UC_USE_EXITS: Final = 4
UC_CTL_UC_EXITS: Final = 6
UC_CTL_CPU_MODEL: Final = 7
UC_CTL_TB_REMOVE_CACHE: Final = 9
UC_CTL_TB_FLUSH: Final = 10
UC_CTL_TLB_FLUSH: Final = 11
UC_CTL_TLB_TYPE: Final = 12
UC_TLB_VIRTUAL: Final = 1
_UC_CTL_IO_WRITE: Final = 1

INTR_CALLBACK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
INSN_CALLBACK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
CODE_CALLBACK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
READ_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
"""For an instruction that the hook carries out itself: 1 skips the engine's way."""
# The engine and the user data, which nobody looks at, are taken as bytes: those make no Python object.
FILL_CALLBACK: Final = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_uint8, ctypes.c_uint64, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint8
)


TLB_ENTRY: Final = struct.Struct("@NI")
"""`uc_tlb_entry`: the physical page, and UC_PROT_* bits."""


def tlb_entry_at(address: int) -> memoryview:
    """The memory of the entry that a callback is to fill in."""
    return memoryview((ctypes.c_uint8 * TLB_ENTRY.size).from_address(address)).cast("B")


class Arm64CpReg(ctypes.Structure):
    """`uc_arm64_cp_reg`: a system register by its encoding, and its value."""

    _fields_ = (
        ("crn", ctypes.c_uint32),
        ("crm", ctypes.c_uint32),
        ("op0", ctypes.c_uint32),
        ("op1", ctypes.c_uint32),
        ("op2", ctypes.c_uint32),
        ("val", ctypes.c_uint64),
    )


class X86Mmr(ctypes.Structure):
    """`uc_x86_mmr`: a descriptor table register."""

    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class EngineError(Exception):
    """A call of the library failed where it must not; the emulator's own failure."""


def _load() -> ctypes.CDLL:
    """The shared library inside the installed `unicorn` package, without importing the package."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise EngineError("the unicorn package is not installed: pip install unicorn")
    name = {"darwin": "libunicorn.2.dylib"}.get(sys.platform, "libunicorn.so.2")
    return ctypes.CDLL(os.path.join(os.path.dirname(spec.origin), "lib", name))


lib: Final = _load()


def _plain(pointer: ctypes.c_void_p) -> Any:
    """A pointer as what ctypes passes on soonest; plain numbers are the like for integers."""
    assert pointer.value is not None
    return ctypes.byref(ctypes.c_char.from_address(pointer.value))


def _registers(name: str) -> Any:
    """A function that is over sooner than the interpreter's lock could be given away for it, and never fails."""
    function = ctypes.PyDLL(lib._name)[name]
    function.restype = None
    return function


read_registers: Final = _registers("uc_reg_read_batch")
write_registers: Final = _registers("uc_reg_write_batch")
_save_context: Final = _registers("uc_context_save")
_restore_context: Final = _registers("uc_context_restore")
_control: Final = _registers("uc_ctl")


class RegisterBatch:
    """Registers that one call of the library reads or writes, each at its own place in a piece of memory.

    `values` is that memory, `offsets` where in it each register of `ids` has its bytes, as many as the engine says;
    without them 8 bytes each, one after the other. `args`: what `read_registers` and `write_registers` take.
    """

    __slots__ = ("_ids", "_pointers", "args", "values")

    def __init__(
        self, engine: ctypes.c_void_p, ids: Sequence[int], offsets: Sequence[int] = (), size_bytes: int = 0
    ) -> None:
        count = len(ids)
        self._ids = (ctypes.c_int * count)(*ids)
        buffer = (ctypes.c_uint8 * (size_bytes or 8 * count))()
        self.values = memoryview(buffer).cast("B")
        base = ctypes.addressof(buffer)
        self._pointers = (ctypes.c_void_p * count)(*(base + at for at in offsets or range(0, 8 * count, 8)))
        self.args = (_plain(engine), ctypes.byref(self._ids), ctypes.byref(self._pointers), count)


class SavedContext:
    """A `uc_context`: all registers of an engine, in memory of the library's; `bytes` is that memory."""

    __slots__ = ("_args", "bytes", "handle")

    def __init__(self, engine: ctypes.c_void_p) -> None:
        self.handle = ctypes.c_void_p()
        if lib.uc_context_alloc(engine, ctypes.byref(self.handle)):
            raise EngineError("uc_context_alloc failed")
        size = int(lib.uc_context_size(engine))
        assert self.handle.value is not None
        self.bytes = memoryview((ctypes.c_char * size).from_address(self.handle.value)).cast("B")
        self._args = (_plain(engine), _plain(self.handle))

    def save(self) -> None:
        """The engine's registers into this context."""
        _save_context(*self._args)

    def restore(self) -> None:
        """This context's registers into the engine."""
        _restore_context(*self._args)


class Engine:
    """One `uc_engine` and its calls. Registers by number; see `RegisterBatch` for the quick way."""

    def __init__(self, arch: int, mode: int) -> None:
        handle = ctypes.c_void_p()
        self._check("uc_open", lib.uc_open(arch, mode, ctypes.byref(handle)))
        self.handle = handle
        self._callbacks: list[Any] = []
        self._tlb_flush = (_plain(handle), self._ctl_word(UC_CTL_TLB_FLUSH, 0))
        self._tb_flush = (handle, self._ctl_word(UC_CTL_TB_FLUSH, 0))
        self._tb_remove = (handle, self._ctl_word(UC_CTL_TB_REMOVE_CACHE, 2))

    @staticmethod
    def _check(what: str, error: int) -> None:
        if error != UC_ERR_OK:
            lib.uc_strerror.restype = ctypes.c_char_p
            raise EngineError(f"{what}: {lib.uc_strerror(error).decode()}")

    @staticmethod
    def _ctl_word(kind: int, arguments: int) -> ctypes.c_uint32:
        return ctypes.c_uint32(kind | arguments << 26 | _UC_CTL_IO_WRITE << 30)

    def control(self, kind: int, *values: int | ctypes.c_void_p) -> None:
        """`uc_ctl` that sets; integer arguments as C ints."""
        arguments = [ctypes.c_int(value) if isinstance(value, int) else value for value in values]
        self._check(f"uc_ctl {kind}", lib.uc_ctl(self.handle, self._ctl_word(kind, len(values)), *arguments))

    def map_ram(self, physical: int, size_bytes: int, host_address: int) -> None:
        """Put the host's memory at `host_address` into the guest's physical address space."""
        self._check(
            "uc_mem_map_ptr",
            lib.uc_mem_map_ptr(
                self.handle,
                ctypes.c_uint64(physical),
                ctypes.c_size_t(size_bytes),
                UC_PROT_ALL,
                ctypes.c_void_p(host_address),
            ),
        )

    def hook(self, kind: int, callback: Any, *extra: int, begin: int = 1, end: int = 0) -> ctypes.c_size_t:
        """Add a hook; `callback` is a ctypes function object and is kept alive here.

        For addresses from `begin` to `end`, that one included; for all when `end` is less.
        """
        self._callbacks.append(callback)
        handle = ctypes.c_size_t()
        self._check(
            "uc_hook_add",
            lib.uc_hook_add(
                self.handle,
                ctypes.byref(handle),
                kind,
                callback,
                None,
                ctypes.c_uint64(begin),
                ctypes.c_uint64(end),
                *(ctypes.c_int(value) for value in extra),
            ),
        )
        return handle

    def unhook(self, handle: ctypes.c_size_t) -> None:
        """Remove a hook."""
        self._check("uc_hook_del", lib.uc_hook_del(self.handle, handle))

    def read_register(self, register: int) -> int:
        """A register of 64 bits or fewer."""
        value = ctypes.c_uint64()
        self._check("uc_reg_read", lib.uc_reg_read(self.handle, register, ctypes.byref(value)))
        return value.value

    def write_register(self, register: int, value: int) -> None:
        """Write a register of 64 bits or fewer."""
        self._check("uc_reg_write", lib.uc_reg_write(self.handle, register, ctypes.byref(ctypes.c_uint64(value))))

    def read_structure(self, register: int, structure: Any) -> None:
        """Read a register of another shape into a ctypes object, which may also say which (system registers)."""
        self._check("uc_reg_read", lib.uc_reg_read(self.handle, register, ctypes.byref(structure)))

    def write_structure(self, register: int, structure: Any) -> None:
        """Write a register of another shape."""
        self._check("uc_reg_write", lib.uc_reg_write(self.handle, register, ctypes.byref(structure)))

    def start(self, pc: int) -> int:
        """`uc_emu_start` with no end address; returns the library's error number."""
        error: int = lib.uc_emu_start(
            self.handle, ctypes.c_uint64(pc), ctypes.c_uint64(0), ctypes.c_uint64(0), ctypes.c_size_t(0)
        )
        return error

    def start_until(self, pc: int, until: int) -> int:
        """`uc_emu_start` up to the address `until`."""
        error: int = lib.uc_emu_start(
            self.handle, ctypes.c_uint64(pc), ctypes.c_uint64(until), ctypes.c_uint64(0), ctypes.c_size_t(0)
        )
        return error

    def stop(self) -> None:
        """`uc_emu_stop`: precise from a hook; from another thread the guest may not go on afterwards."""
        lib.uc_emu_stop(self.handle)

    def flush_tlb(self) -> None:
        """Forget all address translations."""
        _control(*self._tlb_flush)

    def flush_code(self) -> None:
        """Forget all translated code."""
        lib.uc_ctl(*self._tb_flush)

    def remove_code(self, address: int, size_bytes: int) -> None:
        """Forget code translated from a range within one page. `address` is looked up as that of a fetch.

        Unlike `flush_code` this may be called while the CPU runs.
        """
        end = ctypes.c_uint64(address + size_bytes)
        self._check("uc_ctl remove", lib.uc_ctl(*self._tb_remove, ctypes.c_uint64(address), end))

    def use_no_exit_address(self) -> None:
        """No address ends `start`: Unicorn would look `until - 1` up through the TLB after every stop."""
        self.control(UC_CTL_UC_USE_EXITS, 1)
        empty = (ctypes.c_uint64 * 1)()
        word = self._ctl_word(UC_CTL_UC_EXITS, 2)
        self._check("uc_ctl exits", lib.uc_ctl(self.handle, word, ctypes.byref(empty), ctypes.c_size_t(0)))

    def close(self) -> None:
        """Free the engine."""
        lib.uc_close(self.handle)
