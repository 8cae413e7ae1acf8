"""Variables that the kernel keeps for a task, in pages that the task may write: `[vtask]`, `[vfs]` (docs/hack3.md).

The program that a run begins with has them from its start; another task gets a `[vtask]` of its own once it has made
so many calls that this pays. The tasks that share a `FsStruct` show the same `[vfs]`, in whatever address spaces. The
frames are the kernel's: it finds a value in there whatever a program has done with the mapping. What it finds is the
program's word. It is read once where it counts, and believed only if the call that sets the variable would have taken
it from that program; else the last value that was good stands.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from kernel_model.abi.prctl import PR_GET_PDEATHSIG, PR_GET_TIMERSLACK, PR_SET_PDEATHSIG, PR_SET_TIMERSLACK
from kernel_model.abi.signal import UNBLOCKABLE
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
from kernel_model.task import Task
from kernel_model.types import PAGE_SIZE, U32_MASK, U64_MASK, SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import FsStruct


CALLS_BEFORE_PAGE = 32
"""So many calls that a page would have served pay for it, by measurement (docs/hack3.md)."""
PER_MASK: Final = 0xFF
"""include/uapi/linux/personality.h."""
PER_LINUX32: Final = 8
_LAST_SIGNAL: Final = 64
_OPTIONS: Final = frozenset((PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK))
"""Those of prctl(2) that are variables of `[vtask]`."""
FOR_THE_HANDLER: Final = ("fs_page", "pending")
"""The first words of `[vtask]`, which the kernel writes and never reads."""
_LONG: Final = 1 << 60
_FLAGS: Final = (
    VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_SHARED | VM_MAYSHARE | VM_IO | VM_DONTDUMP | VM_PFNMAP
    | VM_DONTEXPAND | VM_DONTCOPY
)  # fmt: skip


class Variable:
    """An attribute of a task that its page holds: there it is the program's word."""

    __slots__ = ("_bits", "_is_valid", "_name")

    def __init__(self, is_valid: Callable[[Task, int], bool], bits: int) -> None:
        self._is_valid = is_valid
        self._bits = bits

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Task, owner: type) -> int:
        page = task.variables
        assert page is not None
        return self.take(task, page.get(self._name))

    def take(self, task: Task, word: int) -> int:
        """What of `word`, which stands in the task's page, is believed."""
        value = word & self._bits
        own = task.__dict__
        if self._is_valid(task, value):
            own[self._name] = value
            return value
        good: int = own[self._name]
        return good

    def __set__(self, task: Task, value: int) -> None:
        task.__dict__[self._name] = value
        if task.variables is not None:
            task.variables.set(self._name, value)


def _variable(is_valid: Callable[[Task, int], bool], bits: int = U64_MASK) -> Any:
    """For `PagedTask`, whose attributes are numbers as a `Task`'s are.

    `is_valid(task, value)`: would the call that sets it take that value? If not, the last one that was good stands.
    `bits`: those that may be set at all.
    """
    return Variable(is_valid, bits)


def _is_personality(task: Task, value: int) -> bool:
    return value & PER_MASK != PER_LINUX32 or bool(task.kernel.arch.COMPAT_UTS_MACHINE)


