/* argv[1] times each of some calls that are served in user space, by the instruction itself. Those before have the
 * kernel give it the pages. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int times = argc > 1 ? atoi(argv[1]) : 0, number;
    void *head;
    size_t length;
    unsigned long mask = 1UL << (SIGUSR1 - 1), old;
    for (int i = 0; i < 100; i++) {
        syscall(SYS_personality, 0xffffffffL);
        syscall(SYS_umask, 022L);
    }
    for (int i = 0; i < times; i++) {
        syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, &old, 8L);
        syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0L, 8L);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, &mask, 8L);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, 0L, &mask, 8L);
        syscall(SYS_umask, 022L);
        syscall(SYS_personality, 0xffffffffL);
        syscall(SYS_set_robust_list, 0L, 24L);
        syscall(SYS_get_robust_list, 0L, &head, &length);
        syscall(SYS_prctl, PR_SET_PDEATHSIG, 0L, 0L, 0L, 0L);
        syscall(SYS_prctl, PR_GET_PDEATHSIG, &number, 0L, 0L, 0L);
        syscall(SYS_prctl, PR_SET_TIMERSLACK, 1000L, 0L, 0L, 0L);
        syscall(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L);
    }
    return 0;
}
