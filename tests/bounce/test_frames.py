"""Frames pushed and popped at any address of any address space: all or nothing, and never an error of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests.build import ARCHES
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_PRIVATE, PROT_READ, PROT_WRITE
from kernel_model.bounce import FRAME, FRAME_BYTES, BadFrame, pop_frame, push_frame
from kernel_model.types import PAGE_SIZE, U64_MASK
from tests.mm.space import Space, make_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.mm.mm import MemoryMap

BASE = 0x1000_0000
RW = PROT_READ | PROT_WRITE
FILL = 0xAA
RIGHTS = st.sampled_from([None, 0, PROT_READ, PROT_READ, RW, RW, RW])
"""Of one page; None for no page."""
words = st.tuples(*[st.integers(0, U64_MASK)] * 4)
near = st.integers(BASE - 2 * PAGE_SIZE, BASE + 7 * PAGE_SIZE)
at_an_edge = st.builds(lambda page, off: BASE + page * PAGE_SIZE + off, st.integers(-1, 6), st.integers(-48, 48))
addresses = st.one_of(near, at_an_edge, st.integers(0, U64_MASK), st.integers(0, 100), st.integers(-100, -1).map(
    lambda value: value & U64_MASK))  # fmt: skip
arches = st.sampled_from(ARCHES)


def space_of(arch: str, rights: Sequence[int | None]) -> Space:
    """Pages from BASE on, filled where they may be read."""
    space = make_space(arch=arch)
    for index, prot in enumerate(rights):
        if prot is not None:
            page = BASE + index * PAGE_SIZE
            space.mm.mmap(page, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
            assert space.store(page, bytes([FILL]) * PAGE_SIZE)
            space.mm.mprotect(page, PAGE_SIZE, prot)
    return space


def allowed(rights: Sequence[int | None], address: int, access: int) -> bool:
    """May a program access FRAME_BYTES bytes at `address`?"""
    for byte in (address, address + FRAME_BYTES - 1):
        page, below = divmod(byte - BASE, PAGE_SIZE)
        prot = rights[page] if 0 <= page < len(rights) else None
        if prot is None or not prot & access or below < 0:
            return False
    return True


def contents(mm: MemoryMap) -> bytes:
    """Every page of private memory, whatever it allows."""
    return b"".join(bytes(mm.ram[mm.pt[page] & -PAGE_SIZE :][:PAGE_SIZE]) for page in sorted(mm.own))


@given(arches, st.lists(RIGHTS, min_size=1, max_size=6), addresses, words)
def test_a_push_is_all_or_nothing(
    arch: str, rights: list[int | None], address: int, frame: tuple[int, int, int, int]
) -> None:
    mm = space_of(arch, rights).mm
    before = contents(mm)
    own = sorted(mm.own)
    untagged = mm.arch.untag(address)
    try:
        push_frame(mm, address, *frame)
    except BadFrame as bad:
        assert not allowed(rights, untagged, PROT_WRITE)
        assert contents(mm) == before
        assert bad.address - untagged in range(FRAME_BYTES)
        assert bad.address in (untagged, untagged + FRAME_BYTES & -PAGE_SIZE)
    else:
        assert allowed(rights, untagged, PROT_WRITE)
        at = own.index(untagged & -PAGE_SIZE) * PAGE_SIZE + untagged % PAGE_SIZE
        assert contents(mm) == before[:at] + FRAME.pack(*frame) + before[at + FRAME_BYTES :]
        assert pop_frame(mm, address) == frame


@given(arches, st.lists(RIGHTS, min_size=1, max_size=6), addresses)
def test_a_pop_reads_what_a_program_could_and_changes_nothing(
    arch: str, rights: list[int | None], address: int
) -> None:
    mm = space_of(arch, rights).mm
    before = contents(mm)
    untagged = mm.arch.untag(address)
    try:
        frame = pop_frame(mm, address)
    except BadFrame as bad:
        assert not allowed(rights, untagged, PROT_READ)
        assert bad.address == untagged
    else:
        assert allowed(rights, untagged, PROT_READ)
        assert FRAME.pack(*frame) == bytes([FILL]) * FRAME_BYTES
    assert contents(mm) == before


@given(arches, st.integers(0, 40 * PAGE_SIZE), words)
def test_a_push_makes_a_stack_grow(arch: str, below: int, frame: tuple[int, int, int, int]) -> None:
    space = make_space(arch=arch)
    mm = space.mm
    mm.mmap(BASE, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN)
    address = BASE + PAGE_SIZE - FRAME_BYTES - (below & -16)
    push_frame(mm, address, *frame)
    assert pop_frame(mm, address) == frame
    assert mm.vmas.overlapping(BASE, BASE + PAGE_SIZE)[0].vm_start == min(BASE, address & -PAGE_SIZE)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_push_into_a_page_shared_since_a_fork_is_private(arch: str) -> None:
    space = space_of(arch, [RW])
    child = Space(space.mm.dup_mmap())
    push_frame(space.mm, BASE + 64, 1, 2, 3, 4)
    assert pop_frame(space.mm, BASE + 64) == (1, 2, 3, 4)
    assert child.load(BASE + 64, FRAME_BYTES) == bytes([FILL]) * FRAME_BYTES
