"""Write the reference files of the guests: what native Linux says.

Run on x86-64: python tests/record.py [area/name ...]

Guests for AArch64 alone are recorded under qemu-user, and looked at by a person before they are committed;
those that only make sense on our machine keep the file that a person wrote.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from guests.build import Guest, build_all, discover
from tests.harness import HOST_ARCH, Outcome, qemu
from tests.test_guests import expected_path, run_guest


def _record(guest: Guest) -> Outcome | None:
    if not guest.native or (guest.arch != HOST_ARCH and not guest.single):
        return None
    prefix = [] if guest.arch == HOST_ARCH else [str(qemu(guest.arch))]
    with tempfile.TemporaryDirectory() as work:
        return run_guest(guest, prefix, Path(work))


def main() -> int:
    """Record each guest that this host can run, or those that are named."""
    parser = argparse.ArgumentParser(description="Write the reference files of the guests.")
    parser.add_argument("names", nargs="*", metavar="area/name", help="all when left out")
    names = parser.parse_args().names
    guests = [guest for guest in discover() if not names or guest.id in names]
    if unknown := set(names) - {guest.id for guest in guests}:
        parser.error(f"no such guest: {', '.join(sorted(unknown))}")
    bad = 0
    for guest in build_all(guests):
        seen = _record(guest)
        if seen is None:
            continue
        path = expected_path(guest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seen.text())
        if "ok\n[status" not in seen.text() or "FAIL " in seen.text():
            print(f"{guest.arch} {guest.id}: not good\n{seen}", file=sys.stderr)
            bad += 1
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
