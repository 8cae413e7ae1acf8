"""A program's image: where its pieces are put, and what they hold."""

from __future__ import annotations

import pytest

from kernel_model.abi import auxvec
from kernel_model.exec_image import ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO
from kernel_model.mm.vma import VM_EXEC, VM_READ, VM_WRITE
from tests.exec.support import FirstStack, execve
from tests.support.elf import BASE, MACHINES, PIE, Elf, Phdr, with_interpreter
from tests.support.model import Model, make_model

ARCHES = sorted(MACHINES)


def start(elf: Elf, arch: str = "x86_64", *, randomize: bool = True, seed: int = 1) -> Model:
    model = make_model(arch, seed=seed)
    model.add_file("/lib/ld.so", PIE.but(machine=MACHINES[arch]).build())
    model.add_file("/p", elf.but(machine=MACHINES[arch]).build())
    if not randomize:
        model.task.personality |= ADDR_NO_RANDOMIZE
    execve(model, b"/p")
    return model


def pc(model: Model) -> int:
    return model.cpu.gregs[model.cpu.pc_index]


def maps(model: Model, low: int, high: int) -> list[tuple[int, int, int, bool]]:
    """(start, end, access, is it the file's) of the mappings that begin in [low, high)."""
    return [
        (vma.vm_start, vma.vm_end, vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC), vma.vm_file is not None)
        for vma in model.task.mm.vmas
        if low <= vma.vm_start < high
    ]


def test_bytes_of_the_file_and_zeros_after_them() -> None:
    data = Phdr(flags=6, offset=0x1800, vaddr=0x601800, filesz=0x100, memsz=0x3000)
    elf = Elf((Phdr(), data), size=0x3000, pieces={0x1800: b"D" * 0x1000})
    model = start(elf)
    assert maps(model, BASE, 0x700000) == [
        (0x400000, 0x402000, VM_READ | VM_EXEC, True),
        (0x601000, 0x602000, VM_READ | VM_WRITE, True),
        (0x602000, 0x605000, VM_READ | VM_WRITE, False),
    ]
    assert model.get(0x601800, 0x100) == b"D" * 0x100
    assert not any(model.get(0x601900, 0x4000 - 0x900))
    # The page that the mapping shares with the next segment of the file is a copy: the file is as it was.
    assert model.get(BASE + 0x1900, 8) == b"D" * 8


def test_a_segment_that_cannot_be_written_keeps_the_rest_of_its_page() -> None:
    rodata = Phdr(flags=4, offset=0x1000, vaddr=0x601000, filesz=0x100, memsz=0x2000)
    model = start(Elf((Phdr(), rodata), pieces={0x1000: b"D" * 0x1000}))
    assert model.get(0x601100, 8) == b"D" * 8
    assert maps(model, 0x601000, 0x700000) == [
        (0x601000, 0x602000, VM_READ, True),
        (0x602000, 0x603000, VM_READ | VM_WRITE, False),
    ]


def test_only_zeros() -> None:
    bss = Phdr(flags=6, vaddr=0x601010, filesz=0, memsz=0x2000)
    assert maps(start(Elf((Phdr(), bss))), 0x601000, 0x700000) == [(0x601000, 0x604000, VM_READ | VM_WRITE, False)]


def test_a_later_segment_wins() -> None:
    model = start(Elf((Phdr(), Phdr(vaddr=BASE + 0x1000, offset=0, filesz=0x1000, memsz=0x1000, flags=6))))
    assert model.get(BASE + 0x1000, 4) == b"\x7fELF"


@pytest.mark.parametrize("arch", ARCHES)
def test_program_without_interpreter_lies_among_the_mappings(arch: str) -> None:
    model = start(PIE, arch)
    mm = model.task.mm
    stack = FirstStack.of(model)
    base = pc(model) - PIE.entry
    assert base % 4096 == 0
    assert base == mm.mmap_base - 0x2000
    assert stack.get(auxvec.AT_PHDR) == base + 64
    assert stack.get(auxvec.AT_ENTRY) == pc(model)
    assert stack.get(auxvec.AT_BASE) == 0
    assert (mm.start_code, mm.end_code) == (base, base + 0x2000)
    # Its heap would run into other mappings there: it gets the place that a program would have had.
    assert 0 <= mm.brk - mm.arch.ELF_ET_DYN_BASE < 1 << 30


