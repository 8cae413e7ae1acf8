"""`--vdso userspace`: every guest sees what it sees elsewhere, and what is served is kept away from the kernel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from guests.build import Guest, cache_dir, compile_to, discover
from tests.harness import emulator, judge, run
from tests.test_guests import expected, run_guest
from vdso_image.data_pages import PER_TASK
from vdso_image.image import ARCHITECTURES

pytestmark = pytest.mark.usefixtures("guests_built")

EXCUSED = {"bounce/accidents", "bounce/attacks", "bounce/edges", "bounce/forged", "bounce/random", "signal/lowest"}
"""They compute where a frame is, or leave room for no more than one: this handler's lies 48 bytes lower."""
GUESTS = [guest for guest in discover() if "bounce" in guest.abis and guest.id not in EXCUSED]


EAGER = "import kernel_model.user_pages as pages; pages.CALLS_BEFORE_PAGE = 1; "
"""Before the emulator starts: every task that makes a call which a page serves has that page from then on."""


def eager(*options: str) -> list[str]:
    """The emulator, with pages for all."""
    python, isolated, command, launch, *words = emulator("--vdso", "userspace", *options)
    path, rest = launch.split("; from ", 1)
    return [python, isolated, command, f"{path}; {EAGER}from {rest}", *words]


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: f"{guest.arch}-{guest.area}-{guest.name}")
def test_guest(guest: Guest, tmp_path: Path) -> None:
    seen = run_guest(guest, eager("--check-leaks", *guest.options), tmp_path)
    judge("emulator", f"{guest.arch} {guest.id}", seen, expected(guest))
    assert b"Traceback" not in seen.stderr


# -- how often the kernel is entered, and what it believes -------------------------------------------------------------
FLAGS = ("-O1", "-static", "-g0", "-std=gnu17", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror")
CALLS_A_ROUND = 12
"""Of `served.c`."""
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)


def program(name: str, arch: str) -> Path:
    """A program beside this file, built unless it is there; it is told where its page has some words."""
    source = Path(__file__).parent / f"{name}.c"
    places = PER_TASK.offsets()
    flags = (*FLAGS, *(f"-D{name.upper()}={places[name]}" for name in ("blocked", "pending")))
    key = hashlib.sha256(source.read_bytes() + repr((arch, flags)).encode()).hexdigest()[:20]
    path = cache_dir() / arch / "bounce" / f"{name}-{key}"
    if not path.exists():
        compile_to(source, f"{arch}-linux-musl", flags, path)
    return path


def counters(arch: str, rounds: int, directory: Path) -> dict[str, int]:
    """What --stats says of `served.c`."""
    file = directory / f"{rounds}.json"
    seen = run(
        [*emulator("--vdso", "userspace", "--stats", str(file)), program("served", arch), str(rounds)], cwd=directory
    )
    assert seen.status == 0, str(seen)
    found: dict[str, int] = json.loads(file.read_text())
    return found


@each_arch
def test_variables_need_no_call(arch: str, tmp_path: Path) -> None:
    none, some = counters(arch, 0, tmp_path), counters(arch, 25, tmp_path)
    calls = 25 * CALLS_A_ROUND
    assert some["served_in_user_space"] - none["served_in_user_space"] == calls
    assert some["real_syscalls"] == none["real_syscalls"]
    assert some["bounces"] - none["bounces"] == calls
    ways_back = {"aarch64": 1, "x86_64": 0}[arch]  # no AArch64 handler gets back by itself
    assert some["kernel_entries"] - none["kernel_entries"] == calls * (1 + ways_back)


@each_arch
def test_scribbling_over_the_pages_deceives_nobody(arch: str, tmp_path: Path) -> None:
    seen = run([*emulator("--vdso", "userspace", "--check-leaks"), program("scribble", arch)], cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, b"well\n"), str(seen)


@pytest.mark.parametrize("other", [("--bounce-frame", "task-page"), ("--bounce-return", "user")])
def test_other_handlers_exclude_it(other: tuple[str, str], tmp_path: Path) -> None:
    seen = run([*emulator("--vdso", "userspace", *other), "/bin/true"], cwd=tmp_path)
    assert seen.status == 125
    assert seen.stderr.decode() == (
        f"uabi-emu: --vdso: the handler that serves calls has its frame on the stack: leave {' '.join(other)} away\n"
    )
