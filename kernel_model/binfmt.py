"""What execve(2) and a reader of program files say to each other: the kernel model knows no file format itself.

`loader` implements it for ELF; the machine hands `loader.load` to the kernel as `Kernel.binfmt_elf`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

EXSTACK_DEFAULT: Final = 0
EXSTACK_DISABLE_X: Final = 1
EXSTACK_ENABLE_X: Final = 2
BINPRM_BUF_SIZE: Final = 256
"""How much of a file's beginning decides its format (bytes; include/uapi/linux/binfmts.h)."""

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> the file's bytes there, fewer at its end."""


class NotExecutable(Exception):
    """execve(2) refuses the file with `errno`. `reason`: one clear sentence that goes on after the file's name."""

    def __init__(self, reason: str, errno: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = errno


class SegmentPlan(Protocol):
    """One PT_LOAD, in the file's own addresses: `filesz` bytes at `offset` go to `vaddr`, zeros up to `memsz` after."""

    @property
    def vaddr(self) -> int: ...
    @property
    def memsz(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def filesz(self) -> int: ...
    @property
    def prot(self) -> int:
        """PROT_READ | PROT_WRITE | PROT_EXEC."""
        ...


class ProgramPlan(Protocol):
    """What a program file asks for, in its own addresses (`relocatable`: they may be moved by whole pages)."""

    @property
    def machine(self) -> int: ...
    @property
    def relocatable(self) -> bool:
        """ET_DYN: the addresses are offsets from wherever it is put."""
        ...

    @property
    def entry(self) -> int: ...
    @property
    def segments(self) -> Sequence[SegmentPlan]:
        """In the order of the file's program headers."""
        ...

    @property
    def phdr_vaddr(self) -> int:
        """Where the program headers lie in memory; 0 when no segment holds them."""
        ...

    @property
    def phnum(self) -> int: ...
    @property
    def phentsize(self) -> int: ...
    @property
    def interpreter(self) -> bytes | None:
        """PT_INTERP's path."""
        ...

    @property
    def stack_exec(self) -> int:
        """EXSTACK_*: what PT_GNU_STACK says."""
        ...

    @property
    def align(self) -> int:
        """The largest p_align that is a power of two, at least a page (bytes)."""
        ...

    @property
    def defect(self) -> str:
        """Empty for a sound file; else why it can't work, although Linux gives up the caller's old program before it
        finds out, or even starts the file and lets it die. Goes on after the file's name, as a reason does."""
        ...


class BinaryFormat(Protocol):
    """A reader of program files."""

    def __call__(self, read: ReadAt, size: int, machine: int, task_size: int) -> ProgramPlan:
        """The plan of the file of `size` bytes that `read` reads, for the architecture `machine` (EM_*), whose user
        addresses end at `task_size`. Raises `NotExecutable`; always if `machine` is 0, "none that there is"."""
        ...
