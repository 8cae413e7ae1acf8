"""Namespaces: which processes, clocks and host name a task sees as its own (docs/namespaces.md)."""
