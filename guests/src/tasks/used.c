/* What three threads and their process have used, for whoever compares runs (argument: tell).
 * man 3 pthread_getcpuclockid */
#include "guest.h"
#include <pthread.h>
#include <time.h>

static volatile unsigned long sink;
static long long used[4];

static long long now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *works(void *arg)
{
    long number = (long)arg;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 500000 * number; j++)
            sink += j;
        for (int j = 0; j < 300 * number; j++)
            getppid();
    }
    used[number] = now(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    guest_start();
    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, works, (void *)(i + 1));
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    used[0] = now(CLOCK_PROCESS_CPUTIME_ID);
    if (argc > 1 && !strcmp(argv[1], "tell")) {
        printf("%lld %lld %lld %lld\n", used[0], used[1], used[2], used[3]);
        return 0;
    }
    CHECK(used[1] + used[2] + used[3] <= used[0]);
    return guest_end();
}
