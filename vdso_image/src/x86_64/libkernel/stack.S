// Calls whose child comes back on a stack of its own, or on its parent's while that waits. The return address is on the
// stack: the child's has none, and what a vfork child leaves of its parent's is not to be relied on. So it is taken off
// first and waits in r9, which the kernel keeps for both, and both go on there with SP as the C ABI has it
// after a return.
//
// A row of unwind rules changes in the order that unwinders want: the old one holds for an instruction more.

// long __kernel_vfork(void)
    .align 16
    .func __kernel_vfork UABI_1
    mov r9, qword ptr [rsp]         // where both go on
    .cfi cfa=rsp+8 rip=r9
    lea r11, [rsp + 8]              // SP after a return
    .cfi cfa=r11 rip=r9
    mov rsp, r11                    // from here on nothing on the stack is needed
    mov eax, NR_vfork               // the call
    .cfi cfa=rsp+0 rip=r9
    syscall                         // real, because it is made in here
    jmp r9                          // with the kernel's rax, and 0 in the child
    .endfunc

// long __kernel_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, unsigned long tls)
    .align 16
    .func __kernel_clone UABI_1
    mov r9, qword ptr [rsp]         // where both go on
    .cfi cfa=rsp+8 rip=r9
    lea r11, [rsp + 8]              // SP after a return
    .cfi cfa=r11 rip=r9
    mov rsp, r11                    // from here on nothing on the stack is needed
    mov r10, rcx                    // argument 3: syscall destroys rcx
    mov eax, NR_clone               // the call
    .cfi cfa=rsp+0 rip=r9
    syscall                         // real, because it is made in here
    jmp r9                          // with the kernel's rax; the child with 0, and SP as it was given
    .endfunc

// long __kernel_clone3(struct clone_args *args, size_t size)
    .align 16
    .func __kernel_clone3 UABI_1
    mov r9, qword ptr [rsp]         // where both go on
    .cfi cfa=rsp+8 rip=r9
    lea r11, [rsp + 8]              // SP after a return
    .cfi cfa=r11 rip=r9
    mov rsp, r11                    // from here on nothing on the stack is needed
    mov eax, NR_clone3              // the call
    .cfi cfa=rsp+0 rip=r9
    syscall                         // real, because it is made in here
    jmp r9                          // with the kernel's rax; the child with 0, and SP as it was given
    .endfunc
