"""The vDSO images."""
