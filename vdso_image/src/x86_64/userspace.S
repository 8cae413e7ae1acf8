// The handler that serves calls in user space (docs/hack3.md): the frame is at rsp, and from rsp + 32 on there is room.
// All calls that are served go the same way: the arguments are saved there, a routine leaves the result in rax, and
// userspace_done goes back by iretq. Of registers a routine may change rax, rcx, r11 and those of arguments. Behind
// these are GLUE_HELD and, from rsp + 88 on, 32 bytes for what a call of the glue is told or tells.
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
    test ecx, ecx                   // is there one?
    je userspace_plain              // no: the call as it is
    mov qword ptr [rsp + 32], rdi   // what a routine may change
    mov qword ptr [rsp + 40], rsi   // likewise
    mov qword ptr [rsp + 48], rdx   // likewise
    mov qword ptr [rsp + 56], r10   // likewise
    mov qword ptr [rsp + 64], r8    // likewise
    mov qword ptr [rsp + 72], r9    // likewise
    lea r11, [rip + userspace_plain] // what that is counted from
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
    cmp eax, NR_rt_sigprocmask      // which call?
    je serve_rt_sigprocmask         // this
    cmp eax, NR_umask               // or
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

// The mask that was is kept beside the frame: whoever is stopped between the two stores gets it back.
serve_rt_sigprocmask:
    cmp r10, SIGSET_BYTES           // the only size there is
    jne userspace_plain             // the kernel says EINVAL
    mov rcx, qword ptr [r11 + VTASK_BLOCKED] // the mask
    and rcx, MAY_BLOCK              // what of it counts
    mov qword ptr [rsp + 88], rcx   // to go back to
    test rsi, rsi                   // a new one?
    je serve_old_mask               // no
    mov rax, qword ptr [rsi]        // *set
    cmp edi, SIG_SETMASK            // how?
    je serve_set_mask               // it is the mask
    cmp edi, SIG_UNBLOCK            // or
    je serve_unblock                // what no longer is in it
    cmp edi, SIG_BLOCK              // or
    jne userspace_plain             // the kernel says EINVAL
    or rax, rcx                     // beside what is in it
    jmp serve_set_mask              // that is the mask
serve_unblock:
    not rax                         // what may stay
    and rax, rcx                    // of that which is there
serve_set_mask:
    and rax, MAY_BLOCK              // without those that can't be blocked
    not rax                         // what it lets through
    test qword ptr [r11 + VTASK_PENDING], rax // may any of these be pending?
    jne userspace_plain             // the kernel delivers it
    not rax                         // the new mask again
    test rdx, rdx                   // is the old one asked for?
    je serve_mask_alone             // no
    mov qword ptr [r11 + VTASK_BLOCKED], rax // the new mask
    .rewind sigmask=88
    xor eax, eax                    // the result
    mov qword ptr [rdx], rcx        // *oldset
    .finish
    jmp userspace_done              // the result is there
    .rewind
serve_mask_alone:
    mov rcx, rax                    // the new mask
    xor eax, eax                    // the result
    mov qword ptr [r11 + VTASK_BLOCKED], rcx // set
    .finish
    jmp userspace_done              // the result is there
    .rewind
serve_old_mask:
    xor eax, eax                    // the result
    test rdx, rdx                   // is it asked for?
    je userspace_done               // no
    mov qword ptr [rdx], rcx        // *oldset
    .finish
    jmp userspace_done              // the result is there

    .rewind
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

// Glue: calls that others can make. Up to that call nothing is done that may not be done again. A bad pointer is
// EFAULT.
    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
    .cfi + rdi=*(rsp+32) rsi=*(rsp+40) rdx=*(rsp+48) r10=*(rsp+56) r8=*(rsp+64) r9=*(rsp+72)
    .glue

glue_poll:
    mov eax, edx                    // how long, in ms
    xor r10d, r10d                  // no signal mask
    xor r8d, r8d                    // nor its size
    xor edx, edx                    // for ever,
    test eax, eax                   // if it is below 0
    js poll_call                    // so it is
    mov ecx, 1000                   // ms in a second
    div ecx                         // seconds, and the rest
    imul edx, edx, 1000000          // in ns
    mov qword ptr [rsp + 88], rax   // tv_sec
    mov qword ptr [rsp + 96], rdx   // tv_nsec
    lea rdx, [rsp + 88]             // the timespec
