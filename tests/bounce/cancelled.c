/* A thread in a cancellation point, cancelled before an instruction of somebody else's choice.
 *
 * `plan.step` counts instructions from the C library's own `__cp_begin`; who watches sets `plan.go` when the thread is
 * there, and lets this main thread run. When nobody does, the thread is cancelled once it sleeps, and the next call
 * comes. Each observation leaves by a write to a descriptor that is not open.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOWHERE 1000

enum call { OPEN, READ, READ_WAITS, NANOSLEEP, CALLS };

volatile struct {
    uint64_t armed, step, go;
} plan;

static struct {
    uint64_t call, injected, cancelled, cleaned, returned, opened, left;
} now;

static char fifo[] = "/tmp/cancelled-fifo";
static int ends[2];

static void cleanup(void *arg)
{
    (void)arg;
    now.cleaned++;
}

static void *worker(void *arg)
{
    char byte;
    struct timespec time = { 1000, 0 };
    (void)arg;
    pthread_cleanup_push(cleanup, NULL);
    plan.armed = 1;
    switch (now.call) {
    case OPEN: open(fifo, O_RDONLY); break;
    case READ: case READ_WAITS: read(ends[0], &byte, 1); break;
    case NANOSLEEP: nanosleep(&time, NULL); break;
    }
    plan.armed = 0;
    now.returned = 1;
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void trial(void)
{
    pthread_t thread;
    void *result = NULL;
    int queued, before = dup(0);
    close(before);
    now.cleaned = now.returned = 0;
    if (now.call == READ)
        write(ends[1], "a", 1);
    plan.go = 0;
    pthread_create(&thread, NULL, worker, NULL);
    for (int turn = 0; turn < 100 && !plan.go; turn++)
        sched_yield();
    now.injected = plan.go;
    alarm(60); /* a thread that misses its cancellation sleeps for ever */
    pthread_cancel(thread);
    pthread_join(thread, &result);
    alarm(0);
    plan.armed = 0;
    now.cancelled = result == PTHREAD_CANCELED;
    int after = dup(0);
    close(after);
    now.opened = after != before;
    ioctl(ends[0], FIONREAD, &queued);
    now.left = queued;
    while (queued--) {
        char byte;
        read(ends[0], &byte, 1);
    }
    syscall(SYS_write, NOWHERE, &now, sizeof now);
}

int main(void)
{
    mkfifo(fifo, 0600);
    if (pipe(ends))
        return 1;
    for (now.call = 0; now.call < CALLS; now.call++)
        for (plan.step = 0; plan.step < 60; plan.step++) {
            trial();
            if (!now.injected)
                break;
        }
    return 0;
}
