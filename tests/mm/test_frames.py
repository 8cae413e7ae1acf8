"""Frames: what is handed out, counted, put aside, given back and taken from caches."""

from __future__ import annotations

import mmap

import pytest

from kernel_model.abi import errno
from kernel_model.mm.frames import FrameAllocator, OutOfMemory
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SIZE
from tests.mm.space import SizedInode, make_frames

ZEROS = bytes(PAGE_SIZE)


def contents(frames: FrameAllocator, frame: int) -> bytes:
    return frames.ram[frame : frame + PAGE_SIZE].tobytes()


def drain(frames: FrameAllocator) -> list[int]:
    """Take every frame there is."""
    return [frames.alloc_zeroed() for _ in range(frames.free_frames)]


def test_no_frame_is_zero_and_all_are_used_up() -> None:
    frames = make_frames(16 * PAGE_SIZE)
    assert frames.total_frames == 15
    got = {frames.alloc() for _ in range(14)} | {frames.zero_frame}
    assert got == set(range(PAGE_SIZE, 16 * PAGE_SIZE, PAGE_SIZE))
    assert frames.free_frames == 0
    with pytest.raises(OutOfMemory) as error:
        frames.alloc()
    assert error.value.errno == errno.ENOMEM
    frames.put(3 * PAGE_SIZE)
    assert frames.alloc() == 3 * PAGE_SIZE


def test_a_limit_below_the_size_of_ram() -> None:
    frames = FrameAllocator(memoryview(bytearray(16 * PAGE_SIZE)), 4 * PAGE_SIZE + 17)
    assert frames.total_frames == 3
    frames.alloc()
    frames.alloc()
    with pytest.raises(OutOfMemory):
        frames.alloc_run(4)


def test_a_frame_with_two_users_is_free_after_both_are_gone() -> None:
    frames = make_frames()
    frame = frames.alloc()
    frames.get(frame)
    frames.put(frame)
    assert frames.alloc() != frame
    frames.put(frame)
    assert frames.alloc() == frame


def test_a_used_frame_comes_back_zeroed() -> None:
    frames = make_frames()
    frame = frames.alloc_zeroed()
    assert contents(frames, frame) == ZEROS
    frames.ram[frame : frame + 3] = b"old"
    frames.put(frame)
    assert frames.alloc_zeroed() == frame
    assert contents(frames, frame) == ZEROS


def test_runs_are_neighbours() -> None:
    frames = make_frames(64 * PAGE_SIZE)
    first, count = frames.alloc_run(10)
    assert count == 10
    assert all(frames.refs[(first >> 12) + i] == 1 for i in range(10))
    rest, left = frames.alloc_run(1000)
    assert (rest, left) == (first + 10 * PAGE_SIZE, 64 - 12)
    frames.put_many(range(first, first + 10 * PAGE_SIZE, PAGE_SIZE))
    assert frames.alloc_run(5)[1] == 1
    assert frames.used_frames == 1 + 52 + 1


def test_whole_blocks_go_back_to_the_host_and_come_again_as_zeros() -> None:
    block = 512 * PAGE_SIZE
    ram = memoryview(mmap.mmap(-1, 24 * block))
    released = []

    def release(offset: int, length: int) -> None:
        released.append((offset, length))
        ram[offset : offset + length] = bytes(length)

    frames = FrameAllocator(ram, release_range=release)
    taken = drain(frames)
    for frame in taken:
        ram[frame] = 0xFF
    # A few are freed: they stay, for whoever is next.
    frames.put_many(taken[:600])
    assert not released
    taken = taken[600:] + [frames.alloc() for _ in range(600)]
    # One frame in the sixth block stays in use, so that block stays.
    kept = 5 * block + 7 * PAGE_SIZE
    taken.remove(kept)
    frames.put_many(taken)
    assert sorted(released) == [(i * block, block) for i in range(1, 24) if i != 5]
    assert frames.used_frames == 2
    again = drain(frames)
    assert len(set(again)) == len(again) == frames.total_frames - 2
    assert not set(again) & {kept, frames.zero_frame}
    assert all(contents(frames, frame) == ZEROS for frame in again)


def test_what_came_back_is_used_first() -> None:
    block = 512 * PAGE_SIZE
    frames = FrameAllocator(memoryview(mmap.mmap(-1, 64 * block)), release_range=lambda start, length: None)
    for _ in range(3):
        first = [frames.alloc() for _ in range(20 * 512)]
        frames.put_many(first)
        assert frames.free_frames == frames.total_frames - 1
        assert 20 * block <= frames.peak_bytes <= 21 * block


def test_a_frame_that_held_code_waits_for_a_flush() -> None:
    flushes = []
    frames = FrameAllocator(memoryview(bytearray(64 * PAGE_SIZE)), flush_code=lambda: flushes.append(1))
    code = [frames.alloc() for _ in range(4)]
    frames.code_frames.update(code)
    for frame in code[:3]:
        frames.put(frame)
    others = {frames.alloc() for _ in range(8)}
    assert not others & set(code)
    assert not flushes
    frames.put_many(code[3:])
    assert flushes == [1]
    assert not frames.code_frames
    assert {frames.alloc() for _ in range(4)} == set(code)


def backed_cache(frames: FrameAllocator, pages: int) -> AddressSpace:
    """A file whose page n is full of n."""

    def readpages(pos: int, buffer: memoryview) -> int:
        for at in range(0, len(buffer), PAGE_SIZE):
            length = min(PAGE_SIZE, len(buffer) - at)
            buffer[at : at + length] = bytes([(pos + at) // PAGE_SIZE % 251]) * length
        return len(buffer)

    return AddressSpace(frames, SizedInode(pages * PAGE_SIZE), readpages, pages * PAGE_SIZE)


def test_a_cache_gives_way_when_memory_is_short() -> None:
    frames = make_frames(128 * PAGE_SIZE)
    cache = backed_cache(frames, 64)
    size = 64 * PAGE_SIZE
    whole = cache.read(0, size, size)
    cache.write(5 * PAGE_SIZE, b"changed")
    taken = []
    with pytest.raises(OutOfMemory):
        while True:
            taken.append(frames.alloc())
    # All but the changed page, which is nowhere else.
    assert len(taken) == 126 - 1
    assert set(cache.pages) == {5}
    frames.put_many(taken)
    again = cache.read(0, size, size)
    assert again == whole[: 5 * PAGE_SIZE] + b"changed" + whole[5 * PAGE_SIZE + 7 :]


def test_a_read_larger_than_memory_is_right_all_the_same() -> None:
    frames = make_frames(48 * PAGE_SIZE)
    cache = backed_cache(frames, 200)
    data = cache.read(0, 200 * PAGE_SIZE, 200 * PAGE_SIZE)
    assert data == b"".join(bytes([i]) * PAGE_SIZE for i in range(200))


def test_caches_do_not_grow_for_ever() -> None:
    frames = make_frames(1024 * PAGE_SIZE)
    for _ in range(40):
        cache = backed_cache(frames, 64)
        cache.read(0, 64 * PAGE_SIZE, 64 * PAGE_SIZE)
    assert frames.used_frames < 400
