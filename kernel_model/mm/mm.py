"""`MemoryMap` (`struct mm_struct`): an address space, and the operations of mmap(2) and its kin on it.

Errors come in Linux's order (mm/mmap.c). Every operation flushes the TLB once, at its end, if an entry went.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_SEAL_FUTURE_WRITE, F_SEAL_WRITE
from kernel_model.abi.mount import MS_NOEXEC
from kernel_model.fs.file import get_file, put_file
from kernel_model.mm.fault import (
    COW,
    MMAP_MIN_ADDR,
    PINNED,
    RLIMIT_AS,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    PageTables,
    R,
    W,
)
from kernel_model.mm.pagecache import AddressSpace, anonymous_space
from kernel_model.mm.vma import (
    VM_ACCESS_FLAGS,
    VM_DONTCOPY,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_MAY_FLAGS,
    VM_MAYEXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_READ,
    VM_SEALED,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
    Vma,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.arch import Arch
    from kernel_model.fs.file import File
    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.task import Task

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED: Final = 1
MAP_PRIVATE: Final = 2
MAP_SHARED_VALIDATE: Final = 3
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40
MAP_GROWSDOWN: Final = 0x100
MAP_LOCKED: Final = 0x2000
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_NONBLOCK: Final = 0x10000
MAP_STACK: Final = 0x20000
MAP_HUGETLB: Final = 0x40000
MAP_FIXED_NOREPLACE: Final = 0x100000
# include/linux/mman.h:LEGACY_MAP_MASK, which is all that MAP_SHARED_VALIDATE allows
_LEGACY_MAP_MASK: Final = 0x7F9F3 | 21 << 26 | 30 << 26

MAX_MAP_COUNT: Final = 65530
_LOW_START: Final = 0x4000_0000
_LOW_END: Final = 0x8000_0000
"""Where MAP_32BIT maps (arch/x86/kernel/sys_x86_64.c:find_start_end())."""


class MemoryMap(PageTables):
    """An address space. Field names are Linux's."""

    __slots__ = (
        "__weakref__", "arch", "arg_end", "arg_start", "brk", "data_vm", "def_flags", "end_code", "end_data", "env_end",
        "env_start", "membarrier_state", "mmap_base", "mmap_legacy", "sigtramp", "start_brk",
        "start_code", "start_data", "start_stack", "tagged_addr", "task_size", "users", "vdso",
    )  # fmt: skip

    def __init__(
        self,
        frames: FrameAllocator,
        arch: Arch,
        *,
        tlb_flush: Callable[[], None],
        code_flush: Callable[[], None],
    ) -> None:
        super().__init__(frames, tlb_flush, code_flush)
        self.arch = arch
        self.task_size = arch.TASK_SIZE
        self.users = 1
        """Tasks that run in it."""
        self.mmap_base = arch.TASK_SIZE - (128 << 20)
        """Mappings are placed downwards from here; execve chooses it."""
        self.mmap_legacy = False
        """Place them upwards from `mmap_base` instead (an unlimited stack)."""
        self.def_flags = 0
        """mlockall(MCL_FUTURE): VM_LOCKED for what comes."""
        self.data_vm = 0
        """Private writable pages that are no stack, for RLIMIT_DATA."""
        self.tagged_addr = False
        """prctl(PR_SET_TAGGED_ADDR_CTRL): system calls take tagged addresses."""
        self.membarrier_state = 0
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.start_brk = self.brk = 0
        self.start_stack = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.vdso = 0
        """Address of the vDSO; 0 for none."""
        self.sigtramp = 0
        """Where signal handlers return to that have no restorer of their own (`Arch.SIGTRAMP_CODE`); 0 for nowhere."""

    # -- mmap -------------------------------------------------------------------------------------------------------
    def mmap(
        self,
        addr: int,
        length: int,
        prot: int,
        flags: int,
        file: File | None = None,
        offset: int = 0,
        *,
        task: Task | None = None,
        rawio: bool = False,
        ipc_lock: bool = False,
    ) -> int:
        """Map `length` bytes of `file` from `offset` (bytes), or memory of zeros; the address (mm/mmap.c:do_mmap()).

        `rawio`: CAP_SYS_RAWIO, may map below mmap_min_addr. `ipc_lock`: CAP_IPC_LOCK. Raises what mmap(2) lists.
        """
        if not length:
            raise SyscallError(errno.EINVAL)
        if flags & MAP_FIXED_NOREPLACE:
            flags |= MAP_FIXED
        if not flags & MAP_FIXED:
            addr &= PAGE_MASK
            if addr and addr < MMAP_MIN_ADDR:
                addr = MMAP_MIN_ADDR
        length = page_align_up(length)
        pgoff = offset >> PAGE_SHIFT
        if length >= 1 << 64:
            raise SyscallError(errno.ENOMEM)
        if pgoff + (length >> PAGE_SHIFT) >= 1 << 64:
            raise SyscallError(errno.EOVERFLOW)
        if len(self.vmas) > MAX_MAP_COUNT:
            raise SyscallError(errno.ENOMEM)
        addr = self.get_unmapped_area(addr, length, flags)
        if addr < MMAP_MIN_ADDR and not rawio:
            raise SyscallError(errno.EPERM)
        if flags & MAP_FIXED_NOREPLACE and self.vmas.overlapping(addr, addr + length):
            raise SyscallError(errno.EEXIST)
        vm_flags = prot & VM_ACCESS_FLAGS | VM_MAY_FLAGS | self.def_flags
        if flags & MAP_GROWSDOWN:
            vm_flags |= VM_GROWSDOWN
        if flags & MAP_LOCKED:
            if not ipc_lock and not self.rlimit(RLIMIT_MEMLOCK):
                raise SyscallError(errno.EPERM)
            vm_flags |= VM_LOCKED
        if vm_flags & VM_LOCKED and not ipc_lock:
            if (self.locked_vm << PAGE_SHIFT) + length > self.rlimit(RLIMIT_MEMLOCK):
                raise SyscallError(errno.EAGAIN)
        kind = flags & MAP_TYPE
        mapping: AddressSpace | None = None
        if file is not None:
            vm_flags, mapping = self._map_file(file, prot, flags, vm_flags, pgoff, length, task)
        elif kind == MAP_SHARED:
            if vm_flags & VM_GROWSDOWN:
                raise SyscallError(errno.EINVAL)
            vm_flags |= VM_SHARED | VM_MAYSHARE
            pgoff = 0
            mapping = anonymous_space(self.frames, length)
        elif kind == MAP_PRIVATE:
            pgoff = addr >> PAGE_SHIFT
        else:
            raise SyscallError(errno.EINVAL)
        if flags & MAP_NORESERVE:
            vm_flags |= VM_NORESERVE
        self.map_region(addr, length, vm_flags, pgoff, file, mapping)
        if vm_flags & VM_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
            self.populate(addr, addr + length)
        return addr

    def _map_file(
        self, file: File, prot: int, flags: int, vm_flags: int, pgoff: int, length: int, task: Task | None
    ) -> tuple[int, AddressSpace]:
        """The checks that do_mmap() makes of a file: (flags of the mapping, what is mapped)."""
        if (pgoff << PAGE_SHIFT) + length > 1 << 63:
            raise SyscallError(errno.EOVERFLOW)
        kind = flags & MAP_TYPE
        if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
            if kind == MAP_SHARED_VALIDATE and flags & ~_LEGACY_MAP_MASK:
                raise SyscallError(errno.EOPNOTSUPP)
            if prot & PROT_WRITE and not file.writable:
                raise SyscallError(errno.EACCES)
            vm_flags |= VM_SHARED | VM_MAYSHARE
            if not file.writable:
                vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
        elif kind != MAP_PRIVATE:
            raise SyscallError(errno.EINVAL)
        if not file.readable:
            raise SyscallError(errno.EACCES)
        if file.f_path is not None and file.f_path.mnt.mnt_flags & MS_NOEXEC:
            if vm_flags & VM_EXEC:
                raise SyscallError(errno.EPERM)
            vm_flags &= ~VM_MAYEXEC
        if vm_flags & VM_GROWSDOWN:
            raise SyscallError(errno.EINVAL)
        if task is None:
            raise SyscallError(errno.ENODEV)
        mapping = file.mmap_mapping(task, flags)
        if mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) and vm_flags & VM_SHARED:
            if vm_flags & VM_WRITE:
                raise SyscallError(errno.EPERM)
            vm_flags &= ~VM_MAYWRITE
        return vm_flags, mapping

    def map_region(
        self,
        addr: int,
        length: int,
        vm_flags: int,
        pgoff: int,
        file: File | None,
        mapping: AddressSpace | None,
        name: str = "",
    ) -> Vma:
        """Put a mapping in place of whatever was there (mm/mmap.c:mmap_region())."""
        end = addr + length
        replaced = self.mapped_bytes(addr, end)
        self.check_limits(vm_flags, (length - replaced) >> PAGE_SHIFT)
        if replaced:
            self.munmap(addr, length)
        vma = Vma(self, addr, end, vm_flags, pgoff, file, mapping, name)
        if file is not None:
            get_file(file)
        return self.insert_vma(vma)

    def check_limits(self, vm_flags: int, pages: int) -> None:
        """mm/mmap.c:may_expand_vm(): ENOMEM beyond RLIMIT_AS or RLIMIT_DATA."""
        if (self.total_vm + pages) << PAGE_SHIFT > self.rlimit(RLIMIT_AS):
            raise SyscallError(errno.ENOMEM)
        if is_data(vm_flags) and (self.data_vm + pages) << PAGE_SHIFT > self.rlimit(RLIMIT_DATA):
            raise SyscallError(errno.ENOMEM)

    def check_protect_limits(self, old_flags: int, new_flags: int, length: int) -> None:
        """ENOMEM when private memory becomes writable beyond RLIMIT_DATA (mm/mprotect.c:mprotect_fixup())."""
        if is_data(new_flags) and not is_data(old_flags):
            if (self.data_vm << PAGE_SHIFT) + length > self.rlimit(RLIMIT_DATA):
                raise SyscallError(errno.ENOMEM)

    def install_special_mapping(
        self, addr: int, prot: int, frames: list[int], name: str, *, may_write: bool = False
    ) -> Vma:
        """Show the kernel's own `frames` at `addr` (vDSO, vvar; mm/mmap.c:_install_special_mapping())."""
        flags = prot | VM_MAY_FLAGS | VM_DONTEXPAND
        if not may_write:
            flags &= ~VM_MAYWRITE
        vma = self.map_region(addr, len(frames) << PAGE_SHIFT, flags, 0, None, None, name)
        for i, frame in enumerate(frames):
            self.pt[addr + (i << PAGE_SHIFT)] = frame | vma.page_prot & ~W | COW | PINNED
        return vma

    # -- where --------------------------------------------------------------------------------------------------------
    def get_unmapped_area(self, addr: int, length: int, flags: int) -> int:
        """Where a mapping of `length` bytes goes (mm/mmap.c:arch_get_unmapped_area_topdown()); ENOMEM, EINVAL."""
        top = self.task_size
        if length > top - (0 if flags & MAP_FIXED else MMAP_MIN_ADDR):
            raise SyscallError(errno.ENOMEM)
        if flags & MAP_FIXED:
            if addr > top - length:
                raise SyscallError(errno.ENOMEM)
            if addr & ~PAGE_MASK:
                raise SyscallError(errno.EINVAL)
            return addr
        low32 = bool(flags & MAP_32BIT & self.arch.MAP_32BIT)
        if addr and not low32:
            addr = page_align_up(addr)
            if MMAP_MIN_ADDR <= addr <= top - length and self._is_free(addr, length):
                return addr
        if low32:
            found = self._lowest_gap(length, _LOW_START, _LOW_END)
        elif self.mmap_legacy:
            found = self._lowest_gap(length, self.mmap_base, top)
        else:
            found = self._highest_gap(length, self.mmap_base)
            if found is None:
                found = self._lowest_gap(length, self.arch.TASK_UNMAPPED_BASE, top)
        if found is None:
            raise SyscallError(errno.ENOMEM)
        return found

    def _is_free(self, addr: int, length: int) -> bool:
        """Is [addr, addr + length) free, and no stack's guard?"""
        following = self.vmas.find(addr)
        return following is None or addr + length <= following.start_gap

    def _highest_gap(self, length: int, ceiling: int) -> int | None:
        """The highest free place of `length` bytes that ends at or below `ceiling`."""
        following = self.vmas.find(ceiling)
        high = ceiling if following is None else min(ceiling, following.start_gap)
        for vma in self.vmas.downward(ceiling):
            if high - length >= vma.vm_end:
                break
            high = min(high, vma.start_gap)
            if high - length < MMAP_MIN_ADDR:
                return None
        return high - length if high - length >= MMAP_MIN_ADDR else None

    def _lowest_gap(self, length: int, floor: int, ceiling: int) -> int | None:
        """The lowest free place of `length` bytes within [floor, ceiling)."""
        low = floor
        for vma in self.vmas.upward(floor):
            if low + length <= min(vma.start_gap, ceiling):
                break
            low = max(low, vma.vm_end)
            if low + length > ceiling:
                return None
        return low if low + length <= ceiling else None

    # -- the list of mappings -----------------------------------------------------------------------------------------
    def insert_vma(self, vma: Vma) -> Vma:
        """Add a mapping to its free place, joined with its neighbours where that makes no difference."""
        pages = vma.pages
        self.account(vma.vm_flags, pages)
        previous = self.vmas.before(vma.vm_start)
        if previous is not None and previous.vm_end == vma.vm_start and previous.joins(vma):
            if vma.vm_file is not None:
                put_file(vma.vm_file, None)
            previous.vm_end = vma.vm_end
            vma = previous
        else:
            self.vmas.insert(vma)
            if vma.mapping is not None:
                vma.mapping.i_mmap[vma] = None
        self._join_next(vma)
        return vma

    def _join_next(self, vma: Vma) -> None:
        """Take the mapping that begins where `vma` ends into it, if they are alike."""
        following = self.vmas.lookup(vma.vm_end)
        if following is not None and following.vm_start == vma.vm_end and vma.joins(following):
            self._forget(following)
            vma.vm_end = following.vm_end

    def _forget(self, vma: Vma) -> None:
        """Take `vma` out of the list and drop what it holds."""
        self.vmas.remove(vma)
        if self._last is vma:
            self._last = None
        if vma.mapping is not None:
            vma.mapping.remove_vma(vma)
        if vma.vm_file is not None:
            put_file(vma.vm_file, None)

    def account(self, vm_flags: int, pages: int) -> None:
        """`pages` (negative: fewer) of that kind are mapped."""
        self.total_vm += pages
        if vm_flags & VM_LOCKED:
            self.locked_vm += pages
        if is_data(vm_flags):
            self.data_vm += pages

    def split(self, vma: Vma, address: int) -> Vma:
        """Cut `vma` in two at `address`; the upper part. ENOMEM at the limit of mappings (mm/mmap.c:split_vma())."""
        if len(self.vmas) >= MAX_MAP_COUNT:
            raise SyscallError(errno.ENOMEM)
        upper = Vma(
            self,
            address,
            vma.vm_end,
            vma.vm_flags,
            vma.pgoff_at(address),
            vma.vm_file,
            vma.mapping,
            vma.name,
        )
        vma.vm_end = address
        self.vmas.insert(upper)
        if upper.vm_file is not None:
            get_file(upper.vm_file)
        if upper.mapping is not None:
            upper.mapping.i_mmap[upper] = None
        return upper

    def expand_vma(self, vma: Vma, grow: int) -> None:
        """`vma` gets `grow` bytes more at its end, where there is room."""
        self.account(vma.vm_flags, grow >> PAGE_SHIFT)
        vma.vm_end += grow
        self._join_next(vma)

    def change_flags(self, start: int, end: int, vma: Vma, vm_flags: int) -> Vma:
        """Give [start, end) of `vma` new flags, splitting and joining as needed; the mapping it is in then."""
        if vm_flags == vma.vm_flags:
            return vma
        if start > vma.vm_start:
            vma = self.split(vma, start)
        if end < vma.vm_end:
            self.split(vma, end)
        pages = vma.pages
        self.account(vma.vm_flags, -pages)
        vma.set_flags(vm_flags)
        self.account(vm_flags, pages)
        previous = self.vmas.before(vma.vm_start)
        if previous is not None and previous.vm_end == vma.vm_start and previous.joins(vma):
            vma = previous
            self._join_next(vma)
        self._join_next(vma)
        return vma

    def mapped_bytes(self, start: int, end: int, vm_flags: int = 0) -> int:
        """How much of [start, end) is mapped with all of `vm_flags`."""
        return sum(
            min(vma.vm_end, end) - max(vma.vm_start, start)
            for vma in self.vmas.overlapping(start, end)
            if vma.vm_flags & vm_flags == vm_flags
        )

    # -- munmap and brk -----------------------------------------------------------------------------------------------
    def munmap(self, addr: int, length: int) -> None:
        """munmap(2); EINVAL, ENOMEM (mm/mmap.c:do_vmi_munmap())."""
        if addr & ~PAGE_MASK or addr > self.task_size or length > self.task_size - addr:
            raise SyscallError(errno.EINVAL)
        end = addr + page_align_up(length)
        if end == addr:
            raise SyscallError(errno.EINVAL)
        self.remove_range(addr, end)

    def remove_range(self, start: int, end: int) -> None:
        """Unmap [start, end), page-aligned; ENOMEM, EPERM when sealed."""
        touched = self.vmas.overlapping(start, end)
        if not touched:
            return
        if any(vma.vm_flags & VM_SEALED for vma in touched):
            raise SyscallError(errno.EPERM)
        first = touched[0]
        if start > first.vm_start:
            if end < first.vm_end and len(self.vmas) >= MAX_MAP_COUNT:
                raise SyscallError(errno.ENOMEM)
            touched[0] = self.split(first, start)
        if end < touched[-1].vm_end:
            self.split(touched[-1], end)
        flush = self.zap(touched[0].vm_start, touched[-1].vm_end)
        for vma in touched:
            self.account(vma.vm_flags, -vma.pages)
            self._forget(vma)
        if flush:
            self.tlb_flush()

    def set_brk(self, brk: int) -> int:
        """brk(2) as the kernel has it: the new end of the heap, or the old one when it can't be (mm/mmap.c:brk())."""
        if brk < self.start_brk:
            return self.brk
        limit = self.rlimit(RLIMIT_DATA)
        if brk - self.start_brk + self.end_data - self.start_data > limit:
            return self.brk
        new = page_align_up(brk)
        old = page_align_up(self.brk)
        if new == old:
            self.brk = brk
            return brk
        try:
            if new < old:
                self.remove_range(new, old)
            else:
                if new > self.task_size or not self._is_free(old, new - old + PAGE_SIZE):
                    return self.brk
                flags = VM_READ | VM_WRITE | VM_MAY_FLAGS | self.def_flags
                if flags & VM_LOCKED:
                    if (self.locked_vm << PAGE_SHIFT) + new - old > self.rlimit(RLIMIT_MEMLOCK):
                        return self.brk
                if len(self.vmas) > MAX_MAP_COUNT:
                    return self.brk
                self.map_region(old, new - old, flags, old >> PAGE_SHIFT, None, None)
                if flags & VM_LOCKED:
                    self.populate(old, new)
        except SyscallError:
            return self.brk
        self.brk = brk
        return brk

    def populate(self, start: int, end: int) -> int:
        """Fault [start, end) in as far as it goes; the first address that did not (mm/gup.c:__mm_populate())."""
        for vma in self.vmas.overlapping(start, end):
            if vma.vm_flags & VM_LOCKONFAULT:
                continue
            if not vma.page_prot:
                return max(vma.vm_start, start)
            access = W if vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE else R
            for page in range(max(vma.vm_start, start), min(vma.vm_end, end), PAGE_SIZE):
                if not self.access_page(page, access):
                    return page
        return end

    # -- protection ---------------------------------------------------------------------------------------------------
    def mprotect(self, addr: int, length: int, prot: int) -> None:
        """Change what [addr, addr + length) allows; EINVAL, ENOMEM, EACCES (mm/mprotect.c:do_mprotect_pkey())."""
        from kernel_model.mm.mprotect import do_mprotect

        do_mprotect(self, addr, length, prot)

    def mremap(
        self,
        addr: int,
        old_length: int,
        new_length: int,
        flags: int,
        new_addr: int = 0,
        *,
        ipc_lock: bool = False,
    ) -> int:
        """Resize or move a mapping; its address (mm/mremap.c)."""
        from kernel_model.mm.mremap import do_mremap

        return do_mremap(self, addr, old_length, new_length, flags, new_addr, ipc_lock=ipc_lock)

    # -- the whole ----------------------------------------------------------------------------------------------------
    def dup_mmap(self) -> MemoryMap:
        """A copy of the address space for fork(2): frames are shared until one side writes (kernel/fork.c).

        The TLB is flushed: this side's pages lost their write permission too.
        """
        child = MemoryMap(self.frames, self.arch, tlb_flush=self.tlb_flush, code_flush=self.code_flush)
        for field in (
            "mmap_base", "mmap_legacy", "tagged_addr", "start_code", "end_code", "start_data", "end_data", "start_brk",
            "brk", "start_stack", "arg_start", "arg_end", "env_start", "env_end", "rlim", "vdso",
            "sigtramp",
        ):  # fmt: skip
            setattr(child, field, getattr(self, field))
        pt = self.pt
        refs = self.frames.refs
        for page in self.own:
            entry = pt[page]
            refs[entry >> PAGE_SHIFT] += 1
            if not entry & COW:
                pt[page] = entry & ~W | COW
        child.pt.update(pt)
        child.own.update(self.own)
        left_out = []
        for vma in self.vmas:
            flags = vma.vm_flags
            if flags & (VM_DONTCOPY | VM_WIPEONFORK):
                left_out.append(vma)
                if flags & VM_DONTCOPY:
                    continue
            copy = Vma(
                child,
                vma.vm_start,
                vma.vm_end,
                flags & ~VM_LOCKED_MASK,
                vma.vm_pgoff,
                vma.vm_file,
                vma.mapping,
                vma.name,
            )
            if copy.vm_file is not None:
                get_file(copy.vm_file)
            if copy.mapping is not None:
                copy.mapping.i_mmap[copy] = None
            child.vmas.insert(copy)
            child.account(copy.vm_flags, copy.pages)
        for vma in left_out:
            child.zap(vma.vm_start, vma.vm_end)
        self.tlb_flush()
        return child

    def exit_mmap(self) -> None:
        """The last task is gone: give everything back. The page table stays, empty."""
        pt = self.pt
        self.frames.put_many([pt[page] & PAGE_MASK for page in self.own])
        pt.clear()
        self.own.clear()
        for vma in list(self.vmas):
            if vma.mapping is not None:
                vma.mapping.remove_vma(vma)
            if vma.vm_file is not None:
                put_file(vma.vm_file, None)
        self.vmas.clear()
        self._last = None
        self.total_vm = self.locked_vm = self.data_vm = 0
        self.tlb_flush()

    def vma_name(self, vma: Vma) -> str:
        """What /proc/maps calls a mapping without a file: `[heap]`, `[stack]`, `[vdso]` or nothing."""
        if vma.name:
            return vma.name
        if vma.mapping is not None:
            return "/dev/zero (deleted)" if vma.mapping.anonymous else ""
        if vma.vm_start < self.brk and vma.vm_end > self.start_brk:
            return "[heap]"
        if vma.vm_start <= self.start_stack <= vma.vm_end:
            return "[stack]"
        return ""


def mm_alloc(kernel: Kernel) -> MemoryMap:
    """An empty address space of that machine."""
    return MemoryMap(kernel.frames, kernel.arch, tlb_flush=kernel.cpu.flush_tlb, code_flush=kernel.cpu.flush_code)


def is_data(vm_flags: int) -> bool:
    """mm/internal.h:is_data_mapping(): private, writable, no stack."""
    return vm_flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE
