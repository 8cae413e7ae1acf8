"""The machine: a CPU on Unicorn, the host boundary, and the commands that people type."""
