/* What the library knows of AArch64: where a trapped call has its number and arguments, and the code that needs SP. */
#define AUDIT_ARCH_HERE AUDIT_ARCH_AARCH64

#define SYSCALL_NUMBER(uc) ((uc)->uc_mcontext.regs[8])
#define SYSCALL_RESULT(uc) ((uc)->uc_mcontext.regs[0])
#define SYSCALL_ARG(uc, n) ((uc)->uc_mcontext.regs[n])
#define PROGRAM_SP(uc) ((uc)->uc_mcontext.sp)
#define SIGRETURN_VERSION "LINUX_2.6.39"

#define SIGFRAME_BYTES 4688     /* siginfo, ucontext with 4096 bytes of records */

/* The end of the signal's frame, with the frame record above it. */
static inline uintptr_t frame_end(ucontext_t *uc)
{
    return (uintptr_t)uc - sizeof(siginfo_t) + SIGFRAME_BYTES + 16;
}

/* A copy of the signal's frame below `sp`: its ucontext.  128 bytes stay as they are: Go tells its new threads there
 * what to do. */
static ucontext_t *copy_frame(ucontext_t *uc, uintptr_t sp)
{
    char *copy = (char *)((sp - 128 - SIGFRAME_BYTES) & -16UL);
    memcpy(copy, (char *)uc - sizeof(siginfo_t), SIGFRAME_BYTES);
    return (void *)(copy + sizeof(siginfo_t));
}

/* Where rt_sigreturn wants SP for the frame with this ucontext. */
#define SIGRETURN_SP(uc) ((uintptr_t)(uc) - sizeof(siginfo_t))

/* Stack that calls of the library's own may be made on, below the program's. */
#define BELOW(sp) (((sp) - 128) & -16UL)

/* void hack1_leave(sp): give up the handler's own frame; the vDSO's rt_sigreturn takes the one at `sp`. */
__asm__(
    ".text\n"
    ".type hack1_leave, @function\n"
    "hack1_leave:\n"
    "    adrp x9, hack1_sigreturn\n"
    "    ldr x9, [x9, :lo12:hack1_sigreturn]\n"
    "    mov sp, x0\n"
    "    br x9\n"

    /* long hack1_call_on(sp, function, number, a0, a1): a real call with SP there */
    ".type hack1_call_on, @function\n"
    "hack1_call_on:\n"
    "    stp x29, x30, [sp, #-16]!\n"
    "    mov x29, sp\n"
    "    mov sp, x0\n"
    "    mov x9, x1\n"
    "    mov x0, x2\n"
    "    mov x1, x3\n"
    "    mov x2, x4\n"
    "    blr x9\n"
    "    mov sp, x29\n"
    "    ldp x29, x30, [sp], #16\n"
    "    ret\n"

    /* long hack1_clone(function, flags, uc, ptid, a3, a4): the child goes on as `uc` says, on the stack that holds it */
    ".type hack1_clone, @function\n"
    "hack1_clone:\n"
    "    stp x29, x30, [sp, #-32]!\n"
    "    str x19, [sp, #16]\n"
    "    sub x19, x2, #128\n"                   /* struct siginfo is in front: that is where rt_sigreturn wants SP */
    "    mov x9, x0\n"
    "    mov x0, #220\n"
    "    mov x2, x19\n"
    "    mov x6, #0\n"
    "    blr x9\n"
    "    cbz x0, 1f\n"
    "    ldr x19, [sp, #16]\n"
    "    ldp x29, x30, [sp], #32\n"
    "    ret\n"
    "1:  bl hack1_child\n"
    "    mov x0, x19\n"
    "    b hack1_leave\n"

    /* long hack1_vfork(function, flags, uc, save, save_end, low_end): clone on the same stack.  The child uses up what
     * lies between here and low_end, so the parent keeps a copy of it at `save`. */
    ".type hack1_vfork, @function\n"
    "hack1_vfork:\n"
    "    stp x29, x30, [sp, #-48]!\n"
    "    stp x19, x20, [sp, #16]\n"
    "    str x21, [sp, #32]\n"
    "    sub x19, x2, #128\n"
    "    mov x20, x3\n"
    "    mov x21, x5\n"
    "    mov x9, sp\n"
    "1:  ldp x10, x11, [x9], #16\n"
    "    stp x10, x11, [x3], #16\n"
    "    cmp x9, x21\n"
    "    b.lo 1b\n"
    "    mov x9, x0\n"
    "    mov x0, #220\n"
    "    mov x2, #0\n"                          /* no stack: the same */
    "    mov x3, #0\n"
    "    blr x9\n"
    "    cbz x0, 3f\n"
    "    mov x9, sp\n"
    "2:  ldp x10, x11, [x20], #16\n"
    "    stp x10, x11, [x9], #16\n"
    "    cmp x9, x21\n"
    "    b.lo 2b\n"
    "    ldp x19, x20, [sp, #16]\n"
    "    ldr x21, [sp, #32]\n"
    "    ldp x29, x30, [sp], #48\n"
    "    ret\n"
    "3:  bl hack1_child\n"
    "    mov x0, x19\n"
    "    b hack1_leave\n");
