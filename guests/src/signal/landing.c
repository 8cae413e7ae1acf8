/* Signals that come in while calls are made, one after the other: each finds the program in its own code, at a call's
 * instruction or anywhere else in it, and each call has its result. Another process sends them when its turn comes,
 * which is when the time slice of this one ends; our machine counts that in blocks of code, and so it ends among the
 * calls.
 * man 7 signal */
#include "guest.h"
#include <sched.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <ucontext.h>

#define SLICE_BLOCKS 500000L
#define ATTEMPTS 6
#define CALLS 60

static volatile sig_atomic_t rung, in_vdso;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
#ifdef __x86_64__
    uintptr_t pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#else
    uintptr_t pc = uc->uc_mcontext.pc;
#endif
    (void)signal, (void)info;
    rung++;
    in_vdso += pc - vdso < PAGE;
}

static void burn(long blocks)
{
    while (--blocks)
        __asm__ volatile("");
}

/* getppid, without a C library around it. */
__attribute__((noinline)) static long call(void)
{
#ifdef __x86_64__
    long rax = SYS_getppid;
    __asm__ volatile("syscall" : "+a"(rax) : : "rcx", "r11", "memory");
    return rax;
#else
    register long x8 __asm__("x8") = SYS_getppid;
    register long x0 __asm__("x0");
    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
    return x0;
#endif
}

/* Send a signal whenever one is asked for, once our turn comes. */
static void send_signals(pid_t to, volatile int *wanted)
{
    while (*wanted >= 0) {
        if (*wanted) {
            *wanted = 0;
            kill(to, SIGUSR1);
        }
        sched_yield();
    }
    _exit(0);
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    volatile int *wanted = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const long parent = call();
    int wrong = 0, status;
    guest_start();
    sigaction(SIGUSR1, &action, NULL);
    const pid_t self = getpid(), child = fork();
    if (!child)
        send_signals(self, wanted);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        const int before = rung;
        *wanted = 1;
        while (rung == before)
            ; /* now a slice begins */
        *wanted = 1;
        burn(SLICE_BLOCKS - 250 + attempt);
        for (int i = 0; i < CALLS; i++)
            wrong += call() != parent;
        while (rung == before + 1)
            ;
    }
    *wanted = -1;
    WANT(waitpid(child, &status, 0) == child, 1);
    WANT(rung, 2 * ATTEMPTS);
    WANT(wrong, 0);
    WANT(in_vdso, 0);
    return guest_end();
}
