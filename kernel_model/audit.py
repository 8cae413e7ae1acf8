"""What is left when the last task has gone, and should not be: tasks, address spaces, open files, frames.

For tests (`uabi-emu run --check-leaks`). Who holds what is asked of Python's own collector, not of our counters, which
are what is checked.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

from kernel_model.fs.file import File
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.kernel import Kernel

_FRAMES_NAMED: Final = 4


def find_leaks(kernel: Kernel) -> list[str]:
    """One line for each kind of thing that nobody gave back; the machine has ended."""
    gc.unfreeze()  # the collector does not tell of what was frozen
    gc.collect()
    found = list(_lost_tasks(kernel))
    spaces: list[AddressSpace] = []
    for thing in gc.get_objects():
        if isinstance(thing, File) and thing.f_count:
            name = b"" if thing.f_path is None else thing.f_path.dentry.d_name
            found.append(f"{type(thing).__name__} '{name.decode('utf-8', 'replace')}' is open {thing.f_count} times")
        elif isinstance(thing, MemoryMap) and thing.frames is kernel.frames and (thing.users or thing.own):
            found.append(f"an address space has {thing.users} users and {len(thing.own)} pages")
        elif isinstance(thing, AddressSpace):
            spaces.append(thing)
    return [*found, *_lost_frames(kernel, spaces)]


def _lost_tasks(kernel: Kernel) -> Iterator[str]:
    """Tasks that run on, and those that had ended and that no parent could have waited for."""
    for task in kernel.tasks.values():
        if task.exit_code is None:
            yield f"task {task.pid} is not gone"
    for pid in kernel.lost_pids:
        yield f"task {pid} has ended and is nobody's child"


def _lost_frames(kernel: Kernel, spaces: list[AddressSpace]) -> Iterator[str]:
    """Frames that count as used and that neither a page cache nor the kernel itself has."""
    frames = kernel.frames
    known = {frames.zero_frame, kernel.sigtramp_frame}
    if kernel.vdso is not None:
        known.update(kernel.vdso.all_frames())
    if kernel.preload is not None:
        known.update(kernel.preload.all_frames())
    for space in spaces:
        if space.anonymous and space.pages and not space.special:
            yield f"an anonymous mapping that nobody shows has {len(space.pages)} pages"
        known.update(space.pages.values())
    lost = [
        number << PAGE_SHIFT for number, refs in enumerate(frames.refs) if refs and number << PAGE_SHIFT not in known
    ]
    if lost:
        names = ", ".join(f"{frame:#x} ({frames.refs[frame >> PAGE_SHIFT]})" for frame in lost[:_FRAMES_NAMED])
        yield f"{len(lost)} frames belong to nobody, with their references: {names}"
