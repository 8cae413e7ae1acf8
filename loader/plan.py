"""What an ELF file asks for (a `kernel_model.binfmt.ProgramPlan`).

Named tuples, not dataclasses: as immutable, and a third of the cost to define at start-up.
"""

from __future__ import annotations

from typing import NamedTuple


class Segment(NamedTuple):
    """One PT_LOAD, sizes in bytes, addresses as the file has them. `prot`: PROT_READ | PROT_WRITE | PROT_EXEC."""

    vaddr: int
    memsz: int
    offset: int
    filesz: int
    prot: int


class LoadPlan(NamedTuple):
    """Everything execve needs to know of an ELF file. The fields are described in `kernel_model.binfmt.ProgramPlan`."""

    machine: int
    relocatable: bool
    entry: int
    segments: tuple[Segment, ...]
    phdr_vaddr: int
    phnum: int
    phentsize: int
    interpreter: bytes | None
    stack_exec: int
    align: int
    defect: str
