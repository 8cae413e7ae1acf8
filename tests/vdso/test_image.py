"""The built images: what is kept is what the sources say, and other people's tools read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from struct import calcsize, unpack_from
from typing import TYPE_CHECKING, Any

import pytest

from kernel_model.bounce import NO_CALL, REDIRECT
from tests.harness import ROOT
from tests.vdso.variants import built_image, edited
from vdso_image import vvar
from vdso_image.assemble import disassemble
from vdso_image.build import BUILT, build, write
from vdso_image.data_pages import LAYOUTS
from vdso_image.elf_writer import SONAME, elf_hash, gnu_hash
from vdso_image.image import ARCHITECTURES, load
from vdso_image.listing import elf_file, functions, unwind_rows
from vdso_image.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)

# arch/arm64/kernel/vdso/vdso.lds.S and arch/x86/entry/vdso/vdso.lds.S, less sgx and getrandom
LINUX_LIST = {
    "aarch64": {"__kernel_rt_sigreturn", "__kernel_gettimeofday", "__kernel_clock_gettime", "__kernel_clock_getres"},
    "x86_64": {
        prefix + name
        for prefix in ("", "__vdso_")
        for name in ("clock_gettime", "gettimeofday", "getcpu", "time", "clock_getres")
    },
}
LINUX_VERSION = {"aarch64": "LINUX_2.6.39", "x86_64": "LINUX_2.6"}
OWN_LIST = {
    "__kernel_bounce", "__kernel_bounce_task_page", "__kernel_bounce_userspace", "__kernel_bounce_return",
    "__kernel_bounce_return_task_page", "__kernel_syscall", "__kernel_getpid", "__kernel_getpid_retry",
    "__kernel_gettid", "__kernel_getppid",
    "__kernel_getuid", "__kernel_geteuid", "__kernel_getgid", "__kernel_getegid",
}  # fmt: skip
OWN_EXTRA = {
    "aarch64": {"__kernel_time", "__kernel_getcpu"},
    "x86_64": {"__kernel_bounce_user", "__kernel_rt_sigreturn"},
}


@each_arch
def test_what_is_kept_equals_a_fresh_build(arch: str, tmp_path: Path) -> None:
    write(arch, tmp_path)
    for suffix in ("so", "txt"):
        assert (tmp_path / f"{arch}.{suffix}").read_bytes() == (BUILT / f"{arch}.{suffix}").read_bytes()


@each_arch
def test_nothing_is_wrong_with_it(arch: str) -> None:
    assert [finding for finding in verify(arch) if finding.good is False] == []


@each_arch
def test_symbols_and_versions(arch: str) -> None:
    found = {name: f.version for f in functions(load(arch).elf) for name in f.names}
    wanted = dict.fromkeys(LINUX_LIST[arch], LINUX_VERSION[arch])
    wanted |= dict.fromkeys(OWN_LIST | OWN_EXTRA[arch], "UABI_1")
    assert found == wanted


@each_arch
def test_where_a_task_begins_again(arch: str) -> None:
    """Each function that reads data has such a range, from its first instruction, with no call in it."""
    image = load(arch)
    names = ["getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid"]
    starts = {image.symbols[f"__kernel_{name}"] for name in names}
    starts.add(image.symbols["__kernel_getcpu" if arch == "aarch64" else "__vdso_getcpu"])
    assert {start for start, _ in image.data_ranges} == starts
    for start, done in image.data_ranges:
        texts = [text for _, _, text in disassemble(arch, image.elf[start:done], start)]
        assert 4 < len(texts) < 10
        unwanted = {"svc", "syscall", "ret", "str", "stp", "push", "call", "bl"}
        assert not unwanted & {text.split()[0] for text in texts}


def test_the_structs_agree() -> None:
    """The same functions read both: by the same offsets, each within its struct."""
    per_cpu, per_thread = LAYOUTS
    assert per_cpu.offsets() == per_thread.offsets()
    for layout in LAYOUTS:
        assert list(layout.offsets()) == list(layout.names)
        assert layout.struct.size <= layout.stride_bytes and 4096 % layout.stride_bytes == 0


@each_arch
def test_the_file(arch: str) -> None:
    image = load(arch)
    file = elf_file(image.elf)
    assert len(image.elf) % 4096 == 0 and len(image.elf) <= 4 * 4096
    segments = {s["p_type"]: s for s in file.iter_segments()}
    assert list(segments) == ["PT_LOAD", "PT_DYNAMIC", "PT_NOTE", "PT_GNU_EH_FRAME"]
    load_segment = segments["PT_LOAD"]
    assert (load_segment["p_offset"], load_segment["p_vaddr"], load_segment["p_flags"]) == (0, 0, 5)
    assert load_segment["p_filesz"] == load_segment["p_memsz"] == len(image.elf)
    names = {section.name for section in file.iter_sections()}
    assert names >= set(
        ".hash .gnu.hash .dynsym .dynstr .gnu.version .gnu.version_d .eh_frame_hdr .eh_frame .text .dynamic"
        " .note.gnu.build-id".split()
    )
    assert not [s.name for s in file.iter_sections() if s["sh_flags"] & 1], "writable"
    tags = {tag.entry.d_tag: tag for tag in segments["PT_DYNAMIC"].iter_tags()}
    assert tags["DT_SONAME"].soname == SONAME
    assert not {"DT_RELA", "DT_REL", "DT_JMPREL", "DT_TEXTREL", "DT_NEEDED"} & set(tags)
    note = next(segments["PT_NOTE"].iter_notes())
    assert (note["n_type"], note["n_desc"]) == ("NT_GNU_BUILD_ID", image.build_id.hex())


@each_arch
def test_both_hash_tables_find_every_symbol(arch: str) -> None:
    file = elf_file(load(arch).elf)
    tables = [file.get_section_by_name(name) for name in (".hash", ".gnu.hash")]
    symbols = list(file.get_section_by_name(".dynsym").iter_symbols())[1:]
    for symbol in symbols:
        for table in tables:
            assert table.get_symbol(symbol.name).name == symbol.name
    for table in tables:
        assert table.get_symbol("__kernel_bounced") is None
        assert table.get_number_of_symbols() == len(symbols) + 1


def test_hashes() -> None:
    """The numbers that Go's runtime has for the functions it looks for."""
    assert elf_hash(b"LINUX_2.6.39") == 0x75FCB89
    assert elf_hash(b"LINUX_2.6") == 0x3AE75F6
    assert gnu_hash(b"__vdso_clock_gettime") == 0x6E43A318
    assert gnu_hash(b"__kernel_clock_gettime") == 0xDFA941FD
    assert elf_hash(b"__kernel_clock_gettime") == 0xB0CD725
    assert elf_hash(b"__vdso_clock_gettime") == 0xD35EC75


