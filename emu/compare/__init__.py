"""One program under several ways into the kernel: what it did, whether that was the same, and what it cost."""
