// The bounce handlers: where an old-style syscall continues. What each is entered with: vdso_image/image.py.
//
// A handler may change nothing but rax, rcx, r11 and the flags before its first call, and every one of its instructions
// has a rule that leads an unwinder back to the program. rcx and r11 are the instruction's to destroy: undefined.

    .align 16
    .func __kernel_bounce UABI_1
    .handler redirect
    .restart redirect
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined
    lea eax, [rax + REDIRECT]       // the number as made, and the flag that ends the bounce; rflags stay
    syscall                         // the kernel takes the frame off, then makes the call for the program
    .commit
    ud2                             // nothing comes back here
    .endfunc

    .align 16
    .func __kernel_bounce_task_page UABI_1
    .handler task-page
    .restart task-page
    .cfi cfa=*(rcx+8) rip=*(rcx+16) rax=*(rcx) rcx=undefined r11=undefined
    lea eax, [rax + REDIRECT]       // rcx says where the frame is, up to the call
    syscall                         // the kernel takes the frame from the task's page
    .commit
    .cfi none
    ud2                             // nothing comes back here; rcx would not be the frame's address any more
    .endfunc

// A plain call, then back in user space: one entry into the kernel is a plain one, and the way back is an iretq. Calls
// that may take the frame's memory away, or that need the program's own registers, end the bounce as above.
    .align 16
    .func __kernel_bounce_user UABI_1
    .handler user
    .restart user
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined
    cmp eax, 511                    // the last number in the table
    ja user_plain                   // beyond it all are plain
    bt dword ptr [rip + flagged_calls], eax // this number's bit
    jb __kernel_bounce              // one that must end the bounce
user_plain:
    syscall                         // made with the handler's own SP and PC
    .commit
    .endfunc
// It goes on in what follows: rax is the result.

// For a handler that has made no real call, or only plain ones: the result is in rax, the frame at SP. iretq wants
// rip, cs, rflags, rsp, ss, one word more than the frame has: they are built in its place, from one word below it.
    .func __kernel_bounce_return UABI_1
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rcx=undefined r11=undefined
    mov rcx, qword ptr [rsp + 16]   // rip, where the call leaves it for the program to see
    .cfi cfa=*(rsp+8) rip=rcx rcx=undefined r11=undefined
    mov r11, qword ptr [rsp + 8]    // the program's rsp
    .cfi cfa=r11 rip=rcx rcx=undefined r11=undefined
    push qword ptr [rsp + 24]       // rflags, by way of the stack: there is no register left
    pop qword ptr [rsp + 8]         // to where iretq takes it from (rsp is added to first)
    mov qword ptr [rsp + 16], r11   // rsp
    mov qword ptr [rsp + 24], USER_SS // the user's stack segment
    mov qword ptr [rsp], USER_CS    // the user's code segment
    push rcx                        // rip: the word below the frame
    .cfi cfa=*(rsp+24) rip=rcx rcx=undefined r11=undefined
    mov r11, qword ptr [rsp + 16]   // rflags, where the call leaves it for the program to see
    iretq                           // rip, rflags and rsp at once
    .endfunc

// The same with the frame in the task's page, whose address is in rcx: only the kernel can go back from there.
    .align 16
    .func __kernel_bounce_return_task_page UABI_1
    .cfi cfa=*(rcx+8) rip=*(rcx+16) rcx=undefined r11=undefined
    mov qword ptr [rcx], rax        // the result: what rax will be
    .cfi cfa=*(rcx+8) rip=*(rcx+16) rax=*(rcx) rcx=undefined r11=undefined
    mov eax, NO_CALL                // a number that stands for no call at all
    syscall                         // the frame is taken from the task's page
    .cfi none
    ud2                             // nothing comes back here
    .endfunc

    .bits flagged_calls 512 FLAGGED_CALLS
