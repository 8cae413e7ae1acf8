"""Variables that the kernel keeps for a task, in pages that the task may write: `[vtask]`, `[vfs]` (docs/hack3.md).

A task has a `[vtask]` of its own, and the tasks that share a `FsStruct` show the same `[vfs]`, in whatever address
spaces. The frames are the kernel's: it finds a value in there whatever a program has done with the mapping. What it
finds is the program's word. It is read once where it counts, and believed only if the call that sets the variable
would have taken it from that program; else the last value that was good stands.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from kernel_model.mm.pagecache import AddressSpace, AnonymousHost
from kernel_model.mm.vma import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from kernel_model.task import variable_of_task
from kernel_model.types import PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import FsStruct, Task

_FLAGS: Final = (
    VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_SHARED | VM_MAYSHARE | VM_IO | VM_DONTDUMP | VM_PFNMAP
    | VM_DONTEXPAND | VM_DONTCOPY
)  # fmt: skip


class Field(Protocol):
    """A member of a struct (`vdso_image.data_pages.Field`)."""

    @property
    def name(self) -> str: ...
    @property
    def code(self) -> str: ...


class VariableLayout(Protocol):
    """A struct as the kernel must know it (`vdso_image.data_pages.DataLayout`)."""

    @property
    def mapping(self) -> str: ...
    @property
    def fields(self) -> Sequence[Field]: ...
    def offsets(self) -> dict[str, int]: ...


class UserPage(AddressSpace):
    """One page of variables; its frame is the kernel's until `free`."""

    __slots__ = ("_fields", "address", "users")
    special: ClassVar = True

    def __init__(self, frames: FrameAllocator, fields: Mapping[str, tuple[Struct, int]]) -> None:
        """`fields`: of each name how and where it is in the page. Raises OutOfMemory."""
        super().__init__(frames, AnonymousHost(PAGE_SIZE))
        self.pages[0] = frames.alloc_zeroed()
        self._fields = fields
        self.address = 0
        """Where the task is told that it is."""
        self.users = 0
        """How many tasks have it."""

    def get(self, name: str) -> int:
        """What stands there now, whoever wrote it."""
        form, offset = self._fields[name]
        value: int = form.unpack_from(self._frames.ram, self.pages[0] + offset)[0]
        return value

    def set(self, name: str, value: int) -> None:
        """Write it."""
        form, offset = self._fields[name]
        form.pack_into(self._frames.ram, self.pages[0] + offset, value)

    def map_into(self, mm: MemoryMap, name: str) -> int:
        """Show it in `mm`, where mmap(2) puts nothing while there is room elsewhere; the address. ENOMEM."""
        address = mm.lowest_free(PAGE_SIZE)
        mm.map_region(address, PAGE_SIZE, _FLAGS, 0, None, self, name)
        return address

    def address_in(self, mm: MemoryMap) -> int:
        """Where `mm` shows it; 0 for nowhere."""
        return next((vma.vm_start for vma in self.i_mmap if vma.vm_mm is mm), 0)

    def unmap(self, mm: MemoryMap) -> None:
        """Take it out of `mm`, wherever it is there by now."""
        while address := self.address_in(mm):
            mm.munmap(address, PAGE_SIZE)

    def free(self) -> None:
        """Nobody needs it any more, and nothing shows it."""
        self._frames.put(self.pages.pop(0))


class UserPages:
    """One kernel's pages of variables."""

    def __init__(self, kernel: Kernel, of_task: VariableLayout, of_fs: VariableLayout) -> None:
        self._kernel = kernel
        self._names = (of_task.mapping, of_fs.mapping)
        self._task_fields, self._fs_fields = (
            {field.name: (Struct("<" + field.code), layout.offsets()[field.name]) for field in layout.fields}
            for layout in (of_task, of_fs)
        )
        fs_page, *variables = of_task.fields
        assert fs_page.name == "fs_page"
        self._task_struct = Struct("<" + "".join(field.code for field in of_task.fields))
        self._variables = [variable_of_task(field.name) for field in variables]
        """Of each in the page but the first: what the task itself calls it, and whether a value is one."""

    def attach(self, task: Task) -> None:
        """Give the task its pages, in the address space that it has now. It goes without where there is no room."""
        mm = task.mm
        frames = self._kernel.frames
        try:
            page = UserPage(frames, self._task_fields)
        except SyscallError:
            return
        try:
            page.address = page.map_into(mm, self._names[0])
        except SyscallError:
            page.free()
            return
        own = task.__dict__
        self._task_struct.pack_into(frames.ram, page.pages[0], 0, *(own[name] for name, _ in self._variables))
        task.variables = page
        self._show_fs(task, page)

    def _show_fs(self, task: Task, page: UserPage) -> None:
        """Give the task the page of its `fs` too."""
        fs, mm = task.fs, task.mm
        try:
            if fs.page is None:
                umask = fs.umask
                fs.page = UserPage(self._kernel.frames, self._fs_fields)
                fs.page.set("umask", umask)
            page.set("fs_page", fs.page.address_in(mm) or fs.page.map_into(mm, self._names[1]))
        except SyscallError:
            pass  # the mask is set by real calls
        if fs.page is not None:
            fs.page.users += 1

    def read_back(self, task: Task) -> None:
        """What counts of `task`'s variables is in the task itself from now on, until it has a page again."""
        page = task.variables
        if page is not None:
            _, *values = self._task_struct.unpack_from(self._kernel.frames.ram, page.pages[0])
            for (name, is_valid), value in zip(self._variables, values, strict=True):
                if is_valid(task, value):
                    task.__dict__[name] = value

    def detach(self, task: Task) -> None:
        """The task leaves its address space, and takes the values along."""
        page = task.variables
        if page is None:
            return
        self.read_back(task)
        task.variables = None
        alone = task.mm.users == 1  # the address space goes, and all that it shows
        if not alone:
            page.unmap(task.mm)
        page.free()
        self._leave_fs(task, alone=alone)

    def change_fs(self, task: Task, fs: FsStruct) -> None:
        """The running task has another `fs` from now on (unshare(2))."""
        page = task.variables
        if page is not None:
            self._leave_fs(task, alone=False)
            page.set("fs_page", 0)
        task.fs = fs
        if page is not None:
            self._show_fs(task, page)

    def _leave_fs(self, task: Task, *, alone: bool) -> None:
        """The task needs the page of its `fs` no more. `alone`: nor does anybody need the address space."""
        fs_page = task.fs.page
        if fs_page is None:
            return
        fs_page.users -= 1
        if not alone and not self._has_others(task):
            fs_page.unmap(task.mm)
        if not fs_page.users:
            umask = task.fs.umask
            task.fs.page = None
            task.fs.umask = umask
            fs_page.free()

    def _has_others(self, task: Task) -> bool:
        """Is there another task in its address space that shares its `[vfs]`?"""
        return any(
            other.mm is task.mm and other.fs is task.fs and other is not task and other.variables is not None
            for other in self._kernel.tasks.values()
        )

    def tell(self, task: Task) -> None:
        """`task` has the CPU from now on, or a page that it had not."""
        page = task.variables
        self._kernel.cpu.set_task_page(0 if page is None else page.address)
