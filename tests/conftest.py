"""Shared by all tests."""

from __future__ import annotations

import os

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The guest has the rights of who runs the emulator, and only root's make namespaces."""
    if os.geteuid():
        for item in items:
            if "-ns-" in item.name:
                item.add_marker(pytest.mark.skip(reason="only root makes namespaces"))
