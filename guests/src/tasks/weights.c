/* Who is nicer gets less of the CPU, SCHED_IDLE least; nice values are each task's own.
 * man 7 sched, man 2 setpriority, man 2 sched_setscheduler
 * guest-native: no
 * guest-abis: bounce
 * guest-options: --time virtual */
#include "guest.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* What two children count to until we have slept: the first as it is, the second nicer or idle. */
static int share(int nice_by, int idle)
{
    volatile long *counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[2];
    struct timespec time = { 0, 10000000 };
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (!children[i]) {
            struct sched_param none = { 0 };
            if (i && nice_by && setpriority(PRIO_PROCESS, 0, nice_by))
                _exit(1);
            if (i && idle && syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, &none))
                _exit(1);
            for (;;)
                counts[i * 8]++;
        }
    }
    while (!counts[0] || !counts[8])
        nanosleep(&time, NULL);
    long first = counts[0], second = counts[8];
    for (int i = 0; i < 6; i++)
        nanosleep(&time, NULL);
    first = counts[0] - first;
    second = counts[8] - second;
    for (int i = 0; i < 2; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    return second ? (int)(first / second) : 1000000;
}

int main(void)
{
    guest_start();
    int equal = share(0, 0);
    CHECK(equal <= 2);
    int five = share(5, 0); /* 1024 to 335 */
    CHECK(five >= 2 && five <= 8);
    CHECK(share(19, 0) >= 8); /* 1024 to 15 */
    CHECK(share(0, 1) >= 8);

    WANT(getpriority(PRIO_PROCESS, 0), 0);
    return guest_end();
}
