"""The real kernel model on a CPU that executes nothing: for tests of calls, files and memory."""

from __future__ import annotations

import mmap
import struct
import weakref
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import loader
from emu.host.real import RealHost
from kernel_model import arch as architectures
from kernel_model.abi.fcntl import O_RDWR
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from kernel_model.boot import make_first_task
from kernel_model.fs.file import put_file
from kernel_model.fs.mount import TreeOptions, build_tree
from kernel_model.kernel import Kernel
from kernel_model.mm.frames import FrameAllocator
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.timekeeping import Timekeeper
from kernel_model.types import KEEP_REGISTERS, PAGE_SIZE, UserPtr

T = TypeVar("T")

if TYPE_CHECKING:
    from kernel_model.bounce import SyscallFrame
    from kernel_model.cpu import CallRegisters, ImageLayout, RegisterImage
    from kernel_model.fs.inode import Inode
    from kernel_model.task import Task


class IdleImage:
    """The `RegisterImage` of an `IdleCpu`."""

    def __init__(self, cpu: IdleCpu, layout: ImageLayout) -> None:
        self.cpu = cpu
        self.data = memoryview(bytearray(layout.size_bytes))
        self.gregs = self.data[layout.gregs :][: 8 * len(cpu.gregs)]
        self.vectors = self.data[layout.vectors :][:512]
        self.fp_status = self.data[layout.fp_status :][:8] if layout.fp_status else None

    def load(self) -> None:
        self.gregs[:] = self.cpu.read_gregs_bytes()
        self.vectors[:] = self.cpu.fpregs[:512]
        if self.fp_status is not None:
            self.fp_status[:] = self.cpu.fpregs[512:520]

    def store(self) -> None:
        self.cpu.write_gregs_bytes(bytes(self.gregs))
        self.cpu.fpregs = bytes(self.vectors)
        if self.fp_status is not None:
            self.cpu.fpregs += bytes(self.fp_status) + bytes(8)


