"""`MemoryMap` (`struct mm_struct`): an address space, and the operations of mmap(2) and its kin on it.

Errors come in Linux's order (mm/mmap.c). Every operation flushes the TLB once, at its end, if an entry went.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.abi.fcntl import F_SEAL_FUTURE_WRITE, F_SEAL_WRITE
from kernel_model.abi.mman import (
    LEGACY_MAP_MASK,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_TYPE,
    PROT_WRITE,
)
from kernel_model.abi.mount import MS_NOEXEC
from kernel_model.fs.file import get_file, put_file
from kernel_model.mm.fault import (
    COW,
    MMAP_MIN_ADDR,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    R,
    W,
)
from kernel_model.mm.layout import MAX_MAP_COUNT, Layout
from kernel_model.mm.pagecache import AddressSpace, SpecialMapping, anonymous_space
from kernel_model.mm.vma import (
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_IO,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_MAY_FLAGS,
    VM_MAYEXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
    Vma,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.arch import Arch
    from kernel_model.data_pages import MappedData
    from kernel_model.fs.file import File
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.task import Task


class MemoryMap(Layout):
    """An address space. Field names are Linux's."""

    __slots__ = (
        "arg_end", "arg_start", "brk", "data", "def_flags", "end_code", "end_data", "env_end", "env_start",
        "membarrier_state", "sigtramp", "start_brk", "start_code", "start_data", "start_stack", "tagged_addr", "users",
        "vdso", "vdso_end", "vdso_handler",
    )  # fmt: skip

    def __init__(
        self,
        frames: FrameAllocator,
        arch: Arch,
        *,
        tlb_flush: Callable[[], None],
        code_flush: Callable[[], None],
    ) -> None:
        super().__init__(frames, arch, tlb_flush, code_flush)
        self.users = 1
        """Tasks that run in it."""
        self.def_flags = 0
        """mlockall(MCL_FUTURE): VM_LOCKED for what comes."""
        self.tagged_addr = False
        """prctl(PR_SET_TAGGED_ADDR_CTRL): system calls take tagged addresses."""
        self.membarrier_state = 0
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.start_brk = self.brk = 0
        self.start_stack = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.vdso = 0
        """Address of the vDSO's image, and its end; 0 for none."""
        self.vdso_end = 0
        self.vdso_handler = 0
        """Where a bounced call goes on."""
        self.data: MappedData | None = None
        """Where the tasks' data are (`kernel_model.data_pages`); None where there never were any."""
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
        # QUIRK: No mapping is refused for promising more memory than there is, as with vm.overcommit_memory set to 1.
        if flags & MAP_NORESERVE:
            vm_flags |= VM_NORESERVE
        elif vm_flags & (VM_SHARED | VM_WRITE) == VM_WRITE:
            vm_flags |= VM_ACCOUNT
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
            if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
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

    def install_special_mapping(self, addr: int, vm_flags: int, frames: list[int], name: str) -> Vma:
        """Show the kernel's own `frames` at `addr` (vDSO, vvar; mm/mmap.c:_install_special_mapping())."""
        length = len(frames) << PAGE_SHIFT
        mapping = SpecialMapping(self.frames, frames)
        return self.map_region(addr, length, vm_flags | VM_DONTEXPAND, 0, None, mapping, name)

    def move_vdso(self, start: int) -> None:
        """The vDSO was moved to `start` as a whole (vdso_mremap() of arch/*/vdso.c): what points into it follows."""
        distance = start - self.vdso
        if self.vdso <= self.sigtramp < self.vdso_end:
            self.sigtramp += distance
        self.vdso += distance
        self.vdso_end += distance
        self.vdso_handler += distance
        if self.data is not None:
            self.data.vdso_moved()

    def _forget(self, vma: Vma) -> None:
        """See `Layout`. With the vDSO gone nothing bounces; signal handlers go on returning to where it was."""
        # QUIRK: With its vDSO unmapped a program's calls don't bounce; Linux itself keeps the pointer, now stale.
        if vma.vm_start == self.vdso:
            self.vdso = self.vdso_end = 0
        if self.data is not None and vma.vm_start == self.data.start:
            self.data.gone()
        super()._forget(vma)

    # -- munmap and brk -----------------------------------------------------------------------------------------------
    def munmap(self, addr: int, length: int) -> None:
        """munmap(2); EINVAL, ENOMEM (mm/mmap.c:do_vmi_munmap())."""
        if addr & ~PAGE_MASK or addr > self.task_size or length > self.task_size - addr:
            raise SyscallError(errno.EINVAL)
        end = addr + page_align_up(length)
        if end == addr:
            raise SyscallError(errno.EINVAL)
        self.remove_range(addr, end)

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
                if new > self.task_size or not self.is_free(old, new - old + PAGE_SIZE):
                    return self.brk
                flags = VM_READ | VM_WRITE | VM_MAY_FLAGS | VM_ACCOUNT | self.def_flags
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
            if vma.vm_flags & (VM_LOCKONFAULT | VM_IO | VM_PFNMAP):
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
            "brk", "start_stack", "arg_start", "arg_end", "env_start", "env_end", "rlim", "vdso", "vdso_end",
            "vdso_handler", "sigtramp", "membarrier_state",
        ):  # fmt: skip
            setattr(child, field, getattr(self, field))
        pt = self.pt
        refs = self.frames.refs
        for page in self.own:
            entry = pt[page]
            refs[entry >> PAGE_SHIFT] += 1
            if not entry & COW:
                pt[page] = entry & ~W | COW
        child.pt = pt.copy()
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
            if vma.vm_start == child.vdso and vma.vm_flags & VM_DONTCOPY:
                child.vdso = child.vdso_end = 0
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
