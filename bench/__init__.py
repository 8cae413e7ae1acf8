"""Scripts that measure the machine beside its peers."""
