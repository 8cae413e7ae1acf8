// Time without a call, from the [vvar] page (vdso_image/vvar.py says what is in it).

// int __vdso_clock_gettime(clockid_t clock, struct timespec *ts)
    .align 16
    .func __vdso_clock_gettime LINUX
    .alias clock_gettime
    cmp edi, CLOCK_TAI              // the last clock in the page
    ja gettime_call                 // CPU clocks of others, and nonsense
    mov eax, SERVED_CLOCKS          // a bit for each clock that the page has
    bt eax, edi                     // this clock's bit
    jae gettime_call                // CPU time, alarms: the kernel knows
    lea r10, [rip + gettime_read]   // come back there
    jmp read_clock                  // r8, rax = the time
gettime_read:
    test r9d, r9d                   // could the page tell?
    je gettime_call                 // no
    mov qword ptr [rsi], r8         // a bad pointer is a SIGSEGV, as in Linux's vDSO
    mov qword ptr [rsi + 8], rax    // nanoseconds
    xor eax, eax                    // no error
    ret                             // done without a call
gettime_call:
    mov eax, NR_clock_gettime       // the arguments are still in place
    syscall                         // a real call
    ret                             // with the kernel's answer

// read_clock is shared. It is entered by a jump, with the way back in r10, so that the stack stays the caller's and the
// same unwind rule holds everywhere.
//
//   in    edi = clock id (0 .. 11), r10 = where to go on
//   out   r9d = 0: the page tells no time; else r8 = seconds, rax = nanoseconds
//   keeps rdi, rsi, and all that a C function keeps
read_clock:
read_again:
    mov r11d, dword ptr [rip + vvar + VVAR_SEQ] // the count before; loads stay in order on this architecture
    test r11d, 1                    // odd: the kernel is writing
    jne read_wait                   // wait for it
    mov r9d, dword ptr [rip + vvar + VVAR_CLOCK_MODE] // how the page tells time
    xor eax, eax                    // no cycles have gone by, if time stands still
    test r9d, r9d                   // does it tell any?
    je read_done                    // no
    cmp r9d, CLOCKMODE_COUNTER      // does it go on?
    jne read_base                   // no
    lfence                          // the counter is not read ahead of what came before
    rdtsc                           // now, in cycles: edx, eax
    shl rdx, 32                     // upper half
    or rax, rdx                     // one number
    xor ecx, ecx                    // 0
    sub rax, qword ptr [rip + vvar + VVAR_CYCLE_LAST] // cycles that have gone by since the page was written
    cmovb rax, rcx                  // none, if this counter is behind
    and rax, qword ptr [rip + vvar + VVAR_MASK] // the bits that the counter has
read_base:
    mov ecx, dword ptr [rip + vvar + VVAR_MULT] // a cycle in ns << shift
    mul rcx                         // rdx, rax: cycles in ns << shift
    lea r8, [rip + vvar]            // the page
    mov ecx, edi                    // this clock
    shl ecx, 4                      // has its base of 16 bytes
    add r8, rcx                     // there
    add rax, qword ptr [r8 + VVAR_BASE_NSEC] // nanoseconds << shift on top of it
    adc rdx, 0                      // carry into the upper half
    mov r8, qword ptr [r8 + VVAR_BASE_SEC] // whole seconds
    mov ecx, dword ptr [rip + vvar + VVAR_SHIFT] // how far to shift
    cmp r11d, dword ptr [rip + vvar + VVAR_SEQ] // has the kernel written meanwhile?
    jne read_again                  // then this was a mixture
    shrd rax, rdx, cl               // nanoseconds since the base's second
    xor edx, edx                    // dividend: rdx, rax
    mov ecx, NSEC_PER_SEC           // by this
    div rcx                         // rax = seconds in them, rdx = nanoseconds left
    add r8, rax                     // seconds
    mov rax, rdx                    // nanoseconds
    mov ecx, COARSE_CLOCKS          // a bit for each coarse clock
    bt ecx, edi                     // this clock's bit
    jae read_done                   // a fine one
    xor edx, edx                    // dividend: rdx, rax
    mov ecx, dword ptr [rip + vvar + VVAR_TICK_NS] // what coarse clocks count in; it never changes
    div rcx                         // whole ticks
    imul rax, rcx                   // rounded down to them
