"""Programs other than busybox, with work to do: bash, tini, ripgrep, ruff, static and dynamic glibc."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, ROOT, emulator, judge, listed, run
from tests.real.cases import ABIS, ARCHES, REAL, Case, fresh_work, load, missing, need, run_case, seen

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the reference is the native x86-64 build"),
]

CASES = load("real.tsv")
# Files of this repository with enough in them for a linter to say something.
SOURCES = ["emu/cli/options.py", "kernel_model/entry.py", "guests/build.py", "tests/real/cases.py"]
RUFF = ("check", "--isolated", "--no-cache", "--select", "ALL", "--output-format", "concise")


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, arch: str, abi: str, base: Path) -> None:
    wanted = run_case(case, HOST_ARCH, "native", base, more=False)
    judge("real", case.name, run_case(case, arch, abi, base, more=False), wanted)


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
def test_static_glibc(arch: str, abi: str, base: Path) -> None:
    case = Case("glibc_static", "p", "glibc_static", ("one", "two"))
    wanted = run_case(case, HOST_ARCH, "native", base, more=False)
    assert wanted.status == 3
    judge("real", case.name, run_case(case, arch, abi, base, more=False), wanted)


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", SOURCES)
def test_ruff_checks_a_file_of_this_repository(name: str, arch: str, abi: str) -> None:
    """By standard input, where ruff needs no threads."""
    command = [*RUFF, "--stdin-filename", name, "-"]
    wanted = run([need("ruff", HOST_ARCH), *command], cwd=ROOT, stdin=ROOT / name)
    ours = run([*emulator("--abi", abi), need("ruff", arch), *command], cwd=ROOT, stdin=ROOT / name)
    assert ours == wanted, f"{ours}\n{wanted}"
    assert wanted.stdout.count(b"\n") > 3


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
def test_ruff_checks_this_repository(arch: str, abi: str, tmp_path: Path) -> None:
    """All of it, with a thread for each CPU; a copy, for somebody may be at work on it."""
    copy = tmp_path / "repository"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info"))
    command = [*RUFF, "."]
    wanted = run([need("ruff", HOST_ARCH), *command], cwd=copy)
    assert wanted.status == 1
    assert wanted.stdout.count(b"\n") > 1000
    assert run([*emulator("--abi", abi), need("ruff", arch), *command], cwd=copy, timeout=170) == wanted


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("args", [("-ln", "/"), ("-lnR", "/etc"), ("-1a", "/usr"), ("--version",), ("/nope",)])
def test_dynamic_ls_in_a_sysroot(args: tuple[str, ...], arch: str, abi: str, tmp_path: Path) -> None:
    """The interpreter and all libraries come out of the sysroot; the reference is chroot-free: ld.so by hand."""
    for needed in {arch, HOST_ARCH}:
        if f"sysroot {needed}" in missing():
            pytest.skip(f"no sysroot for {needed}: {missing()[f'sysroot {needed}']}")
    root = REAL / "sysroot" / arch
    environment = {"LC_ALL": "C", "TZ": "UTC"}
    ours = run(
        [*emulator("--abi", abi, "--root", str(root), "--cwd", "/"), "/bin/ls", *args], cwd=tmp_path, env=environment
    )
    host = REAL / "sysroot" / HOST_ARCH
    libraries = ":".join(str(path) for path in sorted(host.glob("**/*-linux-gnu")) if path.is_dir())
    loader = next(host.glob("lib64/ld-linux-*"))
    # what the guest calls / is the sysroot's folder for the reference
    outside = [str(root) + word if word.startswith("/") else word for word in args]
    native = run(
        [loader, "--library-path", libraries, "--argv0", "/bin/ls", host / "bin" / "ls", *outside],
        cwd=root,
        env=environment,
    )
    assert ours.status == native.status, ours
    reference = native.stdout.replace(str(root).encode() + b"/", b"/").replace(str(root).encode(), b"/")
    seen_lines, wanted_lines = ours.stdout.splitlines(), reference.splitlines()
    if args[0] == "-ln":
        # /dev, /proc and /tmp are the machine's own and may stand in a root that lacks them
        own = (b" dev", b" proc", b" tmp", b" sys")
        seen_lines = [line for line in seen_lines if not line.endswith(own)]
        # link counts and the block total count these too
        seen_lines, wanted_lines = ([line.split()[-1] for line in lines[1:]] for lines in (seen_lines, wanted_lines))
    assert seen_lines == wanted_lines


def test_the_folder_of_a_case_is_always_the_same(tmp_path: Path) -> None:
    fresh_work(tmp_path / "a", more=True)
    fresh_work(tmp_path / "b", more=True)
    case = Case("none", "w", "busybox", ())
    outcome = run(["true"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert seen(outcome, case, tmp_path / "a") == seen(outcome, case, tmp_path / "b")


def test_lists_name_cases() -> None:
    assert set(listed("real")) <= {case.name for case in CASES} | {"glibc_static"}