@dataclass(slots=True)
class IdleCpu:
    """A `kernel_model.cpu.Cpu` that only keeps what it is told."""

    gregs: list[int]
    sp_index: int
    pc_index: int
    fpregs: bytes = b""
    tls: int = 0
    gs: int = 0
    mm: MemoryMap | None = None
    results: list[int] = field(default_factory=list)
    stopped: bool = False

    def read_call(self) -> CallRegisters:
        return (0, self.gregs[self.sp_index], self.gregs[self.pc_index], self.gregs[-1], 0, 0, 0, 0, 0, 0)

    def resume_call(self) -> None:
        pass

    def write_result(self, value: int) -> None:
        if value != KEEP_REGISTERS:
            self.results.append(value)

    def read_pc(self) -> int:
        return self.gregs[self.pc_index]

    def read_gregs(self) -> list[int]:
        return list(self.gregs)

    def write_gregs(self, values: list[int]) -> None:
        self.gregs = list(values)

    def read_gregs_bytes(self) -> bytes:
        return struct.pack(f"<{len(self.gregs)}Q", *self.gregs)

    def write_gregs_bytes(self, data: bytes | bytearray) -> None:
        self.gregs = list(struct.unpack(f"<{len(self.gregs)}Q", data))

    def read_fpregs(self) -> bytes:
        return self.fpregs

    def write_fpregs(self, data: bytes) -> None:
        self.fpregs = data

    def call_sp_and_flags(self) -> tuple[int, int]:
        return self.gregs[self.sp_index], self.gregs[-1]

    def register_image(self, layout: ImageLayout) -> RegisterImage:
        return IdleImage(self, layout)

    def enter_signal_handler(self, registers: tuple[int, ...]) -> None:
        if len(registers) == 7:
            places = [0, 1, 2, 29, 30, 31, 32]
        else:
            registers = (*registers, 0)
            places = [8, 9, 12, 15, 16, 17, 13]
            self.fpregs = (0x37F).to_bytes(2, "little") + bytes(22) + (0x1F80).to_bytes(4, "little") + bytes(484)
        for place, value in zip(places, registers, strict=True):
            self.gregs[place] = value

    def start_thread(self, pc: int, sp: int) -> None:
        self.gregs = [0] * len(self.gregs)
        self.gregs[self.pc_index] = pc
        self.gregs[self.sp_index] = sp
        self.tls = self.gs = 0

    def get_tls(self) -> int:
        return self.tls

    def set_tls(self, value: int) -> None:
        self.tls = value

    def get_gs(self) -> int:
        return self.gs

    def set_gs(self, value: int) -> None:
        self.gs = value

    def set_data_offset(self, offset: int) -> None:
        self.data_offset = offset

    def set_task_page(self, address: int) -> None:
        pass

    def context_pc(self, context: object) -> int:
        assert isinstance(context, tuple)
        return int(context[0][self.pc_index])

    def set_context_pc(self, context: object, pc: int) -> None:
        assert isinstance(context, tuple)
        context[0][self.pc_index] = pc

    COUNTER_CYCLE_NS: ClassVar = 1
    data_offset: int = 0
    leaving: SyscallFrame | None = None
    slice_blocks: int = 500_000

    def enter_handler(self, pc: int, sp: int, return_pc: int, flags: int) -> None:
        self.gregs[self.pc_index], self.gregs[self.sp_index] = pc, sp

    def save_context(self, context: object | None) -> object:
        return list(self.gregs), self.tls

    def restore_context(self, context: object) -> None:
        assert isinstance(context, tuple)
        self.gregs, self.tls = list(context[0]), context[1]

    def free_context(self, context: object) -> None:
        pass

    def hwcaps(self) -> tuple[int, int]:
        return 0x1111, 0x2222

    def switch_mm(self, mm: MemoryMap) -> None:
        self.mm = mm

    def flush_tlb(self) -> None:
        pass

    def flush_code(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> None:
        raise AssertionError("there is nothing to run on")

    def fault_address(self, page: int, access: int) -> int:
        return page

    def set_preemptible(self, wanted: bool) -> None:
        pass


@dataclass(slots=True)
class Model:
    """A kernel, its first task and helpers. The tree is in memory: `/`, `/tmp` and the kernel's own mounts."""

    kernel: Kernel
    cpu: IdleCpu
    task: Task

    def add_file(
        self, path: str, data: bytes = b"", mode: int = 0o755, *, uid: int | None = None, gid: int | None = None
    ) -> Inode:
        """Put a regular file into the tree; missing directories are made. Owned by the task unless said otherwise."""
        directory, _, name = path.rpartition("/")
        cred = self.task.cred
        inode = self.kernel.mounts.path_of(directory.encode()).inode.create(
            name.encode(), 0o100000 | mode, cred.fsuid if uid is None else uid, cred.fsgid if gid is None else gid
        )
        if data:
            place = self.kernel.mounts.path_of(path.encode())
            file = inode.open(place, O_RDWR, self.task)
            file.pwrite(self.task, data, 0)
            put_file(file, None)
        return inode

    def alloc(self, size: int, prot: int = PROT_READ | PROT_WRITE) -> UserPtr:
        """Fresh user memory of at least `size` bytes, followed by a page that is not there."""
        pages = -(-size // PAGE_SIZE) * PAGE_SIZE
        mm = self.task.mm
        address = mm.mmap(0, pages + PAGE_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS)
        mm.munmap(address + pages, PAGE_SIZE)
        return UserPtr(address)

    def put(self, data: bytes) -> UserPtr:
        """Fresh user memory that holds `data`."""
        address = self.alloc(max(len(data), 1))
        copy_to_user(self.task.mm, address, data)
        return address

    def put_string(self, text: bytes) -> UserPtr:
        """Fresh user memory that holds `text` and a NUL."""
        return self.put(text + b"\0")

    def get(self, address: int, count: int) -> bytes:
        """What user memory holds."""
        return copy_from_user(self.task.mm, address, count)


def changed_copy(original: T, **changes: Any) -> T:
    """A copy of a task or another piece of the kernel's state, some of its fields changed."""
    result = copy(original)
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def make_model(arch: str = "x86_64", *, seed: int = 1, ram_bytes: int = 64 << 20, virtual_time: bool = True) -> Model:
    """A machine of that architecture whose first task is root in an empty tree, with an address space of its own."""
    host = RealHost()
    frames = FrameAllocator(memoryview(mmap.mmap(-1, ram_bytes)))
    module = architectures.get(arch)
    cpu = IdleCpu([0] * len(module.GREG_NAMES), module.SP_INDEX, module.PC_INDEX)
    kernel = Kernel(host=host, frames=frames, clock=Timekeeper(host, virtual_time), seed=seed, arch=module, cpu=cpu)
    kernel.binfmt_elf = loader.load
    build_tree(kernel, TreeOptions(isolate=True))
    task = make_first_task(kernel)
    task.cred = type(task.cred).of(0, 0, ())
    task.mm = MemoryMap(frames, module, tlb_flush=cpu.flush_tlb, code_flush=cpu.flush_code)
    task.mm.rlim = task.signal.rlim
    weakref.finalize(kernel, host.close)
    return Model(kernel, cpu, task)
