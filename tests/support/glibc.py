"""Guests built once more, with the C library of the host's compilers: static programs of glibc."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guests.build import SOURCES, cache_dir
from tests.harness import HOST_ARCH

FLAGS = ("-static", "-O1", "-pthread", "-std=gnu17", f"-I{SOURCES}")


def glibc_guest(area: str, name: str, arch: str) -> Path:
    """The guest of that name for an architecture; the test is skipped where there is no compiler for it."""
    compiler = shutil.which("gcc" if arch == HOST_ARCH else f"{arch.replace('_', '-')}-linux-gnu-gcc")
    if not compiler:
        pytest.skip(f"no gcc for {arch}")
    source = SOURCES / area / f"{name}.c"
    texts = source.read_bytes() + (SOURCES / "guest.h").read_bytes()
    key = hashlib.sha256(texts + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "glibc" / f"{area}-{name}-{key}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{os.getpid()}-{path.name}")  # another worker may build the same
        subprocess.run([compiler, *FLAGS, "-o", new, source], check=True)
        new.replace(path)
    return path
