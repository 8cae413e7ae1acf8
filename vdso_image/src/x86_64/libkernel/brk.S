// void *__kernel_brk(void *end): as UABI_1's, but a break that can't be set is an error, as everything that fails is.
// The call itself answers with the break as it is then, and a caller has to know that this means no. 0 asks for it.

    .align 16
    .func __kernel_brk UABI_2
    mov eax, NR_brk                 // the call
    syscall                         // real, because it is made in here; rdi stays
    cmp rax, rdi                    // is the break where it was to be?
    je brk_told                     // yes
    test rdi, rdi                   // was it only asked for?
    je brk_told                     // yes
    cmp rax, -4095                  // did a filter of the program's answer?
    jae brk_told                    // yes, with an error of its own
    mov rax, MINUS_ENOMEM           // it can't be there
brk_told:
    ret                             // the break, or -errno
    .endfunc
