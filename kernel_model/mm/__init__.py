"""Memory: page frames, page tables, mappings, faults, the page cache, and copying from and to user space."""
