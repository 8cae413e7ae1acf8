"""A handler that returns through the vDSO's __kernel_rt_sigreturn can be unwound from.

libgcc knows it by its bits on both architectures, LLVM's libunwind on AArch64 only: on x86-64 its chain ends there.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from guests.build import LIBRARY, cache_dir, compile_to
from tests.harness import HOST_ARCH, emulator, run

SOURCE = Path(__file__).parent / "sigreturn.c"
VERSIONS = {"aarch64": "LINUX_2.6.39", "x86_64": "UABI_1"}


def _program(arch: str, unwinder: str) -> Path:
    """Built unless it is there; skips where there is no gcc for libgcc."""
    flags = ("-O1", "-static", "-g0", "-std=gnu17", "-fasynchronous-unwind-tables", f'-DVERSION="{VERSIONS[arch]}"')
    content = SOURCE.read_bytes() + (LIBRARY / "vdso.h").read_bytes() + repr(flags).encode()
    path = cache_dir() / arch / "vdso" / f"sigreturn-{unwinder}-{hashlib.sha256(content).hexdigest()[:20]}"
    if path.exists():
        return path
    if unwinder == "llvm":
        compile_to(SOURCE, f"{arch}-linux-musl", (*flags, "-fno-sanitize=all", "-lunwind"), path)
        return path
    native = arch == HOST_ARCH and shutil.which("gcc")
    compiler = native or shutil.which(f"{arch.replace('_', '-')}-linux-gnu-gcc")
    if not compiler:
        pytest.skip(f"no gcc for {arch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    subprocess.run([compiler, *flags, "-o", new, SOURCE], check=True)
    new.replace(path)
    return path


@pytest.mark.parametrize("unwinder", ["libgcc", "llvm"])
@pytest.mark.parametrize("arch", VERSIONS)
def test_through_the_restorer(arch: str, unwinder: str, tmp_path: Path) -> None:
    seen = run([*emulator("--abi", "bare"), _program(arch, unwinder)], cwd=tmp_path)
    known = (arch, unwinder) != ("x86_64", "llvm")
    assert seen.stdout == b"through the restorer: %d, to who was interrupted: %d\n" % (known, known), str(seen)
