"""What both architectures' CPUs share: RAM, the TLB fill, the run loop, and stopping."""

from __future__ import annotations

import ctypes
import mmap
from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from emu.cpu import binding
from emu.cpu.binding import Engine, RegisterBatch, SavedContext
from kernel_model.cpu import SLICE_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.cpu.block_counter import BlockCounter
    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import CallRegisters, ImageLayout, RegisterImage, TrapHandler
    from kernel_model.mm.mm import MemoryMap

RAM_BASE: Final = 0x1_0000_0000
"""Physical address of the guest's RAM: well away from anything an architecture treats specially."""
_TLB_MIN_ENTRIES: Final = 256
_TLB_MAX_ENTRIES: Final = 1 << 16
_TLB_LEAST_FILLS: Final = 2 * _TLB_MIN_ENTRIES
_MAP_NORESERVE: Final = 0x4000
_U64: Final = Struct("<Q")
_U64_MASK: Final = (1 << 64) - 1
_CALL_SP_FLAGS: Final = Struct("@8xN8xN").unpack_from
_CALL_SP_AT, _CALL_FLAGS_AT = 8, 24
R, W, X = 1, 2, 4
_SHARED_KIND: Final = 24
"""The bits of a page-table entry (`kernel_model.mm.fault`: COW, PINNED) that say whose its frame is."""
_SHARED: Final = 16
"""A frame that another mapping may write to: PINNED, and not COW."""
_NEED: Final = {binding.UC_MEM_READ: R, binding.UC_MEM_WRITE: W, binding.UC_MEM_FETCH: X}


class GuestRam:
    """The guest's physical memory: one host mapping, of which only touched pages exist."""

    def __init__(self, size_bytes: int) -> None:
        self._map = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)  # frames are handed out in order: the host's TLB reaches further
        self.size_bytes = size_bytes
        self.view = memoryview(self._map)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def release(self, offset: int, size_bytes: int) -> None:
        """Give a range back to the host; it reads as zeros from now on."""
        self._map.madvise(mmap.MADV_DONTNEED, offset, size_bytes)


class TaskContext:
    """A task's registers while it is off the CPU."""

    __slots__ = ("pc", "registers")

    def __init__(self, engine: Engine) -> None:
        self.registers = SavedContext(engine.handle)
        self.pc = 0


class Image:
    """A `kernel_model.cpu.RegisterImage`: the engine copies each register to or from its place itself."""

    __slots__ = ("_args", "_cpu", "_values", "data")

    def __init__(self, cpu: UnicornCpu, layout: ImageLayout, registers: dict[int, int], spare_bytes: int = 0) -> None:
        """`registers`: the place of each but the general ones. `spare_bytes`: behind `data`, for places there."""
        size_bytes = layout.size_bytes
        gregs = dict(zip(cpu.GREGS, range(layout.gregs, size_bytes, 8), strict=False))
        places = gregs | registers
        batch = RegisterBatch(cpu.engine.handle, tuple(places), tuple(places.values()), size_bytes + spare_bytes)
        self._cpu = cpu
        self._args = batch.args
        self._values = batch.values
        self.data = batch.values[:size_bytes]

    def load(self) -> None:
        """See `RegisterImage`."""
        if self._cpu.leaving is not None:
            self._cpu.settle()
        binding.read_registers(*self._args)

    def store(self) -> None:
        """See `RegisterImage`."""
        self._cpu.leaving = None
        binding.write_registers(*self._args)


