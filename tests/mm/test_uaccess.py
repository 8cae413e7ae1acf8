"""Copying from and to user space: what works, what is EFAULT, and how far a copy gets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from kernel_model.mm import uaccess
from kernel_model.mm.mm import MemoryMap
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.mm.space import Space, fork, make_frames, make_space, new_file

BASE = 0x7000_0000_0000
WORDS = struct.Struct("<QI")


@pytest.fixture
def space() -> Space:
    """Pages 0-2 can be written, 3 can be read, 4 allows nothing, 5 is not there."""
    space = make_space()
    for page, count, prot in ((0, 3, 3), (3, 1, 1), (4, 1, 0)):
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        space.mm.mmap(BASE + page * PAGE_SIZE, count * PAGE_SIZE, prot, flags)
    return space


def fails(expected: int, function: object, *args: object) -> None:
    with pytest.raises(SyscallError) as error:
        function(*args)  # type: ignore[operator]
    assert error.value.errno == expected


@given(offset=st.integers(0, 4 * PAGE_SIZE), data=st.binary(max_size=3 * PAGE_SIZE))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(offset: int, data: bytes) -> None:
    mm = make_space().mm
    mm.mmap(BASE, 8 * PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    uaccess.copy_to_user(mm, BASE + offset, data)
    assert uaccess.copy_from_user(mm, BASE + offset, len(data)) == data
    around = uaccess.copy_from_user(mm, BASE, 8 * PAGE_SIZE)
    assert around == bytes(offset) + data + bytes(8 * PAGE_SIZE - offset - len(data))


@pytest.mark.parametrize(
    ("address", "count"),
    [
        (0, 1),
        (BASE - 1, 2),
        (BASE + 4 * PAGE_SIZE, 1),
        (BASE + 4 * PAGE_SIZE - 1, 2),
        (BASE + 5 * PAGE_SIZE, 8),
        ((1 << 47) - 8, 8),
        (1 << 63, 1),
        ((1 << 64) - 8, 8),
        ((1 << 64) - 8, 16),
        (BASE, 1 << 63),
    ],
)
def test_bad_addresses(space: Space, address: int, count: int) -> None:
    fails(errno.EFAULT, uaccess.copy_from_user, space.mm, address, count)
    fails(errno.EFAULT, uaccess.clear_user, space.mm, address, min(count, 1 << 20))
    fails(errno.EFAULT, uaccess.copy_to_user, space.mm, address, bytes(min(count, 1 << 20)))


def test_nothing_is_copied_from_anywhere(space: Space) -> None:
    assert uaccess.copy_from_user(space.mm, 0, 0) == b""
    assert uaccess.copy_from_user_partial(space.mm, 12, 0) == b""
    uaccess.copy_to_user(space.mm, 0, b"")
    assert uaccess.copy_to_user_partial(space.mm, 0, b"") == 0


def test_a_page_that_can_only_be_read(space: Space) -> None:
    at = BASE + 3 * PAGE_SIZE
    assert uaccess.copy_from_user(space.mm, at, 4) == bytes(4)
    fails(errno.EFAULT, uaccess.copy_to_user, space.mm, at, b"x")
    fails(errno.EFAULT, uaccess.put_user, space.mm, at, WORDS, 1, 2)


def test_copies_stop_at_the_first_bad_page(space: Space) -> None:
    mm = space.mm
    at = BASE + 3 * PAGE_SIZE - 5
    assert uaccess.copy_to_user_partial(mm, at, b"0123456789") == 5
    fails(errno.EFAULT, uaccess.copy_to_user, mm, at, b"abcdefghij")
    assert uaccess.copy_from_user(mm, at, 5) == b"abcde"
    at = BASE + 4 * PAGE_SIZE - 5
    assert uaccess.copy_from_user_partial(mm, at, 10) == bytes(5)


def test_structures_within_and_across_pages(space: Space) -> None:
    for at in (BASE, BASE + PAGE_SIZE - 3, BASE + 2 * PAGE_SIZE - 12):
        uaccess.put_user(space.mm, at, WORDS, 1 << 60, 77)
        assert uaccess.get_user(space.mm, at, WORDS) == (1 << 60, 77)
    fails(errno.EFAULT, uaccess.get_user, space.mm, BASE + 4 * PAGE_SIZE - 4, WORDS)
    fails(errno.EFAULT, uaccess.put_user, space.mm, BASE + 3 * PAGE_SIZE - 4, WORDS, 1, 2)


def test_strings(space: Space) -> None:
    mm = space.mm
    end = BASE + 4 * PAGE_SIZE
    uaccess.copy_to_user(mm, BASE, b"name\0rest")
    assert uaccess.strncpy_from_user(mm, BASE, 4096) == b"name"
    assert uaccess.strncpy_from_user(mm, BASE, 5) == b"name"
    fails(errno.ENAMETOOLONG, uaccess.strncpy_from_user, mm, BASE, 4)
    assert uaccess.strncpy_from_user(mm, end - 1, 4096) == b""
    uaccess.copy_to_user(mm, BASE + PAGE_SIZE - 2, b"over\0")
    assert uaccess.strncpy_from_user(mm, BASE + PAGE_SIZE - 2, 4096) == b"over"
    fails(errno.ENAMETOOLONG, uaccess.strncpy_from_user, mm, BASE + PAGE_SIZE - 2, 3)
    fails(errno.EFAULT, uaccess.strncpy_from_user, mm, 0, 4096)
    fails(errno.EFAULT, uaccess.strncpy_from_user, mm, 1 << 63, 4096)
    long = b"x" * (3 * PAGE_SIZE)
    uaccess.copy_to_user(mm, BASE, long)
    assert uaccess.strncpy_from_user(mm, BASE, 4 * PAGE_SIZE) == long


def test_a_string_that_runs_into_nothing() -> None:
    mm = make_space().mm
    mm.mmap(BASE, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    uaccess.copy_to_user(mm, BASE, b"y" * PAGE_SIZE)
    fails(errno.EFAULT, uaccess.strncpy_from_user, mm, BASE + 10, PAGE_SIZE)
    fails(errno.ENAMETOOLONG, uaccess.strncpy_from_user, mm, BASE + 10, 100)


def test_vectors(space: Space) -> None:
    mm = space.mm
    uaccess.copy_to_user(mm, BASE, struct.pack("<6Q", BASE, 3, 0, 0, BASE + 99, uaccess.MAX_RW_COUNT))
    assert uaccess.copy_iovec(mm, BASE, 0) == []
    assert uaccess.copy_iovec(mm, BASE, 3) == [(BASE, 3), (0, 0), (BASE + 99, uaccess.MAX_RW_COUNT - 3)]
    fails(errno.EINVAL, uaccess.copy_iovec, mm, BASE, 1025)
    fails(errno.EINVAL, uaccess.copy_iovec, mm, BASE, -1)
    fails(errno.EFAULT, uaccess.copy_iovec, mm, BASE + 4 * PAGE_SIZE - 8, 1)
    uaccess.copy_to_user(mm, BASE, struct.pack("<4Q", BASE, 1, BASE, 1 << 63))
    fails(errno.EINVAL, uaccess.copy_iovec, mm, BASE, 2)
    # A bad length is found before a bad base, and one piece alone is cut before it is looked at.
    uaccess.copy_to_user(mm, BASE, struct.pack("<4Q", 1 << 63, 1, BASE, 1 << 63))
    fails(errno.EINVAL, uaccess.copy_iovec, mm, BASE, 2)
    uaccess.copy_to_user(mm, BASE, struct.pack("<4Q", BASE, 1 << 62, BASE, 1))
    assert uaccess.copy_iovec(mm, BASE, 1) == [(BASE, uaccess.MAX_RW_COUNT)]
    fails(errno.EFAULT, uaccess.copy_iovec, mm, BASE, 2)
    uaccess.copy_to_user(mm, BASE, struct.pack("<2Q", 1 << 63, 0))
    fails(errno.EFAULT, uaccess.copy_iovec, mm, BASE, 1)
    uaccess.copy_to_user(mm, BASE, struct.pack("<2Q", 1 << 63, 1))
    fails(errno.EFAULT, uaccess.copy_iovec, mm, BASE, 1)


def test_a_tagged_pointer_only_where_the_program_asked_for_it() -> None:
    mm = make_space(arch="aarch64").mm
    at = mm.mmap(0, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS)
    tagged = at | 0x5A << 56
    fails(errno.EFAULT, uaccess.copy_to_user, mm, tagged, b"tag")
    mm.tagged_addr = True
    uaccess.copy_to_user(mm, tagged, b"tag")
    uaccess.put_user(mm, tagged + PAGE_SIZE - 12, WORDS, 1, 2)
    assert uaccess.copy_from_user(mm, tagged, 3) == b"tag"
    assert uaccess.strncpy_from_user(mm, tagged, 9) == b"tag"
    assert uaccess.get_user(mm, tagged + PAGE_SIZE - 12, WORDS) == (1, 2)


def test_the_kernel_s_copy_of_a_shared_page_is_seen_through_the_tlb() -> None:
    parent = make_space()
    mm = parent.mm
    at = mm.mmap(0, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS)
    assert parent.store(at, b"before")
    child = fork(parent)
    assert parent.load(at, 6) == b"before"
    uaccess.copy_to_user(mm, at, b"parent")
    assert parent.load(at, 6) == b"parent"
    assert child.load(at, 6) == b"before"


def test_writing_over_code_forgets_its_translation() -> None:
    frames = make_frames()
    flushes: list[int] = []
    frames.flush_code = lambda: flushes.append(1)
    mm = MemoryMap(frames, make_space().mm.arch, tlb_flush=lambda: None, code_flush=frames.flush_code)
    at = mm.mmap(0, 2 * PAGE_SIZE, 7, MAP_PRIVATE | MAP_ANONYMOUS)
    uaccess.copy_to_user(mm, at, b"\xc3" * PAGE_SIZE)
    assert not flushes
    frames.code_frames.add(mm.pt[at] & -PAGE_SIZE)
    uaccess.copy_to_user(mm, at, b"\x90")
    uaccess.put_user(mm, at + 8, WORDS, 1, 2)
    uaccess.copy_to_user(mm, at + PAGE_SIZE - 1, b"xy")
    assert len(flushes) == 3
    uaccess.copy_to_user(mm, at + PAGE_SIZE, b"data beside it")
    assert len(flushes) == 3


def test_a_write_through_a_shared_mapping_is_in_the_file() -> None:
    space = make_space()
    file = new_file(space.mm.frames, 2 * PAGE_SIZE)
    frame = file.mapping.get_frame(0)
    mm = space.mm
    entries = mm.map_region(BASE, 2 * PAGE_SIZE, 0x3 | 0x8 | 0xF0, 0, file, file.mapping)
    assert entries.vm_end - entries.vm_start == 2 * PAGE_SIZE
    uaccess.copy_to_user(mm, BASE + PAGE_SIZE - 2, b"both")
    assert file.mapping.read(PAGE_SIZE - 2, 4, 2 * PAGE_SIZE) == b"both"
    assert file.mapping.get_frame(0) == frame
