"""The page cache against a plain array of bytes: with and without a file behind it, with holes, and written back."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_FIXED, MAP_SHARED
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.mm.space import CachedFile, SizedInode, Space, make_frames, make_space, new_file

LIMIT = 12 * PAGE_SIZE
BASE = 0x10_0000_0000

# Mostly near the borders of pages, where mistakes are.
positions = st.builds(
    lambda page, near: max(0, page * PAGE_SIZE + near), st.integers(0, 10), st.sampled_from([0, 0, 0, -1, 1, 7, 2000])
)
pieces = st.builds(
    lambda byte, count: bytes([byte]) * count, st.integers(1, 255), st.sampled_from([1, 3, 4096, 5000, 4095, 8192])
)


class HostFile:
    """What lies behind: reads come in small pieces, as a host may give them."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def readpages(self, pos: int, buffer: memoryview) -> int:
        piece = self.data[pos : pos + min(len(buffer), 10_000)]
        buffer[: len(piece)] = piece
        return len(piece)

    def writepages(self, pos: int, data: memoryview) -> None:
        if pos > len(self.data):
            self.data.extend(bytes(pos - len(self.data)))
        self.data[pos : pos + len(data)] = data


class PageCacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.frames = make_frames(64 * PAGE_SIZE)
        self.inode = SizedInode()
        self.model = bytearray()
        self.host = HostFile(b"")
        self.cache = AddressSpace(self.frames, self.inode)

    @initialize(size=positions, backed=st.booleans(), writable=st.booleans())
    def begin(self, size: int, backed: bool, writable: bool) -> None:
        data = bytes(i // 16 % 251 + 1 for i in range(size)) if backed else b""
        self.host = HostFile(data)
        self.model = bytearray(data)
        self.inode.i_size = len(data)
        self.cache = AddressSpace(
            self.frames,
            self.inode,
            self.host.readpages if backed else None,
            len(data),
            writepages=self.host.writepages if backed and writable else None,
        )

    @rule(pos=positions, data=pieces)
    def write(self, pos: int, data: bytes) -> None:
        data = data[: LIMIT - pos]
        self.cache.write(pos, data)
        if pos > len(self.model):
            self.model.extend(bytes(pos - len(self.model)))
        self.model[pos : pos + len(data)] = data
        self.inode.i_size = len(self.model)

    @rule(size=positions)
    def truncate(self, size: int) -> None:
        self.inode.i_size = size
        self.cache.truncate(size)
        if self.cache.writepages is not None:
            del self.host.data[size:]
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    @rule(start=positions, length=st.sampled_from([1, 4096, 8192, 5000, 20000]))
    def punch_hole(self, start: int, length: int) -> None:
        end = min(start + length, len(self.model))
        if start < end:
            self.cache.punch_hole(start, end)
            if self.cache.writepages is not None:
                self.host.data[start:end] = bytes(len(self.host.data[start:end]))
            self.model[start:end] = bytes(end - start)

    @rule(pos=positions, count=st.sampled_from([1, 100, 4096, 4097, 30000]))
    def read(self, pos: int, count: int) -> None:
        assert self.cache.read(pos, count, len(self.model)) == self.model[pos : pos + count]

    @rule(index=st.integers(0, 10))
    def get_frame(self, index: int) -> None:
        if index * PAGE_SIZE < len(self.model):
            frame = self.cache.get_frame(index)
            page = self.model[index * PAGE_SIZE : (index + 1) * PAGE_SIZE]
            assert self.frames.ram[frame : frame + len(page)] == page

    @rule()
    def shrink(self) -> None:
        if self.cache.readpages is not None:
            self.cache.shrink()

    @rule(start=positions, length=st.sampled_from([1, 4096, 100_000]))
    def write_back(self, start: int, length: int) -> None:
        if self.cache.writepages is None:
            return
        self.cache.write_back(start, start + length)
        end = min(start + length, len(self.model))
        part = self.host.data[start:end]
        assert part + bytes(max(0, end - start) - len(part)) == self.model[start:end]

    @rule(pos=positions)
    def seek(self, pos: int) -> None:
        size = len(self.model)
        try:
            data = self.cache.seek_data(pos, size)
        except SyscallError as error:
            assert error.errno == errno.ENXIO
            data = size
        assert not any(self.model[pos:data])
        try:
            hole = self.cache.seek_hole(pos, size)
        except SyscallError as error:
            assert error.errno == errno.ENXIO
            assert pos >= size
            return
        assert pos <= hole <= size
        assert (hole == pos) == (data > pos) or hole == pos == size
        if hole < size:
            assert not any(self.model[hole : (hole // PAGE_SIZE + 1) * PAGE_SIZE])

    @invariant()
    def frames_are_accounted_for(self) -> None:
        assert self.frames.used_frames == 1 + self.cache.nrpages
        assert self.cache.dirty <= self.cache.pages.keys()

    def teardown(self) -> None:
        assert self.cache.read(0, LIMIT, len(self.model)) == self.model
        self.cache.drop()
        assert self.frames.used_frames == 1


PageCacheMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestPageCache = PageCacheMachine.TestCase


def test_a_hole_costs_nothing_to_read() -> None:
    frames = make_frames()
    cache = AddressSpace(frames, SizedInode(1 << 40))
    cache.write((1 << 40) - 3, b"end")
    assert cache.nrpages == 1
    assert cache.read(1 << 39, 3 * PAGE_SIZE, 1 << 40) == bytes(3 * PAGE_SIZE)
    assert cache.read((1 << 40) - 5, 100, 1 << 40) == b"\0\0end"
    assert cache.nrpages == 1
    assert cache.seek_data(0, 1 << 40) == (1 << 40) - PAGE_SIZE
    cache.truncate(1 << 20)
    assert cache.nrpages == 0


def test_reading_ahead_brings_neighbours_in_by_one_call() -> None:
    calls = []

    def readpages(pos: int, buffer: memoryview) -> int:
        calls.append((pos, len(buffer)))
        return len(buffer)

    size = 100 * PAGE_SIZE
    cache = AddressSpace(make_frames(), SizedInode(size), readpages, size)
    cache.get_frame(10)
    cache.get_frame(11)
    cache.read(12 * PAGE_SIZE, 10, size)
    assert calls == [(10 * PAGE_SIZE, 32 * PAGE_SIZE)]
    cache.read(50 * PAGE_SIZE, 50 * PAGE_SIZE, size)
    assert calls[1:] == [(50 * PAGE_SIZE, 50 * PAGE_SIZE)]


def test_an_error_behind_the_file_leaves_nothing_half_read() -> None:
    def readpages(pos: int, buffer: memoryview) -> int:
        raise SyscallError(errno.EIO)

    frames = make_frames()
    cache = AddressSpace(frames, SizedInode(9000), readpages, 9000)
    with pytest.raises(SyscallError):
        cache.read(0, 10, 9000)
    assert frames.used_frames == 1
    assert cache.nrpages == 0


def map_shared(space: Space, file: CachedFile, pages: int) -> None:
    flags = MAP_SHARED | MAP_FIXED
    space.mm.mmap(BASE, pages * PAGE_SIZE, 3, flags, file, task=object())  # type: ignore[arg-type]


def test_a_store_after_write_back_is_noticed_again() -> None:
    space = make_space()
    host = HostFile(b"a" * 2 * PAGE_SIZE)
    inode = SizedInode(2 * PAGE_SIZE)
    touched = []
    cache = AddressSpace(
        space.mm.frames,
        inode,
        host.readpages,
        inode.i_size,
        writepages=host.writepages,
        mkwrite=lambda: touched.append(1),
    )
    map_shared(space, CachedFile(cache, inode), 2)
    assert space.load(BASE, 1) == b"a"
    assert not cache.dirty
    assert space.store(BASE, b"1")
    assert cache.dirty == {0}
    cache.write_back()
    assert bytes(host.data[:2]) == b"1a"
    assert not cache.dirty
    assert space.store(BASE, b"2")
    assert space.store(BASE + 1, b"3")
    assert cache.dirty == {0}
    assert len(touched) == 2
    cache.write_back()
    assert bytes(host.data[:3]) == b"23a"


def test_a_mapping_shows_what_is_written_and_loses_what_is_cut_off() -> None:
    space = make_space()
    file = new_file(space.mm.frames, 2 * PAGE_SIZE)
    map_shared(space, file, 3)
    assert space.load(BASE + PAGE_SIZE, 4) == bytes(4)
    file.mapping.write(PAGE_SIZE, b"here")
    assert space.load(BASE + PAGE_SIZE, 4) == b"here"
    assert space.load(BASE + 2 * PAGE_SIZE, 1) is None
    assert space.mm.fault_cause(BASE + 2 * PAGE_SIZE, 1) == (7, 2)
    file.inode.i_size = PAGE_SIZE + 2
    file.mapping.truncate(PAGE_SIZE + 2)
    assert space.load(BASE + PAGE_SIZE, 4) == b"he\0\0"
    file.inode.i_size = 100
    file.mapping.truncate(100)
    assert space.load(BASE + PAGE_SIZE, 1) is None
    assert space.load(BASE, 1) == b"\0"
    assert file.mapping.mapped_writable
    space.mm.exit_mmap()
    assert not file.mapping.mapped_writable
