/* futex_waitv(2): a wait on several words at once, of which any may be woken.
 * Documentation/userspace-api/futex2.rst, kernel/futex/syscalls.c, kernel/futex/waitwake.c */
#include "guest.h"
#include "asleep.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define U32 2
#define PRIVATE 128

struct waiter {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
};

static uint32_t words[130];
static struct waiter list[130];
static volatile int starting;

static long waitv(void *waiters, unsigned count, unsigned flags, const void *timeout, int clock)
{
    return syscall(SYS_futex_waitv, waiters, count, flags, timeout, clock);
}

static long wake(uint32_t *uaddr, int count)
{
    return syscall(SYS_futex, uaddr, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void fill(void)
{
    for (int i = 0; i < 130; i++)
        list[i] = (struct waiter){ 0, (uintptr_t)&words[i], U32 | PRIVATE, 0 };
    memset(words, 0, sizeof words);
}

static void refusals(void)
{
    struct timespec now, past = { 0, 1 }, wrong = { 0, 1000000000 }, negative = { -1, 0 };
    clock_gettime(CLOCK_MONOTONIC, &now);
    fill();
    FAILS(waitv(list, 1, 1, NULL, 0), EINVAL);
    FAILS(waitv(list, 0, 0, NULL, 0), EINVAL);
    FAILS(waitv(list, 129, 0, NULL, 0), EINVAL);
    FAILS(waitv(NULL, 1, 0, NULL, 0), EINVAL);
    FAILS(waitv(BAD, 1, 0, NULL, 0), EFAULT);
    FAILS(waitv(WILD, 1, 0, NULL, 0), EFAULT);
    FAILS(waitv(list, 1, 0, BAD, CLOCK_MONOTONIC), EFAULT);
    FAILS(waitv(list, 1, 0, BAD, CLOCK_BOOTTIME), EINVAL);
    FAILS(waitv(list, 1, 0, &past, CLOCK_PROCESS_CPUTIME_ID), EINVAL);
    FAILS(waitv(list, 1, 0, &wrong, CLOCK_MONOTONIC), EINVAL);
    FAILS(waitv(list, 1, 0, &negative, CLOCK_MONOTONIC), EINVAL);
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), ETIMEDOUT);
    FAILS(waitv(list, 128, 0, &past, CLOCK_REALTIME), ETIMEDOUT);
    FAILS(waitv(list, 128, 0, &now, CLOCK_MONOTONIC), ETIMEDOUT);
    FAILS(waitv(BAD, 1, 0, &wrong, CLOCK_MONOTONIC), EINVAL);
    words[2] = 7;
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), ETIMEDOUT);
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EAGAIN);
    list[1].flags = PRIVATE;                    /* 8 bits */
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].flags = 3 | PRIVATE;                /* 64 */
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].flags = U32 | 0x10;
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].flags = U32;
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), ETIMEDOUT);
    list[1].reserved = 1;
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].reserved = 0;
    list[1].val = 1UL << 32;
    FAILS(waitv(list, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].val = 0;
    list[1].uaddr += 2;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EINVAL);
    list[1].uaddr = (uintptr_t)BAD;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EFAULT);
    list[1].uaddr = 4096;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EFAULT);
    list[1].flags |= PRIVATE;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EFAULT);
    words[0] = 1;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EAGAIN);       /* one after the other */
    list[1].uaddr = (uintptr_t)WILD;
    FAILS(waitv(list, 3, 0, &past, CLOCK_MONOTONIC), EFAULT);       /* but addresses first */
}

static void *waits(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    return (void *)waitv(list, (unsigned)(uintptr_t)arg, 0, NULL, 0);
}

static pthread_t start(uintptr_t count)
{
    pthread_t thread;
    starting = 0;
    pthread_create(&thread, NULL, waits, (void *)count);
    while (!starting)
        usleep(100);
    until_asleep(getpid(), starting);
    return thread;
}

static long join(pthread_t thread)
{
    void *result;
    pthread_join(thread, &result);
    return (long)result;
}

static volatile int rung;
static void ring(int signal) { rung += signal == SIGUSR1; }

static void waking(void)
{
    fill();
    pthread_t one = start(128);
    WANT(wake(&words[128], 1), 0);
    WANT(wake(&words[77], 9), 1);
    WANT(join(one), 77);
    WANT(wake(&words[77], 9), 0);
    WANT(wake(&words[0], 9), 0);                /* it is gone from all of them */

    one = start(5);
    pthread_t two = start(3);
    WANT(wake(&words[4], 9), 1);
    WANT(join(one), 4);
    WANT(wake(&words[0], 9), 1);
    WANT(join(two), 0);

    /* the same word twice, and among others who wait on it alone */
    list[3].uaddr = list[1].uaddr;
    one = start(4);
    WANT(wake(&words[1], 1), 1);
    SHOW(join(one));
    fill();

    /* moved to a word that is not in its list */
    one = start(4);
    WANT(syscall(SYS_futex, &words[2], FUTEX_REQUEUE_PRIVATE, 0, 1L, &words[100], 0), 1);
    WANT(wake(&words[2], 1), 0);
    WANT(wake(&words[100], 1), 1);
    WANT(join(one), 2);

    /* signals: without a handler that restarts it ends */
    struct sigaction act = { .sa_handler = ring, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &act, NULL);
    one = start(4);
    pthread_kill(one, SIGUSR1);
    while (!rung)
        usleep(100);
    until_asleep(getpid(), starting);
    act.sa_flags = 0;
    sigaction(SIGUSR1, &act, NULL);
    pthread_kill(one, SIGUSR1);
    WANT(join(one), -1);
    WANT(rung, 2);
    WANT(wake(&words[0], 9), 0);
}

/* Who waits and is killed waits no longer; a shared word is one of two processes. */
static void processes(void)
{
    uint32_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    fill();
    list[2] = (struct waiter){ 0, (uintptr_t)(shared + 5), U32, 0 };
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        _exit((int)waitv(list, 3, 0, NULL, 0));
    until_asleep(child, child);
    WANT(syscall(SYS_futex, shared + 5, FUTEX_WAKE, 9, NULL, NULL, 0), 1);
    WANT(waitpid(child, &status, 0) == child ? status : -1, 2 << 8);
    child = fork();
    if (!child)
        _exit((int)waitv(list, 3, 0, NULL, 0));
    until_asleep(child, child);
    kill(child, SIGKILL);
    WANT(waitpid(child, &status, 0) == child ? status : -1, 9);
    WANT(syscall(SYS_futex, shared + 5, FUTEX_WAKE, 9, NULL, NULL, 0), 0);
}

int main(void)
{
    guest_start();
    refusals();
    waking();
    processes();
    return guest_end();
}
