/* A signal that interrupts a call which is started over: where its handler finds the program, and what is blocked. */
#include "raw.h"
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

extern char __executable_start[], etext[];
static volatile int count, at_home, sigsys_blocked;

static void handler(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uintptr_t pc = CONTEXT_PC(uc);
    (void)signal, (void)info;
    count++;
    at_home = pc >= (uintptr_t)__executable_start && pc < (uintptr_t)etext;
    sigsys_blocked = sigismember(&uc->uc_sigmask, SIGSYS);
}

int main(void)
{
    guest_start();
    int fds[2];
    char byte = 0;
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
    WANT(sigaction(SIGUSR1, &act, NULL), 0);
    WANT(pipe(fds), 0);
    int child = fork();
    if (!child) {
        struct timespec moment = { 0, 50000000 };
        nanosleep(&moment, NULL);
        kill(getppid(), SIGUSR1);
        nanosleep(&moment, NULL);
        (void)!write(fds[1], "x", 1);
        _exit(0);
    }
    WANT(read(fds[0], &byte, 1), 1);
    CHECK(waitpid(child, NULL, 0) == child);
    WANT(count, 1);
    CHECK(!sigsys_blocked);
    CHECK(at_home);
    return guest_end();
}
