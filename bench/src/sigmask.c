/* argv[1] times a signal is blocked and unblocked again, by the instruction itself. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long times = argc > 1 ? atol(argv[1]) : 1;
    unsigned long usr1 = 1UL << (SIGUSR1 - 1), old = 0;
    for (long i = 0; i < times; i++) {
        syscall(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, &old, 8L);
        syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &usr1, 0L, 8L);
    }
    printf("sigmask %ld old %lu\n", times, old);
    return 0;
}
