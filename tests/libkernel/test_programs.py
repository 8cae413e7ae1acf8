"""Programs whose every call is a function of the vDSO: none bounces, and they see what they see elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from struct import iter_unpack

import pytest

from guests.build import (
    FLAGS,
    LIBKERNEL,
    Guest,
    build,
    build_libkernel,
    cache_dir,
    compile_to,
    compile_with_libkernel,
    discover,
)
from kernel_model.abi.auxvec import AT_UABI
from tests.harness import HOST_ARCH, ROOT, emulator, qemu, run
from tests.test_guests import expected, run_guest
from vdso_image.build import BUILT
from vdso_image.image import ARCHITECTURES, load

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
GUESTS = [guest for guest in discover() if guest.area == "libkernel"]
NEW_STYLE = [guest for guest in GUESTS if guest.name != "functions"]
"""`functions` compares with calls of its own."""
LIBKERNEL_VDSO = ("--vdso", "libkernel")
WAYS = {"bounce": ("--abi", "bounce"), "task page": ("--bounce-frame", "task-page"), "data": ("--vdso-data", "percpu")}


@cache
def program(source: Path, arch: str) -> Path:
    """A program with the library, built unless it is there."""
    key = hashlib.sha256(source.read_bytes() + build_libkernel(arch).name.encode()).hexdigest()[:20]
    path = cache_dir() / arch / "libkernel" / f"{source.stem}-{key}"
    if not path.exists():
        compile_with_libkernel(source, arch, (), path)
    return path


def example(name: str, arch: str) -> Path:
    return program(LIBKERNEL / "examples" / f"{name}.c", arch)


def stats(directory: Path) -> dict[str, int]:
    counters: dict[str, int] = json.loads((directory / "stats").read_text())
    return counters


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("guest", NEW_STYLE, ids=lambda guest: f"{guest.arch}-{guest.name}")
def test_no_guest_makes_an_old_style_call(guest: Guest, way: str, tmp_path: Path) -> None:
    build(guest)
    (tmp_path / "empty").mkdir()
    options = (*LIBKERNEL_VDSO, *WAYS[way], "--check-leaks", "--stats", str(tmp_path / "stats"))
    seen = run_guest(guest, emulator(*options), tmp_path / "empty")
    assert seen == expected(guest), seen.stderr.decode()
    counters = stats(tmp_path)
    assert counters["bounces"] == 0 < counters["kernel_entries"]


@pytest.mark.parametrize("guest", [g for g in GUESTS if g.native], ids=lambda guest: f"{guest.arch}-{guest.name}")
def test_the_library_makes_the_calls_where_there_is_no_such_vdso(guest: Guest, tmp_path: Path) -> None:
    """They are old-style calls then, under the plain vDSO and natively (`tests/test_guests.py`)."""
    build(guest)
    (tmp_path / "empty").mkdir()
    options = ("--abi", "bounce", "--stats", str(tmp_path / "stats"))
    assert run_guest(guest, emulator(*options), tmp_path / "empty") == expected(guest)
    assert stats(tmp_path)["bounces"] > 0


@each_arch
def test_every_function_is_one_entry(arch: str, tmp_path: Path) -> None:
    """No more and no fewer, whatever the call: two runs that differ by 1000 calls."""
    path = program(Path(__file__).parent / "counted.c", arch)
    entries = []
    for rounds in (0, 100):
        options = (*LIBKERNEL_VDSO, "--time", "virtual", "--stats", str(tmp_path / "stats"))
        seen = run([*emulator(*options), path, str(rounds)], cwd=tmp_path)
        assert (seen.status, seen.stderr) == (0, b"")
        assert stats(tmp_path)["bounces"] == 0
        entries.append(stats(tmp_path)["kernel_entries"])
    assert entries[1] - entries[0] == 100 * 10


@each_arch
def test_what_the_data_page_answers_is_no_entry(arch: str, tmp_path: Path) -> None:
    """The same with clocks that run and data pages: getpid, getuid and clock_gettime are three of the ten."""
    path = program(Path(__file__).parent / "counted.c", arch)
    entries = []
    for rounds in (0, 100):
        options = (*LIBKERNEL_VDSO, "--vdso-data", "percpu", "--stats", str(tmp_path / "stats"))
        seen = run([*emulator(*options), path, str(rounds)], cwd=tmp_path)
        assert seen.status == 0
        entries.append(stats(tmp_path)["kernel_entries"])
    assert entries[1] - entries[0] == 100 * 7


# -- the examples ------------------------------------------------------------------------------------------------------
def directory_with_files(where: Path) -> Path:
    where.mkdir()
    (where / "one").write_text("1\n" * 1000)
    (where / "two").write_bytes(bytes(range(256)) * 300)
    (where / "below").mkdir()
    (where / "link").symlink_to("one")
    return where


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("hello", ("there",), 0),
        ("cat", ("{files}/one", "{files}/two", "{files}/one"), 0),
        ("cat", ("{files}/one", "{files}/none"), 1),
        ("cat", ("{files}/below",), 1),
        ("ls", ("{files}",), 0),
        ("ls", ("{files}/one",), 1),
        ("pipeline", ("{cat}", "{files}/one"), 0),
        ("pipeline", ("{cat}", "{files}/none"), 1),
        ("pipeline", ("{files}/none",), 127),
    ],
)
@each_arch
def test_examples(arch: str, name: str, arguments: tuple[str, ...], status: int, tmp_path: Path) -> None:
    files = directory_with_files(tmp_path / "files")
    words = [word.format(files=files, cat=example("cat", arch)) for word in arguments]
    ours = emulator("--bind", f"{files}:{files}", *LIBKERNEL_VDSO, "--stats", str(tmp_path / "stats"))
    seen = run([*ours, example(name, arch), *words], cwd=tmp_path)
    assert seen.status == status
    assert stats(tmp_path)["bounces"] == 0
    if arch == HOST_ARCH or (qemu(arch) and name != "pipeline"):
        prefix = [] if arch == HOST_ARCH else [str(qemu(arch))]
        native = run([*prefix, example(name, arch), *words], cwd=tmp_path)
        assert (seen, seen.stderr) == (native, native.stderr)


@each_arch
def test_it_does_as_a_c_library_does(arch: str, tmp_path: Path) -> None:
    """One source, with musl and with ours: on our machine, whose /tmp is the guest's own."""
    source = Path(__file__).parent / "same.c"
    flags = (*FLAGS, "-Wno-unused-result")
    key = hashlib.sha256(source.read_bytes() + repr(flags).encode()).hexdigest()[:20]
    with_musl = cache_dir() / arch / "libkernel" / f"same-musl-{key}"
    if not with_musl.exists():
        compile_to(source, f"{arch}-linux-musl", flags, with_musl)
    ours = [*emulator(*LIBKERNEL_VDSO, "--time", "virtual", "--clear-env", "--env", "NAME=value")]
    seen, wanted = (run([*ours, path, "word"], cwd=tmp_path) for path in (program(source, arch), with_musl))
    assert (seen, seen.stderr) == (wanted, b"")
    assert seen.status == 3 and seen.stdout.startswith(b"2 word NAME=value\n")


