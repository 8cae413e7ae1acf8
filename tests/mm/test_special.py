"""The vDSO as a mapping: never in parts, and what points into it goes where it goes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from kernel_model.abi.prctl import PR_SET_VMA, PR_SET_VMA_ANON_NAME
from kernel_model.mm.fault import R, W
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.mremap import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE
from kernel_model.mm.vma import VM_DONTCOPY, VM_EXEC, VM_MAY_FLAGS, VM_READ
from kernel_model.prctl import prctl
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.mm.space import Space, make_space
from tests.support.model import make_model

VDSO = 0x7000_0000
PAGES = 3
SIZE = PAGES * PAGE_SIZE
ROOM = 0x6000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
MOVE = MREMAP_MAYMOVE | MREMAP_FIXED
HANDLER, SIGRETURN = 0x740, 0x680


def with_vdso() -> Space:
    space = make_space(arch="aarch64")
    mm = space.mm
    frames = [mm.frames.alloc_zeroed() for _ in range(PAGES)]
    for index, frame in enumerate(frames):
        mm.ram[frame : frame + 8] = b"image %2d" % index
    mm.install_special_mapping(VDSO, VM_READ | VM_EXEC | VM_MAY_FLAGS, frames, "[vdso]")
    mm.vdso, mm.vdso_end = VDSO, VDSO + SIZE
    mm.vdso_handler, mm.sigtramp = VDSO + HANDLER, VDSO + SIGRETURN
    mm.mmap(ROOM, SIZE, 0, ANON)
    return space


def pointers(mm: MemoryMap) -> tuple[int, int, int, int]:
    return mm.vdso, mm.vdso_end, mm.vdso_handler, mm.sigtramp


PARTS: dict[str, Callable[[MemoryMap], object]] = {
    "unmap the first page": lambda mm: mm.munmap(VDSO, PAGE_SIZE),
    "unmap the middle": lambda mm: mm.munmap(VDSO + PAGE_SIZE, PAGE_SIZE),
    "unmap the last page": lambda mm: mm.munmap(VDSO + SIZE - PAGE_SIZE, PAGE_SIZE),
    "map over a part": lambda mm: mm.mmap(VDSO, PAGE_SIZE, 1, ANON),
    "map from before it into it": lambda mm: mm.mmap(VDSO - PAGE_SIZE, SIZE, 1, ANON),
    "move a part": lambda mm: mm.mremap(VDSO, PAGE_SIZE, PAGE_SIZE, MOVE, ROOM),
    "move all but a part": lambda mm: mm.mremap(VDSO + PAGE_SIZE, SIZE - PAGE_SIZE, SIZE - PAGE_SIZE, MOVE, ROOM),
    "shrink": lambda mm: mm.mremap(VDSO, SIZE, PAGE_SIZE, 0),
    "shrink and move": lambda mm: mm.mremap(VDSO, SIZE, PAGE_SIZE, MOVE, ROOM),
    "duplicate": lambda mm: mm.mremap(VDSO, 0, SIZE, MREMAP_MAYMOVE),
    "move and keep": lambda mm: mm.mremap(VDSO, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP),
    "move something onto a part": lambda mm: mm.mremap(ROOM, PAGE_SIZE, PAGE_SIZE, MOVE, VDSO + PAGE_SIZE),
    "protect a part": lambda mm: mm.mprotect(VDSO, PAGE_SIZE, 1),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_refused_and_nothing_changed(name: str) -> None:
    mm = with_vdso().mm
    before = pointers(mm)
    with pytest.raises(SyscallError) as error:
        PARTS[name](mm)
    assert error.value.errno == errno.EINVAL
    assert pointers(mm) == before
    assert mm.mapped_bytes(VDSO, VDSO + SIZE, VM_READ | VM_EXEC) == SIZE
    assert [vma.name for vma in mm.vmas.overlapping(VDSO, VDSO + SIZE)] == ["[vdso]"]


@pytest.mark.parametrize("start", [VDSO, VDSO - PAGE_SIZE])
def test_unmapped_or_covered_whole_it_is_gone(start: int) -> None:
    for cover in (False, True):
        mm = with_vdso().mm
        if cover:
            mm.mmap(start, SIZE + 2 * PAGE_SIZE, 1, ANON)
        else:
            mm.munmap(start, SIZE + 2 * PAGE_SIZE)
        assert (mm.vdso, mm.vdso_end) == (0, 0)
        assert mm.sigtramp == VDSO + SIGRETURN, "Linux keeps the pointer too"


def test_what_points_into_it_follows_a_move() -> None:
    space = with_vdso()
    mm = space.mm
    assert mm.mremap(VDSO, SIZE, SIZE, MOVE, ROOM) == ROOM
    assert pointers(mm) == (ROOM, ROOM + SIZE, ROOM + HANDLER, ROOM + SIGRETURN)
    assert space.load(ROOM + 2 * PAGE_SIZE, 8) == b"image  2"
    assert not mm.vmas.overlapping(VDSO, VDSO + SIZE)
    mm.munmap(ROOM, SIZE)
    assert mm.vdso == 0


def test_a_page_zero_that_moves_is_no_vdso() -> None:
    mm = with_vdso().mm
    mm.munmap(VDSO, SIZE)
    mm.mmap(0, PAGE_SIZE, 1, ANON, rawio=True)
    mm.mremap(0, PAGE_SIZE, PAGE_SIZE, MOVE, ROOM)
    assert (mm.vdso, mm.vdso_end) == (0, 0)


def test_a_child_that_does_not_get_it_has_none() -> None:
    mm = with_vdso().mm
    vma = mm.vmas.lookup(VDSO)
    assert vma is not None
    assert mm.dup_mmap().vdso == VDSO
    mm.change_flags(VDSO, VDSO + SIZE, vma, vma.vm_flags | VM_DONTCOPY)
    assert mm.dup_mmap().vdso == 0
    assert mm.vdso == VDSO


def test_what_is_written_is_private() -> None:
    space = with_vdso()
    mm = space.mm
    assert not space.store(VDSO, b"mine")
    mm.mprotect(VDSO, SIZE, R | W)
    other = Space(mm.dup_mmap())
    assert space.store(VDSO, b"mine")
    assert space.load(VDSO, 8) == b"minee  0"
    assert other.load(VDSO, 8) == b"image  0"


def test_a_name_for_anonymous_memory_is_not_for_it() -> None:
    """PR_SET_VMA on the vDSO succeeds, and /proc/self/maps goes on calling it what it is."""
    model = make_model("x86_64")
    mm = model.task.mm
    frames = [mm.frames.alloc_zeroed() for _ in range(PAGES)]
    mm.install_special_mapping(VDSO, VM_READ | VM_EXEC | VM_MAY_FLAGS, frames, "[vdso]")
    name = model.put(b"mine\0")
    assert prctl(model.task, PR_SET_VMA, PR_SET_VMA_ANON_NAME, VDSO, SIZE, name) == 0
    with pytest.raises(SyscallError):
        prctl(model.task, PR_SET_VMA, PR_SET_VMA_ANON_NAME, VDSO, PAGE_SIZE, name)
    assert [mm.vma_name(vma) for vma in mm.vmas.overlapping(VDSO, VDSO + SIZE)] == ["[vdso]"]
