"""`--vdso libkernel`."""