@pytest.mark.parametrize("arch", ARCHES)
def test_program_with_interpreter(arch: str) -> None:
    model = start(with_interpreter(b"/lib/ld.so\0", PIE), arch)
    mm = model.task.mm
    stack = FirstStack.of(model)
    base = stack.get(auxvec.AT_ENTRY) - PIE.entry
    span = 1 << (mm.arch.MMAP_RND_BITS + 12)
    assert mm.arch.ELF_ET_DYN_BASE <= base < mm.arch.ELF_ET_DYN_BASE + span
    assert stack.get(auxvec.AT_PHDR) == base + 64
    assert stack.get(auxvec.AT_PHNUM) == 2
    assert pc(model) == stack.get(auxvec.AT_BASE) + PIE.entry
    assert stack.get(auxvec.AT_BASE) == mm.mmap_base - 0x2000
    assert 0x3000 <= mm.brk - base < (1 << 30) + 0x4000


def test_interpreter_at_a_fixed_address() -> None:
    model = make_model()
    model.add_file("/ld", Elf((Phdr(vaddr=0x700000),), entry=0x701000).build())
    model.add_file("/p", with_interpreter(b"/ld\0").build())
    execve(model, b"/p")
    assert pc(model) == 0x701000
    assert FirstStack.of(model).get(auxvec.AT_BASE) == 0


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("align", [1 << 16, 1 << 21, 1 << 30])
@pytest.mark.parametrize("interpreter", [False, True])
def test_alignment(arch: str, align: int, interpreter: bool) -> None:
    elf = PIE.but(phdrs=(Phdr(vaddr=0, align=align),))
    model = start(with_interpreter(b"/lib/ld.so\0", elf) if interpreter else elf, arch)
    assert (FirstStack.of(model).get(auxvec.AT_ENTRY) - elf.entry) % align == 0


def test_first_address_other_than_zero() -> None:
    model = start(PIE.but(phdrs=(Phdr(vaddr=0x10000),), entry=0x11000))
    stack = FirstStack.of(model)
    assert pc(model) == model.task.mm.mmap_base - 0x1000
    assert stack.get(auxvec.AT_PHDR) == pc(model) - 0x1000 + 64


@pytest.mark.parametrize("arch", ARCHES)
def test_the_lowest_segment_need_not_be_the_first(arch: str) -> None:
    elf = PIE.but(phdrs=(Phdr(vaddr=0x10000, flags=6), Phdr(vaddr=0)))
    for seed in range(5):
        model = start(with_interpreter(b"/lib/ld.so\0", elf), arch, seed=seed)
        base = FirstStack.of(model).get(auxvec.AT_ENTRY) - elf.entry
        assert model.get(base + 0x1000, 1) is not None
        assert model.get(base + 0x10000, 4) == b"\x7fELF"


def test_without_randomness_everything_is_where_linux_puts_it() -> None:
    model = start(with_interpreter(b"/lib/ld.so\0", PIE), randomize=False)
    assert FirstStack.of(model).get(auxvec.AT_ENTRY) == 0x555555555000
    assert model.task.mm.brk == 0x555555556000
    assert model.task.mm.mmap_base == 0x7FFFF7FFF000


def test_page_of_zeros_at_address_0() -> None:
    model = make_model()
    model.add_file("/p", Elf().build())
    model.task.personality = MMAP_PAGE_ZERO
    execve(model, b"/p")
    assert maps(model, 0, 1) == [(0, 4096, VM_READ | VM_EXEC, False)]


def test_return_from_handlers_has_a_page_where_the_architecture_needs_one() -> None:
    model = start(Elf(), "aarch64")
    mm = model.task.mm
    # mov x8, #139; svc #0
    assert model.get(mm.sigtramp, 8) == bytes.fromhex("681180d2 010000d4")
    vma = mm.vmas.lookup(mm.sigtramp)
    assert vma is not None
    assert vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC) == VM_READ | VM_EXEC
    assert start(Elf(), "x86_64").task.mm.sigtramp == 0


def test_pages_are_shared_with_the_file_until_written() -> None:
    model = start(Elf((Phdr(flags=7),)))
    entry = model.task.mm.access_page(BASE + 0x1000, VM_READ)
    file = model.task.exe
    assert file is not None
    mapping = file.inode.mapping
    assert mapping is not None
    assert entry & -4096 == mapping.pages[1]
    written = model.task.mm.access_page(BASE + 0x1000, VM_WRITE)
    assert written & -4096 != mapping.pages[1]


@pytest.mark.parametrize("brk_seed", range(5))
def test_heap_starts_after_the_program(brk_seed: int) -> None:
    model = start(Elf(), seed=brk_seed)
    mm = model.task.mm
    assert mm.start_brk == mm.brk
    assert mm.brk % 4096 == 0
    assert BASE + 0x3000 <= mm.brk <= BASE + 0x3000 + (1 << 30)