read_done:
    jmp r10                         // back
read_wait:
    pause                           // let the writer go on
    jmp read_again                  // and look again
    .endfunc

// int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz): both may be null
    .align 16
    .func __vdso_gettimeofday LINUX
    .alias gettimeofday
    test rdi, rdi                   // is the time wanted?
    je timeofday_zone               // no
    mov qword ptr [rsp - 8], rdi    // tv waits in the red zone: read_clock needs all registers
    xor edi, edi                    // CLOCK_REALTIME, the time of day
    lea r10, [rip + timeofday_read] // come back there
    jmp read_clock                  // r8, rax = the time
timeofday_read:
    mov rdi, qword ptr [rsp - 8]    // tv again
    test r9d, r9d                   // could the page tell?
    je timeofday_call               // no
    xor edx, edx                    // dividend: rdx, rax
    mov ecx, 1000                   // nanoseconds in a microsecond
    div rcx                         // microseconds
    mov qword ptr [rdi], r8         // tv: seconds
    mov qword ptr [rdi + 8], rax    // microseconds
timeofday_zone:
    test rsi, rsi                   // is the zone wanted?
    je timeofday_done               // no
    mov rax, qword ptr [rip + vvar + VVAR_TZ_MINUTESWEST] // both fields at once
    mov qword ptr [rsi], rax        // tz
timeofday_done:
    xor eax, eax                    // no error
    ret                             // done without a call
timeofday_call:
    mov eax, NR_gettimeofday        // the arguments are in place again
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// time_t __vdso_time(time_t *t): t may be null
    .align 16
    .func __vdso_time LINUX
    .alias time
    mov qword ptr [rsp - 8], rdi    // t waits in the red zone
    xor edi, edi                    // CLOCK_REALTIME, the time of day
    lea r10, [rip + time_read]      // come back there
    jmp read_clock                  // r8 = seconds
time_read:
    mov rdi, qword ptr [rsp - 8]    // t again
    test r9d, r9d                   // could the page tell?
    je time_call                    // no
    mov rax, r8                     // the result
    test rdi, rdi                   // wanted at an address too?
    je time_done                    // no
    mov qword ptr [rdi], rax        // *t
time_done:
    ret                             // done without a call
time_call:
    mov eax, NR_time                // the argument is in place again
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc

// int __vdso_clock_getres(clockid_t clock, struct timespec *res): res may be null
    .align 16
    .func __vdso_clock_getres LINUX
    .alias clock_getres
    cmp edi, CLOCK_TAI              // the last clock in the page
    ja getres_call                  // the kernel knows
    mov ecx, dword ptr [rip + vvar + VVAR_HRTIMER_RES] // what a fine clock counts in
    mov eax, FINE_CLOCKS            // a bit for each fine clock
    bt eax, edi                     // this clock's bit
    jb getres_store                 // it is one
    mov ecx, dword ptr [rip + vvar + VVAR_TICK_NS] // what a coarse clock counts in
    mov eax, COARSE_CLOCKS          // a bit for each coarse clock
    bt eax, edi                     // this clock's bit
    jae getres_call                 // neither: the kernel knows
getres_store:
    test rsi, rsi                   // does anybody want to know?
    je getres_done                  // no
    mov qword ptr [rsi], 0          // less than a second each
    mov qword ptr [rsi + 8], rcx    // nanoseconds
getres_done:
    xor eax, eax                    // no error
    ret                             // done without a call
getres_call:
    mov eax, NR_clock_getres        // the arguments are still in place
    syscall                         // a real call
    ret                             // with the kernel's answer
    .endfunc