class UnicornCpu(ABC):
    """One CPU (`kernel_model.cpu.Cpu`). `aarch64` and `x86_64` derive from it and say what differs."""

    CALL_REGISTERS: ClassVar[tuple[int, ...]]
    RESULT_REGISTERS: ClassVar[tuple[int, ...]]
    GREGS: ClassVar[tuple[int, ...]]
    PC: ClassVar[int]
    COUNTER_CYCLE_NS: ClassVar[int]
    PAGE_MASK: ClassVar[int]
    """What makes a page address of the address of an access: AArch64 ignores the top byte."""

    def __init__(self, engine: Engine, ram: GuestRam, code_frames: set[int]) -> None:
        self.engine = engine
        self.ram = ram
        self.handler: TrapHandler
        self._error: BaseException | None = None
        self._stopping = False
        self._must_die = False
        self.paused = False
        """`run` returned because of `pause`: the guest is not gone."""
        self._denied: tuple[int, int] | None = None
        self._pc_bias = 0
        """What a PC written now must be less by: Unicorn adds 2 to RIP after its syscall hook."""
        self.leaving: SyscallFrame | None = None
        """See `Cpu`: `write_result` writes these along with its own, and all else that looks at registers has `settle`
        write them first."""
        self._block_counter: BlockCounter | None = None
        self.slice_blocks = SLICE_BLOCKS
        self._block_hook: ctypes.c_size_t | None = None
        self._pt_cell: list[dict[int, int]] = [{}]
        self._mm_cell: list[MemoryMap | None] = [None]
        self._removing = [0]
        """While code is being forgotten, the frame that the engine is told its address leads to."""
        self._code_frames = code_frames
        self._spare_contexts: list[TaskContext] = []
        self._tlb_fills_limit = _TLB_LEAST_FILLS
        """After so many TLB fills there is a flush, so that the TLB may grow: two an entry, since one that is not
        nearly full then, because pages share an entry, would stay as it is."""
        self._tlb_fills_left = [self._tlb_fills_limit]
        engine.map_ram(RAM_BASE, ram.size_bytes, ram.host_address)
        engine.control(binding.UC_CTL_TLB_TYPE, binding.UC_TLB_VIRTUAL)
        engine.hook(binding.UC_HOOK_TLB_FILL, binding.FILL_CALLBACK(self._make_fill()))
        self._call = RegisterBatch(engine.handle, self.CALL_REGISTERS)
        self._result = RegisterBatch(engine.handle, self.RESULT_REGISTERS)
        self._gregs = RegisterBatch(engine.handle, self.GREGS)
        self._pc = RegisterBatch(engine.handle, (self.PC,))
        self._gregs_struct = Struct(f"<{len(self.GREGS)}Q")

    # -- memory -------------------------------------------------------------------------------------------------------
    def _make_fill(self) -> Callable[..., bool]:
        """The callback for a TLB miss: walk the live page table, or let the model handle the fault."""
        pt_cell, mm_cell, code_frames = self._pt_cell, self._mm_cell, self._code_frames
        need_of, from_address, page_mask = _NEED, binding.tlb_entry_at, self.PAGE_MASK
        pack = binding.TLB_ENTRY.pack_into
        results: dict[int, memoryview] = {}
        fixed, remove_code = self._fixed_page, self.engine.remove_code
        removing = self._removing
        fills_left, flush = self._tlb_fills_left, self.flush_tlb

        def fill(_engine: object, address: int, access: int, result_at: int, _data: object) -> bool:
            try:
                if removing[0]:
                    # `remove_code` asks where the code is; the program itself may not fetch from here.
                    pack(from_address(result_at), 0, RAM_BASE + removing[0], X)
                    return True
                fills_left[0] = left = fills_left[0] - 1
                if not left:
                    flush()
                need = need_of[access]
                address &= page_mask
                entry = pt_cell[0].get(address, 0)
                if not entry & need:
                    mm = mm_cell[0]
                    entry = mm.handle_fault(address, need) if mm is not None else 0
                    if not entry & need:
                        entry = fixed(address)
                        if not entry & need:
                            self._denied = (address, need)
                            return False
                frame = entry & -4096
                if entry & X:
                    # Never both writable and executable: a store to such a page would take the slow path for ever.
                    if entry & W:
                        entry &= ~W if need != W else ~X
                    if entry & X and frame not in code_frames:
                        code_frames.add(frame)
                        if entry & _SHARED_KIND == _SHARED:
                            flush()  # a store through another mapping has to come by here
                if need == W and frame in code_frames:
                    # The engine itself notices only the first store to a page, and only at the address of the code.
                    removing[0] = frame
                    try:
                        remove_code(address, 4096)
                    finally:
                        removing[0] = 0
                    code_frames.discard(frame)
                    flush()
                try:
                    result = results[result_at]
                except KeyError:
                    result = results[result_at] = from_address(result_at)
                pack(result, 0, RAM_BASE + frame, entry & 7)
                return True
            except BaseException as error:  # noqa: BLE001 (ctypes would swallow it)
                self.fail(error)
                return False

        return fill

    def _fixed_page(self, address: int) -> int:
        """A page-table entry of the CPU's own (descriptor tables), or 0."""
        return 0

    def switch_mm(self, mm: MemoryMap) -> None:
        """See `Cpu`."""
        self._mm_cell[0] = mm
        self._pt_cell[0] = mm.pt
        self.flush_tlb()

    def flush_tlb(self) -> None:
        """See `Cpu`.

        The engine's TLB changes its size at a flush only: it doubles when it was nearly full, and shrinks when it was
        nearly empty for a while. How large it is can't be asked, only guessed from how many fills there were.
        """
        limit, left = self._tlb_fills_limit, self._tlb_fills_left
        if not left[0]:
            self._tlb_fills_limit = limit = min(2 * limit, 2 * _TLB_MAX_ENTRIES)
        elif limit > _TLB_LEAST_FILLS and left[0] > limit * 3 // 4:
            self._tlb_fills_limit = limit = max(limit // 2, _TLB_LEAST_FILLS)
        left[0] = limit
        self.engine.flush_tlb()

    def flush_code(self) -> None:
        """See `Cpu`."""
        self.engine.flush_code()

    def unhook(self, hook: ctypes.c_size_t) -> None:
        """Remove a hook on code, from a trap too.

        The engine looks up where the hooked code is, which may be mapped no more: that would be a fault of the program.
        """
        self._removing[0] = 4096  # any frame will do, for all code is forgotten at once
        try:
            self.engine.unhook(hook)
        finally:
            self._removing[0] = 0
        self.flush_tlb()
        self.engine.flush_code()

    # -- registers ----------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        """Let the engine have the registers of a bounce that has ended."""
        frame = self.leaving
        if frame is not None:
            self.leaving = None
            self._leave_handler(frame)
            _number, sp, _pc, flags = frame
            _U64.pack_into(self._call.values, _CALL_SP_AT, sp)
            _U64.pack_into(self._call.values, _CALL_FLAGS_AT, flags)

    def read_pc(self) -> int:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        pc = self._pc
        binding.read_registers(*pc.args)
        value: int = _U64.unpack_from(pc.values)[0]
        return value - self._pc_bias & _U64_MASK

    def read_gregs(self) -> list[int]:
        """See `Cpu`."""
        self.settle()
        binding.read_registers(*self._gregs.args)
        return list(self._gregs_struct.unpack_from(self._gregs.values))

    def write_gregs(self, values: list[int]) -> None:
        """See `Cpu`."""
        self.settle()
        self._gregs_struct.pack_into(self._gregs.values, 0, *values)
        binding.write_registers(*self._gregs.args)

    def read_gregs_bytes(self) -> bytes:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        gregs = self._gregs
        binding.read_registers(*gregs.args)
        return gregs.values.tobytes()

    def write_gregs_bytes(self, data: bytes | bytearray) -> None:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        gregs = self._gregs
        gregs.values[:] = data
        binding.write_registers(*gregs.args)

    @abstractmethod
    def set_counter(self, read_ns: Callable[[], int]) -> None:
        """Let the counter that user space reads be `read_ns`, where the engine's own does not run with the kernel's."""

    enter_handler: Callable[[int, int, int, int], None]
    """See `Cpu`."""

    def call_sp_and_flags(self) -> tuple[int, int]:
        """See `Cpu`: as `read_call` has left them in its memory, or as the end of a bounce has them."""
        frame = self.leaving
        if frame is not None:
            return frame[1], frame[3]
        sp, flags = _CALL_SP_FLAGS(self._call.values)
        return sp, flags

    # What the architecture says (all as `Cpu` has it)
    @abstractmethod
    def read_call(self) -> CallRegisters: ...
    @abstractmethod
    def resume_call(self) -> None: ...
    @abstractmethod
    def write_result(self, value: int) -> None: ...
    @abstractmethod
    def _leave_handler(self, frame: SyscallFrame) -> None: ...
    @abstractmethod
    def read_fpregs(self) -> bytes: ...
    @abstractmethod
    def write_fpregs(self, data: bytes) -> None: ...
    @abstractmethod
    def register_image(self, layout: ImageLayout) -> RegisterImage: ...
    @abstractmethod
    def enter_signal_handler(self, registers: tuple[int, ...]) -> None: ...
    @abstractmethod
    def start_thread(self, pc: int, sp: int) -> None: ...
    @abstractmethod
    def get_tls(self) -> int: ...
    @abstractmethod
    def set_tls(self, value: int) -> None: ...
    @abstractmethod
    def get_gs(self) -> int: ...
    @abstractmethod
    def set_gs(self, value: int) -> None: ...
    @abstractmethod
    def set_data_offset(self, offset: int) -> None: ...
    @abstractmethod
    def set_task_page(self, address: int) -> None: ...
    @abstractmethod
    def hwcaps(self) -> tuple[int, int]: ...

    def save_context(self, context: object | None) -> object:
        """See `Cpu`. The PC is kept beside the engine's context, which has it less `_pc_bias`."""
        if self.leaving is not None:
            self.settle()
        if context is None:
            saved = self._spare_contexts.pop() if self._spare_contexts else TaskContext(self.engine)
        else:
            assert isinstance(context, TaskContext)
            saved = context
        saved.registers.save()
        pc = self._pc
        binding.read_registers(*pc.args)
        saved.pc = _U64.unpack_from(pc.values)[0] - self._pc_bias
        return saved

    def restore_context(self, context: object) -> None:
        """See `Cpu`."""
        if self.leaving is not None:
            self.settle()
        assert isinstance(context, TaskContext)
        context.registers.restore()
        pc = self._pc
        _U64.pack_into(pc.values, 0, context.pc + self._pc_bias)
        binding.write_registers(*pc.args)

    def context_pc(self, context: object) -> int:
        """See `Cpu`."""
        assert isinstance(context, TaskContext)
        return context.pc

    def set_context_pc(self, context: object, pc: int) -> None:
        """See `Cpu`."""
        assert isinstance(context, TaskContext)
        context.pc = pc

    def free_context(self, context: object) -> None:
        """See `Cpu`."""
        assert isinstance(context, TaskContext)
        self._spare_contexts.append(context)

    # -- running ------------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """See `Cpu`. Errors of ours that happened inside a hook are raised here."""
        self._stopping = self.paused = False
        while True:
            self._denied = None
            error = self.engine.start(self._resume_pc())
            if self._error is not None:
                failure, self._error = self._error, None
                raise failure
            if self._stopping or self._after_stop(error):
                return

    def _after_stop(self, error: int) -> bool:
        """Unicorn came back although nobody in the kernel asked it to: a fault, or attention from outside.

        True when the kernel wants to leave guest code because of it.
        """
        if self._must_die:
            self._must_die = False
            self.handler.interrupted()
        elif self._denied is not None and error != binding.UC_ERR_OK:
            self._report_fault(*self._denied)
        elif error == binding.UC_ERR_OK:
            if self._block_counter is not None:
                self._block_counter.restart(self.slice_blocks)
            self.handler.interrupted()
        elif error in (binding.UC_ERR_INSN_INVALID, binding.UC_ERR_EXCEPTION):
            self.handler.exception("undefined")
        else:
            raise binding.EngineError(f"the engine stopped with error {error} at {self._resume_pc():#x}")
        return self._stopping

    def _report_fault(self, page: int, access: int) -> None:
        """A page may not be accessed so: the program's fault."""
        self.handler.memory_fault(page, access)

    def fault_address(self, page: int, access: int) -> int:
        """See `Cpu`."""
        pc = self._resume_pc()
        if access == X:
            return pc if pc & self.PAGE_MASK == page else page
        return self._decode_fault(page, self._code_at(pc), pc)

    @abstractmethod
    def _decode_fault(self, page: int, code: bytes, pc: int) -> int:
        """The exact address, by the instruction `code` at `pc`."""

    def _code_at(self, pc: int) -> bytes:
        """Up to 16 bytes of the instruction at `pc`, which has just been fetched."""
        pt = self._pt_cell[0]
        code = b""
        while len(code) < 16:
            address = pc + len(code)
            entry = pt.get(address & -4096, 0)
            if not entry:
                break
            start = (entry & -4096) + (address & 4095)
            code += bytes(self.ram.view[start : min(start + 16 - len(code), (entry & -4096) + 4096)])
        return code

    def _resume_pc(self) -> int:
        """Where to go on."""
        self.settle()
        return self.engine.read_register(self.PC)

    def stop(self) -> None:
        """See `Cpu`."""
        self._stopping = True
        self.engine.stop()

    def pause(self) -> None:
        """`run` returns although the guest is not gone; call it again to go on. See `emu.cpu.watch`."""
        self.paused = True
        self.stop()

    def fail(self, error: BaseException) -> None:
        """Keep an exception of ours (a ctypes callback would swallow it) until guest code has been left."""
        if self._error is None:
            self._error = error
        self._stopping = True
        self.engine.stop()

    # -- attention from other host threads ----------------------------------------------------------------------------
    def kill_from_thread(self) -> None:
        """Leave guest code soon; the task must not go on afterwards, for an instruction may be run twice."""
        self._must_die = True
        self.engine.stop()

    def set_preemptible(self, wanted: bool) -> None:
        """See `Cpu`."""
        if wanted == (self._block_hook is not None):
            return
        if self._block_hook is not None:
            self.unhook(self._block_hook)
            self._block_hook = None
            return
        if self._block_counter is None:
            from emu.cpu.block_counter import BlockCounter, stop_address

            try:
                self._block_counter = BlockCounter(stop_address())
            except OSError:
                return
        self._block_counter.restart(self.slice_blocks)
        self._block_hook = self.engine.hook(binding.UC_HOOK_BLOCK, ctypes.c_void_p(self._block_counter.address))
        self.engine.flush_code()

    @property
    def preemptible(self) -> bool:
        """May `interrupt_from_thread` be used?"""
        return self._block_hook is not None

    def lengthen_slice(self, blocks: int) -> None:
        """Let the time slice that is running be `blocks` longer."""
        if self._block_hook is not None and self._block_counter is not None:
            self._block_counter.more(blocks)

    def interrupt_from_thread(self) -> None:
        """Stop between two instructions and call `TrapHandler.interrupted`; the guest can go on afterwards."""
        if self._block_counter is not None:
            self._block_counter.stop_now()
