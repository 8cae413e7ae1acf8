// The handler that serves calls in user space (docs/hack3.md): the frame is at rsp, and from rsp + 32 on there is room.
// All calls that are served go the same way: five arguments are saved there, a routine leaves the result in rax, and
// userspace_done goes back by iretq. Of registers a routine may change rax, rcx, r11 and those five.
//
// Before its result is final a routine must only do what may be done again: a signal puts the task back at the
// program's instruction. From its last store, or its call, on the signal finds the bounce over.

    .align 16
    .func __kernel_bounce_userspace UABI_1
    .handler userspace
    .rewind
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined
    cmp eax, LAST_SERVED            // beyond it there is no routine
    ja userspace_plain              // the call as it is
    mov ecx, eax                    // the number alone
    lea r11, [rip + routines]       // two bytes for each number
    movzx ecx, word ptr [r11 + rcx*2] // how far behind userspace_plain its routine is
    mov qword ptr [rsp + 32], rdi   // what a routine may change
    mov qword ptr [rsp + 40], rsi   // likewise
    mov qword ptr [rsp + 48], rdx   // likewise
    mov qword ptr [rsp + 56], r10   // likewise
    mov qword ptr [rsp + 64], r8    // likewise
    lea r11, [rip + userspace_plain] // 0 leads there
    add rcx, r11                    // the routine
    jmp rcx                         // which has the number in eax
userspace_plain:
    mov eax, dword ptr [rsp]        // the number as made
    lea eax, [rax + REDIRECT]       // and the flag that ends the bounce
    syscall                         // the kernel takes the frame off, then makes the call for the program
    .finish
    ud2                             // nothing comes back here

// A variable in the task's own page, or one that this leads to.
    .rewind
serve_variable:
    mov ecx, VTASK_SELECTOR         // the descriptor whose limit tells where the task's page is
    xor r11d, r11d                  // nowhere, if there is no such descriptor
    lsl r11d, ecx                   // counted up from where the kernel looks for room
    test r11d, r11d                 // anywhere?
    je userspace_plain              // no: the kernel has the variables
    movabs rcx, VTASK_BASE          // the first place that it may be at
    add r11, rcx                    // the page
    cmp eax, NR_umask               // which call?
    je serve_umask                  // this
    cmp eax, NR_personality         // or
    je serve_personality            // this
    cmp eax, NR_set_robust_list     // or
    je serve_set_robust_list        // this
    cmp eax, NR_get_robust_list     // or
    je serve_get_robust_list        // this
    cmp edi, PR_SET_PDEATHSIG       // it is prctl
    je serve_set_pdeathsig          // the signal at the parent's end
    cmp edi, PR_GET_PDEATHSIG       // or
    je serve_get_pdeathsig          // its number
    cmp edi, PR_SET_TIMERSLACK      // or
    je serve_set_timerslack         // how late a timer may be
    cmp edi, PR_GET_TIMERSLACK      // or
    jne userspace_plain             // another option
    mov rax, qword ptr [r11 + VTASK_TIMER_SLACK_NS] // the result
    jmp userspace_done              // is there

serve_umask:
    mov rcx, qword ptr [r11 + VTASK_FS_PAGE] // the page of all that share the mask
    test rcx, rcx                   // is there one?
    je userspace_plain              // no
    mov eax, edi                    // the new mask
    and eax, UMASK_BITS             // its bits that count
    xchg dword ptr [rcx + VFS_UMASK], eax // set it and read the old one, both at once
    .finish
    jmp userspace_done              // the result is there

    .rewind
serve_personality:
    mov eax, dword ptr [r11 + VTASK_PERSONALITY] // what it is
    cmp edi, -1                     // only asked for?
    je userspace_done               // that is the result
    mov eax, edi                    // the new one
    xchg dword ptr [r11 + VTASK_PERSONALITY], eax // and the old one is the result
    .finish
    jmp userspace_done              // it is there

    .rewind
serve_set_robust_list:
    cmp rsi, ROBUST_LIST_HEAD_BYTES // the only size there is
    jne userspace_plain             // the kernel says EINVAL
    xor eax, eax                    // the result
    mov qword ptr [r11 + VTASK_ROBUST_LIST], rdi // the head of the list
    .finish
    jmp userspace_done              // the result is there

    .rewind
serve_get_robust_list:
    test edi, edi                   // of the caller?
    jne userspace_plain             // no: the kernel knows whether that may be told
    mov rcx, qword ptr [r11 + VTASK_ROBUST_LIST] // the head of the list
    mov qword ptr [rdx], ROBUST_LIST_HEAD_BYTES // its size, always the same
    xor eax, eax                    // the result
    mov qword ptr [rsi], rcx        // *head_ptr
    .finish
    jmp userspace_done              // the result is there

    .rewind
serve_set_pdeathsig:
    cmp rsi, LAST_SIGNAL            // a signal's number, or 0 for none?
    ja userspace_plain              // no: the kernel says EINVAL
    xor eax, eax                    // the result
    mov dword ptr [r11 + VTASK_PDEATH_SIGNAL], esi // the signal
    .finish
    jmp userspace_done              // the result is there

    .rewind
serve_get_pdeathsig:
    mov ecx, dword ptr [r11 + VTASK_PDEATH_SIGNAL] // the signal
    xor eax, eax                    // the result
    mov dword ptr [rsi], ecx        // the number
    .finish
    jmp userspace_done              // the result is there

    .rewind
serve_set_timerslack:
    test rsi, rsi                   // more than 0?
    jle userspace_plain             // no: the kernel has the default
    xor eax, eax                    // the result
    mov qword ptr [r11 + VTASK_TIMER_SLACK_NS], rsi // in ns
    .finish
    jmp userspace_done              // the result is there

// One call with other arguments than the program's.
    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64
    .cfi + rdi=*(rsp+32) rsi=*(rsp+40) rdx=*(rsp+48) r10=*(rsp+56) r8=*(rsp+64)
    .glue
glue_call:
    syscall                         // not flagged: it comes back
    .finish rdi=32 rsi=40 rdx=48 r10=56 r8=64
glue_returns:
    mov rdi, qword ptr [rsp + 32]   // the program's again
    mov rsi, qword ptr [rsp + 40]   // likewise
    mov rdx, qword ptr [rsp + 48]   // likewise
    mov r10, qword ptr [rsp + 56]   // likewise
    mov r8, qword ptr [rsp + 64]    // likewise
    .finish

// rax is the result, and all other registers are the program's. The words for iretq are built behind the frame.
userspace_done:
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rcx=undefined r11=undefined
    mov rcx, qword ptr [rsp + 24]   // rflags
    mov qword ptr [rsp + 48], rcx   // for iretq
    mov qword ptr [rsp + 40], USER_CS // the user's code segment
    mov qword ptr [rsp + 64], USER_SS // the user's stack segment
    mov rcx, qword ptr [rsp + 16]   // rip, where a call leaves it for the program to see
    mov qword ptr [rsp + 32], rcx   // for iretq
    mov r11, qword ptr [rsp + 8]    // rsp
    mov qword ptr [rsp + 56], r11   // for iretq
    .cfi cfa=r11 rip=rcx rcx=undefined r11=undefined
    lea rsp, [rsp + 32]             // to iretq's words
    .finish at=-32
    .cfi cfa=*(rsp+24) rip=rcx rcx=undefined r11=undefined
    mov r11, qword ptr [rsp + 16]   // rflags, where a call leaves it for the program to see
    iretq                           // rip, rflags and rsp at once

    .include answers.inc
    .endfunc

    .routines routines
