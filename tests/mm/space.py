"""Address spaces to test, with a TLB that remembers what it was told until it is flushed, and what must always hold."""

from __future__ import annotations

import mmap
from collections import Counter
from typing import TYPE_CHECKING

from kernel_model import arch as architectures
from kernel_model.abi.fcntl import O_RDWR
from kernel_model.fs.file import File
from kernel_model.mm.fault import COW, PINNED, PageTables, R, W
from kernel_model.mm.frames import FrameAllocator
from kernel_model.mm.layout import is_data
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.pagecache import AddressSpace
from kernel_model.mm.vma import VM_LOCKED, VM_SHARED
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.task import Task

RAM_BYTES = 4 << 20


class SizedInode:
    """The little of an inode that mappings look at."""

    def __init__(self, size: int = 0) -> None:
        self.i_size = size
        self.mapping: AddressSpace | None = None


class CachedFile(File):
    """An open file over a page cache of its own."""

    __slots__ = ("mapping", "released")

    def __init__(self, mapping: AddressSpace, inode: object, flags: int = O_RDWR) -> None:
        super().__init__(inode, None, flags)  # type: ignore[arg-type]
        self.mapping = mapping
        self.released = False

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        return self.mapping

    def release(self) -> None:
        self.released = True


class Space:
    """An address space and the TLB of a CPU that runs in it."""

    def __init__(self, mm: MemoryMap) -> None:
        self.mm = mm
        self.tlb: dict[int, int] = {}
        self.flushes = 0
        mm.tlb_flush = self.flush

    def flush(self) -> None:
        self.tlb.clear()
        self.flushes += 1

    def translate(self, page: int, access: int) -> int:
        """The frame the CPU would use, or 0 for a fault."""
        entry = self.tlb.get(page, 0)
        if not entry & access:
            entry = self.mm.pt.get(page, 0)
            if not entry & access:
                entry = self.mm.handle_fault(page, access)
            if not entry & access:
                return 0
            self.tlb[page] = entry
        return entry & PAGE_MASK

    def load(self, address: int, count: int) -> bytes | None:
        """What the CPU reads within a page; None for a fault."""
        frame = self.translate(address & PAGE_MASK, R)
        if not frame:
            return None
        at = frame + (address & ~PAGE_MASK)
        return self.mm.ram[at : at + count].tobytes()

    def store(self, address: int, data: bytes) -> bool:
        """The CPU writes within a page; False for a fault."""
        frame = self.translate(address & PAGE_MASK, W)
        if frame:
            at = frame + (address & ~PAGE_MASK)
            self.mm.ram[at : at + len(data)] = data
        return bool(frame)


def make_frames(ram_bytes: int = RAM_BYTES) -> FrameAllocator:
    return FrameAllocator(memoryview(mmap.mmap(-1, ram_bytes)))


def make_space(frames: FrameAllocator | None = None, arch: str = "x86_64") -> Space:
    frames = frames or make_frames()
    mm = MemoryMap(frames, architectures.get(arch), tlb_flush=lambda: None, code_flush=frames.flush_code)
    return Space(mm)


def fork(space: Space) -> Space:
    return Space(space.mm.dup_mmap())


def new_file(frames: FrameAllocator, size: int = 0) -> CachedFile:
    inode = SizedInode(size)
    mapping = AddressSpace(frames, inode)
    inode.mapping = mapping
    return CachedFile(mapping, inode)


def check(mms: list[PageTables], caches: list[AddressSpace], frames: FrameAllocator) -> None:
    """What must hold after every operation, whatever was done."""
    owners: Counter[int] = Counter()
    cached = {frame for cache in caches for frame in cache.pages.values()}
    for mm in mms:
        assert isinstance(mm, MemoryMap)
        _check_vmas(mm)
        owned = set()
        for page, entry in mm.pt.items():
            vma = mm.vmas.lookup(page)
            assert vma is not None
            assert entry & 7 & ~vma.page_prot == 0
            assert not (entry & W and entry & COW)
            frame = entry & PAGE_MASK
            if entry & PINNED:
                if vma.mapping is not None and vma.mapping.anonymous:
                    cached.add(frame)
                assert frame in cached or frame == frames.zero_frame
                assert vma.vm_flags & VM_SHARED or not entry & W
            else:
                owned.add(page)
                owners[frame] += 1
                if entry & W:
                    assert frames.refs[frame >> PAGE_SHIFT] == 1
            assert frame % PAGE_SIZE == 0
            assert frame
        assert owned == mm.own
        for vma in mm.vmas:
            if vma.mapping is not None:
                assert vma in vma.mapping.i_mmap
                if vma.mapping.anonymous:
                    cached.update(vma.mapping.pages.values())
    for frame, count in owners.items():
        assert frames.refs[frame >> PAGE_SHIFT] == count
        assert frame not in cached
    assert frames.used_frames == 1 + len(owners) + len(cached)


def _check_vmas(mm: MemoryMap) -> None:
    """The list of mappings and what is counted from it."""
    last = 0
    for vma in mm.vmas:
        assert last <= vma.vm_start < vma.vm_end <= mm.task_size
        assert vma.vm_start % PAGE_SIZE == vma.vm_end % PAGE_SIZE == 0
        assert mm.vmas.lookup(vma.vm_start) is vma
        assert mm.vmas.lookup(vma.vm_end - 1) is vma
        assert vma.vm_mm is mm
        last = vma.vm_end
    assert mm.total_vm == sum(vma.pages for vma in mm.vmas)
    assert mm.data_vm == sum(vma.pages for vma in mm.vmas if is_data(vma.vm_flags))
    assert mm.locked_vm == sum(vma.pages for vma in mm.vmas if vma.vm_flags & VM_LOCKED)
