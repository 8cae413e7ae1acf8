/* A sleep of no length leaves nothing behind: the next sleep lasts, and sigsuspend(2) waits with its own mask.
 * man 2 nanosleep, man 2 sigsuspend */
#include "guest.h"
#include <time.h>

static void caught(int signal)
{
    (void)signal;
}

int main(void)
{
    struct timespec none = { 0, 0 }, some = { 0, 20000000 }, before, after;
    struct sigaction action = { .sa_handler = caught };
    sigset_t all, usr1, empty;
    guest_start();
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&none, NULL);
    nanosleep(&some, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= some.tv_nsec);

    sigfillset(&all);
    sigemptyset(&empty);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    raise(SIGUSR1);
    nanosleep(&none, NULL);
    FAILS(sigsuspend(&empty), EINTR);
    return guest_end();
}
