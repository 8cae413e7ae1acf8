"""Fixtures of these tests."""

from tests.filecalls.calls import calls, x86

__all__ = ["calls", "x86"]
