/* Asks the C library for the time, often; nothing of it should reach the kernel. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

int main(void)
{
    static const clockid_t clocks[] = {
        CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_REALTIME_COARSE,
        CLOCK_MONOTONIC_COARSE,
    };
    struct timespec last[7] = {{0, 0}}, now;
    struct timeval tv;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 7; i++) {
            if (clock_gettime(clocks[i], &now))
                return 1;
            if (now.tv_sec < last[i].tv_sec || (now.tv_sec == last[i].tv_sec && now.tv_nsec < last[i].tv_nsec))
                return 2;
            last[i] = now;
        }
        if (gettimeofday(&tv, 0) || time(0) < tv.tv_sec || tv.tv_sec < last[0].tv_sec)
            return 3;
    }
    puts("ok");
    return 0;
}
