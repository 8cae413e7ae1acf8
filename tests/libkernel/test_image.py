"""The image `libkernel`: a function for each call that the kernel model has, in versions, and the tables of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.disasm import decode
from guests.build import LIBKERNEL
from kernel_model.syscalls.table import declared, names
from tests.harness import ROOT
from vdso_image.build import BUILT, build, write
from vdso_image.entry_table import ENTRY_BYTES, HEADER, pack_entries, read_tables
from vdso_image.image import ARCHITECTURES, VdsoImage, load
from vdso_image.libkernel import calls, header
from vdso_image.listing import elf_file, functions, unwind_rows
from vdso_image.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
LINUX_VERSION = {"aarch64": "LINUX_2.6.39", "x86_64": "LINUX_2.6"}
BY_HAND = {"aarch64": {"brk"}, "x86_64": {"brk", "clone", "clone3", "vfork"}}


def libkernel(arch: str) -> VdsoImage:
    return load(arch, "libkernel")


def symbols(arch: str) -> dict[tuple[str, str], tuple[int, bool]]:
    """Name and version to place, and whether the name means another version where none is asked for: from .dynsym."""
    file = elf_file(libkernel(arch).elf)
    definitions = file.get_section_by_name(".gnu.version_d").iter_versions()
    versions = {definition["vd_ndx"]: next(aux).name for definition, aux in definitions}
    numbers = file.get_section_by_name(".gnu.version")
    found = {}
    for index, symbol in enumerate(file.get_section_by_name(".dynsym").iter_symbols()):
        if index:
            number = numbers.get_symbol(index)["ndx"]
            found[symbol.name, versions[number & 0x7FFF]] = (symbol["st_value"], number > 0x7FFF)
    return found


@each_arch
def test_what_is_kept_equals_a_fresh_build(arch: str, tmp_path: Path) -> None:
    write(arch, tmp_path, "libkernel")
    for suffix in ("so", "txt"):
        name = f"{arch}-libkernel.{suffix}"
        assert (tmp_path / name).read_bytes() == (BUILT / name).read_bytes(), "run 'uabi-emu vdso build'"


@each_arch
def test_nothing_is_wrong_with_it(arch: str) -> None:
    assert [finding for finding in verify(arch, kind="libkernel") if finding.good is False] == []


@each_arch
def test_every_call_has_a_function(arch: str) -> None:
    there = symbols(arch)
    wanted = {row.name for row in names(arch).values() if declared(row)}
    assert len(wanted) > 200
    assert {name for name in wanted if (f"__kernel_{name}", "UABI_1") not in there} == set()
    assert {call.name for call in calls(arch)} == wanted


@each_arch
def test_nothing_is_there_twice(arch: str) -> None:
    """What the plain image has is not made again: a name for it, no more."""
    plain, image = load(arch), libkernel(arch)
    there = symbols(arch)
    linux = "__vdso_" if arch == "x86_64" else "__kernel_"
    for name in ("clock_gettime", "clock_getres", "gettimeofday"):
        assert there[f"__kernel_{name}", "UABI_1"][0] == there[f"{linux}{name}", LINUX_VERSION[arch]][0]
    assert set(plain.symbols) < set(image.symbols)
    starts = [function.start for function in functions(image.elf)]
    new = {name for name, _ in there} - set(plain.symbols)
    assert len(starts) - len(functions(plain.elf)) <= len(new) + 1, "one name has two versions"


@each_arch
def test_versions(arch: str) -> None:
    """UABI_2 goes on from UABI_1. Of a name with two versions the last is the default; of Linux's functions Linux's."""
    file = elf_file(libkernel(arch).elf)
    definitions = [
        [name.name for name in aux] for _, aux in file.get_section_by_name(".gnu.version_d").iter_versions()
    ]
    assert definitions == [["linux-vdso.so.1"], [LINUX_VERSION[arch]], ["UABI_1"], ["UABI_2", "UABI_1"]]
    there = symbols(arch)
    by_name: dict[str, set[str]] = {}
    for name, version in there:
        by_name.setdefault(name, set()).add(version)
    two = {name for name, versions in by_name.items() if versions == {"UABI_1", "UABI_2"}}
    assert two == {"__kernel_brk"}
    assert there["__kernel_brk", "UABI_1"][1] and not there["__kernel_brk", "UABI_2"][1]
    for name, versions in by_name.items():
        assert sum(not there[name, version][1] for version in versions) == 1, name
        if LINUX_VERSION[arch] in versions:
            assert not there[name, LINUX_VERSION[arch]][1]
    assert "UABI_2" not in {version for function in functions(load(arch).elf) for version in function.versions}


@each_arch
def test_tables(arch: str) -> None:
    """By number the functions of each version; none where the kernel model has no call."""
    image = libkernel(arch)
    there = symbols(arch)
    tables = read_tables(image.elf, image.table)
    first = {call.number: there[f"__kernel_{call.name}", "UABI_1"][0] for call in calls(arch)}
    brk = next(call.number for call in calls(arch) if call.name == "brk")
    assert tables == {1: first, 2: first | {brk: there["__kernel_brk", "UABI_2"][0]}}
    assert load(arch).table == 0
    section = elf_file(image.elf).get_section_by_name(".rodata")
    assert section["sh_addr"] <= image.table < section["sh_addr"] + section["sh_size"] and image.table % 8 == 0


@each_arch
def test_code(arch: str) -> None:
    """The call's number, where it has four arguments the fourth, and the way back: nothing else."""
    image = libkernel(arch)
    plain = {call.name for call in calls(arch) if f"__kernel_{call.name}" in load(arch).symbols}
    plain |= {"clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu"} | BY_HAND[arch]
    for call in calls(arch):
        if call.name in plain:
            continue
        start = image.symbols[f"__kernel_{call.name}"]
        texts = [insn.text for insn in decode(arch, image.elf[start : start + 16], start)]
        if arch == "aarch64":
            assert texts[:3] == [f"mov x8, #{call.number:#x}" if call.number > 9 else f"mov x8, #{call.number}",
                                 "svc #0", "ret"], call  # fmt: skip
            continue
        if len(call.params) > 3:
            assert texts.pop(0) == "mov r10, rcx", call
        number = f"{call.number:#x}" if call.number > 9 else f"{call.number}"
        assert texts[:3] == [f"mov eax, {number}", "syscall", "ret"], call


