"""A program's image in memory: where things go, its segments, its stack (fs/binfmt_elf.c, arch's mmap layout).

All of this happens after the point of no return: a SyscallError from here ends the task.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import auxvec, errno
from kernel_model.abi.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from kernel_model.abi.resource import RLIMIT_STACK
from kernel_model.binfmt import EXSTACK_ENABLE_X
from kernel_model.cred import CAP_SYS_RAWIO
from kernel_model.mm.uaccess import clear_user, copy_to_user
from kernel_model.mm.vma import (
    STACK_GUARD_GAP,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_MAY_FLAGS,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_READ,
    VM_WRITE,
    Vma,
)
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64_MASK, SyscallError, page_align_up

if TYPE_CHECKING:
    from kernel_model.binfmt import ProgramPlan, SegmentPlan
    from kernel_model.fs.file import File
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.task import Task

ADDR_NO_RANDOMIZE: Final = 0x0040000
MMAP_PAGE_ZERO: Final = 0x0100000
CLOCKS_PER_SEC: Final = 100
_RSEQ_FEATURE_SIZE: Final = 28
"""offsetof(struct rseq, end)."""
_RSEQ_ALIGN: Final = 32
_GAP_MIN: Final = 128 << 20
_MMAP_PLACES: Final = 8
_STACK_EXPAND: Final = 128 << 10
"""How far the stack's mapping reaches below the strings at the start (bytes; fs/exec.c:setup_arg_pages())."""
_POINTER_BYTES: Final = 8
_SIGTRAMP_ENTRY: Final = 4
"""Handlers return past the first instruction, which is there for unwinders: they look in front of a return address."""


class Image(NamedTuple):
    """The files of a program: itself, and the interpreter it names."""

    file: File
    plan: ProgramPlan
    interpreter_file: File | None
    interpreter: ProgramPlan | None


class Start(NamedTuple):
    """Where the program begins."""

    pc: int
    sp: int


def map_image(
    task: Task, mm: MemoryMap, image: Image, execfn: bytes, argv: list[bytes], envp: list[bytes], *, secure: bool
) -> Start:
    """Fill the empty `mm` with the program. fs/binfmt_elf.c:load_elf_binary() after begin_new_exec()."""
    arch = task.kernel.arch
    plan = image.plan
    strings = _setup_stack(task, mm, plan, execfn, argv, envp)
    bias = _map_program(task, mm, image)
    _set_code_and_data(mm, plan, bias)
    pc = entry = (plan.entry + bias) & U64_MASK
    base = 0
    if image.interpreter is not None and image.interpreter_file is not None:
        base = _map_interpreter(task, mm, image.interpreter_file, image.interpreter)
        pc = (image.interpreter.entry + base) & U64_MASK
    if pc >= arch.TASK_SIZE:
        raise SyscallError(errno.EINVAL)
    if task.kernel.vdso is not None:
        task.kernel.vdso.map_into(mm, task.nsproxy.time_ns)
    bounce = task.kernel.bounce
    if bounce is not None and bounce.in_task_page:
        from kernel_model.task_page import map_task_page

        task.task_page = map_task_page(mm)
    _map_sigtramp(task, mm)
    if task.kernel.preload is not None:
        pc = task.kernel.preload.map_into(mm, pc)
    _set_brk(task, mm, image, bias)
    if task.personality & MMAP_PAGE_ZERO:
        _map_page_zero(task, mm)
    auxv = _AuxiliaryVector(plan, (plan.phdr_vaddr + bias) & U64_MASK, base, entry, secure)
    return Start(pc, _create_elf_tables(task, mm, strings, auxv, argv, envp))


