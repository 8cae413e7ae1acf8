// long __kernel_syscall(long number, long a0, ..., long a5): a real system call for C. Returns what the kernel
// returned, errors as -errno.

    .align 16
    .func __kernel_syscall UABI_1
    mov x8, x0                      // the number
    mov x0, x1                      // each argument moves down by one
    mov x1, x2                      // a1
    mov x2, x3                      // a2
    mov x3, x4                      // a3
    mov x4, x5                      // a4
    mov x5, x6                      // a5
    svc #0                          // real, because it is made in here
    ret                             // with the kernel's x0
    .endfunc
