/* RLIMIT_NPROC: a process that forks without end is stopped by EAGAIN, and goes on when children have gone.
 * man 2 fork, man 2 setrlimit */
#include "guest.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int go[2];
static int forked, errno_at_end;

/* Fork until it fails; the children wait for the pipe's end. */
static void bomb(void)
{
    for (forked = 0; forked < 1000; forked++) {
        pid_t child = fork();
        if (child < 0) {
            errno_at_end = errno;
            return;
        }
        if (!child) {
            char byte;
            close(go[1]);
            read(go[0], &byte, 1);
            _exit(0);
        }
    }
}

static void *wait_for_it(void *arg)
{
    char byte;
    read(go[0], &byte, 1);
    return arg;
}

int main(void)
{
    struct rlimit limit = { 12, 12 };
    pthread_t threads[20];
    guest_start();
    /* the limit counts the user's tasks everywhere: be somebody who has none, if that may be chosen */
    int alone = getuid() == 0 && !setresgid(54321, 54321, 54321) && !setresuid(54321, 54321, 54321);
    WANT(setrlimit(RLIMIT_NPROC, &limit), 0);
    pipe(go);
    fflush(stdout);
    bomb();
    FAILS((errno = errno_at_end, -1), EAGAIN);
    CHECK(forked == (alone ? 11 : forked) && forked < 12);
    close(go[1]);
    for (int i = 0; i < forked; i++)
        if (wait(NULL) < 0)
            puts("FAIL: wait");
    FAILS(wait(NULL), ECHILD);
    pipe(go);
    int before = forked;
    bomb();
    CHECK(forked == before);
    FAILS((errno = errno_at_end, -1), EAGAIN);
    close(go[1]);
    while (wait(NULL) > 0)
        ;
    /* threads count as well */
    pipe(go);
    int made = 0, error = 0;
    while (made < 20 && !(error = pthread_create(&threads[made], NULL, wait_for_it, NULL)))
        made++;
    CHECK(made == before);
    FAILS((errno = error, -1), EAGAIN);
    close(go[1]);
    while (made)
        pthread_join(threads[--made], NULL);
    return guest_end();
}
