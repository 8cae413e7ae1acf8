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
    mrs x1, tpidrro_el0             // where this task's data are, counted down from the [vvar] page
    and x1, x1, #DATA_MASK          // what lies above belongs to others
    cbz x1, \call_call              // nowhere
    adr x2, vvar                    // the page
    sub x2, x2, x1                  // the task's data
    ldr w0, [x2, #DATA_\FIELD]    // one load: the whole answer
    .done
    ret                             // done without a call
\call_call:
    mov x8, #NR_\call               // the kernel knows
    svc #0                          // a real call
    ret                             // with the kernel's answer
    .endfunc
    .endanswers

// pid_t __kernel_getpid_retry(void): the same without the kernel's help. It finds out by itself whether the data were
// this task's when they were read: the task was on the struct's CPU after the version was read, and nobody has written
// there since.
    .align 16
    .func __kernel_getpid_retry UABI_1
getpid_again:
    mrs x1, tpidrro_el0             // where this task's data are, counted down from the [vvar] page
    and x1, x1, #DATA_MASK          // what lies above belongs to others
    cbz x1, getpid_retry_call       // nowhere
    adr x2, vvar                    // the page
    sub x2, x2, x1                  // the data: this task's, or another's by now
    ldr w3, [x2, #DATA_VERSION]     // another number whenever they are another's
    dmb ishld                       // what follows is read later
    mrs x4, tpidrro_el0             // where this task's data are now
    and x4, x4, #DATA_MASK          // likewise
    cmp x4, x1                      // the same place?
    b.ne getpid_again               // no: it has been moved
    ldr w0, [x2, #DATA_PID]         // the answer, if it was the task's
    dmb ishld                       // what follows is read later
    ldr w4, [x2, #DATA_VERSION]     // the number once more
    cmp w4, w3                      // the same?
    b.ne getpid_again               // no: somebody else was there
    ret                             // done without a call
getpid_retry_call:
    mov x8, #NR_getpid              // the kernel knows
    svc #0                          // a real call
    ret                             // with the kernel's answer
    .endfunc

// int __kernel_getcpu(unsigned *cpu, unsigned *node, void *unused): all may be null. Linux has no such function here.
    .align 16
    .func __kernel_getcpu UABI_1
    .again
    mrs x3, tpidrro_el0             // where this task's data are, counted down from the [vvar] page
    and x3, x3, #DATA_MASK          // what lies above belongs to others
    adr x2, vvar                    // the page
    cbz x3, getcpu_vvar             // nowhere: the page itself knows the CPU
    sub x2, x2, x3                  // the task's data
    ldp w4, w5, [x2, #DATA_CPU]     // the CPU and its node
    .done
    b getcpu_store                  // both are there
getcpu_vvar:
    ldp w4, w5, [x2, #VVAR_CPU]     // likewise
getcpu_store:
    cbz x0, getcpu_node             // the CPU is not wanted
    str w4, [x0]                    // *cpu
getcpu_node:
    cbz x1, getcpu_done             // the node is not wanted
    str w5, [x1]                    // *node
getcpu_done:
    mov w0, #0                      // no error
    ret                             // done without a call
    .endfunc
