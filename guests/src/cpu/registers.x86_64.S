/* guest-flags: -nostdlib
 * A system call leaves every register alone but rax, rcx (the return address) and r11 (the flags).
 * man 2 syscall; arch/x86/entry/entry_64.S: entry_SYSCALL_64 */
    .globl _start
    .text
_start:
    /* at entry rdx is 0 and the stack aligned: ABI supplement, "Process Initialization" */
    test $15, %rsp
    jnz bad
    test %rdx, %rdx
    jnz bad
    mov %rsp, %rbp
    mov $0x1111, %rbx
    mov $0x2222, %rdi
    mov $0x3333, %rsi
    mov $0x4444, %rdx
    mov $0x5555, %r8
    mov $0x6666, %r9
    mov $0x7777, %r10
    mov $0x8888, %r12
    mov $0x9999, %r13
    mov $0xaaaa, %r14
    mov $0xbbbb, %r15
    movq %rbx, %xmm0
    movq %r15, %xmm15
    mov $110, %eax              /* getppid */
    std                         /* the direction flag survives too */
    pushfq
    pop %rcx
    push %rcx
    syscall
after:
    pushfq
    pop %rax
    cld
    cmp %rax, (%rsp)
    jne bad
    cmp %r11, (%rsp)
    jne bad
    pop %r11
    lea after(%rip), %rax
    cmp %rax, %rcx
    jne bad
    cmp $0x1111, %rbx
    jne bad
    cmp $0x2222, %rdi
    jne bad
    cmp $0x3333, %rsi
    jne bad
    cmp $0x4444, %rdx
    jne bad
    cmp $0x5555, %r8
    jne bad
    cmp $0x6666, %r9
    jne bad
    cmp $0x7777, %r10
    jne bad
    cmp $0x8888, %r12
    jne bad
    cmp $0x9999, %r13
    jne bad
    cmp $0xaaaa, %r14
    jne bad
    cmp $0xbbbb, %r15
    jne bad
    cmp %rsp, %rbp
    jne bad
    movq %xmm0, %rax
    cmp $0x1111, %rax
    jne bad
    movq %xmm15, %rax
    cmp $0xbbbb, %rax
    jne bad
    mov $1, %eax                /* write(1, token, 3) */
    mov $1, %edi
    lea token(%rip), %rsi
    mov $3, %edx
    syscall
    xor %edi, %edi
    jmp exit
bad:
    mov $1, %edi
exit:
    mov $231, %eax              /* exit_group */
    syscall
    hlt

    .section .rodata
token:
    .ascii "ok\n"
    .section .note.GNU-stack, "", @progbits