@each_arch
def test_the_build_id_depends_on_all_of_it(arch: str, tmp_path: Path) -> None:
    other = edited(arch, tmp_path, "syscall.S", r"(syscall|svc #0) ", "nop ")
    image = built_image(arch, other)
    assert image.build_id != load(arch).build_id
    assert built_image(arch, build(arch)).build_id == load(arch).build_id


@each_arch
def test_handlers_and_restart_ranges(arch: str) -> None:
    image = load(arch)
    kinds = {"redirect": "__kernel_bounce", "task-page": "__kernel_bounce_task_page"}
    if arch == "x86_64":
        kinds["user"] = "__kernel_bounce_user"
    serving = {"userspace": "__kernel_bounce_userspace"}
    assert dict(image.handlers) == {kind: image.symbols[name] for kind, name in (kinds | serving).items()}
    call = {"aarch64": bytes.fromhex("010000d4"), "x86_64": bytes.fromhex("0f05")}[arch]
    for start, commit, kind in image.restart_ranges:
        assert start == image.handlers[kind]
        assert image.elf[commit - len(call) : commit] == call
        assert image.text[0] <= start < commit <= image.text[1]
    assert {r.handler for r in image.restart_ranges} == set(kinds)


def test_the_code_of_the_specification() -> None:
    words = {
        "__kernel_bounce": (0x32030108, 0xD4000001),  # orr w8, w8, #0x20000000; svc #0
        "__kernel_rt_sigreturn": (0xD2801168, 0xD4000001),  # mov x8, #139; svc #0: gdb, libgcc and LLVM know them
    }
    image = load("aarch64")
    for name, wanted in words.items():
        assert unpack_from("<2I", image.elf, image.symbols[name]) == wanted
    assert unpack_from("<I", image.elf, image.sigreturn - 4) == (0xD503201F,)  # nop
    assert image.sigreturn == image.symbols["__kernel_rt_sigreturn"]
    assert REDIRECT | NO_CALL == 0x3FFFFFFF
    image = load("x86_64")
    place = image.symbols["__kernel_bounce"]
    assert image.elf[place : place + 8] == bytes.fromhex("8d80000000200f05")  # lea eax, [rax + 0x20000000]; syscall
    assert image.sigreturn == 0
    place = image.symbols["__kernel_rt_sigreturn"]
    assert image.elf[place - 1 : place + 9] == bytes.fromhex("9048c7c00f0000000f05")  # nop; mov rax, 15; syscall


