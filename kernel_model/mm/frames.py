"""Page frames: who uses which page of the guest's physical RAM.

A frame is named by its byte offset in RAM (a multiple of the page size). Offset 0 is never handed out, so that a
page-table entry of a present page is never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from kernel_model.abi.errno import ENOMEM
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE, SyscallError

_ZEROS: Final = bytes(PAGE_SIZE)
_BLOCK_BYTES: Final = 512 * PAGE_SIZE
"""Memory goes back to the host in aligned blocks of this size: the host's own large pages."""
_KEEP_PAGES: Final = 8192
"""Freed frames are kept for the next use up to this many: clearing one costs less than a new one of the host."""
_BULK_PAGES: Final = 256
"""Enough free frames for a while."""
_CACHE_PAGES: Final = 65536
"""The most that caches keep of what they could bring in again: 256 MiB, or a quarter of RAM if that is less."""
_REFS_STEP: Final = 1024


class OutOfMemory(SyscallError):
    """No frame is free. As a system call's error it is ENOMEM; a page fault makes a signal of it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(ENOMEM)


class Shrinker(Protocol):
    """A cache that can give frames back when there are none left (`AddressSpace`)."""

    @property
    def shrinkable(self) -> int:
        """How many frames of it could be had again after being freed."""
        ...

    def shrink(self) -> int:
        """Free those that are not in use; how many these were."""
        ...


class FrameAllocator:
    """All frames of a machine. `refs[frame >> 12]` counts the references to a frame."""

    __slots__ = (
        "_aside", "_aside_limit", "_bump", "_cache_mark", "_cached", "_end", "_free", "_keep", "_run_end", "_runs",
        "_shrinking", "caches", "code_frames", "faults", "flush_code", "ram", "ran_out", "refs", "release_range",
        "zero_frame",
    )  # fmt: skip

    def __init__(
        self,
        ram: memoryview,
        limit_bytes: int | None = None,
        *,
        release_range: Callable[[int, int], None] | None = None,
        flush_code: Callable[[], None] | None = None,
    ) -> None:
        """`ram`: flat writable bytes, all zero. `limit_bytes`: how much of it may be used (all of it unless said).

        `release_range(offset, length)`: give that part of RAM back to the host, after which it reads as zeros.
        `flush_code()`: forget all translated code (`Cpu.flush_code`); may be set later.
        """
        self.ram = ram
        end = len(ram) if limit_bytes is None else min(limit_bytes, len(ram))
        self._end = end & -PAGE_SIZE
        self.refs: list[int] = []
        self._free: list[int] = []
        """Free frames with old contents."""
        self._keep = _KEEP_PAGES
        """See what can go back to the host when there are more of them."""
        self._runs: list[tuple[int, int]] = []
        """Free ranges that are known to be zero."""
        self._bump = PAGE_SIZE
        self._run_end = self._end
        """The range of zeros that frames are taken from now: [_bump, _run_end)."""
        self._aside: list[int] = []
        """Free frames of which translated code may be left: not to be used before a flush."""
        self._aside_limit = max(1, min(1024, self._end // PAGE_SIZE // 16))
        self.code_frames: set[int] = set()
        """Frames that the CPU may have translated code of; whoever fills an executable TLB entry adds to it."""
        self.faults = 0
        """How many page faults there were in all address spaces, the kernel's own accesses included."""
        self.release_range = release_range
        self.flush_code: Callable[[], None] = flush_code or _nothing
        self.caches: dict[Shrinker, None] = {}
        """Caches that may be shrunk, least recently filled first."""
        self.ran_out = False
        """Somebody asked for a frame, and none was left."""
        self._shrinking = False
        """Caches are made smaller, maybe within a fault: translated code must not be flushed under a running CPU."""
        self._cached = 0
        self._cache_mark = min(self._end // PAGE_SIZE // 4, _CACHE_PAGES)
        self.zero_frame = self.alloc()
        """The page of zeros that everybody may map read-only."""

    # -- taking -------------------------------------------------------------------------------------------------------
    def alloc(self) -> int:
        """A frame with one reference and undefined contents; OutOfMemory."""
        if self._free:
            frame = self._free.pop()
            self.refs[frame >> PAGE_SHIFT] = 1
            return frame
        return self._alloc_from_run()

    def alloc_zeroed(self) -> int:
        """A frame of zeros with one reference; OutOfMemory."""
        if self._free:
            frame = self._free.pop()
            self.ram[frame : frame + PAGE_SIZE] = _ZEROS
            self.refs[frame >> PAGE_SHIFT] = 1
            return frame
        frame = self._bump
        if frame == self._run_end:
            return self._alloc_from_run()
        self._bump = frame + PAGE_SIZE
        try:
            self.refs[frame >> PAGE_SHIFT] = 1
        except IndexError:
            self._count_up_to(self._bump)
            self.refs[frame >> PAGE_SHIFT] = 1
        return frame

    def alloc_run(self, pages: int) -> tuple[int, int]:
        """Neighbouring frames, at most `pages` (at least 1) of them: (first frame, how many); contents undefined."""
        if self._bump == self._run_end and not self._next_run():
            return self.alloc(), 1
        frame = self._bump
        stop = min(frame + (pages << PAGE_SHIFT), self._run_end)
        self._bump = stop
        self._count_up_to(stop)
        count = (stop - frame) >> PAGE_SHIFT
        first = frame >> PAGE_SHIFT
        self.refs[first : first + count] = [1] * count
        return frame, count

    def _alloc_from_run(self) -> int:
        """A frame of zeros from a range never used or given back to the host, or after all one that a cache had."""
        if self._bump == self._run_end and not self._next_run():
            self._reclaim()
            return self.alloc_zeroed()
        frame = self._bump
        self._bump = frame + PAGE_SIZE
        self._count_up_to(self._bump)
        self.refs[frame >> PAGE_SHIFT] = 1
        return frame

    def _next_run(self) -> bool:
        """Go on with another range of zeros; False when there is none."""
        if not self._runs:
            return False
        self._bump, self._run_end = self._runs.pop()
        return True

    def _count_up_to(self, offset: int) -> None:
        """Make `refs` long enough for frames below `offset`."""
        missing = (offset >> PAGE_SHIFT) - len(self.refs)
        if missing > 0:
            self.refs.extend([0] * max(missing, _REFS_STEP))

    @property
    def peak_bytes(self) -> int:
        """How much of RAM was ever in use at once, page caches and freed frames not yet reused included."""
        if self._run_end == self._end:
            return self._bump
        return self._runs[0][0] if self._runs and self._runs[0][1] == self._end else self._end

    # -- sharing and giving back --------------------------------------------------------------------------------------
    def get(self, frame: int) -> None:
        """One more reference to `frame`."""
        self.refs[frame >> PAGE_SHIFT] += 1

    def put(self, frame: int) -> None:
        """One reference less; a frame without any is free."""
        number = frame >> PAGE_SHIFT
        left = self.refs[number] - 1
        self.refs[number] = left
        if not left:
            if frame in self.code_frames:
                self._put_aside(frame)
            else:
                self._free.append(frame)

    def put_many(self, frames: Iterable[int]) -> None:
        """`put` for many frames; when there are plenty, whole blocks go back to the host."""
        refs = self.refs
        code = self.code_frames
        freed: list[int] = []
        for frame in frames:
            number = frame >> PAGE_SHIFT
            left = refs[number] - 1
            refs[number] = left
            if not left:
                if frame in code:
                    self._put_aside(frame)
                else:
                    freed.append(frame)
        self._free += freed
        if len(self._free) > self._keep and self.release_range is not None:
            self._release(self.release_range)

    def _release(self, release_range: Callable[[int, int], None]) -> None:
        """Give whole blocks of free frames back to the host; they are a range of zeros then."""
        frames = sorted(self._free)
        self._free = kept = []
        first = 0
        while first < len(frames):
            start = frames[first]
            stop = min(first + _BLOCK_BYTES // PAGE_SIZE, len(frames))
            if start % _BLOCK_BYTES == 0 and frames[stop - 1] == start + _BLOCK_BYTES - PAGE_SIZE:
                release_range(start, _BLOCK_BYTES)
                self._runs.append((start, start + _BLOCK_BYTES))
                first = stop
            else:
                kept.append(start)
                first += 1
        self._keep = max(_KEEP_PAGES, 2 * len(kept))
        # What came back is used before what never was, which stays first in the list.
        if self._runs:
            if self._bump < self._run_end:
                self._runs.insert(int(self._run_end != self._end), (self._bump, self._run_end))
            self._next_run()

    def _put_aside(self, frame: int) -> None:
        """A freed frame held code: it is free again after the next flush, which comes when enough of them wait."""
        self._aside.append(frame)
        if len(self._aside) >= self._aside_limit and not self._shrinking:
            self.flush_code()
            self.code_frames.difference_update(self._aside)
            self._free += self._aside
            self._aside.clear()

    # -- caches -------------------------------------------------------------------------------------------------------
    def cached(self, cache: Shrinker, pages: int) -> None:
        """`cache` has brought in `pages` that it could bring in again; too many of them, and the oldest go."""
        self.caches.pop(cache, None)
        self.caches[cache] = None
        self._cached += pages
        if self._cached > self._cache_mark:
            self._trim(cache)

    def _trim(self, newest: Shrinker) -> None:
        """Bring the caches back below three quarters of what they may have, as far as their pages are not in use."""
        limit = min(self._end // PAGE_SIZE // 4, _CACHE_PAGES)
        total = sum(cache.shrinkable for cache in self.caches)
        self._shrinking = True
        for cache in list(self.caches):
            if total <= limit * 3 // 4 or cache is newest:
                break
            total -= cache.shrink()
        self._shrinking = False
        self._cached = total
        self._cache_mark = max(limit, total + limit // 4)

    def _reclaim(self) -> None:
        """No frame is left: have caches shrunk until some are; OutOfMemory."""
        self._shrinking = True
        for cache in list(self.caches):
            cache.shrink()
            if len(self._free) >= _BULK_PAGES or self._runs:
                break
        self._shrinking = False
        if not self._free and not self._runs:
            self.ran_out = True
            raise OutOfMemory

    # -- counting -----------------------------------------------------------------------------------------------------
    @property
    def free_frames(self) -> int:
        """Frames that are still to be had."""
        runs = self._run_end - self._bump + sum(end - start for start, end in self._runs)
        return (runs >> PAGE_SHIFT) + len(self._free) + len(self._aside)

    @property
    def used_frames(self) -> int:
        """Frames in use, the shared page of zeros among them."""
        return self.total_frames - self.free_frames

    @property
    def total_frames(self) -> int:
        """All frames there are."""
        return self._end // PAGE_SIZE - 1


def _nothing() -> None:
    """Until a CPU is there, no code has been translated."""
