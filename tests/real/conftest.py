"""Fixtures of the tests with third-party programs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all cases of a worker, so that a program's path is the same in each run."""
    return tmp_path_factory.mktemp("real")
