"""Reads ELF files by the rules of fs/binfmt_elf.c.

pyelftools takes the headers apart. Its `ELFFile` is not used: it wants a whole, well-formed file, brings the DWARF
reader along, and refuses by rules of its own, whereas here each defect has the errno that Linux gives it.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from elftools.elf.structs import ELFStructs

from kernel_model.abi.errno import EINVAL, EIO, ENOEXEC
from kernel_model.binfmt import EXSTACK_DEFAULT, EXSTACK_DISABLE_X, EXSTACK_ENABLE_X, NotExecutable
from kernel_model.types import PAGE_MASK, PAGE_SIZE, page_align_up
from loader.plan import LoadPlan, Segment

if TYPE_CHECKING:
    from kernel_model.binfmt import ReadAt

_IDENT: Final = b"\x7fELF\2\1\1".ljust(16, b"\0")
"""The e_ident that pyelftools gets to see: Linux looks at nothing of it but the magic."""
_EHDR_BYTES: Final = 64
_PHDR_BYTES: Final = 56
_E_MACHINE_OFFSET: Final = 18
_EI_CLASS: Final = 4
_EI_DATA: Final = 5
_ELFCLASS32: Final = 1
_ELFDATA2MSB: Final = 2
_ET_NAMES: Final = {"ET_NONE": "of no type", "ET_REL": "an object file (.o)", "ET_CORE": "a core dump"}
_PF_X: Final = 1
_PATH_MAX: Final = 4096
_LOFF_MAX: Final = (1 << 63) - 1
_PHDRS_MAX_BYTES: Final = 65536
# PF_X 1, PF_W 2, PF_R 4 to PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4
_PROT_EXEC: Final = 4
_PROT: Final = (0, 4, 2, 6, 1, 5, 3, 7)


@cache
def _structs() -> ELFStructs:
    """The little-endian 64-bit structures, which are all that either architecture runs."""
    structs = ELFStructs(little_endian=True, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs()
    return structs


def load(read: ReadAt, size: int, machine: int, task_size: int) -> LoadPlan:
    """The plan of an ELF file (a `kernel_model.binfmt.BinaryFormat`). fs/binfmt_elf.c:load_elf_binary()."""
    head = read(0, PAGE_SIZE)
    if head[:4] != b"\x7fELF":
        raise NotExecutable("is empty" if not size else "is not an ELF program", ENOEXEC)
    if len(head) < _EHDR_BYTES:
        raise NotExecutable(f"is cut off inside the ELF header ({size} bytes)", ENOEXEC)
    header = _structs().Elf_Ehdr.parse(_IDENT + head[len(_IDENT) : _EHDR_BYTES])
    e_machine = int.from_bytes(head[_E_MACHINE_OFFSET : _E_MACHINE_OFFSET + 2], "little")
    if e_machine != machine:
        raise NotExecutable(_other_architecture(head, e_machine, machine), ENOEXEC)
    e_type = header["e_type"]
    if e_type not in {"ET_EXEC", "ET_DYN"}:
        kind = _ET_NAMES.get(e_type, f"of the unknown ELF type {e_type}")
        raise NotExecutable(f"is {kind}, not a program", ENOEXEC)
    phoff, phnum, phentsize = header["e_phoff"], header["e_phnum"], header["e_phentsize"]
    phdrs = _program_headers(read, head, phoff, phentsize, phnum)

    interpreter: bytes | None = None
    stack_exec = EXSTACK_DEFAULT
    segments = []
    phdr_vaddr = 0
    align = PAGE_SIZE
    for phdr in phdrs:
        p_type, flags, offset, filesz = phdr["p_type"], phdr["p_flags"], phdr["p_offset"], phdr["p_filesz"]
        if p_type == "PT_LOAD":
            vaddr, memsz, p_align = phdr["p_vaddr"], phdr["p_memsz"], phdr["p_align"]
            segments.append(Segment(vaddr, memsz, offset, filesz, _PROT[flags & 7]))
            if offset <= phoff < offset + filesz:
                phdr_vaddr = phoff - offset + vaddr
            if p_align > align and not p_align & p_align - 1:
                align = p_align
        elif p_type == "PT_INTERP" and interpreter is None:
            interpreter = _interpreter(read, offset, filesz)
        elif p_type == "PT_GNU_STACK":
            stack_exec = EXSTACK_ENABLE_X if flags & _PF_X else EXSTACK_DISABLE_X
    plan = LoadPlan(
        e_machine, e_type == "ET_DYN", header["e_entry"], tuple(segments), phdr_vaddr, phnum, phentsize, interpreter,
        stack_exec, align, "",
    )  # fmt: skip
    defect = _defect(plan, size, task_size)
    return plan._replace(defect=defect) if defect else plan


def _program_headers(read: ReadAt, head: bytes, phoff: int, phentsize: int, phnum: int) -> list[dict[str, Any]]:
    """All program headers. fs/binfmt_elf.c:load_elf_phdrs()."""
    if phentsize != _PHDR_BYTES:
        raise NotExecutable(f"has program headers of {phentsize} bytes instead of {_PHDR_BYTES}", ENOEXEC)
    count = phnum * _PHDR_BYTES
    if not phnum:
        raise NotExecutable("has no program headers", ENOEXEC)
    if count > _PHDRS_MAX_BYTES:
        raise NotExecutable(f"has {phnum} program headers; {_PHDRS_MAX_BYTES // _PHDR_BYTES} is the limit", ENOEXEC)
    table = head[phoff : phoff + count] if phoff < PAGE_SIZE else b""
    if len(table) < count:
        table = read(phoff, count)
    if len(table) < count:
        raise NotExecutable("is cut off before the end of its program headers", ENOEXEC)
    parse = _structs().Elf_Phdr.parse
    return [parse(table[at : at + _PHDR_BYTES]) for at in range(0, count, _PHDR_BYTES)]


def _interpreter(read: ReadAt, offset: int, filesz: int) -> bytes:
    """PT_INTERP's path, up to its first NUL as C sees it."""
    if not 2 <= filesz <= _PATH_MAX:
        raise NotExecutable(f"names its interpreter in {filesz} bytes; 2 to {_PATH_MAX} are allowed", ENOEXEC)
    if offset > _LOFF_MAX:
        raise NotExecutable(f"has its interpreter's name at the impossible offset {offset:#x}", EINVAL)
    name = read(offset, filesz)
    if len(name) < filesz:
        raise NotExecutable("is cut off before the end of its interpreter's name", EIO)
    if name[-1]:
        raise NotExecutable("has an interpreter's name without an end", ENOEXEC)
    return name[: name.index(0)]