poll_call:
    mov eax, NR_ppoll               // poll by the newer call
    jmp glue_call                   // make it

glue_utimes:
    mov rdx, rsi                    // the times
    mov rsi, rdi                    // the path
    mov edi, 0xffffff9c             // AT_FDCWD
glue_futimesat:
    xor r10d, r10d                  // no flags
    test rdx, rdx                   // now?
    je utimes_call                  // yes
    mov r8, qword ptr [rdx]         // seconds of the access
    mov rax, qword ptr [rdx + 8]    // microseconds
    mov r11, qword ptr [rdx + 16]   // seconds of the change
    mov rcx, qword ptr [rdx + 24]   // microseconds
    cmp rax, 1000000                // less than a second?
    jae glue_inval                  // no
    cmp rcx, 1000000                // likewise
    jae glue_inval                  // no
    imul rax, rax, 1000             // ns
    imul rcx, rcx, 1000             // likewise
    mov qword ptr [rsp + 88], r8    // tv_sec
    mov qword ptr [rsp + 96], rax   // tv_nsec
    mov qword ptr [rsp + 104], r11  // tv_sec
    mov qword ptr [rsp + 112], rcx  // tv_nsec
    lea rdx, [rsp + 88]             // the timespecs
utimes_call:
    mov eax, NR_utimensat           // set the times by the newer call
    jmp glue_call                   // make it

glue_utime:
    mov r8, rsi                     // the times
    mov rsi, rdi                    // the path
    mov edi, 0xffffff9c             // AT_FDCWD
    xor edx, edx                    // now
    xor r10d, r10d                  // no flags
    test r8, r8                     // now?
    je utimes_call                  // yes
    mov rax, qword ptr [r8]         // seconds of the access
    mov rcx, qword ptr [r8 + 8]     // seconds of the change
    mov qword ptr [rsp + 88], rax   // tv_sec
    mov qword ptr [rsp + 96], 0     // tv_nsec
    mov qword ptr [rsp + 104], rcx  // tv_sec
    mov qword ptr [rsp + 112], 0    // tv_nsec
    lea rdx, [rsp + 88]             // the timespecs
    jmp utimes_call                 // make the call

glue_dup2:
    cmp edi, esi                    // onto itself?
    je dup2_same                    // dup3 would say EINVAL
    xor edx, edx                    // no flags
    mov eax, NR_dup3                // the newer call
    jmp glue_call                   // make it
dup2_same:
    mov esi, 1                      // F_GETFD: is it open?
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_fcntl               // the kernel knows
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_fault
    mov qword ptr [rsp], rax        // the result, if it is an error
    test rax, rax                   // is it?
    js tail_done                    // yes: EBADF
    mov eax, dword ptr [rsp + 32]   // the descriptor
    mov qword ptr [rsp], rax        // is the result
    jmp tail_done                   // it is there

    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
glue_time:
    mov edi, 5                      // CLOCK_REALTIME_COARSE: the second of the last tick, as time(2) has it
    lea rsi, [rsp + 88]             // a timespec
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_clock_gettime       // the newer call
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_fault
    mov qword ptr [rsp], rax        // the result, if it is an error
    test rax, rax                   // has it told?
    jne tail_done                   // a filter has said no
    mov rax, qword ptr [rsp + 88]   // the seconds
    mov qword ptr [rsp], rax        // the result
    mov rdi, qword ptr [rsp + 32]   // where the program wants them
    test rdi, rdi                   // anywhere?
    je tail_done                    // no
    mov qword ptr [rdi], rax        // *tloc
    jmp tail_done                   // the result is there

// The child must not wake in here: these are flagged, and the arguments are the program's again with the frame.
    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
glue_vfork:
    mov edi, 0x4111                 // CLONE_VFORK, CLONE_VM, SIGCHLD
    jmp fork_call                   // the rest is fork's
glue_fork:
    mov edi, 17                     // SIGCHLD
fork_call:
    xor esi, esi                    // the same stack
    mov eax, FLAGGED_CLONE          // the newer call, and the flag that ends the bounce
    syscall                         // parent and child go on in the program
    .restores rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72
    ud2                             // nothing comes back here

