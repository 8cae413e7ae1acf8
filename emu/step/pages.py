"""The pages that tell a task about itself, or that it may write, as they are now: its structs, field by field.

What is read is what the program would read. The kernel need not believe it (docs/hack3.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.user_pages import FOR_THE_HANDLER
from vdso_image.data_pages import LAYOUTS, PER_FS, PER_TASK

if TYPE_CHECKING:
    from emu.places import Places
    from kernel_model.task import Task
    from vdso_image.data_pages import DataLayout

_MEANS: Final = {
    PER_TASK.mapping: "the task's variables",
    PER_FS.mapping: "those of all that share its umask",
    "[vcpu]": "about the task on this CPU",
    "[vthread]": "about this thread",
}
_DECIMAL: Final = ("_ns", "_signal")
"""How names end of numbers that people count in; of others the large ones are in hex."""


class Shown(NamedTuple):
    """A struct: its layout, and where it lies."""

    layout: DataLayout
    address: int

    @property
    def title(self) -> str:
        """`[vtask] at 0x2aaaaaaab000, the task's variables`."""
        return f"{self.layout.mapping} at {self.address:#x}, {_MEANS[self.layout.mapping]}"


def structs_of(places: Places, task: Task) -> list[Shown]:
    """Those that a task has, in the address space that it has now."""
    found = []
    page, mm = task.variables, task.mm
    if page is not None and page.address:
        found.append(Shown(PER_TASK, page.address))
        at = PER_TASK.offsets()["fs_page"]
        fs_page = int.from_bytes(places.peek(mm, page.address + at, 8), "little")
        if fs_page:
            found.append(Shown(PER_FS, fs_page))
    data = mm.data
    if data is not None and data.start:
        name = next((vma.name for vma in mm.vmas if vma.vm_start == data.start), None)
        for layout in LAYOUTS:
            offset = task.data_offset or (task.cpu + 1) * layout.stride_bytes
            if layout.mapping == name:
                found.append(Shown(layout, data.end - offset))
    return found


def fields(places: Places, task: Task, shown: Shown) -> list[tuple[str, str, str]]:
    """(name, value, what it is) of each member; nothing where the page can't be read."""
    struct = shown.layout.struct
    data = places.peek(task.mm, shown.address, struct.size)
    if len(data) < struct.size:
        return []
    lines = []
    for field, value in zip(shown.layout.fields, struct.unpack(data), strict=True):
        lines.append((field.name, _text(field.name, value) + _doubt(task, shown, field.name, value), field.text))
    return lines


def _text(name: str, value: int) -> str:
    """A value as people write it."""
    if name == "umask":
        return f"{value:04o}"
    return str(value) if -10_000 < value < 10_000 or name.endswith(_DECIMAL) else f"{value:#x}"


def _doubt(task: Task, shown: Shown, name: str, value: int) -> str:
    """What the kernel goes by, where it does not believe the program's word."""
    if shown.layout is not PER_TASK or name in FOR_THE_HANDLER:
        return ""
    believed = getattr(task, name)
    return "" if believed == value else f" (the kernel goes by {_text(name, believed)})"
