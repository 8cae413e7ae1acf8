"""Threads of glibc do what those of musl do, by the same guests: natively, under qemu-user, and on our machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import EXPECTED, HOST_ARCH, emulator, qemu, run
from tests.support.glibc import glibc_guest
from vdso_image.image import ARCHITECTURES

each_guest = pytest.mark.parametrize("name", ["threads", "crowd"])
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)


def _wanted(name: str) -> str:
    return (EXPECTED / "tasks" / f"{name}.txt").read_text()


@pytest.mark.parametrize("abi", ["bare", "bounce"])
@each_arch
@each_guest
def test_glibc_on_our_machine(name: str, arch: str, abi: str, tmp_path: Path) -> None:
    seen = run([*emulator("--abi", abi, "--check-leaks"), glibc_guest("tasks", name, arch)], cwd=tmp_path)
    assert seen.text() == _wanted(name), str(seen)


@each_arch
@each_guest
def test_glibc_elsewhere(name: str, arch: str, tmp_path: Path) -> None:
    prefix = [] if arch == HOST_ARCH else [qemu(arch)]
    if prefix == [None]:
        pytest.skip(f"no qemu for {arch}")
    seen = run([*(str(word) for word in prefix), glibc_guest("tasks", name, arch)], cwd=tmp_path)
    assert seen.text() == _wanted(name), str(seen)
