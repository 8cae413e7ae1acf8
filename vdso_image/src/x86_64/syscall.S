// long __kernel_syscall(long number, long a0, ..., long a5): a real system call for C. Returns what the kernel
// returned, errors as -errno.

    .align 16
    .func __kernel_syscall UABI_1
    mov rax, rdi                    // the number
    mov rdi, rsi                    // each argument moves down by one
    mov rsi, rdx                    // a1
    mov rdx, rcx                    // a2
    mov r10, r8                     // a3: the kernel's convention, since syscall destroys rcx
    mov r8, r9                      // a4
    mov r9, qword ptr [rsp + 8]     // a5 is on the stack
    syscall                         // real, because it is made in here
    ret                             // with the kernel's rax
    .endfunc
