"""bash and Python as Debian ships them, dynamic and out of a sysroot; and what else the host itself has.

The scripts of the sysroot print nothing that differs from one correct machine to the next; what they must
print is what the x86-64 build prints on the host's own kernel. Their children are the sysroot's programs on
our machine and the host's elsewhere.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, Outcome, emulator, qemu, run
from tests.real.cases import ABIS, ARCHES, REAL, missing

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the reference is the native x86-64 build"),
]

FIXTURES = Path(__file__).parent / "fixtures"
SCRIPTS = ("jobs.sh", "loops.py", "processes.py", "signals.py", "threads.py")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}

each_script = pytest.mark.parametrize("script", SCRIPTS)
each_arch = pytest.mark.parametrize("arch", ARCHES)
each_abi = pytest.mark.parametrize("abi", ABIS)


def _root(arch: str) -> Path:
    if f"sysroot {arch}" in missing():
        pytest.skip(f"no sysroot for {arch}: {missing()[f'sysroot {arch}']}")
    return REAL / "sysroot" / arch


def _runtime(script: str) -> str:
    return "usr/bin/python3" if script.endswith(".py") else "bin/bash"


@cache
def native(script: str) -> Outcome:
    """What a script does on the host."""
    root = _root(HOST_ARCH)
    libraries = ":".join(str(path) for path in sorted(root.glob("**/*-linux-gnu")) if path.is_dir())
    loader = next(root.glob("lib64/ld-linux-*"))
    command: list[str | Path] = [loader, "--library-path", libraries, root / _runtime(script), script]
    return run(command, cwd=FIXTURES, env=ENVIRONMENT | {"PYTHONHOME": str(root / "usr")})


def ours(script: str, arch: str, *options: str) -> Outcome:
    """What it does on our machine, out of the sysroot."""
    inside = ["--root", str(_root(arch)), "--bind", f"{FIXTURES}:/scripts", "--cwd", "/scripts"]
    return run(
        [*emulator(*inside, "--check-leaks", *options), "/" + _runtime(script), script],
        cwd=FIXTURES,
        env=ENVIRONMENT,
        timeout=150,
    )


@each_abi
@each_arch
@each_script
def test_on_our_machine(script: str, arch: str, abi: str) -> None:
    wanted = native(script)
    assert wanted.stdout.count(b"\n") > 10
    seen = ours(script, arch, "--abi", abi)
    assert seen == wanted, f"{seen}\n--- wanted\n{wanted}"


@each_script
def test_on_four_cpus_without_waiting(script: str) -> None:
    """Time that passes only where all wait, other places to preempt, and four logical CPUs."""
    seen = ours(script, "aarch64", "--time", "virtual", "--seed", "7", "--cpus", "4")
    assert seen == native(script), str(seen)


@each_script
def test_under_qemu(script: str) -> None:
    """The AArch64 build agrees with the native one, so that the comparison is a fair one."""
    command, root = qemu("aarch64"), _root("aarch64")
    if not command:
        pytest.skip("no qemu-aarch64")
    seen = run(
        [command, "-L", root, root / _runtime(script), script],
        cwd=FIXTURES,
        env=ENVIRONMENT | {"PYTHONHOME": str(root / "usr")},
    )
    assert seen == native(script), f"{seen}\n--- wanted\n{native(script)}"


@each_abi
@pytest.mark.parametrize("script", sorted(path.name for path in (FIXTURES / "host").glob("*.sh")))
def test_programs_of_the_host(script: str, abi: str, tmp_path: Path) -> None:
    """Dynamic programs that happen to be there, in a folder that they may fill: git, perl, gcc, tar and more."""
    path = FIXTURES / "host" / script
    needed = path.read_text().splitlines()[0].removeprefix("# needs: ").split()
    absent = [program for program in ["bash", *needed] if not shutil.which(program, path=ENVIRONMENT["PATH"])]
    if absent:
        pytest.skip(f"this host has no {' and no '.join(absent)}")
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    wanted = run(["/bin/bash", path], cwd=here, env=ENVIRONMENT | {"HOME": str(here)})
    assert wanted.stdout.count(b"\n") > 5, str(wanted)
    options = ["--abi", abi, "--check-leaks"]
    seen = run([*emulator(*options), "/bin/bash", path], cwd=there, env=ENVIRONMENT | {"HOME": str(there)}, timeout=150)
    assert seen == wanted, f"{seen}\n--- wanted\n{wanted}"
    assert list(there.iterdir()) == [], "something was written to the host"
