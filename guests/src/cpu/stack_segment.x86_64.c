/* A non-canonical address is #SS, and so SIGBUS, where the access goes through the stack segment: by rsp or rbp, whatever
 * is in front of the instruction but fs and gs.  Elsewhere it is #GP and SIGSEGV.
 * Intel SDM volume 1, 3.7.4; arch/x86/kernel/traps.c:DEFINE_IDTENTRY_ERRORCODE(exc_stack_segment) */
#include "guest.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    printf("%s, si_code %#x, trap %d, error %d\n", signal == SIGBUS ? "SIGBUS" : "SIGSEGV", (unsigned)info->si_code,
           (int)regs[REG_TRAPNO], (int)regs[REG_ERR]);
    siglongjmp(back, 1);
}

/* Each sets one register to a non-canonical address and makes an access by it. */
#define CASES \
    CASE(push, "rsp", "push %rax") CASE(pop, "rsp", "pop %rax") CASE(pushf, "rsp", "pushf") \
    CASE(call, "rsp", "call 1f\n1:") CASE(ret, "rsp", "ret") CASE(iretq, "rsp", "iretq") \
    CASE(enter, "rsp", "enter $16, $0") CASE(leave, "rbp", "leave") \
    CASE(load_by_rsp, "rsp", "mov 8(%rsp), %rax") CASE(load_by_rbp, "rbp", "mov (%rbp), %rax") \
    CASE(change_by_rbp, "rbp", "addq $1, (%rbp)") CASE(vector_by_rbp, "rbp", "movaps (%rbp), %xmm0") \
    CASE(ds_in_front, "rbp", ".byte 0x3e\nmov (%rbp), %rax") CASE(fs_in_front, "rbp", "mov %fs:(%rbp), %rax") \
    CASE(rbp_as_index, "rbp", "xor %ebx, %ebx\nmov (%rbx, %rbp), %rax") CASE(push_of_memory, "rbx", "push (%rbx)") \
    CASE(load_by_rbx, "rbx", "mov (%rbx), %rax") CASE(load_by_r12, "r12", "mov (%r12), %rax") \
    CASE(load_by_r13, "r13", "mov (%r13), %rax")

#define CASE(name, reg, text) \
    static __attribute__((naked)) void name(void) { __asm__("movabs $0x8000000000001000, %" reg "\n" text "\nud2"); }
CASES
#undef CASE

int main(void)
{
#define CASE(name, reg, text) { #name, name },
    static const struct { const char *name; void (*access)(void); } cases[] = { CASES };
    static char alternate[1 << 16];
    stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
    struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    guest_start();
    sigaltstack(&stack, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGSEGV, &act, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        printf("%s: ", cases[i].name);
        if (!sigsetjmp(back, 1))
            cases[i].access();
    }
    return guest_end();
}
