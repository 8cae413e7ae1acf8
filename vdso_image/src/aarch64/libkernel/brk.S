// void *__kernel_brk(void *end): as UABI_1's, but a break that can't be set is an error, as everything that fails is.
// The call itself answers with the break as it is then, and a caller has to know that this means no. 0 asks for it.

    .align 16
    .func __kernel_brk UABI_2
    mov x1, x0                      // what is asked for, since the result takes its place
    mov x8, #NR_brk                 // the call
    svc #0                          // real, because it is made in here
    cmp x0, x1                      // is the break where it was to be?
    b.eq brk_told                   // yes
    cbz x1, brk_told                // it was only asked for
    cmn x0, #4095                   // did a filter of the program's answer?
    b.hs brk_told                   // yes, with an error of its own
    mov x0, #-ENOMEM                // it can't be there
brk_told:
    ret                             // the break, or -errno
    .endfunc
