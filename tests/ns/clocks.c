/* CLOCK_MONOTONIC and CLOCK_BOOTTIME, in whole seconds, as the vDSO tells them and as the kernel does; between two marks,
 * writes to descriptors that nobody has, only the vDSO is asked. Then the same in a child. */
#define _GNU_SOURCE
#include "../../guests/src/vdso/lookup.h"
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME };

static void tell(void)
{
    int (*function)(clockid_t, struct timespec *) = vdso_function("__vdso_clock_gettime");
    if (!function)
        function = vdso_function("__kernel_clock_gettime");
    struct timespec page[4], call[4];
    syscall(SYS_write, -1001, 0, 0);
    for (int i = 0; i < 4; i++)
        function(clocks[i], &page[i]);
    syscall(SYS_write, -1002, 0, 0);
    for (int i = 0; i < 4; i++)
        syscall(SYS_clock_gettime, clocks[i], &call[i]);
    for (int i = 0; i < 4; i++)
        printf("%lld %lld\n", (long long)page[i].tv_sec, (long long)call[i].tv_sec);
    fflush(stdout);
}

int main(void)
{
    tell();
    if (!fork()) {
        tell();
        _exit(0);
    }
    wait(0);
    return 0;
}
