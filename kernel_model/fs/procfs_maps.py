"""/proc/<pid>/maps, smaps, smaps_rollup and mem: an address space as text, and as a file
(fs/proc/task_mmu.c, base.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.stat import dev_major, dev_minor
from kernel_model.fs.file import File
from kernel_model.fs.names import file_name, mangle
from kernel_model.mm.fault import PINNED
from kernel_model.mm.uaccess import copy_from_user_partial, copy_to_user_partial
from kernel_model.mm.vma import (
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGEPAGE,
    VM_IO,
    VM_LOCKED,
    VM_LOCKONFAULT,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
    Vma,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.inode import Inode
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

# the width that a line is padded to before its name (fs/proc/task_mmu.c:show_vma_header_prefix())
_NAME_COLUMN: Final = 25 + 8 * 6 - 1
_U64: Final = (1 << 64) - 1
_MEM_CHUNK_BYTES: Final = 1 << 20
# fs/proc/task_mmu.c:show_smap_vma_flags(), in the order of the bits
_VM_FLAG_NAMES: Final = (
    (VM_READ, b"rd"), (VM_WRITE, b"wr"), (VM_EXEC, b"ex"), (VM_SHARED, b"sh"), (VM_MAYREAD, b"mr"),
    (VM_MAYWRITE, b"mw"), (VM_MAYEXEC, b"me"), (VM_MAYSHARE, b"ms"), (VM_GROWSDOWN, b"gd"), (VM_PFNMAP, b"pf"),
    (VM_LOCKED, b"lo"), (VM_IO, b"io"), (VM_SEQ_READ, b"sr"), (VM_RAND_READ, b"rr"), (VM_DONTCOPY, b"dc"),
    (VM_DONTEXPAND, b"de"), (VM_LOCKONFAULT, b"lf"), (VM_ACCOUNT, b"ac"), (VM_NORESERVE, b"nr"),
    (VM_WIPEONFORK, b"wf"), (VM_DONTDUMP, b"dd"), (VM_HUGEPAGE, b"hg"), (VM_NOHUGEPAGE, b"nh"),
    (VM_MERGEABLE, b"mg"), (VM_SEALED, b"sl"),
)  # fmt: skip


def _vma_name(task: Task, vma: Vma) -> bytes:
    """The last column, empty for none."""
    mm = task.mm
    if vma.vm_file is not None:
        return mangle(file_name(task, vma.vm_file), b"\n")
    if vma.name:
        return vma.name.encode()
    if vma.mapping is not None:
        return b"/dev/zero (deleted)"
    if mm.start_brk <= vma.vm_end and vma.vm_start <= mm.brk and mm.brk > mm.start_brk:
        return b"[heap]"
    if vma.vm_start <= mm.start_stack <= vma.vm_end:
        return b"[stack]"
    return b""


def vma_line(task: Task, vma: Vma) -> bytes:
    """One line of maps, its newline included."""
    flags = vma.vm_flags
    offset = dev = ino = 0
    if vma.vm_file is not None:
        stat = vma.vm_file.inode.getattr()
        offset, dev, ino = vma.vm_pgoff << PAGE_SHIFT, stat.dev, stat.ino
    elif vma.mapping is not None and vma.mapping.anonymous:
        # shmem's own mount is the first anonymous device; the number is the object's
        offset, dev, ino = vma.vm_pgoff << PAGE_SHIFT, 1, 1
    line = b"%08x-%08x %c%c%c%c %08x %02x:%02x %d " % (
        vma.vm_start,
        vma.vm_end,
        b"r" if flags & VM_READ else b"-",
        b"w" if flags & VM_WRITE else b"-",
        b"x" if flags & VM_EXEC else b"-",
        b"s" if flags & VM_MAYSHARE else b"p",
        offset,
        dev_major(dev),
        dev_minor(dev),
        ino,
    )
    name = _vma_name(task, vma)
    if name:
        return line.ljust(_NAME_COLUMN) + b" " + name + b"\n"
    return line + b"\n"


def maps(target: Task, task: Task) -> bytes:
    """/proc/<pid>/maps."""
    return b"".join(vma_line(task, vma) for vma in target.mm.vmas)


class Usage:
    """How many pages of a range are there, and of what kind."""

    __slots__ = ("anonymous", "private_dirty", "resident", "shared_clean")

    def __init__(self, mm: MemoryMap, vma: Vma) -> None:
        self.resident = self.anonymous = self.private_dirty = self.shared_clean = 0
        zero_frame = mm.frames.zero_frame
        for page in mm.pages_in(vma.vm_start, vma.vm_end):
            entry = mm.pt[page]
            if entry & PAGE_MASK == zero_frame:
                continue
            self.resident += 1
            if entry & PINNED:
                self.shared_clean += 1
            else:
                self.anonymous += 1
                self.private_dirty += 1


_SMAPS_FIELDS: Final = (
    b"Rss", b"Pss", b"Pss_Dirty", b"Shared_Clean", b"Shared_Dirty", b"Private_Clean", b"Private_Dirty",
    b"Referenced", b"Anonymous", b"KSM", b"LazyFree", b"AnonHugePages", b"ShmemPmdMapped", b"FilePmdMapped",
    b"Shared_Hugetlb", b"Private_Hugetlb", b"Swap", b"SwapPss", b"Locked",
)  # fmt: skip


def _usage_lines(mm: MemoryMap, vmas: list[Vma]) -> bytes:
    """The block of counters that smaps has for each mapping, and smaps_rollup for all."""
    total = dict.fromkeys(_SMAPS_FIELDS, 0)
    for vma in vmas:
        usage = Usage(mm, vma)
        kib = {
            b"Rss": usage.resident,
            b"Pss": usage.resident,
            b"Pss_Dirty": usage.private_dirty,
            b"Shared_Clean": usage.shared_clean if vma.vm_flags & VM_SHARED else 0,
            b"Private_Clean": 0 if vma.vm_flags & VM_SHARED else usage.shared_clean,
            b"Private_Dirty": usage.private_dirty,
            b"Referenced": usage.resident,
            b"Anonymous": usage.anonymous,
            b"Locked": usage.resident if vma.vm_flags & VM_LOCKED else 0,
        }
        for name, pages in kib.items():
            total[name] += pages * (PAGE_SIZE // 1024)
    return b"".join(b"%-16s%8d kB\n" % (name + b":", total[name]) for name in _SMAPS_FIELDS)


def smaps(target: Task, task: Task) -> bytes:
    """/proc/<pid>/smaps."""
    out = []
    for vma in target.mm.vmas:
        names = b"".join(name + b" " for flag, name in _VM_FLAG_NAMES if vma.vm_flags & flag)
        out += [
            vma_line(task, vma),
            b"Size:           %8d kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
            % ((vma.vm_end - vma.vm_start) // 1024),
            _usage_lines(target.mm, [vma]),
            b"THPeligible:           0\nVmFlags: ",
            names,
            b"\n",
        ]
    return b"".join(out)


def smaps_rollup(target: Task, task: Task) -> bytes:
    """/proc/<pid>/smaps_rollup."""
    vmas = list(target.mm.vmas)
    if not vmas:
        return b""
    line = b"%08x-%08x ---p 00000000 00:00 0 " % (vmas[0].vm_start, vmas[-1].vm_end)
    return line.ljust(_NAME_COLUMN) + b" [rollup]\n" + _usage_lines(target.mm, vmas)


# QUIRK: /proc/<pid>/mem obeys the pages' protections; Linux lets a debugger read and write past them.
class MemFile(File):
    """/proc/<pid>/mem: positions are addresses."""

    __slots__ = ("mm",)

    def __init__(self, inode: Inode, path: Path | None, flags: int, mm: MemoryMap) -> None:
        super().__init__(inode, path, flags)
        self.mm = mm

    def read(self, task: Task, count: int) -> bytes:
        """At the position."""
        data = self.pread(task, count, self.f_pos)
        self.f_pos += len(data)
        return data

    def write(self, task: Task, data: bytes) -> int:
        """At the position."""
        written = self.pwrite(task, data, self.f_pos)
        self.f_pos += written
        return written

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """EIO where nothing is (mem_rw())."""
        data = copy_from_user_partial(self.mm, pos, min(count, _MEM_CHUNK_BYTES))
        if count and not data:
            raise SyscallError(errno.EIO)
        return data

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """EIO where nothing can be written."""
        written = copy_to_user_partial(self.mm, pos, data)
        if data and not written:
            raise SyscallError(errno.EIO)
        return written

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Any address (mem_lseek())."""
        if whence == 1:
            offset += self.f_pos
        elif whence != 0:
            raise SyscallError(errno.EINVAL)
        self.f_pos = offset & _U64
        return self.f_pos
