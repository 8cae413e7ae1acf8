"""The host boundary: streams, terminal, signals, clocks, random bytes and files of the machine we run on."""
