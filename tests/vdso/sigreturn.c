/* A signal handler that returns through the vDSO's __kernel_rt_sigreturn, and is unwound from: out to main. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>
#include "../../guests/hack1/vdso.h"

struct kernel_action { void (*handler)(int); unsigned long flags; uintptr_t restorer; uint64_t mask; };

static uintptr_t restorer, inside, behind;
static int passed_restorer, passed_caller;

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *unused)
{
    uintptr_t pc = _Unwind_GetIP(context);
    (void)unused;
    passed_restorer |= pc == restorer;
    passed_caller |= pc >= inside && pc <= behind;
    return _URC_NO_REASON;
}

static void handler(int signal)
{
    (void)signal;
    _Unwind_Backtrace(step, NULL);
}

__attribute__((noinline)) static long raises(void)
{
    long result = syscall(SYS_kill, getpid(), SIGUSR1);
    __asm__ volatile("" : "+r"(result));
    return result;
}

int main(void)
{
    struct vdso where;
    restorer = vdso_symbol(getauxval(AT_SYSINFO_EHDR), "__kernel_rt_sigreturn", VERSION, &where);
    struct kernel_action action = { handler, 0x04000000, restorer, 0 };
    inside = (uintptr_t)raises;
    behind = inside + 64;
    if (!restorer || syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8) || raises())
        return 1;
    printf("through the restorer: %d, to who was interrupted: %d\n", passed_restorer, passed_caller);
    return 0;
}
