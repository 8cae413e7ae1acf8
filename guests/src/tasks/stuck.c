/* Tasks that wait for each other, for ever, when an argument says in which way; without one nothing happens.
 * man 7 futex, man 7 pipe */
#include "guest.h"
#include <pthread.h>
#include <sys/wait.h>

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static volatile int has_second;

static void *takes_second(void *arg)
{
    pthread_mutex_lock(&second);
    has_second = 1;
    pthread_mutex_lock(&first);
    return arg;
}

static void handler(int signal)
{
    (void)signal;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    pthread_t thread;
    int ends[2];
    char byte;

    guest_start();
    WANT(pipe(ends), 0);
    if (!strcmp(how, "locks")) {
        pthread_mutex_lock(&first);
        pthread_create(&thread, NULL, takes_second, NULL);
        while (!has_second)
            continue;
        pthread_mutex_lock(&second);
    } else if (!strcmp(how, "pipe")) {
        fork();
        read(ends[0], &byte, 1);
    } else if (!strcmp(how, "pause")) {
        if (fork() == 0)
            read(ends[0], &byte, 1);
        else
            pause();
    } else if (!strcmp(how, "handler")) {
        signal(SIGTERM, handler);
        read(ends[0], &byte, 1);
    }
    return guest_end();
}