# -- where things go ---------------------------------------------------------------------------------------------------
def pick_mmap_layout(task: Task, mm: MemoryMap) -> None:
    """Choose `mmap_base`. mm/util.c:mmap_base(), arch/x86/mm/mmap.c:mmap_base()."""
    # QUIRK: Mappings are placed from the top down under personality ADDR_COMPAT_LAYOUT and unlimited stacks too.
    arch = task.kernel.arch
    gap = task.signal.rlim[RLIMIT_STACK][0]
    pad = STACK_GUARD_GAP
    if _randomize(task):
        pad += arch.STACK_RND_PAGES << PAGE_SHIFT
    if gap + pad <= U64_MASK:
        gap += pad
    gap = min(max(gap, _GAP_MIN), arch.STACK_TOP // 6 * 5)
    mm.mmap_base = page_align_up(arch.STACK_TOP - gap - _mmap_rnd(task))


def _randomize(task: Task) -> bool:
    return not task.personality & ADDR_NO_RANDOMIZE


def _mmap_rnd(task: Task) -> int:
    """arch_mmap_rnd(): bytes."""
    # QUIRK: Of the places for mappings that chance chooses at execve a run knows eight; code there is translated once.
    # docs/decisions/0013-eight-places-for-mappings.md
    if not _randomize(task):
        return 0
    kernel = task.kernel
    places = kernel.mmap_places_bytes
    if len(places) == _MMAP_PLACES:
        return places[kernel.random.below(_MMAP_PLACES)]
    places.append(kernel.random.below(1 << kernel.arch.MMAP_RND_BITS) << PAGE_SHIFT)
    return places[-1]


# -- segments ----------------------------------------------------------------------------------------------------------
def _map_program(task: Task, mm: MemoryMap, image: Image) -> int:
    """Map the program's segments; how far they lie from the file's own addresses (load_bias; modulo 2**64)."""
    arch = task.kernel.arch
    plan = image.plan
    if not plan.segments:
        return 0
    first = plan.segments[0]
    if not plan.relocatable:
        for number, segment in enumerate(plan.segments):
            _elf_load(task, mm, image.file, segment, segment.vaddr, fixed=MAP_FIXED if number else MAP_FIXED_NOREPLACE)
            _check_size(segment, segment.vaddr, arch.TASK_SIZE, errno.EINVAL)
        return 0
    total = _total_mapping_size(plan)
    align = page_align_up(plan.align)
    if image.interpreter is not None:
        where = arch.ELF_ET_DYN_BASE + _mmap_rnd(task) & -align
    else:
        # The kernel calls a program without an interpreter a loader and leaves ELF_ET_DYN_BASE to what it may load.
        where = mm.get_unmapped_area(0, total, 0) & -align
    bias = (where - first.vaddr) & PAGE_MASK & U64_MASK
    _reserve(mm, (bias + first.vaddr) & U64_MASK, total)
    for segment in plan.segments:
        _elf_load(task, mm, image.file, segment, (segment.vaddr + bias) & U64_MASK, fixed=MAP_FIXED)
        _check_size(segment, segment.vaddr, arch.TASK_SIZE, errno.EINVAL)
    return bias


def _map_interpreter(task: Task, mm: MemoryMap, file: File, plan: ProgramPlan) -> int:
    """Map the interpreter's segments; its load address. fs/binfmt_elf.c:load_elf_interp()."""
    task_size = task.kernel.arch.TASK_SIZE
    total = _total_mapping_size(plan)
    base = 0
    if plan.relocatable:
        base = (mm.get_unmapped_area(0, total, 0) - (plan.segments[0].vaddr & PAGE_MASK)) & U64_MASK
    for segment in plan.segments:
        address = (segment.vaddr + base) & U64_MASK
        _elf_load(task, mm, file, segment, address, fixed=MAP_FIXED)
        _check_size(segment, address, task_size, errno.ENOMEM)
    return base


def _total_mapping_size(plan: ProgramPlan) -> int:
    """fs/binfmt_elf.c:total_mapping_size(), rounded up to pages."""
    if not plan.segments:
        raise SyscallError(errno.EINVAL)
    low = min(segment.vaddr & PAGE_MASK for segment in plan.segments)
    high = max((segment.vaddr + segment.memsz) & U64_MASK for segment in plan.segments)
    if not (high - low) & U64_MASK:
        raise SyscallError(errno.EINVAL)
    return page_align_up((high - low) & U64_MASK)


def _reserve(mm: MemoryMap, address: int, total: int) -> None:
    """Raise EEXIST, ENOMEM or EINVAL unless the whole image fits at `address`: the first mapping has its full size."""
    address &= PAGE_MASK
    mm.get_unmapped_area(address, total, MAP_FIXED)
    if mm.vmas.overlapping(address, address + total):
        raise SyscallError(errno.EEXIST)


def _check_size(segment: SegmentPlan, address: int, task_size: int, error: int) -> None:
    """A segment that no address space can hold."""
    if (
        address >= task_size
        or segment.filesz > segment.memsz
        or segment.memsz > task_size
        or task_size - segment.memsz < address
    ):
        raise SyscallError(error)


def _elf_load(task: Task, mm: MemoryMap, file: File, segment: SegmentPlan, address: int, *, fixed: int) -> None:
    """Map one segment at `address`, zeros after its bytes of the file. fs/binfmt_elf.c:elf_load()."""
    rawio = task.cred.capable(CAP_SYS_RAWIO)
    inside = segment.vaddr & ~PAGE_MASK
    start = address & PAGE_MASK
    zero_start = start
    if segment.filesz:
        offset = segment.offset - inside
        if offset & ~PAGE_MASK or offset < 0:
            raise SyscallError(errno.EINVAL)
        flags = MAP_PRIVATE | fixed
        mm.mmap(
            start, page_align_up(segment.filesz + inside), segment.prot, flags, file, offset, task=task, rawio=rawio
        )
        if segment.memsz <= segment.filesz:
            return
        zero_start = start + inside + segment.filesz
        if zero_start & ~PAGE_MASK:
            try:
                clear_user(mm, zero_start, -zero_start % PAGE_SIZE)
            except SyscallError:
                if segment.prot & PROT_WRITE:
                    raise
        zero_start = page_align_up(zero_start)
    zero_end = page_align_up(start + inside + segment.memsz)
    if zero_end > zero_start:
        prot = PROT_READ | PROT_WRITE | segment.prot & PROT_EXEC
        mm.mmap(zero_start, zero_end - zero_start, prot, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, rawio=rawio)


def _set_code_and_data(mm: MemoryMap, plan: ProgramPlan, bias: int) -> None:
    """start_code .. end_data, as /proc/PID/stat shows them."""
    code = [segment for segment in plan.segments if segment.prot & PROT_EXEC]
    mm.start_code = (min((s.vaddr for s in code), default=U64_MASK) + bias) & U64_MASK
    mm.end_code = (max((s.vaddr + s.filesz for s in code), default=0) + bias) & U64_MASK
    mm.start_data = (max((s.vaddr for s in plan.segments), default=0) + bias) & U64_MASK
    mm.end_data = (max((s.vaddr + s.filesz for s in plan.segments), default=0) + bias) & U64_MASK


def _set_brk(task: Task, mm: MemoryMap, image: Image, bias: int) -> None:
    """Where the heap starts: after the program, or at ELF_ET_DYN_BASE for one that lies among the mappings."""
    arch = task.kernel.arch
    moved = image.plan.relocatable and image.interpreter is None
    if moved:
        end = arch.ELF_ET_DYN_BASE
    else:
        end = (max((s.vaddr + s.memsz for s in image.plan.segments), default=0) + bias) & U64_MASK
    brk = page_align_up(end)
    if _randomize(task):
        if not moved:
            brk += PAGE_SIZE
        brk += task.kernel.random.below(arch.BRK_RND_PAGES + 1) << PAGE_SHIFT
    mm.start_brk = mm.brk = brk


def _map_page_zero(task: Task, mm: MemoryMap) -> None:
    """Personality MMAP_PAGE_ZERO: a page of zeros at address 0; a failure does not matter."""
    try:
        mm.mmap(
            0,
            PAGE_SIZE,
            PROT_READ | PROT_EXEC,
            MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
            rawio=task.cred.capable(CAP_SYS_RAWIO),
        )
    except SyscallError:
        pass


def _map_sigtramp(task: Task, mm: MemoryMap) -> None:
    """The page that signal handlers return through where no restorer is given and there is no vDSO."""
    code = task.kernel.arch.SIGTRAMP_CODE
    if not code or mm.vdso:
        return
    kernel = task.kernel
    frame = kernel.sigtramp_frame
    if not frame:
        frame = kernel.sigtramp_frame = kernel.frames.alloc_zeroed()
        kernel.frames.ram[frame : frame + len(code)] = code
    address = mm.get_unmapped_area(0, PAGE_SIZE, 0)
    mm.install_special_mapping(address, VM_READ | VM_EXEC | VM_MAYREAD | VM_MAYEXEC, [frame], "[sigreturn]")
    mm.sigtramp = address + _SIGTRAMP_ENTRY


# -- the stack ---------------------------------------------------------------------------------------------------------
class _Strings(NamedTuple):
    """The addresses of the strings at the top of the stack: argv's first, then envp's; `execfn` is the file's name."""

    argv: int
    execfn: int


class _AuxiliaryVector(NamedTuple):
    """What only the image knows of the auxiliary vector."""

    plan: ProgramPlan
    phdr: int
    base: int
    entry: int
    secure: bool


def _setup_stack(
    task: Task, mm: MemoryMap, plan: ProgramPlan, execfn: bytes, argv: list[bytes], envp: list[bytes]
) -> _Strings:
    """Make the stack and put the strings at its top. fs/exec.c:setup_arg_pages(), copy_strings()."""
    arch = task.kernel.arch
    random = task.kernel.random
    top = page_align_up(arch.STACK_TOP)
    if _randomize(task):
        top -= random.below(arch.STACK_RND_PAGES + 1) << PAGE_SHIFT
    block = b"\0".join([*argv, *envp, execfn, bytes(_POINTER_BYTES)])
    strings = top - len(block)
    limit = task.signal.rlim[RLIMIT_STACK][0] & PAGE_MASK
    size = page_align_up(len(block))
    bottom = top - min(max(limit, size), size + _STACK_EXPAND)
    flags = VM_READ | VM_WRITE | VM_MAY_FLAGS | VM_GROWSDOWN | mm.def_flags
    if plan.stack_exec == EXSTACK_ENABLE_X:
        flags |= VM_EXEC
    mm.insert_vma(Vma(mm, bottom, top, flags, bottom >> PAGE_SHIFT))
    copy_to_user(mm, strings, block)
    return _Strings(strings, top - _POINTER_BYTES - len(execfn) - 1)


def _create_elf_tables(
    task: Task, mm: MemoryMap, strings: _Strings, image: _AuxiliaryVector, argv: list[bytes], envp: list[bytes]
) -> int:
    """argc, argv, envp and the auxiliary vector; the stack pointer. fs/binfmt_elf.c:create_elf_tables()."""
    kernel = task.kernel
    arch = kernel.arch
    place = strings.argv
    if _randomize(task):
        place -= kernel.random.below(arch.STACK_ALIGN_RND_BYTES)
    place = (place & -16) - len(arch.PLATFORM) - 1
    platform = place
    place -= 16
    copy_to_user(mm, place, kernel.random.bytes(16) + arch.PLATFORM + b"\0")
    auxv = _auxv(task, mm, image, random=place, platform=platform, execfn=strings.execfn)

    pointers = [len(argv)]
    address = mm.arg_start = strings.argv
    for string in argv:
        pointers.append(address)
        address += len(string) + 1
    pointers.append(0)
    mm.arg_end = mm.env_start = address
    for string in envp:
        pointers.append(address)
        address += len(string) + 1
    pointers.append(0)
    mm.env_end = address
    sp = (place - _POINTER_BYTES * (len(pointers) + len(auxv))) & -16
    task.auxv = struct.pack(f"<{len(auxv)}Q", *auxv)
    copy_to_user(mm, sp, struct.pack(f"<{len(pointers)}Q", *pointers) + task.auxv)
    mm.start_stack = sp
    return sp


def _auxv(task: Task, mm: MemoryMap, image: _AuxiliaryVector, *, random: int, platform: int, execfn: int) -> list[int]:
    """Types and values in Linux's order, AT_NULL last."""
    kernel = task.kernel
    cred = task.cred
    hwcap, hwcap2 = kernel.cpu.hwcaps()
    entries = [auxvec.AT_SYSINFO_EHDR, mm.vdso] if mm.vdso else []
    if mm.vdso and kernel.vdso is not None and kernel.vdso.image.table:
        entries += [auxvec.AT_UABI, mm.vdso + kernel.vdso.image.table]
    entries += [
        auxvec.AT_MINSIGSTKSZ, kernel.arch.MINSIGSTKSZ,
        auxvec.AT_HWCAP, hwcap,
        auxvec.AT_PAGESZ, PAGE_SIZE,
        auxvec.AT_CLKTCK, CLOCKS_PER_SEC,
        auxvec.AT_PHDR, image.phdr,
        auxvec.AT_PHENT, image.plan.phentsize,
        auxvec.AT_PHNUM, image.plan.phnum,
        auxvec.AT_BASE, image.base,
        auxvec.AT_FLAGS, 0,
        auxvec.AT_ENTRY, image.entry,
        auxvec.AT_UID, cred.uid,
        auxvec.AT_EUID, cred.euid,
        auxvec.AT_GID, cred.gid,
        auxvec.AT_EGID, cred.egid,
        auxvec.AT_SECURE, int(image.secure),
        auxvec.AT_RANDOM, random,
        auxvec.AT_HWCAP2, hwcap2,
    ]  # fmt: skip
    if kernel.arch.HAS_HWCAP3:
        entries += [auxvec.AT_HWCAP3, 0]
    entries += [
        auxvec.AT_EXECFN, execfn,
        auxvec.AT_PLATFORM, platform,
        auxvec.AT_RSEQ_FEATURE_SIZE, _RSEQ_FEATURE_SIZE,
        auxvec.AT_RSEQ_ALIGN, _RSEQ_ALIGN,
        auxvec.AT_NULL, 0,
    ]  # fmt: skip
    return entries
