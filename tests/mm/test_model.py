"""A machine of address spaces against a model that knows only single pages: what each allows and what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED
from kernel_model.mm.madvise import MADV_DONTFORK, MADV_DONTNEED, MADV_WIPEONFORK, do_madvise
from kernel_model.mm.mremap import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE, SyscallError
from tests.mm.space import CachedFile, Space, check, fork, make_frames, make_space, new_file

if TYPE_CHECKING:
    from kernel_model.task import Task

BASE = 0x10_0000_0000
PAGES = 6
FILE_PAGES = 4
MARK_AT = 1000
NO_MARK = bytes(4)

page_numbers = st.integers(0, PAGES - 1)
lengths = st.integers(1, 4)
prots = st.sampled_from([3, 3, 3, 1, 0, 2, 5, 7, 4])
marks = st.binary(min_size=4, max_size=4)
which = st.integers(0, 7)


@dataclass
class Shared:
    """Contents that several pages may show: a file, or shared memory. `marks` of pages that are not zero."""

    marks: dict[int, bytes] = field(default_factory=dict)
    size_pages: int = 0


@dataclass
class Page:
    """One page of an address space. Its content is `own` if that is set, else the source's, else zeros."""

    prot: int
    source: Shared | None = None
    index: int = 0
    shared: bool = False
    own: bytes | None = None
    dontfork: bool = False
    wipe: bool = False

    def exists(self) -> bool:
        """Not past the end of its file?"""
        return self.source is None or self.index < self.source.size_pages

    def mark(self) -> bytes:
        if self.own is not None:
            return self.own
        return NO_MARK if self.source is None else self.source.marks.get(self.index, NO_MARK)

    def put(self, mark: bytes) -> None:
        if self.shared:
            assert self.source is not None
            self.source.marks[self.index] = mark
        else:
            self.own = mark


@dataclass
class Process:
    space: Space
    pages: dict[int, Page] = field(default_factory=dict)


def address(number: int) -> int:
    return BASE + number * PAGE_SIZE


class MemoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.frames = make_frames()
        self.file: CachedFile = new_file(self.frames, FILE_PAGES * PAGE_SIZE)
        self.contents = Shared(size_pages=FILE_PAGES)
        self.processes = [Process(make_space(self.frames))]

    @initialize(kind=st.sampled_from(["memory", "private", "shared"]))
    def begin(self, kind: str) -> None:
        """Something to work on, so that most operations meet pages."""
        if kind == "memory":
            self.mmap_anonymous(0, 0, PAGES, 3, False, False)
        else:
            self.mmap_file(0, 0, FILE_PAGES, 3, kind == "shared", 0)
        self.write(self.processes[0], 0, b"init", by_kernel=False)

    def pick(self, number: int) -> Process:
        return self.processes[number % len(self.processes)]

    # -- mappings -----------------------------------------------------------------------------------------------------
    @rule(who=which, start=page_numbers, count=lengths, prot=prots, populate=st.booleans(), shared=st.booleans())
    def mmap_anonymous(self, who: int, start: int, count: int, prot: int, populate: bool, shared: bool) -> None:
        process = self.pick(who)
        flags = MAP_FIXED | MAP_ANONYMOUS | (MAP_SHARED if shared else MAP_PRIVATE)
        if populate:
            flags |= MAP_POPULATE
        assert process.space.mm.mmap(address(start), count * PAGE_SIZE, prot, flags) == address(start)
        source = Shared(size_pages=count) if shared else None
        for i in range(count):
            process.pages[start + i] = Page(prot, source, i if shared else 0, shared)

    @rule(
        who=which, start=page_numbers, count=lengths, prot=prots, shared=st.booleans(), first=st.integers(0, FILE_PAGES)
    )
    def mmap_file(self, who: int, start: int, count: int, prot: int, shared: bool, first: int) -> None:
        process = self.pick(who)
        flags = MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE)
        task = cast("Task", object())
        process.space.mm.mmap(address(start), count * PAGE_SIZE, prot, flags, self.file, first * PAGE_SIZE, task=task)
        for i in range(count):
            process.pages[start + i] = Page(prot, self.contents, first + i, shared)

    @rule(who=which, start=page_numbers, count=lengths)
    def munmap(self, who: int, start: int, count: int) -> None:
        process = self.pick(who)
        process.space.mm.munmap(address(start), count * PAGE_SIZE)
        for i in range(count):
            process.pages.pop(start + i, None)

    @rule(who=which, start=page_numbers, count=lengths, prot=prots)
    def mprotect(self, who: int, start: int, count: int, prot: int) -> None:
        process = self.pick(who)
        failed = 0
        try:
            process.space.mm.mprotect(address(start), count * PAGE_SIZE, prot)
        except SyscallError as error:
            failed = error.errno
        for i in range(start, start + count):
            if i not in process.pages:
                assert failed == errno.ENOMEM
                return
            process.pages[i].prot = prot
        assert not failed

    @rule(
        who=which,
        start=page_numbers,
        count=lengths,
        new=lengths,
        to=page_numbers,
        keep=st.booleans(),
    )
    def mremap_fixed(self, who: int, start: int, count: int, new: int, to: int, keep: bool) -> None:
        process = self.pick(who)
        mm = process.space.mm
        pages = process.pages
        if keep:
            new = count
        overlap = start < to + new and to < start + count
        failed = 0
        flags = MREMAP_MAYMOVE | MREMAP_FIXED | (MREMAP_DONTUNMAP if keep else 0)
        try:
            mm.mremap(address(start), count * PAGE_SIZE, new * PAGE_SIZE, flags, address(to))
        except SyscallError as error:
            failed = error.errno
        if overlap:
            assert failed == errno.EINVAL
            return
        if start not in pages:
            assert failed == errno.EFAULT
            return
        if count == new:
            assert not failed
            self.move_each(pages, range(start, start + count), to - start, keep=keep)
            return
        if failed:
            # Only one mapping can be resized: what looks alike page by page may still be two of them.
            assert failed == errno.EFAULT
            return
        for i in range(new):
            pages.pop(to + i, None)
        for i in range(new, count):
            pages.pop(start + i, None)
        moved = min(count, new)
        first = pages[start]
        assert all((pages[i].prot, pages[i].source) == (first.prot, first.source) for i in range(start, start + moved))
        self.move_each(pages, range(start, start + moved), to - start, keep=False)
        for i in range(moved, new):
            pages[to + i] = Page(
                first.prot, first.source, first.index + i if first.source else 0, first.shared, None,
                first.dontfork, first.wipe,
            )  # fmt: skip

    @staticmethod
    def move_each(pages: dict[int, Page], numbers: range, distance: int, *, keep: bool) -> None:
        """Every page of the range that is there goes elsewhere; `keep` leaves an empty one behind."""
        for number in numbers:
            page = pages.get(number)
            if page is not None:
                pages[number + distance] = page
                if keep:
                    pages[number] = replace(page, own=None)
                else:
                    del pages[number]

    @rule(who=which, start=page_numbers, count=lengths, look=st.booleans())
    def dont_need(self, who: int, start: int, count: int, look: bool) -> None:
        process = self.pick(who)
        failed = 0
        try:
            do_madvise(process.space.mm, address(start), count * PAGE_SIZE, MADV_DONTNEED)
        except SyscallError as error:
            failed = error.errno
        here = [process.pages[i] for i in range(start, start + count) if i in process.pages]
        assert failed == (0 if len(here) == count else errno.ENOMEM)
        for page in here:
            page.own = None
        if look:
            self.read(who, start)

    @rule(who=which, start=page_numbers, count=lengths, wipe=st.booleans())
    def advise_fork(self, who: int, start: int, count: int, wipe: bool) -> None:
        process = self.pick(who)
        try:
            do_madvise(process.space.mm, address(start), count * PAGE_SIZE, MADV_WIPEONFORK if wipe else MADV_DONTFORK)
        except SyscallError as error:
            assert error.errno in (errno.ENOMEM, errno.EINVAL)
        for i in range(start, start + count):
            page = process.pages.get(i)
            if page is not None:
                if wipe and page.source is not None:
                    return
                page.wipe |= wipe
                page.dontfork |= not wipe

    # -- contents -----------------------------------------------------------------------------------------------------
    @rule(who=which, number=page_numbers, mark=marks)
    def write_by_cpu(self, who: int, number: int, mark: bytes) -> None:
        self.write(self.pick(who), number, mark, by_kernel=False)

    @rule(who=which, number=page_numbers, mark=marks)
    def write_by_kernel(self, who: int, number: int, mark: bytes) -> None:
        self.write(self.pick(who), number, mark, by_kernel=True)

    def write(self, process: Process, number: int, mark: bytes, *, by_kernel: bool) -> None:
        at = address(number) + MARK_AT
        if by_kernel:
            try:
                copy_to_user(process.space.mm, at, mark)
                done = True
            except SyscallError as error:
                assert error.errno == errno.EFAULT
                done = False
        else:
            done = process.space.store(at, mark)
        page = process.pages.get(number)
        assert done == (page is not None and bool(page.prot & 2) and page.exists())
        if done:
            assert page is not None
            page.put(mark)

    @rule(number=st.integers(0, FILE_PAGES - 1), mark=marks)
    def write_file(self, number: int, mark: bytes) -> None:
        if number < self.contents.size_pages:
            self.file.mapping.write(number * PAGE_SIZE + MARK_AT, mark)
            self.contents.marks[number] = mark

    @rule(pages=st.integers(0, FILE_PAGES))
    def truncate(self, pages: int) -> None:
        self.file.inode.i_size = pages * PAGE_SIZE
        self.file.mapping.truncate(pages * PAGE_SIZE)
        self.contents.size_pages = pages
        for index in [i for i in self.contents.marks if i >= pages]:
            del self.contents.marks[index]
        for process in self.processes:
            for page in process.pages.values():
                if page.source is self.contents and page.index >= pages:
                    page.own = None

    @rule(first=st.integers(0, FILE_PAGES), count=st.integers(0, FILE_PAGES))
    def punch(self, first: int, count: int) -> None:
        last = min(first + count, self.contents.size_pages)
        if first < last:
            self.file.mapping.punch_hole(first * PAGE_SIZE, last * PAGE_SIZE)
            for index in range(first, last):
                self.contents.marks.pop(index, None)

    # -- processes ----------------------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.processes) < 4)
    @rule(who=which)
    def fork(self, who: int) -> None:
        parent = self.pick(who)
        child = Process(fork(parent.space))
        for number, page in parent.pages.items():
            if not page.dontfork:
                own = None if page.wipe else page.own
                child.pages[number] = Page(page.prot, page.source, page.index, page.shared, own, False, page.wipe)
        self.processes.append(child)

    @precondition(lambda self: len(self.processes) > 1)
    @rule(who=which)
    def exit(self, who: int) -> None:
        process = self.pick(who)
        process.space.mm.exit_mmap()
        self.processes.remove(process)

    # -- what must hold -----------------------------------------------------------------------------------------------
    @invariant()
    def every_page_is_as_it_should_be(self) -> None:
        for process in self.processes:
            mm = process.space.mm
            for number in range(PAGES + 6):
                at = address(number) + MARK_AT
                page = process.pages.get(number)
                mapped = mm.vmas.lookup(address(number))
                assert (mapped is not None) == (page is not None)
                if page is None or mapped is None:
                    assert address(number) not in mm.pt
                    continue
                assert mapped.vm_flags & 7 == page.prot
                # Look, but bring nothing in: untouched pages must be met by later operations too.
                if address(number) in mm.pt and page.prot:
                    assert process.space.load(at, 4) == page.mark()
                    assert copy_from_user(mm, at, 4) == page.mark()

    @rule(who=which, number=page_numbers)
    def read(self, who: int, number: int) -> None:
        process = self.pick(who)
        page = process.pages.get(number)
        data = process.space.load(address(number) + MARK_AT, 4)
        if page is None or not page.prot or not page.exists():
            assert data is None
        else:
            assert data == page.mark()

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        check([process.space.mm for process in self.processes], [self.file.mapping], self.frames)

    def teardown(self) -> None:
        for process in self.processes:
            process.space.mm.exit_mmap()
        assert self.file.f_count == 1
        assert not self.file.mapping.i_mmap
        self.file.mapping.drop()
        assert self.frames.used_frames == 1
        assert PAGE_SIZE == 1 << PAGE_SHIFT


MemoryMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMemory = MemoryMachine.TestCase