class PagedTask(Task):
    """A task while it has a `[vtask]`. What it had before, and what was good last, is in its own dictionary.

    Others are plain tasks, for whom the variables are attributes like any other, as fast.
    """

    blocked: int = _variable(lambda task, value: True, U64_MASK & ~UNBLOCKABLE)
    robust_list: int = _variable(lambda task, value: True)
    personality: int = _variable(_is_personality)
    pdeath_signal: int = _variable(lambda task, value: value <= _LAST_SIGNAL)
    timer_slack_ns: int = _variable(lambda task, value: 0 < value < 1 << 63)


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

    __slots__ = ("_fields", "address", "leads_to", "users")
    special: ClassVar = True

    def __init__(self, frames: FrameAllocator, fields: Mapping[str, tuple[Struct, int]]) -> None:
        """`fields`: of each name how and where it is in the page. Raises OutOfMemory."""
        super().__init__(frames, AnonymousHost(PAGE_SIZE))
        self.pages[0] = frames.alloc_zeroed()
        self._fields = fields
        self.address = 0
        """Where the task is told that it is."""
        self.leads_to: UserPage | None = None
        """The `[vfs]` whose address is in it."""
        self.users = 0
        """How many such lead to it."""

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
        self._task_struct = Struct("<" + "".join(field.code for field in of_task.fields))
        first, self._variables = of_task.fields[:2], [field.name for field in of_task.fields[2:]]
        assert tuple(field.name for field in first) == FOR_THE_HANDLER
        self._unused = True
        """No task has had a page yet."""
        for name in ("rt_sigprocmask", "personality", "set_robust_list", "get_robust_list"):
            self._count(name)
        self._count("prctl", _OPTIONS)
        self._count("umask", of_fs=True)

    # -- when a task gets its pages -----------------------------------------------------------------------------------
    def _count(self, name: str, options: frozenset[int] | None = None, *, of_fs: bool = False) -> None:
        """Have the kernel count the real calls of that name that a page serves. `options`: the first arguments."""
        table = self._kernel.table
        for number in table.numbers_of(name):
            table[number] = self._counting(number, options, of_fs=of_fs)

    def _counting(self, number: int, options: frozenset[int] | None, *, of_fs: bool) -> RawHandler:
        """The handler of call `number`, which sees whether its task shall have a page from now on."""
        handler: RawHandler | None = None

        def counted(task: Task, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> int:
            nonlocal handler
            if handler is None:
                handler = self._kernel.table.compile(number)
            if options is None or a0 & U32_MASK in options:
                page = task.variables
                if (page is None or (of_fs and page.leads_to is None)) and not task.syscall_work:
                    task.variable_calls += 1
                    if task.variable_calls >= CALLS_BEFORE_PAGE:
                        self.attach(task, with_fs=of_fs)
            result = handler(task, a0, a1, a2, a3, a4, a5)
            if task.variables is not None:
                _tell_pending(task)
            return result

        return counted

    def attach(self, task: Task, *, with_fs: bool) -> None:
        """Give the running task its page, in the address space that it has now; `with_fs`: and that of its `fs`.

        Where there is no room it goes without, and makes its calls.
        """
        task.variable_calls = 0
        try:
            if task.variables is None:
                self._attach_task_page(task)
            if with_fs:
                self._attach_fs_page(task)
        except SyscallError:
            task.variable_calls = -_LONG

    def _attach_task_page(self, task: Task) -> None:
        frames = self._kernel.frames
        page = UserPage(frames, self._task_fields)
        try:
            page.address = page.map_into(task.mm, self._names[0])
        except SyscallError:
            page.free()
            raise
        own = task.__dict__
        self._task_struct.pack_into(frames.ram, page.pages[0], 0, 0, *(own[name] for name in self._variables))
        task.variables = page
        task.__class__ = PagedTask
        _tell_pending(task)
        self._unused = False
        self.tell(task)

    def _attach_fs_page(self, task: Task) -> None:
        fs, page = task.fs, task.variables
        assert page is not None
        if fs.page is None:
            umask = fs.umask
            new = UserPage(self._kernel.frames, self._fs_fields)
            new.set("umask", umask)
            fs.page = new
        page.leads_to = fs.page
        fs.page.users += 1
        page.set("fs_page", fs.page.address_in(task.mm) or fs.page.map_into(task.mm, self._names[1]))

    def begin(self, child: Task) -> None:
        """`child`, which is a copy of its parent still, has no page, and makes its calls."""
        child.variables = None
        child.variable_calls = 0
        child.__class__ = Task

    # -- what counts --------------------------------------------------------------------------------------------------
    def read_back(self, task: Task) -> None:
        """What counts of `task`'s variables is in its own dictionary now."""
        page = task.variables
        if page is not None:
            words = self._task_struct.unpack_from(self._kernel.frames.ram, page.pages[0])[len(FOR_THE_HANDLER) :]
            for name, word in zip(self._variables, words, strict=True):
                PagedTask.__dict__[name].take(task, word)

    def signal_pends(self, task: Task, *, group: bool) -> None:
        """Something is pending for `task`, or with `group` for its process: no handler may unblock it unseen."""
        if task.variables is not None:
            _tell_pending(task)
        if group and task.signal.threads > 1:
            for other in self._kernel.tasks.values():
                if other.signal is task.signal and other.variables is not None:
                    _tell_pending(other)

    def detach(self, task: Task) -> None:
        """The task leaves its address space, and takes the values along."""
        task.variable_calls = 0
        page = task.variables
        if page is None:
            return
        self.read_back(task)
        self.begin(task)
        alone = task.mm.users == 1  # the address space goes, and all that it shows
        if not alone:
            page.unmap(task.mm)
        page.free()
        self._leave_fs(task, page, alone=alone)

    def change_fs(self, task: Task, fs: FsStruct) -> None:
        """The task has another `fs` from now on (unshare(2)); its umask is set by real calls at first."""
        page = task.variables
        if page is not None:
            self._leave_fs(task, page, alone=False)
            page.set("fs_page", 0)
        task.fs = fs

    def _leave_fs(self, task: Task, page: UserPage, *, alone: bool) -> None:
        """The task needs the page of its `fs` no more. `alone`: nor does anybody need the address space."""
        fs_page, page.leads_to = page.leads_to, None
        if fs_page is None:
            return
        fs_page.users -= 1
        if not alone and not self._has_others(task, fs_page):
            fs_page.unmap(task.mm)
        if not fs_page.users:
            umask = task.fs.umask
            task.fs.page = None
            task.fs.umask = umask
            fs_page.free()

    def _has_others(self, task: Task, fs_page: UserPage) -> bool:
        """Is there another task in its address space that uses this `[vfs]`?"""
        return any(
            other.mm is task.mm and other.variables is not None and other.variables.leads_to is fs_page
            for other in self._kernel.tasks.values()
        )

    def tell(self, task: Task) -> None:
        """The running `task` has the CPU, an address space or a way to make its calls that it had not.

        Where its calls are looked at before they are made, all of them are made.
        """
        if not self._unused:
            page = task.variables
            self._kernel.cpu.set_task_page(0 if page is None or task.syscall_work else page.address)


def _tell_pending(task: Task) -> None:
    """Have the page say what is pending: calls that would unblock some of it are left to the kernel.

    It may say too much until the next such call, but never too little.
    """
    assert task.variables is not None
    task.variables.set("pending", task.pending.mask | task.signal.shared_pending.mask)