def test_which_calls_stay_flagged() -> None:
    """The table of the handler that returns in user space."""
    image = load("x86_64")
    table = elf_file(image.elf).get_section_by_name(".rodata").data()
    flagged = {bit for bit in range(512) if table[bit // 8] >> bit % 8 & 1}
    assert flagged >= {15, 56, 57, 58, 435, 9, 11, 25, 10, 28}
    assert flagged - {15, 56, 57, 58, 435, 9, 11, 25, 10, 28} == {30, 67, 216, 329}


@each_arch
def test_no_unwind_entry_for_rt_sigreturn(arch: str) -> None:
    image = load(arch)
    rows = unwind_rows(arch, image.elf)
    before = max(address for address in rows if address <= image.symbols["__kernel_rt_sigreturn"])
    assert rows[before] == ""


@each_arch
def test_every_instruction_of_a_function_has_a_row(arch: str) -> None:
    image = load(arch)
    rows = unwind_rows(arch, image.elf)
    for function in functions(image.elf):
        if function.names[0] != "__kernel_rt_sigreturn":
            assert rows[function.start], function
            assert not [a for a in range(function.start, function.start + function.size) if rows.get(a) == ""]


def test_the_data_page() -> None:
    places = vvar.offsets()
    base = [(index + 1, (index + 1) << 8) for index in range(vvar.CLOCKS)]
    page = vvar.pack_vvar(
        seq=6, clock_mode=1, base=base, cycle_last=1 << 60, mask=(1 << 56) - 1, mult=77, shift=24, hrtimer_res=2,
        tick_ns=3, timezone=(-120, 1), cpu=4, node=5,
    )  # fmt: skip
    assert len(page) == vvar.VVAR.size <= vvar.VVAR_BYTES

    def field(name: str, form: str, index: int = 0) -> Any:
        return unpack_from("<" + form, page, places[name] + 16 * index)[0]

    forms = {name: form for name, form, _ in (*vvar.FIELDS, *vvar.BASE_FIELDS)}
    values = {name: field(name, forms[name]) for name, _, _ in vvar.FIELDS}
    assert values == {
        "seq": 6, "clock_mode": 1, "cycle_last": 1 << 60, "mask": (1 << 56) - 1, "mult": 77, "shift": 24,
        "hrtimer_res": 2, "tick_ns": 3, "tz_minuteswest": -120, "tz_dsttime": 1, "cpu": 4, "node": 5,
    }  # fmt: skip
    assert [(field("base_sec", "Q", i), field("base_nsec", "Q", i)) for i in range(vvar.CLOCKS)] == base
    # what the assembly takes for granted: these are read in pairs, and bases are 16 bytes apart
    for first, second in (("mult", "shift"), ("cpu", "node"), ("tz_minuteswest", "tz_dsttime")):
        assert places[second] - places[first] == calcsize("<I")
    assert places["base_nsec"] - places["base_sec"] == 8


def test_loading_needs_nothing_that_builds() -> None:
    code = (
        "import sys; from vdso_image.image import load; load('aarch64'); load('x86_64');"
        "print(sorted(set(sys.modules) & {'keystone', 'capstone', 'elftools', 'json', 'dataclasses', 'pathlib',"
        " 'kernel_model'}))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_no_image_for_another_architecture() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        load("riscv64")


@pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf")
@each_arch
def test_readelf_sees_what_was_meant(arch: str) -> None:
    done = subprocess.run(["readelf", "-W", "-a", BUILT / f"{arch}.so"], capture_output=True, text=True)
    assert done.stderr == ""
    assert "Library soname: [linux-vdso.so.1]" in done.stdout
    assert "__kernel_bounce@@UABI_1" in done.stdout
    assert "There are no relocations in this file." in done.stdout
