/* Programs that single-step themselves by TF, several at once: each steps over the same calls, yields to the others, and
 * counts as many traps as it would alone.
 * man 7 signal; arch/x86/kernel/traps.c:handle_debug(), arch/x86/entry/common.c:syscall_exit_to_user_mode() */
#include "guest.h"
#include <pthread.h>
#include <sys/wait.h>
#include <ucontext.h>

static __thread volatile long traps, strange, last;

static void on_trap(int signal, siginfo_t *info, void *at)
{
    ucontext_t *context = at;
    long pc = (long)context->uc_mcontext.gregs[REG_RIP];
    (void)signal;
    if (info->si_code != TRAP_TRACE || (long)info->si_addr != pc)
        strange++;
    last = pc;
    traps++;
}

/* `rounds` times sched_yield and getppid, with TF set. */
static long steps(long rounds)
{
    traps = strange = 0;
    __asm__ volatile("pushf\n\torl $0x100, (%%rsp)\n\tpopf\n"
                     "1:\tmov $24, %%eax\n\tsyscall\n\tmov $110, %%eax\n\tsyscall\n\tnop\n\tdec %0\n\tjnz 1b\n\t"
                     "pushf\n\tandl $~0x100, (%%rsp)\n\tpopf\n\tnop"
                     : "+r"(rounds) : : "rax", "rcx", "r11", "memory", "cc");
    return traps;
}

static void *stepper(void *arg)
{
    long count = steps((long)arg);
    return (void *)(strange ? -strange : count);
}

int main(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO };
    pthread_t threads[3];
    guest_start();
    act.sa_sigaction = on_trap;
    sigaction(SIGTRAP, &act, NULL);
    long one = steps(1), two = steps(2);
    SHOW(one);
    SHOW(two - one);
    WANT(strange, 0);
    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, stepper, (void *)(20 + i));
    long wanted = one + (two - one) * 39;
    WANT(steps(40) - wanted, 0);
    for (long i = 0; i < 3; i++) {
        void *count;
        pthread_join(threads[i], &count);
        WANT((long)count - (one + (two - one) * (19 + i)), 0);
    }
    fflush(stdout);
    for (int i = 0; i < 3; i++)
        if (!fork())
            _exit(steps(50) == one + (two - one) * 49 && !strange ? 7 : 8);
    for (int i = 0; i < 3; i++) {
        int status;
        wait(&status);
        WANT(WEXITSTATUS(status), 7);
    }
    return guest_end();
}
