"""A storm of signals leaves nothing behind: memory is the same after ten times as many (the guest counts what came)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import ARCHES
from tests.signal.storm import storm

pytestmark = pytest.mark.usefixtures("guests_built")


@pytest.mark.parametrize("arch", ARCHES)
def test_ten_times_as_many_signals_hold_no_more_memory(arch: str, tmp_path: Path) -> None:
    few, many = storm(arch, 1000, 500, tmp_path), storm(arch, 10_000, 5000, tmp_path)
    assert abs(many.blocks - few.blocks) < 2000  # of 27,000 more signals
    assert many.peak_bytes - few.peak_bytes < 8 << 20
