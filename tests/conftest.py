"""Shared by all tests."""

from __future__ import annotations

import pytest

from guests.build import build_all, discover


@pytest.fixture(scope="session")
def guests_built() -> None:
    """All guests are there; the first worker to ask builds them."""
    build_all(discover())
