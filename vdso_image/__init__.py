"""The vDSO: the one place that may assemble code. Empty so far; the room rules already hold for it."""
