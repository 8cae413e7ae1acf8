/* pthread_cancel: in calls that block, in one that is about to, at pthread_testcancel, and anywhere when it is
 * asynchronous; what was done is done, what was not is not, and cleanup handlers run.
 * man 7 pthreads, man 3 pthread_cancel, man 3 pthread_setcancelstate
 * guest-flags: -pthread */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

static int empty[2], full[2], data[2];
static volatile int ready, cleaned, returned, spin;
static char fifo[] = "cancel-fifo";
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void cleanup(void *arg)
{
    (void)arg;
    cleaned++;
}

static void unlock(void *arg)
{
    cleaned++;
    pthread_mutex_unlock(arg);
}

/* Calls to be cancelled in; each would wait for ever, or for very long. */
static void in_read(void)
{
    char byte;
    (void)!read(empty[0], &byte, 1);
}

static void in_write(void)
{
    (void)!write(full[1], "x", 1);
}

static void in_nanosleep(void)
{
    struct timespec time = { 1000, 0 };
    nanosleep(&time, NULL);
}

static void in_poll(void)
{
    struct pollfd fd = { empty[0], POLLIN, 0 };
    poll(&fd, 1, -1);
}

static void in_open(void)
{
    (void)!open(fifo, O_RDONLY);
}

static void in_pause(void)
{
    pause();
}

static void in_sigwait(void)
{
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigwait(&set, &got);
}

static void in_wait(void)
{
    pid_t pid = fork();
    if (!pid)
        for (;;)
            pause();
    ready = 2 + pid;
    waitpid(pid, NULL, 0);
}

static void in_cond_wait(void)
{
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlock, &mutex);
    for (;;)
        pthread_cond_wait(&never, &mutex);
    pthread_cleanup_pop(1);
}

static void in_testcancel(void)
{
    for (;;) {
        pthread_testcancel();
        sched_yield(); /* not a cancellation point */
    }
}

static void anywhere(void)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        spin++;
}

/* Calls that could go on at once: the cancellation that is pending comes first, and nothing is done. */
static void about_to_read(void)
{
    char byte;
    (void)!read(data[0], &byte, 1);
}

static void about_to_write(void)
{
    (void)!write(data[1], "more", 4);
}

struct work {
    void (*body)(void);
    int disabled_first;
};

static void *worker(void *arg)
{
    const struct work *work = arg;
    pthread_cleanup_push(cleanup, NULL);
    if (work->disabled_first)
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    ready = 1;
    if (work->disabled_first) {
        while (ready != 100)
            sched_yield();
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    }
    work->body();
    returned++;
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancel(const char *name, void (*body)(void), int disabled_first)
{
    struct work work = { body, disabled_first };
    struct timespec a_while = { 0, 10000000 };
    pthread_t thread;
    void *result = NULL;
    ready = cleaned = returned = 0;
    if (pthread_create(&thread, NULL, worker, &work))
        exit(1);
    while (!ready)
        sched_yield();
    if (!disabled_first)
        nanosleep(&a_while, NULL); /* by then it is in its call */
    int child = ready > 2 ? ready - 2 : 0;
    int error = pthread_cancel(thread);
    if (disabled_first)
        ready = 100;
    pthread_join(thread, &result);
    printf("%s: %s, %s, %s, cleanup %d\n", name, error ? "not found" : "found",
           result == PTHREAD_CANCELED ? "cancelled" : "ended by itself", returned ? "returned" : "never returned",
           cleaned);
    if (child) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

int main(void)
{
    int queued;
    char block[4096];
    guest_start();
    alarm(30);
    unlink(fifo);
    if (pipe(empty) || pipe(full) || pipe(data) || mkfifo(fifo, 0600))
        return 1;
    memset(block, 'b', sizeof block);
    fcntl(full[1], F_SETFL, O_NONBLOCK);
    while (write(full[1], block, sizeof block) > 0)
        ;
    fcntl(full[1], F_SETFL, 0);
    (void)!write(data[1], "data", 4);

    cancel("read", in_read, 0);
    cancel("write", in_write, 0);
    cancel("nanosleep", in_nanosleep, 0);
    cancel("poll", in_poll, 0);
    cancel("open of a fifo", in_open, 0);
    cancel("pause", in_pause, 0);
    cancel("sigwait", in_sigwait, 0);
    cancel("waitpid", in_wait, 0);
    cancel("pthread_cond_wait", in_cond_wait, 0);
    WANT(pthread_mutex_trylock(&mutex), 0);
    cancel("pthread_testcancel", in_testcancel, 0);
    cancel("asynchronous", anywhere, 0);

    cancel("pending before a read", about_to_read, 1);
    cancel("pending before a write", about_to_write, 1);
    WANT(ioctl(data[0], FIONREAD, &queued), 0);
    WANT(queued, 4);
    WANT(read(data[0], block, 4096), 4);
    cancel("pending before a sleep", in_nanosleep, 1);

    unlink(fifo);
    return guest_end();
}
