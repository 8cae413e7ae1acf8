"""The pages that tell a task about itself: `[vcpu]`, `[vthread]`, `[vtask]`, `[vfs]`; their layouts, written down once.

A page of the kind that a run has lies right below `[vvar]`, read-only. It is full of structs of `STRIDE_BYTES` each,
the first of them at its *end*: the data of a task begin so many bytes below `[vvar]` as the task's offset says. That
is never 0, which stands for no data at all. From the same table come the assembler's names (`vdso_image.constants`),
what the kernel writes (`kernel_model.data_pages`) and what people read (`uabi-emu vdso show`, docs/data-pages.md).
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

STRIDE_BYTES: Final = 64
"""From one struct to the next: a whole number of them in a page, and none across two lines of a cache."""
OFFSET_MASK: Final = (1 << 17) - STRIDE_BYTES
"""The bits that an offset may have, of those by which the kernel tells it (`Cpu.set_data_offset`)."""
ANSWERS_BIT: Final = 0
"""Beside them: the handler that serves calls may answer by what is there (`kernel_model.data_pages.MAY_ANSWER`)."""


class Field(NamedTuple):
    """A member of a struct. `code`: its `struct` format; `text`: what it is."""

    name: str
    code: str
    text: str


class DataLayout(NamedTuple):
    """A struct, and the name of the mapping that shows it (`kernel_model.data_pages.DataLayout`)."""

    name: str
    mapping: str
    fields: tuple[Field, ...]

    @property
    def stride_bytes(self) -> int:
        """From one struct to the next."""
        return STRIDE_BYTES

    @property
    def struct(self) -> Struct:
        """Packs the fields, in their order."""
        return Struct("<" + "".join(field.code for field in self.fields))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, in their order."""
        return tuple(field.name for field in self.fields)

    def offsets(self) -> dict[str, int]:
        """Where each field is in the struct, in bytes."""
        found = {}
        place = 0
        for field in self.fields:
            size = Struct(field.code).size
            if place % size:
                raise ValueError(f"{field.name} is not aligned")
            found[field.name] = place
            place += size
        if place > STRIDE_BYTES:
            raise ValueError(f"struct {self.name} has {place} bytes")
        return found


_TASK_FIELDS: Final = (
    Field("cpu", "I", "getcpu: the logical CPU"),
    Field("node", "I", "getcpu: its NUMA node"),
    Field("pid", "i", "getpid"),
    Field("tid", "i", "gettid"),
    Field("uid", "I", "getuid"),
    Field("euid", "I", "geteuid"),
    Field("gid", "I", "getgid"),
    Field("egid", "I", "getegid"),
    Field("ppid", "i", "getppid"),
    Field("version", "I", "another one whenever the struct was written, for a reader that reads again"),
)
"""The order of the slides' `struct vdso_per_cpu_data`; the last is not theirs."""
ANSWERS: Final = {
    "getpid": "pid",
    "gettid": "tid",
    "getppid": "ppid",
    "getuid": "uid",
    "geteuid": "euid",
    "getgid": "gid",
    "getegid": "egid",
}
"""Calls without arguments, each with the field that is all of its answer: what reads them is written once
(`.answers` in the sources). getcpu answers with two, through pointers."""

PER_CPU: Final = DataLayout("vdso_per_cpu_data", "[vcpu]", _TASK_FIELDS)
"""One for each logical CPU, about the task that runs there; all address spaces show the same page."""
PER_THREAD: Final = DataLayout("vdso_per_thread_data", "[vthread]", _TASK_FIELDS)
"""One for each thread, in pages of its process. The functions that read it are the same, and so are the offsets."""
LAYOUTS: Final = (PER_CPU, PER_THREAD)

PER_TASK: Final = DataLayout(
    "vdso_task_variables",
    "[vtask]",
    (
        Field("fs_page", "Q", "where the address space shows the task's [vfs]; 0 for nowhere"),
        Field("pending", "Q", "rt_sigprocmask: what may be pending, bit n-1 for signal n, is left to the kernel"),
        Field("blocked", "Q", "rt_sigprocmask: the signal mask"),
        Field("robust_list", "Q", "set_robust_list, get_robust_list"),
        Field("timer_slack_ns", "Q", "prctl: PR_SET_TIMERSLACK, PR_GET_TIMERSLACK"),
        Field("personality", "I", "personality"),
        Field("pdeath_signal", "I", "prctl: PR_SET_PDEATHSIG, PR_GET_PDEATHSIG"),
    ),
)
"""A task's own page, which it may write: at its start there is one of these (`kernel_model.user_pages`)."""
PER_FS: Final = DataLayout("vdso_fs_variables", "[vfs]", (Field("umask", "I", "umask"),))
"""The page of the tasks that share a working directory, root and umask (CLONE_FS)."""
VARIABLES: Final = (PER_TASK, PER_FS)
"""Both are at the start of a page of their own."""