@each_arch
def test_the_makefile(arch: str, tmp_path: Path) -> None:
    """With an ordinary compiler, and its C library's headers."""
    compiler = "gcc" if arch == HOST_ARCH else f"{arch.replace('_', '-')}-linux-gnu-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    words = ["make", "-s", "-C", str(LIBKERNEL), f"CC={compiler} -Werror", f"BUILD={tmp_path}/built"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    seen = run([*emulator(*LIBKERNEL_VDSO), tmp_path / "built" / "hello"], cwd=tmp_path)
    assert (seen.status, seen.stdout, seen.stderr) == (0, b"hello, vDSO\n", b"")


# -- the option --------------------------------------------------------------------------------------------------------
def auxv_of(arch: str, options: tuple[str, ...], directory: Path) -> dict[int, int]:
    """What /proc/self/auxv says there."""
    seen = run([*emulator(*options), example("cat", arch), "/proc/self/auxv"], cwd=directory)
    assert seen.status == 0
    return dict(iter_unpack("<QQ", seen.stdout))


@each_arch
def test_the_auxiliary_vector(arch: str, tmp_path: Path) -> None:
    at_sysinfo_ehdr = 33
    found = auxv_of(arch, (*LIBKERNEL_VDSO, "--abi", "bare"), tmp_path)
    assert found[AT_UABI] - found[at_sysinfo_ehdr] == load(arch, "libkernel").table
    assert AT_UABI not in auxv_of(arch, ("--abi", "bounce"), tmp_path)


