"""The library of Hack #1 that runs inject: what is kept is what its source gives, and it starts programs unseen."""

from __future__ import annotations

import importlib.metadata
import json
import re
from hashlib import sha256
from pathlib import Path
from struct import unpack_from

import pytest

from emu.disasm import decode
from guests.build import ARCHES, INJECTED, build_library, discover, library_sources
from tests.harness import ROOT, emulator, judge, run
from tests.test_guests import expected, run_guest
from vdso_image.listing import elf_file

MANIFEST = json.loads((INJECTED / "manifest.json").read_text())
ABIS = ("seccomp", "dispatch")
# How a program starts, calls of all kinds, children, threads, signals: what runs as it does anywhere.
GUESTS = (
    "abi/start", "abi/exit_status", "cpu/registers", "cpu/tls", "event/pwait2", "file/descriptors", "mm/brk",
    "signal/interrupted", "signal/queue", "signal/restart", "tasks/exec", "tasks/futex", "tasks/pipes", "tasks/rseq",
    "tasks/wait", "time/sleeps",
)  # fmt: skip

each_arch = pytest.mark.parametrize("arch", ARCHES)
each_abi = pytest.mark.parametrize("abi", ABIS)


def test_binaries_belong_to_the_source() -> None:
    """Renew them by `python guests/build.py --library` after a change."""
    said = {name: digest for name, digest in MANIFEST.items() if name.endswith((".c", ".h"))}
    assert said == library_sources()
    for arch in ARCHES:
        assert MANIFEST[f"{arch}.so"] == sha256((INJECTED / f"{arch}.so").read_bytes()).hexdigest()


def test_a_build_gives_the_same_bytes(tmp_path: Path) -> None:
    built = build_library(tmp_path)
    if importlib.metadata.version("ziglang") == MANIFEST["ziglang"]:
        assert built == MANIFEST
    else:  # another compiler gives other bytes; that it builds is what can be known
        assert built["inject.c"] == MANIFEST["inject.c"]


@each_arch
def test_the_file(arch: str) -> None:
    """It needs nothing done to it, and a program finds no register changed that it would have found as it was."""
    elf = (INJECTED / f"{arch}.so").read_bytes()
    file = elf_file(elf)
    segments = [segment for segment in file.iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert [segment["p_flags"] for segment in segments] == [5, 6]
    dynamic = next(segment for segment in file.iter_segments() if segment["p_type"] == "PT_DYNAMIC")
    tags = {tag.entry.d_tag for tag in dynamic.iter_tags()}
    assert not tags & {"DT_RELA", "DT_REL", "DT_JMPREL", "DT_RELR", "DT_TEXTREL", "DT_NEEDED"}
    assert file.get_section_by_name(".dynsym").num_symbols() == 1
    entry = file["e_entry"]
    (distance,) = unpack_from("<q", elf, entry - 8)
    data = segments[1]
    assert data["p_vaddr"] <= entry - 8 + distance <= data["p_vaddr"] + data["p_memsz"] - 16
    text = file.get_section_by_name(".text")
    place = entry - text["sh_addr"]
    # the word before the entry is none of the code
    parts = text.data()[: place - 8], text.data()[place:]
    listing = "\n".join(line.text for part in parts for line in decode(arch, part, 0))
    assert listing.count("\n") > 900
    assert not re.search(r"\b(?:[xyz]mm|st|[vqd])\d+\b", listing)


@pytest.mark.usefixtures("guests_built")
@each_abi
@each_arch
@pytest.mark.parametrize("name", GUESTS)
def test_guests_run(name: str, arch: str, abi: str, tmp_path: Path) -> None:
    guest = next(guest for guest in discover() if guest.id == name and guest.arch == arch)
    seen = run_guest(guest, emulator("--abi", abi, "--check-leaks", *guest.options), tmp_path)
    judge("emulator", f"{arch} {name}", seen, expected(guest))


@each_abi
@each_arch
def test_where_it_is(arch: str, abi: str, tmp_path: Path) -> None:
    """Beside the program, and whatever is executed."""
    demo = ROOT / "guests" / "demo" / arch / "demo"
    stats = tmp_path / "stats"
    outcome = run([*emulator("--abi", abi, "--stats", str(stats)), demo, "one"], cwd=tmp_path)
    bare = run([*emulator("--abi", "bare"), demo, "one"], cwd=tmp_path)
    assert (outcome.status, outcome.stdout) == (bare.status, bare.stdout)
    calls = json.loads(stats.read_text())["syscalls"]
    assert calls["prctl"] == {"seccomp": 4, "dispatch": 2}[abi]
    assert calls["rt_sigreturn"] > 1


def test_nothing_of_it_is_imported_without_need(tmp_path: Path) -> None:
    demo = ROOT / "guests" / "demo" / "x86_64" / "demo"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from emu.machine import Machine, MachineOptions;"
        f"Machine(MachineOptions({str(demo)!r}, [b'demo'], {{}}));"
        "print(sorted(m for m in sys.modules if 'hack1' in m or 'preload' in m))"
    )
    done = run([*emulator()[:2], "-c", code], cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == b"[]", str(done)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--handler", "slide"), "--handler: nothing is injected under --abi bounce: leave one of the two away"),
        (("--abi", "bare", "--handler", "none"), "--handler: nothing is injected under --abi bare"),
        (("--abi", "seccomp", "--handler", "bold"), "--handler: 'bold' is no choice"),
        (("--abi", "seccomp", "--bounce-set", "legacy"), "--bounce-set: nothing bounces under --abi seccomp"),
        (("--abi", "dispatch", "--bounce-frame", "stack"), "--bounce-frame: nothing bounces under --abi dispatch"),
    ],
)
def test_options_that_say_nothing(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    outcome = run([*emulator(*options), "true"], cwd=tmp_path)
    assert outcome.status == 125
    assert outcome.stderr.decode().startswith(f"uabi-emu: {said}")
