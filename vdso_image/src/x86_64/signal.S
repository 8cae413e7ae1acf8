// Where a signal handler can return to that must not leave the vDSO to do so: on this architecture a program brings
// its own restorer, and a SIGSYS handler's would make an old-style call, and that another SIGSYS. libgcc and gdb know
// these two instructions by their bits, and look only where there is no entry. Some take one from the return address
// first: hence the nop.

    .align 16
    nop                             // what rip - 1 is in
    .func __kernel_rt_sigreturn UABI_1 nounwind
    mov rax, NR_rt_sigreturn        // 48 c7 c0, as the C libraries write it: these bits are known
    syscall                         // the kernel takes the signal frame off, and all registers change
    .endfunc