def _defect(plan: LoadPlan, size: int, task_size: int) -> str:
    """What is wrong with the segments, in words; empty if nothing. See `ProgramPlan.defect`."""
    if not plan.segments:
        return "has no segment to load"
    low, high = 1 << 64, 0
    for number, (vaddr, memsz, offset, filesz, _) in enumerate(plan.segments):
        what = f"segment {number} ({vaddr:#x}, {memsz:#x} bytes)"
        if filesz > memsz:
            return f"is damaged: {what} has {filesz:#x} bytes in the file, more than in memory"
        if filesz and (vaddr ^ offset) & ~PAGE_MASK:
            return f"is damaged: {what} and its file offset {offset:#x} differ within a page"
        if vaddr >= task_size or memsz > task_size - vaddr:
            return f"is damaged: {what} lies beyond the end of user addresses, {task_size:#x}"
        if filesz and offset + filesz > size:
            return f"is cut off: {what} ends at {offset + filesz} of a file of {size} bytes"
        low = min(low, vaddr & PAGE_MASK)
        high = max(high, vaddr + memsz)
    if plan.relocatable and page_align_up(high) - low > task_size:
        return f"is damaged: its segments span {high - low:#x} bytes"
    by_address = sorted((s for s in plan.segments if s.memsz), key=lambda s: s.vaddr)
    for before, after in pairwise(by_address):
        if before.vaddr + before.memsz > after.vaddr:
            return f"is damaged: its segments at {before.vaddr:#x} and {after.vaddr:#x} overlap"
    page = plan.entry & PAGE_MASK
    if not any(s.prot & _PROT_EXEC and s.vaddr & PAGE_MASK <= page < s.vaddr + s.memsz for s in plan.segments):
        return f"is damaged: its entry point {plan.entry:#x} lies in no executable segment"
    return ""


def _other_architecture(header: bytes, e_machine: int, machine: int) -> str:
    """Which architecture it is for instead."""
    from elftools.elf.descriptions import describe_e_machine
    from elftools.elf.enums import ENUM_E_MACHINE

    def name(number: int) -> str:
        symbol = next((key for key, value in ENUM_E_MACHINE.items() if value == number != 0), None)
        return describe_e_machine(symbol) if symbol else f"machine number {number}"

    big = header[_EI_DATA] == _ELFDATA2MSB
    if big:
        e_machine = (e_machine & 0xFF) << 8 | e_machine >> 8
    kind = ("32-bit " if header[_EI_CLASS] == _ELFCLASS32 else "") + ("big-endian " if big else "")
    wanted = f"not for {name(machine)}" if machine else "for which there is no CPU here"
    return f"is a program for {kind}{name(e_machine)}, {wanted}"
