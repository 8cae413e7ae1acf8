"""seccomp(2): filters of system calls, as kernel/seccomp.c has them. Only imported by a program that asks for it."""
