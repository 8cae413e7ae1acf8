"""The tests; `tests.harness` runs a program natively, under qemu-user and on our machine."""
