/* main calls attempt, which calls site, whose last instruction is the system call. What follows is another function. */
    .text
    .globl main, attempt, site, after
    .type main, @function
main:
    .cfi_startproc
    push %rbp                   /* a frame pointer, as compilers make it */
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    call attempt
    hlt
    .cfi_endproc
    .size main, . - main

    .type attempt, @function
attempt:
    .cfi_startproc
    sub $24, %rsp
    .cfi_def_cfa_offset 32
    call site
    hlt
    .cfi_endproc
    .size attempt, . - attempt

    .type site, @function
site:
    .cfi_startproc
    sub $72, %rsp
    .cfi_def_cfa_offset 80
    mov $39, %eax               /* getpid */
    syscall
    .cfi_endproc
    .size site, . - site

    .type after, @function
after:
    .cfi_startproc simple
    .cfi_def_cfa %rsp, 8
    .cfi_undefined %rip
    hlt
    .cfi_endproc
    .size after, . - after
    .section .note.GNU-stack, "", @progbits
