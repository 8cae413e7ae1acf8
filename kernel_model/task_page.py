"""The page that each task has for the frames of its bounces (`--bounce-frame task-page`, docs/bounce-abi.md).

A private page of its address space, shown as `[task]`, that the program may write: a handler that has done a call's
work puts the result there. The program may also take it away; its next bounce is SIGSEGV then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.mm.vma import VM_MAY_FLAGS, VM_READ, VM_WRITE
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

TASK_PAGE_NAME: Final = "[task]"
ALIGN_BYTES: Final = 1 << 16
"""On AArch64 the handler gets the address and the number in one register."""


def map_task_page(mm: MemoryMap) -> int:
    """Map another page; its address, on a boundary of `ALIGN_BYTES`. ENOMEM when there is no place.

    It is where mmap(2) puts nothing while there is room elsewhere: the program's own mappings stay where they would be.
    """
    place = mm.lowest_free(ALIGN_BYTES + PAGE_SIZE)
    address = place + ALIGN_BYTES - 1 & -ALIGN_BYTES
    flags = VM_READ | VM_WRITE | VM_MAY_FLAGS | mm.def_flags
    mm.map_region(address, PAGE_SIZE, flags, address >> PAGE_SHIFT, None, None, TASK_PAGE_NAME)
    return address


def drop_siblings(task: Task, mm: MemoryMap) -> None:
    """fork(2) has copied the address space of `task` to `mm`: of the tasks' pages only its own is of use there."""
    for other in task.kernel.tasks.values():
        if other.mm is task.mm and other is not task and other.task_page:
            _unmap(mm, other.task_page)


def free_task_page(task: Task) -> None:
    """The task leaves an address space where others go on."""
    page, task.task_page = task.task_page, 0
    if task.mm.users > 1:
        _unmap(task.mm, page)


def _unmap(mm: MemoryMap, page: int) -> None:
    """Take a page away, unless the program has put something else there."""
    vma = mm.vmas.lookup(page)
    if vma is not None and vma.vm_start == page and vma.name == TASK_PAGE_NAME:
        mm.munmap(page, PAGE_SIZE)
