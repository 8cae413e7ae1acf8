// What a task may know of itself without a call, from the struct that its offset leads to: vdso_image/data_pages.py.
// An offset of 0 means that there is none, and a real call is made.
//
// Between .again and .done the offset has been read and the data have not: a task that is moved to another CPU in
// there would read what is another task's by then, so the kernel makes it begin again. Nothing there may change what
// the beginning needs.

// pid_t, uid_t, gid_t __kernel_NAME(void), for each field that is the whole answer of a call
    .answers
    .align 16
    .func __kernel_\call UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    and eax, DATA_MASK              // anywhere?
    je \call_call                   // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_\FIELD] // one load: the whole answer
    .done
    ret                             // done without a call
\call_call:
    mov eax, NR_\call               // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc
    .endanswers

// pid_t __kernel_getpid_retry(void): the same without the kernel's help. It finds out by itself whether the data were
// this task's when they were read: the task was on the struct's CPU after the version was read, and nobody has written
// there since.
    .align 16
    .func __kernel_getpid_retry UABI_1
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
getpid_again:
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    and eax, DATA_MASK              // anywhere?
    je getpid_retry_call            // no
    lea rdx, [rip + vvar]           // the page
    sub rdx, rax                    // the data: this task's, or another's by now
    mov esi, dword ptr [rdx + DATA_VERSION] // another number whenever they are another's
    xor edi, edi                    // as above
    lsl edi, ecx                    // where this task's data are now
    and edi, DATA_MASK              // likewise
    cmp edi, eax                    // the same place?
    jne getpid_again                // no: it has been moved
    mov eax, dword ptr [rdx + DATA_PID] // the answer, if it was the task's
    cmp dword ptr [rdx + DATA_VERSION], esi // the number once more: the same?
    jne getpid_again                // no: somebody else was there
    ret                             // done without a call
getpid_retry_call:
    mov eax, NR_getpid              // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused): all may be null
    .align 16
    .func __vdso_getcpu LINUX
    .alias getcpu
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    lea rcx, [rip + vvar]           // the page
    and eax, DATA_MASK              // anywhere?
    je getcpu_vvar                  // no: the page itself knows the CPU
    sub rcx, rax                    // the task's data
    mov rax, qword ptr [rcx + DATA_CPU] // the CPU, and its node in the upper half
    .done
    jmp getcpu_store                // both are there
getcpu_vvar:
    mov rax, qword ptr [rcx + VVAR_CPU] // likewise
getcpu_store:
    test rdi, rdi                   // is the CPU wanted?
    je getcpu_node                  // no
    mov dword ptr [rdi], eax        // *cpu
getcpu_node:
    test rsi, rsi                   // is the node wanted?
    je getcpu_done                  // no
    shr rax, 32                     // the node
    mov dword ptr [rsi], eax        // *node
getcpu_done:
    xor eax, eax                    // no error
    ret                             // done without a call
    .endfunc
