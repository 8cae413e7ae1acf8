"""What a task may read of itself without a call: `[vcpu]` or `[vthread]`, under `--vdso-data` (docs/data-pages.md).

The kernel writes the struct of whoever runs and tells user space by `Cpu.set_data_offset` where it is. It never reads
one: what is decided here is decided by the task itself. Where the mapping is not right below `[vvar]` any more, or a
process has more threads than its pages have room for, the offset is 0, and the vDSO's functions make real calls.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from kernel_model.events import BeganAgain
from kernel_model.mm.pagecache import AddressSpace, AnonymousHost, SpecialMapping
from kernel_model.mm.vma import VM_DONTCOPY, VM_DONTDUMP, VM_DONTEXPAND, VM_IO, VM_MAYREAD, VM_PFNMAP, VM_READ
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE, U32_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from struct import Struct

    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

VCPU_FLAGS: Final = VM_READ | VM_MAYREAD | VM_IO | VM_DONTDUMP | VM_PFNMAP | VM_DONTEXPAND
VTHREAD_FLAGS: Final = VCPU_FLAGS | VM_DONTCOPY
"""A child of fork gets pages of its own."""
THREAD_PAGES: Final = 16
"""Room in `[vthread]`; frames are there once a thread needs them."""
MAY_ANSWER: Final = 1
"""A bit of what user space is told, which no offset has: the vDSO's handler may answer calls by what is there."""
_VALUES: Final = {
    "cpu": "cpu", "node": "numa_node", "pid": "tgid_vnr", "tid": "pid_vnr", "uid": "cred.uid", "euid": "cred.euid",
    "gid": "cred.gid", "egid": "cred.egid", "ppid": "signal.parent_vnr",
}  # fmt: skip
"""Where a task has what a field of that name tells."""


class DataLayout(Protocol):
    """A struct as the kernel must know it (`vdso_image.data_pages.DataLayout`)."""

    @property
    def mapping(self) -> str: ...
    @property
    def stride_bytes(self) -> int: ...
    @property
    def struct(self) -> Struct: ...
    @property
    def names(self) -> Sequence[str]: ...


class ThreadSpace(AddressSpace):
    """The pages of one process's `[vthread]`: gone with the mapping."""

    __slots__ = ("free", "used")
    special: ClassVar = True

    def __init__(self, frames: FrameAllocator, size_bytes: int) -> None:
        super().__init__(frames, AnonymousHost(size_bytes), anonymous=True)
        self.used = 0
        """The largest offset that a thread has had."""
        self.free: list[int] = []
        """Those below it that no thread has now."""


class MappedData:
    """Where an address space shows its data (`MemoryMap.data`); `start` 0: nowhere."""

    __slots__ = ("_changed", "end", "space", "start")

    def __init__(self, start: int, end: int, space: AddressSpace, changed: Callable[[], None]) -> None:
        """`changed`: called when it is somewhere else."""
        self.start = start
        self.end = end
        self.space = space
        self._changed = changed

    def gone(self) -> None:
        """It was unmapped."""
        self.start = self.end = 0
        self._changed()

    def moved(self, start: int) -> None:
        """It was moved to `start`."""
        self.end += start - self.start
        self.start = start
        self._changed()

    def vdso_moved(self) -> None:
        """The vDSO's image was moved, which looks for it at a distance from itself."""
        self._changed()


