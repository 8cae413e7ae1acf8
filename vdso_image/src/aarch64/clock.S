// Time without a call, from the [vvar] page (vdso_image/vvar.py says what is in it).

// int __kernel_clock_gettime(clockid_t clock, struct timespec *ts)
    .align 16
    .func __kernel_clock_gettime LINUX
    cmp w0, #CLOCK_TAI              // the last clock in the page
    b.hi gettime_call               // CPU clocks of others, and nonsense
    mov w2, #SERVED_CLOCKS          // a bit for each clock that the page has
    lsr w2, w2, w0                  // this clock's bit
    tbz w2, #0, gettime_call        // CPU time, alarms: the kernel knows
    adr x10, gettime_read           // come back there
    b read_clock                    // x11, x12 = the time
gettime_read:
    cbz w5, gettime_call            // the page can't tell
    stp x11, x12, [x1]              // a bad pointer is a SIGSEGV, as in Linux's vDSO
    mov w0, #0                      // no error
    ret                             // done without a call
gettime_call:
    mov x8, #NR_clock_gettime       // the arguments are still in place
    svc #0                          // a real call
    ret                             // with the kernel's answer

// read_clock is shared. It is entered by a branch, with the way back in x10, so that x30 and SP stay the caller's and
// the same unwind rule holds everywhere.
//
//   in    w0 = clock id (0 .. 11), x10 = where to go on
//   out   w5 = 0: the page tells no time; else x11 = seconds, x12 = nanoseconds
//   keeps x0, x1, x2, and all that a C function keeps
read_clock:
    adr x3, vvar                    // the page is at a fixed distance
