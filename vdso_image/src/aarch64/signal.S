// Where a signal handler returns to. Unwinders know these two instructions by their bits, and gdb looks no further; an
// unwind entry would keep them from looking. Some take one from the return address first: hence the nop.

    .align 16
    nop                             // what pc - 1 is in
    .func __kernel_rt_sigreturn LINUX nounwind
    .sigreturn
    mov x8, #NR_rt_sigreturn        // never anything else: these bits are known
    svc #0                          // the kernel takes the signal frame off, and all registers change
    .endfunc
