"""The ELF reader: sound files, the table of bad ones, and whatever hypothesis makes of a sound one."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from itertools import pairwise

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi.errno import EINVAL, EIO, ENOEXEC
from kernel_model.binfmt import EXSTACK_DEFAULT, EXSTACK_DISABLE_X, EXSTACK_ENABLE_X, NotExecutable
from loader import load
from loader.plan import LoadPlan, Segment
from tests.support.elf import (
    BASE,
    EM_AARCH64,
    EM_X86_64,
    PF_R,
    PF_W,
    PF_X,
    PIE,
    PT_GNU_STACK,
    Elf,
    Phdr,
    with_interpreter,
)

TASK_SIZE = (1 << 47) - 4096
HUGE = 1 << 64


def plan_of(data: bytes, machine: int = EM_X86_64) -> LoadPlan:
    """Load `data`, and see that the reader asks for little."""
    asked = []

    def read(offset: int, count: int) -> bytes:
        assert 0 <= offset < HUGE
        assert 0 <= count <= 65536
        asked.append(count)
        return data[offset : offset + count]

    try:
        return load(read, len(data), machine, TASK_SIZE)
    finally:
        assert len(asked) <= 3


def refusal_of(data: bytes) -> NotExecutable:
    with pytest.raises(NotExecutable) as caught:
        plan_of(data)
    assert "\n" not in caught.value.reason
    assert caught.value.reason
    return caught.value


def test_a_sound_program() -> None:
    plan = plan_of(Elf().build())
    assert plan == LoadPlan(
        machine=EM_X86_64,
        relocatable=False,
        entry=BASE + 0x1000,
        segments=(Segment(BASE, 0x2000, 0, 0x2000, 5),),
        phdr_vaddr=BASE + 64,
        phnum=1,
        phentsize=56,
        interpreter=None,
        stack_exec=EXSTACK_DEFAULT,
        align=4096,
        defect="",
    )


def test_a_position_independent_program_with_an_interpreter() -> None:
    plan = plan_of(with_interpreter(b"/lib/ld.so\0garbage\0", PIE).build())
    assert plan.relocatable
    assert plan.interpreter == b"/lib/ld.so"
    assert not plan.defect


def test_the_first_interpreter_counts_and_the_last_stack_header() -> None:
    first = Phdr(type=3, offset=0x1800, filesz=3)
    second = Phdr(type=3, offset=0x1900, filesz=3)
    stacks = (Phdr(type=PT_GNU_STACK, flags=PF_R), Phdr(type=PT_GNU_STACK, flags=PF_R | PF_X))
    plan = plan_of(Elf((first, Phdr(), second, *stacks), pieces={0x1800: b"/a\0", 0x1900: b"/b\0"}).build())
    assert plan.interpreter == b"/a"
    assert plan.stack_exec == EXSTACK_ENABLE_X


@pytest.mark.parametrize(
    ("flags", "stack_exec"),
    [(0, EXSTACK_DISABLE_X), (PF_R | PF_W, EXSTACK_DISABLE_X), (PF_X, EXSTACK_ENABLE_X)],
)
def test_stack_header(flags: int, stack_exec: int) -> None:
    assert plan_of(Elf((Phdr(), Phdr(type=PT_GNU_STACK, flags=flags))).build()).stack_exec == stack_exec


@pytest.mark.parametrize("flags", range(8))
def test_segment_flags(flags: int) -> None:
    prot = plan_of(Elf((Phdr(flags=flags | 0xFFFF_FFF8),)).build()).segments[0].prot
    assert (prot & 1, prot & 2, prot & 4) == (flags >> 2, flags & 2, (flags & 1) << 2)


@pytest.mark.parametrize(
    ("aligns", "result"),
    [((0,), 4096), ((3,), 4096), ((1 << 21,), 1 << 21), ((1 << 16, 1 << 21, 4096), 1 << 21), ((0x201000,), 4096)],
)
def test_alignment_that_is_no_power_of_two_is_ignored(aligns: tuple[int, ...], result: int) -> None:
    phdrs = tuple(Phdr(align=align, vaddr=BASE + i * 0x10000) for i, align in enumerate(aligns))
    assert plan_of(Elf(phdrs).build()).align == result


def test_linux_looks_at_neither_class_nor_data_nor_version() -> None:
    for index, value in ((4, 1), (5, 2), (6, 0), (7, 9)):
        ident = bytearray(Elf().ident)
        ident[index] = value
        assert not plan_of(Elf(ident=bytes(ident)).build()).defect


def test_program_headers_outside_every_segment_have_no_address() -> None:
    code = Phdr(offset=0x1000, vaddr=BASE + 0x1000, filesz=0x1000, memsz=0x1000)
    plan = plan_of(Elf((code,)).build())
    assert plan.phdr_vaddr == 0
    assert not plan.defect


# Each was tried on Linux 6.18, which gave this error.
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", ENOEXEC, "is empty"),
    "text": (b"hello\n" * 100, ENOEXEC, "is not an ELF program"),
    "magic": (Elf(ident=b"\x7fELG".ljust(16, b"\0")).build(), ENOEXEC, "is not an ELF program"),
    "cut magic": (Elf(size=3).build(), ENOEXEC, "is not an ELF program"),
    "cut header": (Elf(size=4).build(), ENOEXEC, "cut off inside the ELF header (4 bytes)"),
    "cut header 2": (Elf(size=63).build(), ENOEXEC, "cut off inside the ELF header (63 bytes)"),
    "cut program headers": (Elf(size=119).build(), ENOEXEC, "cut off before the end of its program headers"),
    "no type": (Elf(type=0).build(), ENOEXEC, "is of no type"),
    "object": (Elf(type=1).build(), ENOEXEC, "an object file"),
    "core": (Elf(type=4).build(), ENOEXEC, "a core dump"),
    "type 7": (Elf(type=7).build(), ENOEXEC, "unknown ELF type 7"),
    "aarch64": (Elf(machine=EM_AARCH64).build(), ENOEXEC, "for AArch64, not for"),
    "risc-v": (Elf(machine=243).build(), ENOEXEC, "for RISC-V, not for"),
    "32-bit arm": (
        Elf(machine=40, ident=b"\x7fELF\x01\x01\x01".ljust(16, b"\0")).build(),
        ENOEXEC,
        "for 32-bit ARM, not for",
    ),
    "big-endian": (
        Elf(machine=EM_AARCH64 << 8, ident=b"\x7fELF\x02\x02\x01".ljust(16, b"\0")).build(),
        ENOEXEC,
        "for big-endian AArch64",
    ),
    "machine 0": (Elf(machine=0).build(), ENOEXEC, "for machine number 0"),
    "machine 65535": (Elf(machine=65535).build(), ENOEXEC, "for machine number 65535"),
    "phentsize": (Elf(phentsize=32).build(), ENOEXEC, "program headers of 32 bytes instead of 56"),
    "no headers": (Elf(phnum=0).build(), ENOEXEC, "has no program headers"),
    "many headers": (Elf(phnum=1171, size=1 << 17).build(), ENOEXEC, "has 1171 program headers; 1170"),
    "headers far away": (Elf(phoff=1 << 40).build(), ENOEXEC, "cut off before the end of its program headers"),
    "headers beyond all": (Elf(phoff=HUGE - 1).build(), ENOEXEC, "cut off before the end of its program headers"),
    "interpreter short": (with_interpreter(b"\0").build(), ENOEXEC, "in 1 bytes; 2 to 4096"),
    "interpreter long": (with_interpreter(b"/x\0", filesz=4097, offset=0).build(), ENOEXEC, "in 4097 bytes"),
    "interpreter endless": (with_interpreter(b"/lib/ld.so").build(), ENOEXEC, "without an end"),
    "interpreter cut": (with_interpreter(b"/x\0", filesz=4096).build(), EIO, "cut off before the end of its interp"),
    "interpreter nowhere": (with_interpreter(b"/x\0", offset=1 << 63).build(), EINVAL, "impossible offset"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, error, reason = REFUSED[name]
    refusal = refusal_of(data)
    assert refusal.errno == error
    assert reason in refusal.reason


def test_as_many_program_headers_as_linux_takes() -> None:
    assert plan_of(Elf(phnum=1170, size=1 << 17).build()).phnum == 1170


def test_no_machine_at_all_is_refused_with_what_it_is_for() -> None:
    with pytest.raises(NotExecutable, match="for RISC-V, for which there is no CPU here"):
        load(lambda offset, count: Elf(machine=243).build()[offset : offset + count], 0x2000, 0, 0)


# Linux starts these and kills them, at once or when they touch what is not there.
DEFECTS: dict[str, tuple[Elf, str]] = {
    "nothing to load": (Elf((Phdr(type=6),)), "no segment to load"),
    "larger in the file": (Elf((Phdr(memsz=0x1FFF),)), "more than in memory"),
    "misaligned": (Elf((Phdr(offset=0x10),)), "differ within a page"),
    "cut off": (Elf(size=0x1800), "ends at 8192 of a file of 6144 bytes"),
    "outside the file": (Elf((Phdr(), Phdr(vaddr=0x500000, offset=1 << 40))), "segment 1"),
    "kernel address": (Elf((Phdr(vaddr=-0x10000),)), "lies beyond the end of user addresses"),
    "at the end": (Elf((Phdr(vaddr=TASK_SIZE - 0x1000),)), "lies beyond the end of user addresses"),
    "endless": (Elf((Phdr(memsz=HUGE - 1),)), "lies beyond the end of user addresses"),
    "overlap": (Elf((Phdr(), Phdr(vaddr=BASE + 0x1000, flags=6))), "overlap"),
    "entry nowhere": (Elf(entry=0x500000), "entry point 0x500000 lies in no executable segment"),
    "entry at the end": (Elf(entry=HUGE - 1), "lies in no executable segment"),
    "entry in data": (Elf((Phdr(flags=6),)), "lies in no executable segment"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defect(name: str) -> None:
    elf, defect = DEFECTS[name]
    assert defect in plan_of(elf.build()).defect


def check_sound(plan: LoadPlan, size: int) -> None:
    """What a plan without a defect promises."""
    ranges = sorted((s.vaddr, s.vaddr + s.memsz) for s in plan.segments if s.memsz)
    assert all(end <= TASK_SIZE for _, end in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    for segment in plan.segments:
        assert segment.filesz <= segment.memsz
        if segment.filesz:
            assert segment.offset + segment.filesz <= size
            assert segment.offset % 4096 == segment.vaddr % 4096
    assert any(s.prot & 4 and s.vaddr // 4096 * 4096 <= plan.entry for s in plan.segments)


def check_any(data: bytes) -> None:
    """A plan, sound or with a defect in words, or a refusal in words: nothing else ever comes out."""
    try:
        plan = plan_of(data)
    except NotExecutable as refusal:
        assert refusal.reason
        assert "\n" not in refusal.reason
        assert refusal.errno in (ENOEXEC, EIO, EINVAL)
        return
    assert "\n" not in plan.defect
    assert plan.phentsize == 56
    assert 1 <= plan.phnum <= 1170
    assert plan.align >= 4096
    assert not plan.align & plan.align - 1
    assert plan.interpreter is None or (0 not in plan.interpreter and len(plan.interpreter) < 4096)
    assert all(0 <= s.prot <= 7 for s in plan.segments)
    if not plan.defect:
        check_sound(plan, len(data))


SOUND = with_interpreter(b"/lib/ld.so\0", Elf((Phdr(), Phdr(vaddr=0x500000, flags=6, memsz=0x5000)))).build()
interesting = st.one_of(
    st.integers(0, HUGE - 1),
    st.sampled_from([0, 1, 55, 56, 64, 4095, 4096, BASE, TASK_SIZE - 1, TASK_SIZE, 1 << 63, HUGE - 1]),
)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check_any(data)
    check_any(b"\x7fELF" + data)


@given(st.lists(st.tuples(st.integers(0, 64 + 3 * 56 - 1), st.integers(0, 255)), max_size=6), st.integers(0, 0x2000))
def test_changed_bytes(changes: list[tuple[int, int]], size: int) -> None:
    data = bytearray(SOUND)
    for position, value in changes:
        data[position] = value
    check_any(bytes(data))
    check_any(bytes(data[:size]))


@given(st.sampled_from([24, 32, *(64 + 56 * i + field for i in range(3) for field in range(8, 56, 8))]), interesting)
def test_changed_words(position: int, value: int) -> None:
    data = bytearray(SOUND)
    struct.pack_into("<Q", data, position, value)
    check_any(bytes(data))


@given(
    st.lists(
        st.builds(
            Phdr,
            type=st.sampled_from([1, 1, 1, 3, PT_GNU_STACK, 6]),
            flags=st.integers(0, 15),
            offset=interesting,
            vaddr=interesting,
            filesz=interesting,
            memsz=interesting,
            align=interesting,
        ),
        max_size=5,
    ),
    st.sampled_from([2, 3]),
    interesting,
)
def test_any_program_headers(phdrs: list[Phdr], kind: int, entry: int) -> None:
    check_any(Elf(tuple(phdrs), type=kind, entry=entry).build())


def real_programs() -> list[str]:
    names = [sys.executable, *filter(None, map(shutil.which, ("ls", "bash", "git", "gcc")))]
    return sorted({os.path.realpath(name) for name in names})


@pytest.mark.parametrize("path", real_programs())
def test_real_programs_are_read_as_pyelftools_reads_them(path: str) -> None:
    with open(path, "rb") as file:
        if file.read(5) != b"\x7fELF\x02":
            pytest.skip("not a 64-bit ELF file")
        elf = ELFFile(file)
        machine = {"EM_X86_64": EM_X86_64, "EM_AARCH64": EM_AARCH64}.get(elf["e_machine"])
        if machine is None:
            pytest.skip("for another architecture")
        fd = file.fileno()
        plan = load(lambda offset, count: os.pread(fd, count, offset), os.fstat(fd).st_size, machine, 1 << 48)
        loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        names = [s.data().rstrip(b"\0") for s in elf.iter_segments() if s["p_type"] == "PT_INTERP"]
    assert plan.entry == elf["e_entry"]
    assert plan.phnum == elf["e_phnum"]
    assert plan.relocatable == (elf["e_type"] == "ET_DYN")
    assert [(s.vaddr, s.memsz, s.offset, s.filesz) for s in plan.segments] == [
        (s["p_vaddr"], s["p_memsz"], s["p_offset"], s["p_filesz"]) for s in loads
    ]
    assert plan.interpreter == (names[0] if names else None)
    assert plan.defect == ""
