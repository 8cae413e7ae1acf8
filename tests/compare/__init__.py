"""`uabi-emu compare`, beyond its command line (`tests/cli/test_compare.py`)."""
