/* Signals.  Handlers return to the vDSO's rt_sigreturn, so that this is a call like the others. */
#include "internal.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define RESTORER 0x04000000UL            /* SA_RESTORER, which not every header has */
#define SET_BYTES 8

/* What the kernel has: not the C library's. */
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

int sigaction(int signal, const struct sigaction *restrict new, struct sigaction *restrict old)
{
    struct kernel_sigaction set = { 0 }, was = { 0 };
    long result;

    if (new) {
        set.handler = new->sa_handler;
        set.flags = (unsigned long)new->sa_flags | RESTORER;
        set.restorer = (void (*)(void))uabi_symbol("__kernel_rt_sigreturn", "UABI_1");
        if (!set.restorer)
            set.restorer = (void (*)(void))__kernel_rt_sigreturn;
        memcpy(&set.mask, &new->sa_mask, sizeof set.mask);
    }
    result = told(__kernel_rt_sigaction(signal, new ? &set : NULL, &was, SET_BYTES));
    if (!result && old) {
        memset(old, 0, sizeof *old);
        old->sa_handler = was.handler;
        old->sa_flags = (int)(was.flags & ~RESTORER);
        memcpy(&old->sa_mask, &was.mask, sizeof was.mask);
    }
    return (int)result;
}

int sigprocmask(int how, const sigset_t *restrict new, sigset_t *restrict old)
{
    return (int)told(__kernel_rt_sigprocmask(how, (void *)new, old, SET_BYTES));
}

int sigsuspend(const sigset_t *mask)
{
    return (int)told(__kernel_rt_sigsuspend((void *)mask, SET_BYTES));
}

int sigemptyset(sigset_t *set)
{
    memset(set, 0, sizeof *set);
    return 0;
}

int sigaddset(sigset_t *set, int signal)
{
    *(unsigned long *)set |= 1UL << (signal - 1);
    return 0;
}

int kill(pid_t pid, int signal)
{
    return (int)told(__kernel_kill(pid, signal));
}

int raise(int signal)
{
    return (int)told(__kernel_tgkill((int)__kernel_getpid(), (int)__kernel_gettid(), signal));
}
