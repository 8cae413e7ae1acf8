"""A million signals: none below the limit is lost, and they take no more memory than four thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.build import ARCHES
from tests.signal.storm import storm

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("guests_built")]


@pytest.mark.parametrize("arch", ARCHES)
def test_a_million_signals(arch: str, tmp_path: Path) -> None:
    few, many = storm(arch, 1_000, 1_000, tmp_path), storm(arch, 480_000, 20_000, tmp_path)
    assert abs(many.blocks - few.blocks) < 2000
    assert many.peak_bytes - few.peak_bytes < 8 << 20
