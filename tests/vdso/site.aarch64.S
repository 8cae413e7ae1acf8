/* main calls attempt, which calls site, a leaf whose last instruction is the system call. What follows is another
 * function. */
    .text
    .globl main, attempt, site, after
    .type main, %function
main:
    .cfi_startproc
    stp x29, x30, [sp, #-16]!   /* a frame record, as compilers make it */
    .cfi_def_cfa_offset 16
    .cfi_offset 29, -16
    .cfi_offset 30, -8
    bl attempt
    brk #0
    .cfi_endproc
    .size main, . - main

    .type attempt, %function
attempt:
    .cfi_startproc
    stp x29, x30, [sp, #-32]!
    .cfi_def_cfa_offset 32
    .cfi_offset 29, -32
    .cfi_offset 30, -24
    bl site
    brk #0
    .cfi_endproc
    .size attempt, . - attempt

    .type site, %function
site:
    .cfi_startproc
    sub sp, sp, #80
    .cfi_def_cfa_offset 80
    mov x8, #172                /* getpid */
    svc #0
    .cfi_endproc
    .size site, . - site

    .type after, %function
after:
    .cfi_startproc
    .cfi_def_cfa sp, 0
    .cfi_undefined 30
    brk #0
    .cfi_endproc
    .size after, . - after
    .section .note.GNU-stack, "", %progbits