@pytest.mark.parametrize("abi", ["bare", "seccomp", "dispatch"])
@each_arch
def test_under_each_abi(arch: str, abi: str, tmp_path: Path) -> None:
    """The functions' calls are real ones everywhere: no filter and no dispatch sends a signal for them."""
    options = (*LIBKERNEL_VDSO, "--abi", abi, "--stats", str(tmp_path / "stats"))
    seen = run([*emulator(*options), example("hello", arch), abi], cwd=tmp_path)
    assert (seen.status, seen.stdout, seen.stderr) == (0, f"hello, {abi}\n".encode(), b"")


def test_other_options_of_bounces_still_want_one(tmp_path: Path) -> None:
    seen = run([*emulator(*LIBKERNEL_VDSO, "--abi", "bare", "--bounce-check", "slide"), "/bin/true"], cwd=tmp_path)
    assert seen.status == 125
    assert b"--bounce-check: nothing bounces under --abi bare" in seen.stderr


@pytest.mark.parametrize("frame", ["stack", "task-page"])
def test_old_style_calls_bounce_as_ever(frame: str, tmp_path: Path) -> None:
    guest = next(g for g in discover() if g.id == "bounce/accidents" and g.arch == HOST_ARCH)
    build(guest)
    seen = run_guest(guest, emulator(*LIBKERNEL_VDSO, "--bounce-frame", frame, *guest.options), tmp_path)
    assert seen == expected(guest)


# -- ld.so -------------------------------------------------------------------------------------------------------------
def linked(name: str, arch: str, directory: Path, *words: str | Path) -> list[str]:
    """The command that runs a dynamic program of glibc's here; skips where there is no compiler."""
    compiler = "gcc" if arch == HOST_ARCH else f"{arch.replace('_', '-')}-linux-gnu-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    binary = directory / name
    source = Path(__file__).parent / f"{name}.c"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-o", binary, source, *words], check=True, timeout=60)
    if arch == HOST_ARCH:
        return [*emulator(*LIBKERNEL_VDSO), str(binary)]
    root = f"/usr/{arch}-linux-gnu"
    return [*emulator(*LIBKERNEL_VDSO, "--root", root, "--bind", f"{directory}:/program"), f"/program/{name}"]


@each_arch
def test_the_dynamic_linker_finds_both_versions(arch: str, tmp_path: Path) -> None:
    """It takes the vDSO for a library of that name: dlvsym(3)."""
    seen = run(linked("linked", arch, tmp_path, "-ldl"), cwd=ROOT)
    assert (seen.status, seen.stdout) == (0, b"UABI_1: the break\nUABI_2: ENOMEM\ndefault: UABI_2\nUABI_3: none\n")


@pytest.mark.parametrize("version", [1, 2])
@each_arch
def test_a_program_is_linked_with_the_image(arch: str, version: int, tmp_path: Path) -> None:
    """And gets the version that it was linked with; where there is none it is refused, told what is missing."""
    command = linked("needed", arch, tmp_path, BUILT / f"{arch}-libkernel.so", "-DOLD" if version == 1 else "-DNEW")
    seen = run(command, cwd=ROOT)
    assert (seen.status, seen.stdout, seen.stderr) == (0, f"UABI_{version}'s\n".encode(), b"")
    command.remove("--vdso")
    command.remove("libkernel")
    seen = run(command, cwd=ROOT)
    missing = {1: b"undefined symbol: __kernel_", 2: b"linux-vdso.so.1: version `UABI_2' not found"}
    assert seen.status in (1, 127)
    assert missing[version] in seen.stderr
