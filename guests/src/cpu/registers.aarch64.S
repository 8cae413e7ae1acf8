/* guest-flags: -nostdlib
 * A system call leaves every register alone but x0; condition flags and vector registers survive.
 * man 2 syscall; arch/arm64/kernel/entry.S: el0_svc */
    .globl _start
    .text
_start:
    mov x9, sp                  /* the stack pointer is aligned: AAPCS64, "The stack" */
    tst x9, #15
    b.ne bad
    cbnz x0, bad                /* no function to register with atexit is passed */
    mov x0, #100
    /* x1 ... x30 hold their own number times 0x101, x8 the call's */
    .irp n, 1,2,3,4,5,6,7,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov x\n, #(\n * 0x101)
    .endr
    fmov d0, x1
    fmov d31, x30
    mov x8, #173                /* getppid */
    cmp xzr, x1                 /* N set, Z C V clear */
    svc #0
    b.eq bad
    b.hs bad
    b.pl bad
    .irp n, 1,2,3,4,5,6,7,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    sub x\n, x\n, #(\n * 0x101 & 0xfff)
    sub x\n, x\n, #(\n * 0x101 & 0xf000)
    cbnz x\n, bad
    .endr
    cmp x8, #173
    b.ne bad
    fmov x1, d0
    cmp x1, #0x101
    b.ne bad
    fmov x1, d31
    mov x2, #(30 * 0x101)
    cmp x1, x2
    b.ne bad
    mov x8, #64                 /* write(1, token, 3) */
    mov x0, #1
    adr x1, token
    mov x2, #3
    svc #0
    mov x0, #0
    b exit
bad:
    mov x0, #1
exit:
    mov x8, #94                 /* exit_group */
    svc #0
    .inst 0

    .balign 4
token:
    .ascii "ok\n"
    .section .note.GNU-stack, "", %progbits
