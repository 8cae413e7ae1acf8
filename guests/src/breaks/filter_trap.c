/* A sandbox that emulates a call in its own handler of SIGSYS, as browsers have it. */
#include "filter.h"
#include <ucontext.h>

static volatile int count;

static void handler(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    (void)signal, (void)info;
    count++;
#if defined(__x86_64__)
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
#else
    uc->uc_mcontext.regs[0] = 4711;
#endif
}

int main(void)
{
    guest_start();
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    WANT(sigaction(SIGSYS, &act, NULL), 0);
    WANT(install(SYS_getppid, SECCOMP_RET_TRAP), 0);
    WANT(syscall(SYS_getppid), 4711);
    WANT(count, 1);
    return guest_end();
}
