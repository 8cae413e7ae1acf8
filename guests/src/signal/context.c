/* The context that a handler is given is the program's: what is changed there is there after the return.
 * man 2 sigreturn, man 3 getcontext */
#include "guest.h"
#include <ucontext.h>

static volatile int calls;

#ifdef __x86_64__
#define STEP 2                                          /* ud2 */
#define PC(c) (c)->uc_mcontext.gregs[REG_RIP]
#define VALUE(c) (c)->uc_mcontext.gregs[REG_RBX]
#else
#define STEP 4
#define PC(c) (c)->uc_mcontext.pc
#define VALUE(c) (c)->uc_mcontext.regs[19]
#endif

static void skip(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    (void)signal;
    calls += (void *)PC(c) == info->si_addr;
    VALUE(c) += 1;
    PC(c) += STEP;
    sigaddset((sigset_t *)&c->uc_sigmask, SIGUSR2);
}

int main(void)
{
    struct sigaction act = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };
    sigset_t set;
    double before = 1.0 / 3, after;
    long result;
    guest_start();
    sigaction(SIGILL, &act, NULL);
#ifdef __x86_64__
    __asm__ volatile("mov $41, %%rbx\n\tmovq %2, %%xmm9\n\tud2\n\tmovq %%xmm9, %1\n\tmov %%rbx, %0"
                     : "=r"(result), "=r"(after) : "r"(before) : "rbx", "xmm9");
#else
    __asm__ volatile("mov x19, #41\n\tfmov d9, %2\n\tudf #0\n\tfmov %1, d9\n\tmov %0, x19"
                     : "=r"(result), "=r"(after) : "r"(before) : "x19", "v9");
#endif
    WANT(result, 42);
    WANT(calls, 1);
    CHECK(before == after);
    sigprocmask(SIG_BLOCK, NULL, &set);
    CHECK(sigismember(&set, SIGUSR2) && !sigismember(&set, SIGILL));
    return guest_end();
}
