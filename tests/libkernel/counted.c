/* Ten calls a round, by functions of the vDSO. */
#include <fcntl.h>
#include <time.h>
#include <uabi/uabi.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char cwd[256];
    int rounds = 0;

    for (const char *digit = argc > 1 ? argv[1] : ""; *digit; digit++)
        rounds = rounds * 10 + *digit - '0';
    for (int i = 0; i < rounds; i++) {
        __kernel_getpid();
        __kernel_getuid();
        __kernel_clock_gettime(CLOCK_MONOTONIC, &now);
        __kernel_write(-1, "x", 1);                 /* errors are entries like any other */
        __kernel_getcwd(cwd, sizeof cwd);
        __kernel_sched_yield();
        __kernel_brk(0);                            /* UABI_2's: no call more */
        __kernel_clone3(0, 0);                      /* its return address in a register */
        __kernel_futex(&rounds, 1, 1, 0, 0, 0);     /* six arguments */
        __kernel_umask(022);
    }
    return 0;
}