read_again:
    ldr w4, [x3, #VVAR_SEQ]         // the count before
    tbnz w4, #0, read_wait          // odd: the kernel is writing
    dmb ishld                       // the count is read before the rest
    ldr w5, [x3, #VVAR_CLOCK_MODE]  // how the page tells time
    mov x6, #0                      // no cycles have gone by, if time stands still
    cbz w5, read_done               // not at all
    cmp w5, #CLOCKMODE_COUNTER      // does it go on?
    b.ne read_base                  // no
    isb                             // the counter is not read ahead of what came before
    mrs x6, cntvct_el0              // now, in cycles
    ldr x7, [x3, #VVAR_CYCLE_LAST]  // and when the page was written
    ldr x8, [x3, #VVAR_MASK]        // the bits that the counter has
    sub x6, x6, x7                  // cycles that have gone by since,
    and x6, x6, x8                  // over a wrap of the counter too
read_base:
    add x9, x3, w0, uxtw #4         // this clock's base: 16 bytes each
    ldr x11, [x9, #VVAR_BASE_SEC]   // whole seconds
    ldr x12, [x9, #VVAR_BASE_NSEC]  // nanoseconds << shift
    ldp w7, w8, [x3, #VVAR_MULT]    // a cycle in ns << shift; shift
    ldr w15, [x3, #VVAR_TICK_NS]    // what coarse clocks count in
    dmb ishld                       // the rest is read before the count
    ldr w13, [x3, #VVAR_SEQ]        // the count after
    cmp w13, w4                     // has the kernel written meanwhile?
    b.ne read_again                 // then this was a mixture
    umulh x14, x6, x7               // cycles in ns << shift: upper half
    mul x13, x6, x7                 // lower half
    adds x12, x12, x13              // on top of the base
    adc x14, x14, xzr               // carry into the upper half
    lsr x12, x12, x8                // the 128 bits >> shift: what stays of the lower half
    neg w8, w8                      // 64 - shift, as a shift takes it
    lsl x14, x14, x8                // what comes down from the upper half
    orr x12, x12, x14               // nanoseconds since the base's second
    mov w13, #0xca00                // 1,000,000,000
    movk w13, #0x3b9a, lsl #16      // its upper half
    udiv x14, x12, x13              // seconds in them
    msub x12, x14, x13, x12         // nanoseconds left
    add x11, x11, x14               // seconds
    mov w14, #COARSE_CLOCKS         // a bit for each coarse clock
    lsr w14, w14, w0                // this clock's bit
    tbz w14, #0, read_done          // a fine one
    udiv x14, x12, x15              // whole ticks
    mul x12, x14, x15               // rounded down to them
read_done:
    br x10                          // back
read_wait:
    yield                           // let the writer go on
    b read_again                    // and look again
    .endfunc

// int __kernel_gettimeofday(struct timeval *tv, struct timezone *tz): both may be null
    .align 16
    .func __kernel_gettimeofday LINUX
    mov x2, x0                      // tv
    cbz x2, timeofday_zone          // no time wanted
    mov w0, #CLOCK_REALTIME         // the time of day
    adr x10, timeofday_read         // come back there
    b read_clock                    // x11, x12 = the time
timeofday_read:
    cbz w5, timeofday_call          // the page can't tell
    mov w13, #1000                  // nanoseconds in a microsecond
    udiv x12, x12, x13              // microseconds
    stp x11, x12, [x2]              // tv
timeofday_zone:
    cbz x1, timeofday_done          // no zone wanted
    adr x3, vvar                    // the page
    ldp w4, w5, [x3, #VVAR_TZ_MINUTESWEST] // both fields
    stp w4, w5, [x1]                // tz
timeofday_done:
    mov w0, #0                      // no error
    ret                             // done without a call
timeofday_call:
    mov x0, x2                      // tv again
    mov x8, #NR_gettimeofday        // the number
    svc #0                          // a real call
    ret                             // with the kernel's answer
    .endfunc

// int __kernel_clock_getres(clockid_t clock, struct timespec *res): res may be null
    .align 16
    .func __kernel_clock_getres LINUX
    cmp w0, #CLOCK_TAI              // the last clock in the page
    b.hi getres_call                // the kernel knows
    adr x3, vvar                    // the page
    mov w2, #FINE_CLOCKS            // a bit for each fine clock
    lsr w2, w2, w0                  // this clock's bit
    ldr w4, [x3, #VVAR_HRTIMER_RES] // what a fine clock counts in
    tbnz w2, #0, getres_store       // it is one
    mov w2, #COARSE_CLOCKS          // a bit for each coarse clock
    lsr w2, w2, w0                  // this clock's bit
    ldr w4, [x3, #VVAR_TICK_NS]     // what a coarse clock counts in
    tbz w2, #0, getres_call         // neither: the kernel knows
getres_store:
    cbz x1, getres_done             // nobody wants to know
    stp xzr, x4, [x1]               // less than a second each
getres_done:
    mov w0, #0                      // no error
    ret                             // done without a call
getres_call:
    mov x8, #NR_clock_getres        // the arguments are still in place
    svc #0                          // a real call
    ret                             // with the kernel's answer
    .endfunc

// time_t __kernel_time(time_t *t): t may be null. Linux has no such function here, and no such call.
    .align 16
    .func __kernel_time UABI_1
    mov x2, x0                      // t
    mov w0, #CLOCK_REALTIME         // the time of day
    adr x10, time_read              // come back there
    b read_clock                    // x11 = seconds
time_read:
    cbnz w5, time_store             // the page could tell
    sub sp, sp, #16                 // room for a struct timespec
    .cfi cfa=sp+16
    mov w0, #CLOCK_REALTIME         // clock
    mov x1, sp                      // ts
    mov x8, #NR_clock_gettime       // there is no call for time itself
    svc #0                          // a real call; it can't fail
    ldr x11, [sp]                   // seconds
    add sp, sp, #16                 // the room is given back
    .cfi normal
time_store:
    cbz x2, time_done               // only the result is wanted
    str x11, [x2]                   // *t
time_done:
    mov x0, x11                     // the result too
    ret                             // done
    .endfunc
