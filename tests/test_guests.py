"""Every guest gives the same observations on native Linux, under qemu-user, and on our machine.

The reference is a file that native x86-64 Linux wrote (`python tests/record.py`); where the host is
x86-64 the native run is repeated and compared as well, so that a reference can't go stale unseen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import SOURCES, Guest, binary_path, discover
from tests.harness import EXPECTED, HOST_ARCH, Outcome, emulator, judge, listed, qemu, run

pytestmark = pytest.mark.usefixtures("guests_built")


def expected_path(guest: Guest) -> Path:
    """The file that holds what a guest must print; one for both architectures unless it has only one."""
    name = f"{guest.name}.{guest.arch}" if guest.single else guest.name
    return EXPECTED / guest.area / f"{name}.txt"


def expected(guest: Guest) -> Outcome:
    """What a guest must print, and its status."""
    text = expected_path(guest).read_text()
    stdout, _, status = text.rpartition("[status ")
    return Outcome(int(status.rstrip("]\n")), stdout.encode())


def run_guest(guest: Guest, prefix: list[str], cwd: Path) -> Outcome:
    """Run a guest with its own arguments and environment behind a prefix."""
    environment = dict(item.split("=", 1) for item in guest.env)
    return run([*prefix, binary_path(guest), *guest.args], cwd=cwd, env=environment)


def _id(guest: Guest) -> str:
    return f"{guest.arch}-{guest.area}-{guest.name}"


GUESTS = discover()


@pytest.mark.parametrize(
    ("guest", "abi"),
    [pytest.param(guest, abi, id=f"{_id(guest)}-{abi}") for guest in GUESTS for abi in guest.abis],
)
def test_on_our_machine(guest: Guest, abi: str, tmp_path: Path) -> None:
    seen = run_guest(guest, emulator("--abi", abi, "--check-leaks", *guest.options), tmp_path)
    judge("emulator", f"{guest.arch} {guest.id}", seen, expected(guest))
    assert b"Traceback" not in seen.stderr
    assert list(tmp_path.iterdir()) == [], "something was written to the host"


@pytest.mark.parametrize("guest", [g for g in GUESTS if g.native and g.arch == HOST_ARCH], ids=_id)
def test_natively(guest: Guest, tmp_path: Path) -> None:
    assert run_guest(guest, [], tmp_path) == expected(guest)


@pytest.mark.parametrize(
    "guest",
    [g for g in GUESTS if g.native and g.arch != HOST_ARCH and qemu(g.arch) and g.id not in listed("qemu")],
    ids=_id,
)
def test_under_qemu(guest: Guest, tmp_path: Path) -> None:
    assert run_guest(guest, [str(qemu(guest.arch))], tmp_path) == expected(guest)


def test_lists_name_guests() -> None:
    names = {guest.id for guest in GUESTS}
    assert set(listed("qemu")) <= names
    assert set(listed("emulator")) <= {f"{guest.arch} {guest.id}" for guest in GUESTS}


def test_references_are_complete_and_good() -> None:
    """Each guest has a reference, no reference is left over, and none records a failed check."""
    wanted = {expected_path(guest) for guest in GUESTS}
    assert wanted == set(EXPECTED.glob("*/*.txt"))
    for path in wanted:
        text = path.read_text()
        assert "ok\n[status" in text, path
        assert "FAIL " not in text, path


def test_both_architectures_are_covered() -> None:
    """A guest for one architecture only has a twin for the other, or is about what only one has."""
    alone = {"abi/legacy", "bounce/old", "cpu/stack_segment", "fault/divide", "fault/noncanonical", "signal/steppers"}
    single = [guest for guest in GUESTS if guest.single]
    for guest in single:
        others = [g for g in single if g.id == guest.id and g.arch != guest.arch]
        assert others or guest.id in alone, guest.id
    assert SOURCES.is_dir()