glue_alarm:
    mov eax, edi                    // seconds
    mov qword ptr [rsp + 88], 0     // it_interval.tv_sec: once
    mov qword ptr [rsp + 96], 0     // it_interval.tv_usec
    mov qword ptr [rsp + 104], rax  // it_value.tv_sec
    mov qword ptr [rsp + 112], 0    // it_value.tv_usec
    xor edi, edi                    // ITIMER_REAL
    lea rsi, [rsp + 88]             // the new timer
    mov rdx, rsi                    // and in its place the old
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_setitimer           // the newer call
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_fault
    mov qword ptr [rsp], rax        // the result, if it is an error
    test rax, rax                   // is it?
    jne tail_done                   // a filter has said no
    mov rax, qword ptr [rsp + 104]  // the seconds that were left
    mov rcx, qword ptr [rsp + 112]  // and microseconds
    mov edx, eax                    // of seconds
    or rdx, rcx                     // anything at all?
    je alarm_told                   // no
    test rax, rax                   // less than a second
    je alarm_more                   // counts as one
    cmp rcx, 500000                 // half a second
    jb alarm_told                   // does not
alarm_more:
    inc rax                         // it does
alarm_told:
    mov qword ptr [rsp], rax        // the result
    jmp tail_done                   // it is there

    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
glue_select:
    xor r9d, r9d                    // no signal mask
    test r8, r8                     // for ever?
    je select_call                  // yes
    mov rax, qword ptr [r8 + 8]     // tv_usec
    cqo                             // with its sign
    mov ecx, 1000000                // in a second
    idiv rcx                        // it may be more than one
    add rax, qword ptr [r8]         // tv_sec
    js glue_inval                   // time does not go back
    imul rdx, rdx, 1000             // ns
    test rdx, rdx                   // below 0?
    js glue_inval                   // likewise
    mov qword ptr [rsp + 88], rax   // tv_sec
    mov qword ptr [rsp + 96], rdx   // tv_nsec
    or rax, rdx                     // any time?
    mov rdx, qword ptr [rsp + 48]   // the program's again
    lea r8, [rsp + 88]              // the timespec
    je select_call                  // none: nothing will be left of it
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_pselect6            // the newer call
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_done
    mov qword ptr [rsp], rax        // the result
    mov rax, qword ptr [rsp + 96]   // what is left, in ns
    xor edx, edx                    // all of it
    mov ecx, 1000                   // to microseconds
    div rcx                         // rounded down
    mov rcx, qword ptr [rsp + 88]   // and seconds
    mov rdx, qword ptr [rsp + 64]   // the program's timeval, which need not be writable
    mov qword ptr [rdx], rcx        // tv_sec
    mov qword ptr [rdx + 8], rax    // tv_usec
    jmp tail_done                   // the result is there
    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
select_call:
    mov eax, NR_pselect6            // the newer call
    jmp glue_call                   // make it

glue_wait4:
    mov ecx, edx                    // options
    and ecx, NO_WAIT4_OPTIONS       // those that waitid alone has
    jne glue_inval                  // EINVAL
    mov r8, r10                     // rusage
    mov r10d, edx                   // options
    or r10d, 4                      // WEXITED
    lea rdx, [rsp + 88]             // siginfo
    mov esi, edi                    // whose child
    xor edi, edi                    // P_ALL
    cmp esi, -1                     // any?
    je wait4_call                   // yes
    mov edi, 1                      // P_PID
    test esi, esi                   // a process?
    jg wait4_call                   // yes
    mov edi, 2                      // P_PGID: 0 is the caller's own
    neg esi                         // or that of this number
    jo glue_srch                    // which has no opposite
wait4_call:
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_waitid              // the newer call
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_fault
    mov qword ptr [rsp], rax        // the result, if it is an error
    test rax, rax                   // is it?
    jne tail_done                   // yes
    mov eax, dword ptr [rsp + 104]  // si_pid: the child
    mov qword ptr [rsp], rax        // the result
    test eax, eax                   // was there one?
    je tail_done                    // no: WNOHANG
    mov rdi, qword ptr [rsp + 40]   // where its status is wanted
    test rdi, rdi                   // anywhere?
    je tail_done                    // no
    mov ecx, dword ptr [rsp + 112]  // si_status
    mov eax, dword ptr [rsp + 96]   // si_code
    cmp eax, 6                      // CLD_CONTINUED
    je wait4_continued              // a number of its own
    cmp eax, 3                      // CLD_DUMPED
    je wait4_dumped                 // a signal and a bit
    cmp eax, 2                      // CLD_KILLED
    je wait4_status                 // the signal
    shl ecx, 8                      // how it exited, or by what it stopped
    cmp eax, 1                      // CLD_EXITED
    je wait4_status                 // this is all
    or ecx, 0x7f                    // stopped
    jmp wait4_status                // this is all
