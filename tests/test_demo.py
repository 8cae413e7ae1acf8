"""The demo's guests, which are kept prebuilt, are what their source gives, and run."""

from __future__ import annotations

import importlib.metadata
import json
from hashlib import sha256
from pathlib import Path

import pytest

from guests.build import ARCHES, DEMO, DEMO_FLAGS, build_demo
from tests.harness import HOST_ARCH, emulator, run

MANIFEST = json.loads((DEMO / "manifest.json").read_text())


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_binaries_belong_to_the_source() -> None:
    """Renew them by `python guests/build.py --demo` after a change."""
    for name, flags in DEMO_FLAGS.items():
        assert MANIFEST[f"{name}.c"] == _hash(DEMO / f"{name}.c")
        assert MANIFEST[f"{name} flags"] == " ".join(flags)
        for arch in ARCHES:
            assert MANIFEST[f"{arch}/{name}"] == _hash(DEMO / arch / name)


def test_a_build_gives_the_same_bytes(tmp_path: Path) -> None:
    installed = importlib.metadata.version("ziglang")
    built = build_demo(tmp_path)
    if installed == MANIFEST["ziglang"]:
        assert built == MANIFEST
    else:  # another compiler gives other bytes; that it builds is what can be known
        assert built["demo.c"] == MANIFEST["demo.c"]


@pytest.mark.parametrize("arch", ARCHES)
def test_runs(arch: str, tmp_path: Path) -> None:
    seen = run([*emulator(), DEMO / arch / "demo", "one", "two"], cwd=tmp_path)
    assert seen.status == 0, seen
    lines = seen.stdout.decode().splitlines()
    assert lines[0].startswith(f"an {arch} program on Linux ")
    assert lines[0].endswith("arguments: one two")
    assert lines[1:] == [
        f"I am {DEMO / arch / 'demo'}",
        "there are 78498 primes below a million",
        "Written to a file that stays in the machine",
        "slept for at least 19 ms: yes",
        "ok",
    ]
    assert seen.stderr == b""


def test_is_executable_as_committed() -> None:
    for name in DEMO_FLAGS:
        for arch in ARCHES:
            assert (DEMO / arch / name).stat().st_mode & 0o111
        if HOST_ARCH in ARCHES:
            assert run([DEMO / HOST_ARCH / name], cwd=DEMO).status == 0
