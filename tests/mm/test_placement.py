"""Where mappings go: top-down below mmap_base, hints, guards of stacks, low addresses, limits, terabytes of nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi.mman import (
    MAP_32BIT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_NORESERVE,
    MAP_PRIVATE,
)
from kernel_model.mm.fault import RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.mm.vma import STACK_GUARD_GAP
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.mm.space import check, make_frames, make_space

ANON = MAP_PRIVATE | MAP_ANONYMOUS
TOP = 0x7000_0000_0000


def space_below(top: int = TOP, arch: str = "x86_64") -> MemoryMap:
    mm = make_space(arch=arch).mm
    mm.mmap_base = top
    return mm


def refused(expected: int, mm: MemoryMap, addr: int, length: int, prot: int, flags: int) -> None:
    with pytest.raises(SyscallError) as error:
        mm.mmap(addr, length, prot, flags)
    assert error.value.errno == expected


def highest_gap(mm: MemoryMap, length: int) -> int:
    """The same answer, by looking at every page from the top down."""
    high = mm.mmap_base
    while mm.vmas.overlapping(high - length, high):
        high -= PAGE_SIZE
    return high - length


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("map"), st.integers(1, 6), st.sampled_from([0, 1, 3])),
            st.tuples(st.just("unmap"), st.integers(1, 60), st.integers(1, 5)),
            st.tuples(st.just("fixed"), st.integers(1, 60), st.integers(1, 3)),
        ),
        max_size=40,
    )
)
def test_the_highest_place_that_fits(steps: list[tuple[str, int, int]]) -> None:
    mm = space_below()
    for what, number, more in steps:
        if what == "map":
            length = number * PAGE_SIZE
            expected = highest_gap(mm, length)
            assert mm.mmap(0, length, more, ANON) == expected
        elif what == "unmap":
            mm.munmap(TOP - number * PAGE_SIZE, min(more, number) * PAGE_SIZE)
        else:
            mm.mmap(TOP - number * PAGE_SIZE, min(more, number) * PAGE_SIZE, 3, ANON | MAP_FIXED)


def test_a_hint_is_taken_when_its_place_is_free() -> None:
    mm = space_below()
    at = 0x1234_5000
    assert mm.mmap(at + 17, PAGE_SIZE, 3, ANON) == at
    assert mm.mmap(at, PAGE_SIZE, 3, ANON) == TOP - PAGE_SIZE
    assert mm.mmap(at - PAGE_SIZE, PAGE_SIZE, 3, ANON) == at - PAGE_SIZE
    assert mm.mmap(mm.task_size, PAGE_SIZE, 3, ANON) == TOP - 2 * PAGE_SIZE
    # Below mmap_min_addr it is moved up.
    assert mm.mmap(PAGE_SIZE, PAGE_SIZE, 3, ANON) == 65536


def test_fixed_places() -> None:
    mm = space_below()
    at = 0x5000_0000
    fixed = ANON | MAP_FIXED
    assert mm.mmap(at, 2 * PAGE_SIZE, 3, fixed) == at
    refused(errno.EINVAL, mm, at + 1, PAGE_SIZE, 3, fixed)
    refused(errno.ENOMEM, mm, mm.task_size, PAGE_SIZE, 3, fixed)
    refused(errno.EPERM, mm, 0, PAGE_SIZE, 3, fixed)
    refused(errno.EEXIST, mm, at + PAGE_SIZE, PAGE_SIZE, 3, ANON | MAP_FIXED_NOREPLACE)
    assert mm.mmap(0, PAGE_SIZE, 3, fixed, rawio=True) == 0
    assert mm.mmap(mm.task_size - PAGE_SIZE, PAGE_SIZE, 3, fixed) == mm.task_size - PAGE_SIZE


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, errno.EINVAL),
        (1 << 47, errno.ENOMEM),
        ((1 << 64) - 1, errno.ENOMEM),
        ((1 << 64) - PAGE_SIZE, errno.ENOMEM),
        (1 << 63, errno.ENOMEM),
    ],
)
def test_silly_lengths(length: int, expected: int) -> None:
    refused(expected, space_below(), 0, length, 3, ANON)


def test_low_addresses_on_x86_only() -> None:
    mm = space_below()
    assert mm.mmap(0, PAGE_SIZE, 3, ANON | MAP_32BIT) == 0x4000_0000
    assert mm.mmap(0, PAGE_SIZE, 3, ANON | MAP_32BIT) == 0x4000_1000
    refused(errno.ENOMEM, mm, 0, 1 << 30, 3, ANON | MAP_32BIT)
    assert space_below(arch="aarch64").mmap(0, PAGE_SIZE, 3, ANON | MAP_32BIT) == TOP - PAGE_SIZE


def test_upwards_when_the_stack_is_unlimited_or_nothing_is_left_below() -> None:
    mm = space_below()
    mm.mmap_legacy = True
    mm.mmap_base = 0x2000_0000_0000
    assert mm.mmap(0, PAGE_SIZE, 3, ANON) == 0x2000_0000_0000
    assert mm.mmap(0, PAGE_SIZE, 0, ANON) == 0x2000_0000_1000
    mm.munmap(0x2000_0000_0000, PAGE_SIZE)
    assert mm.mmap(0, PAGE_SIZE, 3, ANON) == 0x2000_0000_0000
    crowded = space_below(0x10_0000)
    assert crowded.mmap(0, 1 << 30, 0, ANON) == crowded.arch.TASK_UNMAPPED_BASE


def test_terabytes_of_nothing_cost_nothing() -> None:
    mm = space_below()
    used = mm.frames.used_frames
    size = 40 << 40
    at = mm.mmap(0, size, 0, ANON | MAP_NORESERVE)
    assert mm.handle_fault(at + (1 << 40), 1) == 0
    mm.mprotect(at + (1 << 40), 1 << 40, 3)
    copy_to_user(mm, at + (3 << 39), b"here")
    mm.mprotect(at, size, 1)
    assert copy_from_user(mm, at + (3 << 39), 4) == b"here"
    mm.munmap(at + PAGE_SIZE, size - PAGE_SIZE)
    assert not mm.pt
    assert mm.frames.used_frames == used
    mm.munmap(0, mm.task_size)
    assert not len(mm.vmas)
    assert mm.total_vm == 0


def test_reading_through_emptiness_does_not_fill_the_host() -> None:
    space = make_space(make_frames(1 << 20))
    mm = space.mm
    pages = 200_000
    at = mm.mmap(0, pages * PAGE_SIZE, 3, ANON)
    assert space.store(at, b"kept")
    for page in range(at, at + pages * PAGE_SIZE, PAGE_SIZE):
        assert mm.handle_fault(page, 1)
        assert len(mm.pt) <= 1 << 16
    assert space.flushes == 3
    assert space.load(at, 4) == b"kept"
    check([mm], [], mm.frames)


def test_too_many_mappings() -> None:
    mm = space_below()
    at = mm.mmap(0, 1 << 30, 0, ANON)
    made = 0
    with pytest.raises(SyscallError) as error:
        for i in range(1, 1 << 17, 2):
            mm.mprotect(at + i * PAGE_SIZE, PAGE_SIZE, 1)
            made = i
    assert error.value.errno == errno.ENOMEM
    assert len(mm.vmas) in (65529, 65530, 65531)
    # What makes none more, or fewer, still works.
    mm.mprotect(at + made * PAGE_SIZE, PAGE_SIZE, 0)
    mm.munmap(at, 1 << 30)
    assert not len(mm.vmas)


def stack(mm: MemoryMap, top: int, pages: int = 4) -> int:
    return mm.mmap(top - pages * PAGE_SIZE, pages * PAGE_SIZE, 3, ANON | MAP_FIXED | MAP_GROWSDOWN)


def test_a_stack_grows_down_to_its_limit() -> None:
    mm = space_below()
    top = 0x7FF0_0000_0000
    bottom = stack(mm, top)
    mm.rlim = {RLIMIT_STACK: (1 << 20, 1 << 20)}
    assert mm.handle_fault(bottom - 5 * PAGE_SIZE, 2)
    assert mm.vmas.lookup(bottom - 5 * PAGE_SIZE) is mm.vmas.lookup(top - 1)
    assert mm.handle_fault(top - (1 << 20), 1)
    page = top - (1 << 20) - PAGE_SIZE
    assert mm.handle_fault(page, 2) == 0
    assert mm.fault_cause(page, 2) == (11, 1)
    copy_to_user(mm, top - (1 << 19), b"the kernel grows it too")
    assert mm.total_vm == (1 << 20) // PAGE_SIZE
    # Above it there is nothing to grow.
    assert mm.handle_fault(top, 2) == 0


def test_a_stack_does_not_run_into_its_neighbour() -> None:
    mm = space_below()
    top = 0x7FF0_0000_0000
    bottom = stack(mm, top)
    wall = bottom - STACK_GUARD_GAP - 3 * PAGE_SIZE
    mm.mmap(wall, PAGE_SIZE, 3, ANON | MAP_FIXED)
    assert mm.handle_fault(bottom - 2 * PAGE_SIZE, 2)
    assert mm.handle_fault(bottom - 3 * PAGE_SIZE, 2) == 0
    # One that allows nothing is guard enough.
    mm.mprotect(wall, PAGE_SIZE, 0)
    assert mm.handle_fault(bottom - 3 * PAGE_SIZE, 2)
    # And mappings keep away from a stack.
    mm.mmap_base = bottom
    assert mm.mmap(0, PAGE_SIZE, 3, ANON) < bottom - 3 * PAGE_SIZE - STACK_GUARD_GAP


def test_the_limit_of_the_address_space() -> None:
    mm = space_below()
    mm.rlim = {RLIMIT_AS: (10 * PAGE_SIZE, 10 * PAGE_SIZE)}
    at = mm.mmap(0, 8 * PAGE_SIZE, 3, ANON)
    refused(errno.ENOMEM, mm, 0, 3 * PAGE_SIZE, 3, ANON)
    assert mm.mmap(at, 8 * PAGE_SIZE, 1, ANON | MAP_FIXED) == at
    with pytest.raises(SyscallError) as error:
        mm.mremap(at, 8 * PAGE_SIZE, 11 * PAGE_SIZE, 1)
    assert error.value.errno == errno.ENOMEM
    mm.mmap(0, 2 * PAGE_SIZE, 0, ANON)


def test_the_limit_of_data() -> None:
    mm = space_below()
    mm.start_brk = mm.brk = 0x1000_0000
    mm.rlim = {RLIMIT_DATA: (10 * PAGE_SIZE, 10 * PAGE_SIZE)}
    at = mm.mmap(0, 8 * PAGE_SIZE, 1, ANON)
    mm.mprotect(at, 8 * PAGE_SIZE, 3)
    refused(errno.ENOMEM, mm, 0, 3 * PAGE_SIZE, 3, ANON)
    other = mm.mmap(0, 3 * PAGE_SIZE, 1, ANON)
    with pytest.raises(SyscallError) as error:
        mm.mprotect(other, 3 * PAGE_SIZE, 3)
    assert error.value.errno == errno.ENOMEM
    assert mm.set_brk(mm.start_brk + 3 * PAGE_SIZE) == mm.start_brk
    assert mm.set_brk(mm.start_brk + 2 * PAGE_SIZE) == mm.start_brk + 2 * PAGE_SIZE


def test_the_break() -> None:
    mm = space_below()
    start = 0x1000_0123
    mm.start_brk = mm.brk = start
    assert mm.set_brk(0) == start
    assert mm.set_brk(start + 10) == start + 10
    assert not len(mm.vmas)
    assert mm.set_brk(start + 3 * PAGE_SIZE) == start + 3 * PAGE_SIZE
    heap = next(iter(mm.vmas))
    assert (heap.vm_start, heap.vm_end) == (0x1000_1000, 0x1000_4000)
    assert mm.vma_name(heap) == "[heap]"
    copy_to_user(mm, 0x1000_1000, b"data")
    assert mm.set_brk(start) == start
    assert not len(mm.vmas)
    assert mm.set_brk(start + PAGE_SIZE) == start + PAGE_SIZE
    assert copy_from_user(mm, 0x1000_1000, 4) == bytes(4)
    # One page must stay free before what comes next.
    mm.mmap(0x1000_4000, PAGE_SIZE, 0, ANON | MAP_FIXED)
    assert mm.set_brk(0x1000_3001) == start + PAGE_SIZE
    assert mm.set_brk(0x1000_3000) == 0x1000_3000
    assert mm.set_brk(1 << 63) == 0x1000_3000
    assert mm.set_brk((1 << 64) - 1) == 0x1000_3000
