"""What a person reads when a program ends in a bounce, or in the handler that serves calls."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from guests.build import cache_dir, compile_to
from tests.harness import emulator, run

SOURCE = Path(__file__).parent / "handler.c"
FLAGS = ("-O1", "-static", "-g0", "-std=gnu17", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror")
NOTHING = "nothing is mapped there (SEGV_MAPERR)"


def program(arch: str) -> Path:
    """The program beside this file, built unless it is there."""
    key = hashlib.sha256(SOURCE.read_bytes() + repr((arch, FLAGS)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "report" / f"handler-{key}"
    if not path.exists():
        compile_to(SOURCE, f"{arch}-linux-musl", FLAGS, path)
    return path


@pytest.mark.parametrize(
    ("word", "arch", "cause", "place"),
    [
        ("stack", "x86_64", f"no room for a bounce's frame, at 0xffffffffffff...: {NOTHING}", "call+0x0  (offset"),
        ("stack", "aarch64", f"no room for a bounce's frame, at 0xffffffffffff...: {NOTHING}", "call+0x0  (offset"),
        ("jump", "x86_64", f"read of 0x10: {NOTHING}", "__kernel_bounce_userspace+0x..., userspace_plain"),
        ("jump", "aarch64", f"read of 0x10: {NOTHING}", "__kernel_bounce_userspace+0x..., userspace_plain"),
        ("flags", "x86_64", f"execution at 0x1000: {NOTHING}", "0x1000"),
        (
            "flags", "aarch64", "a bad frame of a bounce, at 0x...: its flags are not user space's (SEGV_ACCERR)",
            "__kernel_bounce_userspace+0x..., userspace_done",
        ),
    ],
)  # fmt: skip
def test_ends_in_a_bounce(word: str, arch: str, cause: str, place: str, tmp_path: Path) -> None:
    seen = run([*emulator("--vdso", "userspace"), program(arch), word], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (128 + 11, b"")
    headline, where, *_ = seen.stderr.decode().split("\n\n")
    words = " ".join(headline.split()).partition("killed by SIGSEGV: ")[2]
    for text, wanted in ((words, cause), (where, place)):
        before, _, after = wanted.partition("...")
        assert before in text, text
        assert text.endswith(after) or place.endswith("(offset"), text
    assert " ".join(seen.stderr.decode().split()).count("killed by") == 1
