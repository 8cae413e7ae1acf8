"""Shared by all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from guests.build import build_all, discover

# No test fails because the machine is busy.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


@pytest.fixture(scope="session")
def guests_built() -> None:
    """All guests are there; the first worker to ask builds them."""
    build_all(discover())