@each_arch
def test_every_function_can_be_unwound(arch: str) -> None:
    image = libkernel(arch)
    rows = unwind_rows(arch, image.elf)
    for function in functions(image.elf):
        if function.plain_name != "__kernel_rt_sigreturn":
            assert rows[function.start], function
            assert not [a for a in range(function.start, function.start + function.size) if rows.get(a) == ""]


@each_arch
def test_both_hash_tables_find_every_name(arch: str) -> None:
    file = elf_file(libkernel(arch).elf)
    tables = [file.get_section_by_name(name) for name in (".hash", ".gnu.hash")]
    for symbol in list(file.get_section_by_name(".dynsym").iter_symbols())[1:]:
        for table in tables:
            assert table.get_symbol(symbol.name).name == symbol.name
    for table in tables:
        assert table.get_symbol("__kernel_nothing") is None


@each_arch
def test_it_is_the_plain_image_and_more(arch: str) -> None:
    plain, image = load(arch), libkernel(arch)
    assert (plain.kind, image.kind) == ("plain", "libkernel")
    assert set(plain.handlers) == set(image.handlers)
    assert len(plain.restart_ranges) == len(image.restart_ranges)
    assert len(plain.data_ranges) == len(image.data_ranges)
    assert bool(plain.sigreturn) == bool(image.sigreturn)
    assert build(arch, kind="libkernel").elf == image.elf


def test_the_header_is_up_to_date() -> None:
    kept = (LIBKERNEL / "include" / "uabi" / "kernel.h").read_text()
    assert kept == header(), "run 'make docs'"


@pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf")
@each_arch
def test_readelf_sees_the_versions(arch: str) -> None:
    file = BUILT / f"{arch}-libkernel.so"
    done = subprocess.run(["readelf", "-W", "-a", file], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    for text in ("__kernel_brk@UABI_1", "__kernel_brk@@UABI_2", "__kernel_write@@UABI_1", "Parent 1: UABI_1"):
        assert text in done.stdout


def test_loading_it_needs_nothing_that_builds() -> None:
    code = (
        "import sys; from vdso_image.image import load; load('aarch64', 'libkernel'); load('x86_64', 'libkernel');"
        "print(sorted(m for m in sys.modules if m.startswith(('vdso_image.', 'kernel_model', 'capstone'))))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("['vdso_image.image']\n", "")


@given(st.integers(1, 9), st.lists(st.lists(st.integers(-(1 << 20), 1 << 20), max_size=20), min_size=1, max_size=4))
def test_tables_are_read_as_they_were_written(first: int, contents: list[list[int]]) -> None:
    sizes = [HEADER.size + ENTRY_BYTES * len(offsets) for offsets in contents]
    blob = b"".join(
        pack_entries(first + index, 0 if index + 1 == len(contents) else size, offsets)
        for index, (offsets, size) in enumerate(zip(contents, sizes, strict=True))
    )
    wanted, place = {}, 0
    for index, (offsets, size) in enumerate(zip(contents, sizes, strict=True)):
        wanted[first + index] = {number: place + offset for number, offset in enumerate(offsets) if offset}
        place += size
    assert read_tables(blob, 0) == wanted
