// What a task may know of itself without a call, from the struct that its offset leads to: vdso_image/data_pages.py.
// An offset of 0 means that there is none, and a real call is made.
//
// Between .again and .done the offset has been read and the data have not: a task that is moved to another CPU in
// there would read what is another task's by then, so the kernel makes it begin again. Nothing there may change what
// the beginning needs.

// pid_t __kernel_getpid(void)
    .align 16
    .func __kernel_getpid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je getpid_call                   // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_PID] // one load: the whole answer
    .done
    ret                             // done without a call
getpid_call:
    mov eax, NR_getpid            // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// pid_t __kernel_gettid(void)
    .align 16
    .func __kernel_gettid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je gettid_call                   // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_TID] // one load: the whole answer
    .done
    ret                             // done without a call
gettid_call:
    mov eax, NR_gettid            // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// pid_t __kernel_getppid(void)
    .align 16
    .func __kernel_getppid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je getppid_call                  // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_PPID] // one load: the whole answer
    .done
    ret                             // done without a call
getppid_call:
    mov eax, NR_getppid           // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// uid_t __kernel_getuid(void)
    .align 16
    .func __kernel_getuid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je getuid_call                   // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_UID] // one load: the whole answer
    .done
    ret                             // done without a call
getuid_call:
    mov eax, NR_getuid            // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// uid_t __kernel_geteuid(void)
    .align 16
    .func __kernel_geteuid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je geteuid_call                  // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_EUID] // one load: the whole answer
    .done
    ret                             // done without a call
geteuid_call:
    mov eax, NR_geteuid           // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// gid_t __kernel_getgid(void)
    .align 16
    .func __kernel_getgid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je getgid_call                   // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_GID] // one load: the whole answer
    .done
    ret                             // done without a call
getgid_call:
    mov eax, NR_getgid            // the kernel knows
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// gid_t __kernel_getegid(void)
    .align 16
    .func __kernel_getegid UABI_1
    .again
    mov ecx, DATA_SELECTOR          // the descriptor whose limit tells where this task's data are
    xor eax, eax                    // nowhere, if there is no such descriptor
    lsl eax, ecx                    // counted down from the [vvar] page
    test eax, eax                   // anywhere?
    je getegid_call                  // no
    lea rcx, [rip + vvar]           // the page
    sub rcx, rax                    // the task's data
    mov eax, dword ptr [rcx + DATA_EGID] // one load: the whole answer
    .done
    ret                             // done without a call
getegid_call:
    mov eax, NR_getegid           // the kernel knows
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
    test eax, eax                   // anywhere?
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
