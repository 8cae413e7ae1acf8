"""Tests of execve and the first task."""
