/* A handler without a restorer can't be entered: x86-64's vDSO has no trampoline (x64_setup_rt_frame()). */
#include "guest.h"
#include <sys/wait.h>

struct kernel_action { void (*handler)(int); unsigned long flags; void *restorer; uint64_t mask; };

static void handler(int signal)
{
    (void)signal;
    puts("not reached");
}

int main(void)
{
    guest_start();
    struct kernel_action action = { handler, 0, 0, 0 };
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        WANT(syscall(SYS_rt_sigaction, SIGUSR1, &action, 0, 8), 0);
        raise(SIGUSR1);
        puts("not reached");
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    WANT(status & 0x7f, SIGSEGV);
    return guest_end();
}
