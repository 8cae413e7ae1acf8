/* Nobody has the CPU for itself: tasks that spin, and tasks that wait for them or for the time.
 * man 7 sched */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>

static volatile int flag, stop;
static volatile long turns[4];

static void *raises(void *arg)
{
    flag = 1;
    return arg;
}

static void *spins(void *arg)
{
    volatile long *turn = arg;
    while (!stop)
        ++*turn;
    return NULL;
}

static void *sleeps(void *arg)
{
    struct timespec time = { 0, 5000000 };
    do
        nanosleep(&time, NULL);
    while (!turns[0] || !turns[1] || !turns[2] || !turns[3]);
    stop = 1;
    return arg;
}

static int ended(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int main(void)
{
    pthread_t threads[4], sleeper;
    guest_start();

    /* without a call that could give the CPU away */
    pthread_create(&threads[0], NULL, raises, NULL);
    while (!flag)
        ;
    pthread_join(threads[0], NULL);
    WANT(flag, 1);

    /* several spin until one has slept enough */
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, spins, (void *)&turns[i]);
    pthread_create(&sleeper, NULL, sleeps, NULL);
    while (!stop)
        ;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    pthread_join(sleeper, NULL);
    CHECK(turns[0] && turns[1] && turns[2] && turns[3]);

    /* between processes, through memory alone */
    volatile int *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (!child) {
        for (int i = 0; i < 20; i++) {
            while (shared[0] <= i)
                ;
            shared[1] = i + 1;
        }
        _exit(6);
    }
    for (int i = 0; i < 20; i++) {
        shared[0] = i + 1;
        while (shared[1] <= i)
            ;
    }
    WANT(ended(child), 6);

    /* a process that never stops, and one that waits for its own time */
    child = fork();
    if (!child)
        for (;;)
            ;
    struct timespec time = { 0, 20000000 };
    WANT(nanosleep(&time, NULL), 0);
    WANT(kill(child, SIGKILL), 0);
    WANT(ended(child), 1000 + SIGKILL);

    /* calls without end are no way to keep the CPU either */
    child = fork();
    if (!child)
        for (;;)
            getppid();
    WANT(nanosleep(&time, NULL), 0);
    WANT(kill(child, SIGKILL), 0);
    WANT(ended(child), 1000 + SIGKILL);
    flag = 0;
    pthread_create(&threads[0], NULL, raises, NULL);
    while (!flag)
        sched_yield();
    pthread_join(threads[0], NULL);
    return guest_end();
}
