/* pthread_cancel of a thread that waits in a call: C libraries look at the PC that the signal interrupted.
 * guest-flags: -pthread */
#include "raw.h"
#include <pthread.h>
#include <time.h>

static int fds[2];

static void *body(void *arg)
{
    char byte;
    (void)!read(fds[0], &byte, 1);
    return arg;
}

int main(void)
{
    guest_start();
    pthread_t thread;
    void *result = NULL;
    struct timespec moment = { 0, 50000000 };
    WANT(pipe(fds), 0);
    WANT(pthread_create(&thread, NULL, body, NULL), 0);
    nanosleep(&moment, NULL);
    WANT(pthread_cancel(thread), 0);
    nanosleep(&moment, NULL);
    WANT(write(fds[1], "x", 1), 1);     /* whoever was not cancelled reads it, and returns */
    WANT(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    return guest_end();
}
