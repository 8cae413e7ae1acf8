/* What the library knows of x86-64: where a trapped call has its number and arguments, and the code that needs SP. */
#define AUDIT_ARCH_HERE AUDIT_ARCH_X86_64

static inline greg_t *syscall_register(ucontext_t *uc, int argument)
{
    static const signed char registers[] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };
    return &uc->uc_mcontext.gregs[(int)registers[argument]];
}
#define SYSCALL_NUMBER(uc) ((uc)->uc_mcontext.gregs[REG_RAX])
#define SYSCALL_RESULT(uc) ((uc)->uc_mcontext.gregs[REG_RAX])
#define SYSCALL_ARG(uc, n) (*syscall_register(uc, n))
#define PROGRAM_SP(uc) ((uc)->uc_mcontext.gregs[REG_RSP])
#define SIGRETURN_VERSION "UABI_1"      /* Linux's vDSO has none */

/* The kernel's ucontext, which is shorter than the C library's, and the FPU's state, which lies elsewhere. */
#define KERNEL_UC_BYTES 304
#define FP_XSTATE_MAGIC1 0x46505853

static inline unsigned long fpstate_bytes(const void *fpstate)
{
    const uint32_t *software = (const void *)((const char *)fpstate + 464);     /* struct _fpx_sw_bytes */
    return software[0] == FP_XSTATE_MAGIC1 ? software[1] : 512;
}

/* The end of the signal's frame. */
static inline uintptr_t frame_end(ucontext_t *uc)
{
    uintptr_t fpstate = (uintptr_t)uc->uc_mcontext.fpregs;
    return fpstate ? fpstate + fpstate_bytes((void *)fpstate) : (uintptr_t)uc + KERNEL_UC_BYTES + sizeof(siginfo_t);
}

/* A copy of the signal's frame below `sp`: its ucontext. */
static ucontext_t *copy_frame(ucontext_t *uc, uintptr_t sp)
{
    uintptr_t fpstate = (uintptr_t)uc->uc_mcontext.fpregs;
    if (fpstate) {
        sp = (sp - 128 - fpstate_bytes((void *)fpstate)) & -64UL;
        memcpy((void *)sp, (void *)fpstate, fpstate_bytes((void *)fpstate));
    }
    ucontext_t *copy = (void *)((sp - KERNEL_UC_BYTES) & -16UL);
    memcpy(copy, uc, KERNEL_UC_BYTES);
    copy->uc_mcontext.fpregs = fpstate ? (void *)sp : NULL;
    return copy;
}

/* Where rt_sigreturn wants SP for the frame with this ucontext. */
#define SIGRETURN_SP(uc) ((uintptr_t)(uc))

/* Stack that calls of the library's own may be made on, below the program's: its red zone stays. */
#define BELOW(sp) (((sp) - 128) & -16UL)

/* void hack1_leave(sp): give up the handler's own frame; the vDSO's rt_sigreturn takes the one at `sp`. */
__asm__(
    ".text\n"
    ".type hack1_leave, @function\n"
    "hack1_leave:\n"
    "    mov %rdi, %rsp\n"
    "    jmp *hack1_sigreturn(%rip)\n"

    /* long hack1_call_on(sp, function, number, a0, a1): a real call with SP there */
    ".type hack1_call_on, @function\n"
    "hack1_call_on:\n"
    "    push %rbp\n"
    "    mov %rsp, %rbp\n"
    "    mov %rdi, %rsp\n"
    "    mov %rsi, %rax\n"
    "    mov %rdx, %rdi\n"
    "    mov %rcx, %rsi\n"
    "    mov %r8, %rdx\n"
    "    push %rcx\n"                           /* a5, which is on the stack: anything */
    "    push %rcx\n"
    "    call *%rax\n"
    "    mov %rbp, %rsp\n"
    "    pop %rbp\n"
    "    ret\n"

    /* long hack1_clone(function, flags, uc, ptid, a3, a4): the child goes on as `uc` says, on the stack that holds it.
     * The vDSO's function ends in `ret`, in the child too: so the new stack holds an address to return to. */
    ".type hack1_clone, @function\n"
    "hack1_clone:\n"
    "    push %rbx\n"
    "    mov %rdx, %rbx\n"
    "    mov %rdi, %rax\n"
    "    lea 1f(%rip), %r10\n"
    "    lea -16(%rdx), %rdx\n"
    "    mov %r10, (%rdx)\n"
    "    mov $56, %edi\n"
    "    push $0\n"                             /* a5 */
    "    push $0\n"
    "    call *%rax\n"
    "    add $16, %rsp\n"
    "    pop %rbx\n"
    "    ret\n"
    "1:  and $-16, %rsp\n"
    "    call hack1_child\n"
    "    mov %rbx, %rdi\n"
    "    jmp hack1_leave\n"

    /* long hack1_vfork(function, flags, uc, save, save_end, low_end): clone on the same stack.  The child uses up what
     * lies between here and low_end, so the parent keeps a copy of it at `save`; and it makes the call on a stack
     * of its own, below save_end, for the address that it returns to must survive too. */
    ".type hack1_vfork, @function\n"
    "hack1_vfork:\n"
    "    push %rbp\n"
    "    push %rbx\n"
    "    push %r12\n"
    "    push %r13\n"
    "    push %r14\n"
    "    mov %rsp, %rbp\n"
    "    mov %rdx, %rbx\n"
    "    mov %rcx, %r12\n"
    "    mov %r9, %r13\n"
    "    sub %rsp, %r13\n"                      /* how much that is */
    "    mov %rdi, %rax\n"
    "    mov %rsi, %r14\n"
    "    mov %rcx, %rdi\n"
    "    mov %rsp, %rsi\n"
    "    mov %r13, %rcx\n"
    "    rep movsb\n"
    "    mov %r8, %rsp\n"
    "    mov $56, %edi\n"
    "    mov %r14, %rsi\n"
    "    xor %edx, %edx\n"                      /* no stack: the same */
    "    xor %ecx, %ecx\n"
    "    push $0\n"
    "    push $0\n"
    "    call *%rax\n"
    "    test %rax, %rax\n"
    "    jz 1f\n"
    "    mov %r12, %rsi\n"
    "    mov %rbp, %rdi\n"
    "    mov %r13, %rcx\n"
    "    rep movsb\n"
    "    mov %rbp, %rsp\n"
    "    pop %r14\n"
    "    pop %r13\n"
    "    pop %r12\n"
    "    pop %rbx\n"
    "    pop %rbp\n"
    "    ret\n"
    "1:  mov %rbp, %rsp\n"
    "    and $-16, %rsp\n"
    "    call hack1_child\n"
    "    mov %rbx, %rdi\n"
    "    jmp hack1_leave\n");
