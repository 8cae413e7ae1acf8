/* Each of the vDSO's functions that answer with one field is called again and again, and what it says is compared with what the kernel says.
 * Around each call are calls that nobody has, which tell a test what is to come and what came out. On the CPU that the
 * caller begins on another process runs, with other numbers. The caller is no process's first thread.
 *
 * With the argument `forks` the handler of a signal makes a child, which returns from it as its parent does. With `calls`
 * the system call instruction is used instead, for some of them, with twice as many trials. */
#define _GNU_SOURCE
#include "../../guests/src/vdso/lookup.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEXT -1001   /* (function, trial) is about to be called */
#define RESULT -1002 /* it was: 0 the right answer, 1 a wrong one */
#define TRIALS 24    /* more than a function has instructions */

static const struct { const char *name; long number; } calls[] = {
    { "__kernel_getpid", SYS_getpid }, { "__kernel_gettid", SYS_gettid }, { "__kernel_getppid", SYS_getppid },
    { "__kernel_getuid", SYS_getuid }, { "__kernel_geteuid", SYS_geteuid }, { "__kernel_getgid", SYS_getgid },
    { "__kernel_getegid", SYS_getegid }, { "__kernel_getpid_retry", SYS_getpid },
};

static void go_to(unsigned long mask)
{
    syscall(SYS_sched_setaffinity, 0, sizeof mask, &mask);
}

static int forks, by_call;
static volatile pid_t child = -1; /* of the handler's; 0 in it */

/* A signal takes the task to CPU 1, and lets the other process have CPU 0 meanwhile. */
static void handler(int number)
{
    (void)number;
    if (forks && (child = fork()))
        waitpid(child, 0, 0);
    go_to(2);
    sched_yield();
}

static void *ask(void *unused)
{
    (void)unused;
    long (*kernel)(long) = vdso_function("__kernel_syscall");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i += by_call ? 3 : 1) {
        int (*function)(void) = vdso_function(calls[i].name);
        for (long trial = 0; trial < (by_call ? 2 * TRIALS : TRIALS); trial++) {
            go_to(1);
            go_to(3);
            sched_yield();
            syscall(SYS_write, NEXT, i, trial);
            int told = by_call ? syscall(calls[i].number) : function();
            syscall(SYS_write, RESULT, i, told != kernel(calls[i].number));
            if (!child)
                _exit(0);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = handler };
    pthread_t thread;
    forks = argc > 1 && !strcmp(argv[1], "forks");
    by_call = argc > 1 && !strcmp(argv[1], "calls");
    sigaction(SIGUSR1, &action, 0);
    pid_t other = fork();
    if (!other) {
        go_to(1);
        syscall(SYS_setresgid, 11, 12, 12);
        syscall(SYS_setresuid, 13, 14, 14);
        for (;;)
            sched_yield();
    }
    pthread_create(&thread, 0, ask, 0);
    pthread_join(thread, 0);
    return kill(other, SIGKILL);
}
