/* A thread: clone with a new stack.
 * guest-flags: -pthread */
#include "raw.h"
#include <pthread.h>

static void *body(void *arg)
{
    return getpid() > 0 ? arg : NULL;
}

int main(void)
{
    guest_start();
    pthread_t thread;
    void *result = NULL;
    WANT(pthread_create(&thread, NULL, body, &thread), 0);
    WANT(pthread_join(thread, &result), 0);
    CHECK(result == &thread);
    return guest_end();
}
