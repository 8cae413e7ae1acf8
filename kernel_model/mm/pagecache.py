"""The page cache: `AddressSpace`, the one truth of a regular file's contents.

read(2) and write(2) copy through it, mmap(2) maps its frames, so all of them see the same bytes at once. A page that is
not there reads as what lies behind the file (a host file) or as zeros (a hole).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from kernel_model.abi.errno import EIO, ENXIO
from kernel_model.abi.fcntl import F_SEAL_SEAL
from kernel_model.mm.vma import VM_MAYWRITE, VM_SHARED
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.mm.fault import PageTables
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.mm.vma import Vma

_OFFSET: Final = PAGE_SIZE - 1
_SHARED_MAYWRITE: Final = VM_SHARED | VM_MAYWRITE
_ZEROS: Final = bytes(PAGE_SIZE)
_READAHEAD_PAGES: Final = 32
"""How much one fault or small read brings in from the host file behind."""
_FILL_PAGES: Final = 256
"""The most that one large read brings in with one host call."""

Readpages = Callable[[int, memoryview], int]
"""(position, buffer) -> bytes read into the buffer; less than asked only at the end."""
Writepages = Callable[[int, memoryview], None]
"""(position, bytes): carry changed bytes to where the file lives."""


class Host(Protocol):
    """What owns an address space: an inode. Only its size matters here."""

    i_size: int


class AnonymousHost:
    """The owner of shared memory that is no file: mmap(2)'s MAP_SHARED | MAP_ANONYMOUS."""

    __slots__ = ("i_size",)

    def __init__(self, size: int) -> None:
        self.i_size = size


