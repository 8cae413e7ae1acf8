"""A library that execve puts beside every program and starts first: Hack #1's, under `--abi seccomp` and `dispatch`.

Its image is an ELF file without relocations. The 8 bytes before its entry say how far from there its boot words are,
which the kernel writes: where the program (or its interpreter) begins, and options. It is entered with the program's
initial stack and the registers that a program starts with, and hands both on (`guests/hack1/inject.c`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from kernel_model.mm.uaccess import copy_to_user
from kernel_model.mm.vma import VM_EXEC, VM_MAY_FLAGS, VM_READ, VM_WRITE
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, UserPtr, page_align_up

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap

NAME: Final = "[hack1]"
"""What /proc/maps calls its mappings."""
# Options of the library: guests/hack1/hack1.h
DISPATCH: Final = 1
SLIDE: Final = 2
HIDE: Final = 4
_DISTANCE: Final = Struct("<q")
_BOOT: Final = Struct("<QQ")
_CODE_FLAGS: Final = VM_READ | VM_EXEC | VM_MAY_FLAGS
_DATA_FLAGS: Final = VM_READ | VM_WRITE | VM_MAY_FLAGS


class _Segment(NamedTuple):
    """Whole pages of the image: code in frames that all programs share, or data of each program's own."""

    start: int
    size_bytes: int
    content: bytes
    frames: list[int]


class Preload:
    """The library as one kernel has it."""

    def __init__(self, kernel: Kernel, elf: bytes, options: int) -> None:
        """`elf`: the image. `options`: DISPATCH and so on, which each start of it is told."""

        def read(offset: int, count: int) -> bytes:
            return elf[offset : offset + count]

        plan = kernel.binfmt_elf(read, len(elf), kernel.arch.E_MACHINE, kernel.arch.TASK_SIZE)
        self._options = options
        self._entry = plan.entry
        self._segments = []
        for segment in plan.segments:
            start = segment.vaddr & PAGE_MASK
            content = bytes(segment.vaddr - start) + read(segment.offset, segment.filesz)
            size_bytes = page_align_up(segment.vaddr + segment.memsz) - start
            shared = not segment.prot & PROT_WRITE
            assert segment.prot == (PROT_READ | PROT_EXEC if shared else PROT_READ | PROT_WRITE)
            frames = _frames_with(kernel, content, size_bytes) if shared else []
            self._segments.append(_Segment(start, size_bytes, content, frames))
            if shared:
                word = self._entry - _DISTANCE.size - segment.vaddr
                self._boot = word + segment.vaddr + _DISTANCE.unpack_from(content, word)[0]
        self._size_bytes = max(s.start + s.size_bytes for s in self._segments)

    def map_into(self, mm: MemoryMap, entry: int) -> int:
        """Show it; where to start, for a program that begins at `entry`. ENOMEM when there is no room.

        It is where mmap(2) puts nothing while there is room elsewhere: the program's own mappings stay where they would
        be.
        """
        base = mm.lowest_free(self._size_bytes)
        for segment in self._segments:
            start = base + segment.start
            if segment.frames:
                mm.install_special_mapping(start, _CODE_FLAGS, segment.frames, NAME)
            else:
                mm.map_region(start, segment.size_bytes, _DATA_FLAGS, start >> PAGE_SHIFT, None, None, NAME)
                copy_to_user(mm, UserPtr(start), segment.content)
        copy_to_user(mm, UserPtr(base + self._boot), _BOOT.pack(entry, self._options))
        return base + self._entry

    def all_frames(self) -> list[int]:
        """The frames of its code."""
        return [frame for segment in self._segments for frame in segment.frames]


def _frames_with(kernel: Kernel, content: bytes, size_bytes: int) -> list[int]:
    """Frames of the kernel's own that hold `content`, zeros after it."""
    found = []
    for offset in range(0, size_bytes, PAGE_SIZE):
        frame = kernel.frames.alloc_zeroed()
        part = content[offset : offset + PAGE_SIZE]
        kernel.frames.ram[frame : frame + len(part)] = part
        found.append(frame)
    return found