wait4_continued:
    mov ecx, 0xffff                 // that
    jmp wait4_status                // this is all
wait4_dumped:
    or ecx, 0x80                    // with a core
wait4_status:
    mov dword ptr [rdi], ecx        // *wstatus
    jmp tail_done                   // the result is there

    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
glue_getdents:
    mov qword ptr [rsp + GLUE_HELD], 0 // no signal waits
    mov eax, NR_getdents64          // its records are of the same sizes
    syscall                         // from here on there is no way back
    .returns
    .tail fault=tail_fault
    mov qword ptr [rsp], rax        // the result
    test rax, rax                   // bytes?
    jle tail_done                   // none, or an error
    lea rdx, [rsi + rax]            // the records' end
getdents_next:
    movzx ecx, word ptr [rsi + 16]  // d_reclen
    movzx r8d, byte ptr [rsi + 18]  // d_type, which the older record has at its end
    lea r10, [rsi + rcx]            // the next record
    cmp ecx, 24                     // has another thread been here?
    jb tail_done                    // this is none
    cmp r10, rdx                    // likewise
    ja tail_done                    // this is none
    lea rdi, [rsi + 18]             // d_name is there
    lea rsi, [rsi + 19]             // and was here
    sub ecx, 19                     // so long
    rep movsb byte ptr [rdi], byte ptr [rsi] // one to the left
    mov byte ptr [r10 - 1], r8b     // d_type
    mov rsi, r10                    // the next
    cmp rsi, rdx                    // is there one?
    jb getdents_next                // yes
    jmp tail_done                   // the result is there

    .tail
tail_fault:
    mov qword ptr [rsp], 0xfffffffffffffff2 // EFAULT, though the call has been made
tail_done:
    mov rax, qword ptr [rsp]        // the result
    .finish rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72
    cmp qword ptr [rsp + GLUE_HELD], 0 // has a signal waited for this?
    je glue_returns                 // no
    mov rdi, qword ptr [rsp + 32]   // the program's again
    mov rsi, qword ptr [rsp + 40]   // likewise
    mov rdx, qword ptr [rsp + 48]   // likewise
    mov r10, qword ptr [rsp + 56]   // likewise
    mov r8, qword ptr [rsp + 64]    // likewise
    mov r9, qword ptr [rsp + 72]    // likewise
    .finish rax=0
    .cfi cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined
    mov eax, NO_CALL                // a number that stands for no call at all
    syscall                         // the kernel takes the frame off, with the result, and delivers the signal
    .untimed
    .cfi + rdi=*(rsp+32) rsi=*(rsp+40) rdx=*(rsp+48) r10=*(rsp+56) r8=*(rsp+64) r9=*(rsp+72)
    ud2                             // nothing comes back here

    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72
glue_fault:
    mov rax, 0xfffffffffffffff2     // EFAULT
    jmp glue_returns                // the result is there
glue_inval:
    mov rax, 0xffffffffffffffea     // EINVAL
    jmp glue_returns                // the result is there
glue_badf:
    mov rax, 0xfffffffffffffff7     // EBADF
    jmp glue_returns                // the result is there
glue_srch:
    mov rax, 0xfffffffffffffffd     // ESRCH
    jmp glue_returns                // the result is there
    .rewind rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72 fault=glue_fault
glue_call:
    syscall                         // not flagged: it comes back
    .returns
    .finish rdi=32 rsi=40 rdx=48 r10=56 r8=64 r9=72
glue_returns:
    mov rdi, qword ptr [rsp + 32]   // the program's again
    mov rsi, qword ptr [rsp + 40]   // likewise
    mov rdx, qword ptr [rsp + 48]   // likewise
    mov r10, qword ptr [rsp + 56]   // likewise
    mov r8, qword ptr [rsp + 64]    // likewise
    mov r9, qword ptr [rsp + 72]    // likewise
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
    .zeros empty_string 1