class AddressSpace:
    """The pages of one inode (`struct address_space`)."""

    __slots__ = (
        "_frames", "_holes", "anonymous", "backed_size", "dirty", "host", "i_mmap", "mkwrite", "pages", "readpages",
        "seals", "writepages",
    )  # fmt: skip
    special: ClassVar = False
    """A mapping of it can't be cut in two (mm/mmap.c:special_mapping_split())."""

    def __init__(
        self,
        frames: FrameAllocator,
        host: Host,
        readpages: Readpages | None = None,
        backed_size: int = 0,
        *,
        writepages: Writepages | None = None,
        mkwrite: Callable[[], None] | None = None,
        anonymous: bool = False,
    ) -> None:
        """`readpages` gives the contents of the first `backed_size` bytes where no page is there yet.

        `writepages`: pages that change are remembered, and `write_back` hands them to it. `mkwrite`: called when a
        shared mapping of the file is about to be written (for the file's times). `anonymous`: the pages go when the
        last mapping does.
        """
        self._frames = frames
        self.host = host
        self.readpages = readpages
        self.backed_size = backed_size
        self.writepages = writepages
        self.mkwrite = mkwrite
        self.anonymous = anonymous
        self.pages: dict[int, int] = {}
        """Page index to frame."""
        self.dirty: set[int] = set()
        """Pages that differ from what lies behind the file."""
        self.i_mmap: dict[Vma, None] = {}
        """The mappings that show this file."""
        self.seals = F_SEAL_SEAL
        """F_SEAL_* of fcntl(2); only a memfd begins without F_SEAL_SEAL, as on tmpfs."""
        self._holes: list[int] = []
        """Sorted page indices start, end, start, end ...: punched out of the backed part, so they read as zeros."""

    @property
    def _tracked(self) -> bool:
        """Must it be known which pages changed?"""
        return self.readpages is not None or self.writepages is not None

    @property
    def nrpages(self) -> int:
        """How many pages are there."""
        return len(self.pages)

    # -- contents -----------------------------------------------------------------------------------------------------
    def read(self, pos: int, count: int, size: int) -> bytes:
        """At most `count` bytes at `pos` of a file of `size` bytes."""
        count = min(count, size - pos)
        if count <= 0:
            return b""
        index = pos >> PAGE_SHIFT
        offset = pos & _OFFSET
        if offset + count <= PAGE_SIZE:
            frame = self.pages.get(index)
            if frame is None:
                frame = self._read_in(index, _READAHEAD_PAGES)
                if frame is None:
                    return bytes(count)
            return self._frames.ram[frame + offset : frame + offset + count].tobytes()
        return self._read_many(pos, count)

    def _read_many(self, pos: int, count: int) -> bytes:
        """`read` over more than one page; neighbouring frames are copied at once."""
        ram = self._frames.ram
        pages = self.pages
        pieces: list[bytes | memoryview] = []
        end = pos + count
        last = (end - 1) >> PAGE_SHIFT
        start = stop = 0
        for index in range(pos >> PAGE_SHIFT, last + 1):
            frame = pages.get(index)
            if frame is None:
                if stop:
                    pieces.append(ram[start:stop])
                    stop = 0
                # Making room may take frames away that were collected so far.
                pieces = [b"".join(pieces)]
                frame = self._read_in(index, max(_READAHEAD_PAGES, min(_FILL_PAGES, last + 1 - index)))
            low = pos & _OFFSET
            high = min(PAGE_SIZE, low + end - pos)
            pos += high - low
            if frame is None:
                pieces.append(_ZEROS[: high - low])
            elif frame + low == stop:
                stop = frame + high
            else:
                if stop:
                    pieces.append(ram[start:stop])
                start = frame + low
                stop = frame + high
        if stop:
            pieces.append(ram[start:stop])
        return b"".join(pieces)

    def write(self, pos: int, data: bytes | bytearray | memoryview) -> None:
        """Put `data` at `pos`; OutOfMemory, with the pages that were there before partly written at worst.

        The file's size is its inode's business.
        """
        ram = self._frames.ram
        code = self._frames.code_frames
        pages = self.pages
        track = self._tracked
        flush = False
        done = 0
        count = len(data)
        view = memoryview(data)
        made: list[int] = []
        try:
            while done < count:
                offset = pos & _OFFSET
                index = pos >> PAGE_SHIFT
                length = min(PAGE_SIZE - offset, count - done)
                frame = pages.get(index)
                if frame is None:
                    if length == PAGE_SIZE:
                        frame = pages[index] = self._frames.alloc()
                    else:
                        frame = self.get_frame(index)
                    made.append(index)
                ram[frame + offset : frame + offset + length] = view[done : done + length]
                if track:
                    self.dirty.add(index)
                if frame in code:
                    flush = True
                pos += length
                done += length
        except SyscallError:
            self._frames.put_many([pages.pop(index) for index in made])
            self.dirty.difference_update(made)
            raise
        finally:
            if flush:
                self._frames.flush_code()

    def get_frame(self, index: int) -> int:
        """The frame of page `index`, brought in or made of zeros; OutOfMemory."""
        frame = self.pages.get(index)
        if frame is None:
            frame = self._read_in(index, _READAHEAD_PAGES)
            if frame is None:
                frame = self.pages[index] = self._frames.alloc_zeroed()
        return frame

    def _read_in(self, index: int, ahead: int) -> int | None:
        """Bring page `index` and up to `ahead` - 1 absent ones after it in from behind; None where there is a hole."""
        readpages = self.readpages
        if readpages is None:
            return None
        backed = self.backed_size
        end = min(index + ahead, (backed + PAGE_SIZE - 1) >> PAGE_SHIFT)
        holes = self._holes
        if holes:
            i = bisect_right(holes, index)
            if i & 1:
                return None
            if i < len(holes):
                end = min(end, holes[i])
        if index >= end:
            return None
        pages = self.pages
        stop = index + 1
        while stop < end and stop not in pages:
            stop += 1
        frames = self._frames
        frame, count = frames.alloc_run(stop - index)
        length = count << PAGE_SHIFT
        pos = index << PAGE_SHIFT
        view = frames.ram[frame : frame + length]
        want = min(length, backed - pos)
        try:
            got = 0
            while got < want:
                more = readpages(pos + got, view[got:want])
                if more <= 0:
                    break
                got += more
        except (OSError, SyscallError) as error:
            frames.put_many(range(frame, frame + length, PAGE_SIZE))
            raise SyscallError(error.errno or EIO) from None
        if got < length:
            view[got:] = bytes(length - got)
        for i in range(count):
            pages[index + i] = frame + (i << PAGE_SHIFT)
        frames.cached(self, count)
        return frame

    def read_ahead(self, first: int, last: int) -> None:
        """Bring in pages [first, last), but no more than `_FILL_PAGES` of them, that lie behind the file."""
        index = first
        while index < min(last, first + _FILL_PAGES):
            if index not in self.pages and self._read_in(index, min(last, first + _FILL_PAGES) - index) is None:
                return
            index += 1

    # -- size and holes -----------------------------------------------------------------------------------------------
    def truncate(self, size: int) -> None:
        """The file now has `size` bytes (its inode says so already): what lies beyond is gone, in mappings too."""
        first = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
        self.backed_size = min(self.backed_size, size)
        self._unmap(first, None)
        self._remove(first, None)
        if size & _OFFSET:
            self._zero(size, first << PAGE_SHIFT)

    def punch_hole(self, start: int, end: int) -> None:
        """Bytes [start, end) become zeros; whole pages among them are given back."""
        first = (start + PAGE_SIZE - 1) >> PAGE_SHIFT
        last = end >> PAGE_SHIFT
        if first > last:
            self._zero(start, end)
            return
        self._zero(start, first << PAGE_SHIFT)
        self._zero(last << PAGE_SHIFT, end)
        if first == last:
            return
        if last << PAGE_SHIFT >= self.backed_size:
            self.backed_size = min(self.backed_size, first << PAGE_SHIFT)
        else:
            holes = self._holes
            i = bisect_right(holes, first - 1)
            k = bisect_right(holes, last)
            holes[i:k] = ([] if i & 1 else [first]) + ([] if k & 1 else [last])
        self._unmap(first, last)
        self._remove(first, last)

    def _zero(self, start: int, end: int) -> None:
        """Zero [start, end), which lies within one page, unless it is a hole."""
        if start >= end:
            return
        index = start >> PAGE_SHIFT
        frame = self.pages.get(index)
        if frame is None:
            frame = self._read_in(index, 1)
            if frame is None:
                return
        offset = start & _OFFSET
        self._frames.ram[frame + offset : frame + offset + end - start] = bytes(end - start)
        if self._tracked:
            self.dirty.add(index)
        if frame in self._frames.code_frames:
            self._frames.flush_code()

    def _remove(self, first: int, last: int | None) -> None:
        """Give back the pages with index in [first, last)."""
        pages = self.pages
        if last is not None and last - first <= len(pages):
            gone = [index for index in range(first, last) if index in pages]
        else:
            gone = [index for index in pages if index >= first and (last is None or index < last)]
        self._frames.put_many([pages.pop(index) for index in gone])
        self.dirty.difference_update(gone)

    def drop(self) -> None:
        """The inode is gone: give every page back."""
        self._frames.put_many(self.pages.values())
        self.pages.clear()
        self.dirty.clear()
        self._frames.caches.pop(self, None)

    @property
    def shrinkable(self) -> int:
        """See `Shrinker`."""
        return len(self.pages) - len(self.dirty)

    def shrink(self) -> int:
        """Give back the pages that can be read in again: unchanged, of a file that nobody maps. How many those were."""
        if self.i_mmap or self.readpages is None:
            return 0
        holes = self._holes
        gone = [i for i in self.pages if i not in self.dirty and not bisect_right(holes, i) & 1]
        self._frames.put_many([self.pages.pop(index) for index in gone])
        self._frames.caches.pop(self, None)
        return len(gone)

    def seek_data(self, pos: int, size: int) -> int:
        """lseek(2) SEEK_DATA; ENXIO beyond the last data."""
        if pos >= size:
            raise SyscallError(ENXIO)
        index = pos >> PAGE_SHIFT
        if self._has_data(index):
            return pos
        found = [i for i in self.pages if i > index]
        i = bisect_right(self._holes, index)
        if i & 1:
            found.append(self._holes[i])
        data = min(found, default=None)
        if data is None or data << PAGE_SHIFT >= size:
            raise SyscallError(ENXIO)
        return data << PAGE_SHIFT

    def seek_hole(self, pos: int, size: int) -> int:
        """lseek(2) SEEK_HOLE: the end of the file is one; ENXIO at or beyond it."""
        if pos >= size:
            raise SyscallError(ENXIO)
        index = pos >> PAGE_SHIFT
        if not self._has_data(index):
            return pos
        end = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
        while index < end:
            if index in self.pages:
                index += 1
            elif self._has_data(index):
                # All of what lies behind counts as data, up to the next hole.
                i = bisect_right(self._holes, index)
                behind = (self.backed_size + PAGE_SIZE - 1) >> PAGE_SHIFT
                index = min(behind, self._holes[i]) if i < len(self._holes) else behind
            else:
                break
        return min(index << PAGE_SHIFT, size)

    def _has_data(self, index: int) -> bool:
        """Is page `index` there, or behind the file?"""
        return index in self.pages or (
            index << PAGE_SHIFT < self.backed_size and not bisect_right(self._holes, index) & 1
        )

    # -- mappings -----------------------------------------------------------------------------------------------------
    def page_mkwrite(self, index: int) -> None:
        """A shared mapping is about to write page `index`."""
        if self._tracked:
            self.dirty.add(index)
        if self.mkwrite is not None:
            self.mkwrite()

    def remove_vma(self, vma: Vma) -> None:
        """`vma` no longer shows this file."""
        self.i_mmap.pop(vma, None)
        if self.anonymous and not self.i_mmap:
            self.drop()

    @property
    def mapped_writable(self) -> bool:
        """Is there a shared mapping through which it may be written?"""
        return any(vma.vm_flags & _SHARED_MAYWRITE == _SHARED_MAYWRITE for vma in self.i_mmap)

    def _unmap(self, first: int, last: int | None) -> None:
        """Take pages [first, last) out of every mapping; without `last`, private copies too, as the file ends there.

        mm/memory.c:unmap_mapping_range(), whose even_cows is set by truncate alone.
        """
        flush: dict[PageTables, None] = {}
        for vma in self.i_mmap:
            mm = vma.vm_mm
            start = max(vma.vm_start, vma.vm_start + ((first - vma.vm_pgoff) << PAGE_SHIFT))
            if last is None:
                gone = start < vma.vm_end and mm.zap(start, vma.vm_end)
            else:
                end = min(vma.vm_end, vma.vm_start + ((last - vma.vm_pgoff) << PAGE_SHIFT))
                gone = start < end and mm.zap_cached(start, end)
            if gone:
                flush[mm] = None
        for mm in flush:
            mm.tlb_flush()

    def write_back(self, start: int = 0, end: int | None = None) -> None:
        """Hand changed pages with a byte in [start, end) to `writepages`; they are clean afterwards."""
        if self.writepages is None or not self.dirty:
            return
        first = start >> PAGE_SHIFT
        indices = sorted(i for i in self.dirty if i >= first and (end is None or i << PAGE_SHIFT < end))
        self._write_protect(indices)
        size = self.host.i_size
        ram = self._frames.ram
        for index in indices:
            pos = index << PAGE_SHIFT
            frame = self.pages[index]
            if pos < size:
                length = min(PAGE_SIZE, size - pos)
                self.writepages(pos, ram[frame : frame + length])
                self.backed_size = max(self.backed_size, pos + length)
            self.dirty.discard(index)

    def _write_protect(self, indices: list[int]) -> None:
        """Shared mappings fault again at their next write to these pages (mm/rmap.c:page_mkclean())."""
        for vma in self.i_mmap:
            pt = vma.vm_mm.pt
            changed = False
            for index in indices:
                page = vma.vm_start + ((index - vma.vm_pgoff) << PAGE_SHIFT)
                if vma.vm_start <= page < vma.vm_end:
                    entry = pt.get(page, 0)
                    if entry & 2 and entry & PAGE_MASK == self.pages[index]:
                        pt[page] = entry & ~2
                        changed = True
            if changed:
                vma.vm_mm.tlb_flush()


class SpecialMapping(AddressSpace):
    """Frames of the kernel's own (`struct vm_special_mapping`): they stay when nothing shows them."""

    __slots__ = ()
    special = True

    def __init__(self, frames: FrameAllocator, pages: list[int]) -> None:
        super().__init__(frames, AnonymousHost(len(pages) << PAGE_SHIFT))
        self.pages.update(enumerate(pages))


def anonymous_space(frames: FrameAllocator, size: int) -> AddressSpace:
    """Shared memory of `size` bytes that lives as long as something maps it."""
    return AddressSpace(frames, AnonymousHost(size), anonymous=True)
