/* A wait whose time is over before it begins leaves nothing behind: the next one waits.  man 2 futex */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <time.h>

static volatile uint32_t word, lock, other;
static struct timespec past = { 0, 1 };

static long futex(volatile uint32_t *uaddr, int op, uint32_t val, const void *timeout, volatile uint32_t *uaddr2)
{
    return syscall(SYS_futex, uaddr, op | FUTEX_PRIVATE_FLAG, val, timeout, uaddr2, FUTEX_BITSET_MATCH_ANY);
}

static void *wakes(void *unused)
{
    usleep(3000);
    while (futex(&word, FUTEX_WAKE, 1, NULL, NULL) != 1)
        usleep(1000);
    return unused;
}

static void *holds(void *unused)
{
    futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL);
    word = 1;
    while (word != 2 || !(lock & FUTEX_WAITERS))
        usleep(1000);
    futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL);
    return unused;
}

static void *requeues(void *unused)
{
    usleep(3000);
    while (syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 0, &other, word) != 1)
        usleep(1000);
    return unused;
}

int main(void)
{
    pthread_t thread;
    long first, next, error;
    guest_start();
    /* nothing is written between the two waits: another call might tidy up */
    CHECK(pthread_create(&thread, NULL, wakes, NULL) == 0);
    first = futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL);
    error = errno;
    next = futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL);
    CHECK(first == -1 && error == ETIMEDOUT);
    WANT(next, 0);
    CHECK(pthread_join(thread, NULL) == 0);

    CHECK(pthread_create(&thread, NULL, holds, NULL) == 0);
    while (word != 1)
        usleep(1000);
    first = futex(&lock, FUTEX_LOCK_PI, 0, &past, NULL);
    error = errno;
    word = 2;
    next = futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL);
    CHECK(first == -1 && error == ETIMEDOUT);
    WANT(next, 0);
    WANT(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL), 0);
    CHECK(pthread_join(thread, NULL) == 0);

    CHECK(pthread_create(&thread, NULL, requeues, NULL) == 0);
    first = futex(&word, FUTEX_WAIT_REQUEUE_PI, 2, &past, &other);
    error = errno;
    next = futex(&word, FUTEX_WAIT_REQUEUE_PI, 2, NULL, &other);
    CHECK(first == -1 && error == ETIMEDOUT);
    WANT(next, 0);
    WANT(futex(&other, FUTEX_UNLOCK_PI, 0, NULL, NULL), 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return guest_end();
}