class DataPages:
    """One kernel's data pages, all of the same kind."""

    def __init__(self, kernel: Kernel, layout: DataLayout, *, per_thread: bool, racy: bool) -> None:
        """`racy`: a task that loses its CPU between offset and data is not made to begin again."""
        self._kernel = kernel
        self._per_thread = per_thread
        self._begins_again = not racy
        self._name = layout.mapping
        self._stride = stride = layout.stride_bytes
        self._pack = layout.struct.pack_into
        *names, version = layout.names
        assert version == "version"
        self._values: Callable[[Task], tuple[Any, ...]] = attrgetter(*(_VALUES[name] for name in names))
        self._version = 0
        self.size_bytes = THREAD_PAGES << PAGE_SHIFT if per_thread else page_align_up(kernel.cpu_count * stride)
        self._frames: list[int] = []

    # -- mappings -----------------------------------------------------------------------------------------------------
    def map_into(self, mm: MemoryMap, start: int) -> None:
        """Show a new program's data at `start`, `size_bytes` of them, up to `[vvar]`."""
        space: AddressSpace
        if self._per_thread:
            space = ThreadSpace(mm.frames, self.size_bytes)
        else:
            space = SpecialMapping(mm.frames, self.all_frames(allocate=True))
        self._map(mm, start, space)

    def _map(self, mm: MemoryMap, start: int, space: AddressSpace) -> None:
        flags = VTHREAD_FLAGS if self._per_thread else VCPU_FLAGS
        mm.map_region(start, self.size_bytes, flags, 0, None, space, self._name)
        mm.data = MappedData(start, start + self.size_bytes, space, self._tell_offset)

    def all_frames(self, *, allocate: bool = False) -> list[int]:
        """The frames of `[vcpu]`."""
        if allocate and not self._frames:
            self._frames = [self._kernel.frames.alloc_zeroed() for _ in range(self.size_bytes >> PAGE_SHIFT)]
        return self._frames

    def _fork_mapping(self, mm: MemoryMap, parents: MappedData) -> None:
        """`mm` is a copy of an address space with `parents` mapping; without memory for pages it goes without them."""
        if not parents.start:
            return
        if self._per_thread:
            try:
                self._map(mm, parents.start, ThreadSpace(mm.frames, self.size_bytes))
            except SyscallError:
                return
        elif mm.vmas.lookup(parents.start) is not None:  # it may have been kept from children
            mm.data = MappedData(parents.start, parents.end, parents.space, self._tell_offset)

    # -- tasks --------------------------------------------------------------------------------------------------------
    def start_thread(self, task: Task) -> None:
        """A new program begins in `task`, which runs."""
        task.data_offset = 0
        self._take_slot(task)
        self._write(task)
        self._tell_offset()

    def copy_process(self, task: Task, child: Task) -> None:
        """`child` is a new task of `task`'s, with an address space that is another or the same.

        In another it has the place that `task` has: it may return from a signal handler to code that has read it.
        """
        child.data_offset = 0
        if child.mm is task.mm:
            self._take_slot(child)
        else:
            if task.mm.data is not None:
                self._fork_mapping(child.mm, task.mm.data)
            self._take_slot(child, task.data_offset)
        if self._per_thread:
            self._write(child)

    def release(self, task: Task) -> None:
        """`task` leaves its address space."""
        offset, task.data_offset = task.data_offset, 0
        data = task.mm.data
        if offset and data is not None:
            assert isinstance(data.space, ThreadSpace)
            data.space.free.append(offset)

    def _take_slot(self, task: Task, offset: int = 0) -> None:
        """Give the thread a place in its process's pages, if there is one: at `offset`, in pages that nobody uses."""
        data = task.mm.data
        if not self._per_thread or data is None or not data.start:
            return
        space = data.space
        assert isinstance(space, ThreadSpace)
        if not space.free:
            end = offset or space.used + self._stride
            if end > self.size_bytes:
                return
            space.free += range(space.used + self._stride, end + 1, self._stride)
            space.used = end
        try:
            space.get_frame(self.size_bytes - space.free[-1] >> PAGE_SHIFT)
        except SyscallError:
            return
        task.data_offset = space.free.pop()

    def changed(self, task: Task) -> None:
        """Something that its data tell is another now. What a CPU's tell of it is written when it is on the CPU."""
        if self._per_thread:
            self._write(task)
        elif task is self._kernel.current:
            self._write(task)
            self._tell_offset()

    def switch(self, before: Task, task: Task) -> None:
        """`task` has the CPU now instead of `before`, whose registers are in its context."""
        if not self._per_thread:
            if self._begins_again and before.exit_code is None and before.blocked_call is None:
                self._begin_again(before)
            self._write(task)
        self._tell_offset()

    def _write(self, task: Task) -> None:
        """Tell in its struct what `task` is."""
        if self._per_thread:
            offset, data = task.data_offset, task.mm.data
            if not offset or data is None or not data.start:
                return
            place = self.size_bytes - offset
            at = data.space.pages[place >> PAGE_SHIFT] + place % PAGE_SIZE
        else:
            place = self.size_bytes - (task.cpu + 1) * self._stride
            at = self._frames[place >> PAGE_SHIFT] + place % PAGE_SIZE
        self._version = self._version + 1 & U32_MASK
        self._pack(self._kernel.frames.ram, at, *self._values(task), self._version)

    def watch_changed(self, task: Task) -> None:
        """What is done with the calls of `task` before they are made is another thing now (`Task.syscall_work`)."""
        if task is self._kernel.current:
            self._tell_offset()

    def _tell_offset(self) -> None:
        """Tell user space where the data of the running task are.

        Nothing answers a call that a filter, say, has to see.
        """
        kernel = self._kernel
        task = kernel.current
        data = task.mm.data
        if data is None or data.end + PAGE_SIZE != task.mm.vdso:
            kernel.cpu.set_data_offset(0)
            return
        offset = task.data_offset if self._per_thread else (task.cpu + 1) * self._stride
        kernel.cpu.set_data_offset(offset | MAY_ANSWER if offset and not task.syscall_work else offset)

    # -- the way from the offset to the data --------------------------------------------------------------------------
    def _beginning(self, task: Task, pc: int) -> int:
        """Where a task at `pc` has to begin again: 0 if it need not."""
        mm = task.mm
        vdso = self._kernel.vdso
        if mm.vdso <= pc < mm.vdso_end and vdso is not None:
            offset = pc - mm.vdso
            for start, done in vdso.image.data_ranges:
                if start < offset < done:
                    return mm.vdso + start
        return 0

    def _begin_again(self, task: Task) -> None:
        """`task` lost the CPU: what it has read of its offset may be another task's when it goes on."""
        cpu = self._kernel.cpu
        assert task.context is not None
        pc = cpu.context_pc(task.context)
        start = self._beginning(task, pc)
        if start:
            cpu.set_context_pc(task.context, start)
            self._tell_beginning(task, pc, start, signalled=False)

    def signal_comes(self, task: Task) -> None:
        """A handler is about to run, during which `task` may move to another CPU: it begins again after that."""
        if self._per_thread or not self._begins_again:
            return
        kernel = self._kernel
        gregs = kernel.cpu.read_gregs()
        pc = gregs[kernel.arch.PC_INDEX]
        start = self._beginning(task, pc)
        if start:
            gregs[kernel.arch.PC_INDEX] = start
            kernel.cpu.write_gregs(gregs)
            self._tell_beginning(task, pc, start, signalled=True)

    def _tell_beginning(self, task: Task, pc: int, start: int, *, signalled: bool) -> None:
        events = self._kernel.events
        if events.active:
            events.emit(BeganAgain(task, pc, start, signalled))
