"""Sockets: what all families share (`socket`), and the families."""
