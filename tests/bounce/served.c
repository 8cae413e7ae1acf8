/* argv[1] times each of some calls that are served in user space, by the instruction itself. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int times = argc > 1 ? atoi(argv[1]) : 0, number;
    void *head;
    size_t length;
    for (int i = 0; i < times; i++) {
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
