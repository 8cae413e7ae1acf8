/* Futexes with priority inheritance: locks that name their owner and are handed over by the kernel.
 * man 2 futex, man 3 pthread_mutexattr_setprotocol */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static uint32_t word, condition, second;
static volatile int step;

static long futex(void *uaddr, int op, uint32_t val, const void *timeout, void *uaddr2, uint32_t val3)
{
    return syscall(SYS_futex, uaddr, op | FUTEX_PRIVATE_FLAG, val, timeout, uaddr2, val3);
}

#define LOCK(uaddr) futex(uaddr, FUTEX_LOCK_PI, 0, NULL, NULL, 0)
#define TRYLOCK(uaddr) futex(uaddr, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)
#define UNLOCK(uaddr) futex(uaddr, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)

static uint32_t tid(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

static void rest(void)
{
    struct timespec time = { 0, 2000000 };
    nanosleep(&time, NULL);
}

/* Until somebody waits for the lock in the kernel. */
static void until_waited_for(volatile uint32_t *lock)
{
    while (!(*lock & FUTEX_WAITERS))
        rest();
    rest();
}

static void alone(void)
{
    struct timespec past = { 1, 0 };
    word = 0;
    WANT(LOCK(&word), 0);
    CHECK(word == tid());
    FAILS(LOCK(&word), EDEADLK);
    FAILS(TRYLOCK(&word), EDEADLK);
    WANT(UNLOCK(&word), 0);
    WANT(word, 0);
    FAILS(UNLOCK(&word), EPERM);
    WANT(TRYLOCK(&word), 0);
    CHECK(word == tid());
    WANT(UNLOCK(&word), 0);
    word = FUTEX_OWNER_DIED;
    WANT(LOCK(&word), 0);
    CHECK(word == (tid() | FUTEX_OWNER_DIED));
    WANT(UNLOCK(&word), 0);
    word = 0x3ffffff;
    FAILS(LOCK(&word), ESRCH);
    CHECK(word == (0x3ffffff | FUTEX_WAITERS));
    FAILS(LOCK(BAD), EFAULT);
    FAILS(UNLOCK(BAD), EFAULT);
    FAILS(LOCK((char *)&word + 1), EINVAL);
    FAILS(futex(&word, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0), ENOSYS);
    word = 0;
    WANT(futex(&word, FUTEX_LOCK_PI2, 0, &past, NULL, 0), 0);
    WANT(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), 0);
    FAILS(futex(&word, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &word, 0), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &word, 0), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI, 2, (void *)1, &second, 0), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &second, 9), EAGAIN);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &second, 0), 0);
    FAILS(futex(&word, FUTEX_WAIT_REQUEUE_PI, 9, NULL, &second, 0), EAGAIN);
}

static void *takes_it(void *arg)
{
    long result = LOCK(&word);
    int mine = word == (tid() | FUTEX_WAITERS) || word == (tid() | FUTEX_WAITERS | FUTEX_OWNER_DIED);
    *(int *)arg = (word & FUTEX_OWNER_DIED) != 0;
    return (void *)(result == 0 && mine && UNLOCK(&word) == 0 ? 1L : 0L);
}

static void *tries(void *arg)
{
    struct timespec soon;
    (void)arg;
    FAILS(TRYLOCK(&word), EAGAIN);
    FAILS(UNLOCK(&word), EPERM);
    clock_gettime(CLOCK_REALTIME, &soon);
    FAILS(futex(&word, FUTEX_LOCK_PI, 0, &soon, NULL, 0), ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &soon);
    FAILS(futex(&word, FUTEX_LOCK_PI2, 0, &soon, NULL, 0), ETIMEDOUT);
    soon.tv_nsec = 1000000000;
    FAILS(futex(&word, FUTEX_LOCK_PI2, 0, &soon, NULL, 0), EINVAL);
    return NULL;
}

static void *takes_and_goes(void *arg)
{
    LOCK(&word);
    step = 1;
    until_waited_for(&word);
    return arg;
}

static void two(void)
{
    pthread_t thread;
    void *result;
    int died = 1;
    word = 0;
    LOCK(&word);
    pthread_create(&thread, NULL, tries, NULL);
    pthread_join(thread, NULL);
    CHECK((word & FUTEX_TID_MASK) == tid());
    WANT(UNLOCK(&word), 0);
    word = 0;
    LOCK(&word);
    pthread_create(&thread, NULL, takes_it, &died);
    until_waited_for(&word);
    WANT(UNLOCK(&word), 0);
    pthread_join(thread, &result);
    CHECK(result && !died);

    /* the owner ends with it: who waits gets it, and is told */
    word = 0;
    step = 0;
    pthread_create(&thread, NULL, takes_and_goes, NULL);
    while (!step)
        rest();
    WANT(LOCK(&word), 0);
    CHECK(word == (tid() | FUTEX_WAITERS | FUTEX_OWNER_DIED));
    pthread_join(thread, NULL);
    WANT(UNLOCK(&word), 0);
}

static void *locks_both(void *arg)
{
    long result;
    LOCK(&second);
    step = 1;
    until_waited_for(&second);
    result = LOCK(&word) == -1 ? errno : 0;
    UNLOCK(&second);
    (void)arg;
    return (void *)result;
}

/* Each waits for the other: the second one is told. */
static void circle(void)
{
    pthread_t thread;
    void *result;
    word = second = 0;
    step = 0;
    LOCK(&word);
    pthread_create(&thread, NULL, locks_both, NULL);
    while (!step)
        rest();
    WANT(LOCK(&second), 0);
    pthread_join(thread, &result);
    WANT((long)result, EDEADLK);
    WANT(UNLOCK(&second), 0);
    WANT(UNLOCK(&word), 0);
}

static void *waits(void *arg)
{
    long result = futex(&condition, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &word, 0);
    int mine = (word & FUTEX_TID_MASK) == tid();
    (void)arg;
    __atomic_fetch_add(&step, 1, __ATOMIC_SEQ_CST);
    return (void *)(result == 0 && mine && UNLOCK(&word) == 0 ? 1L : 0L);
}

static void requeue(void)
{
    pthread_t threads[3];
    void *result;
    long all = 0;
    word = condition = 0;
    step = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, waits, NULL);
    for (int i = 0; i < 20; i++)
        rest();
    FAILS(futex(&condition, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
    FAILS(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, (void *)9, &second, 0), EINVAL);
    LOCK(&word);
    WANT(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &word, 0), 2);
    WANT(step, 0);
    WANT(UNLOCK(&word), 0);
    while (step < 2)
        rest();
    while (word)
        rest();
    WANT(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, (void *)9, &word, 0), 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        all += (long)result;
    }
    WANT(all, 3);
    WANT(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, (void *)9, &word, 0), 0);
}

static pthread_mutex_t mutex;
static long count;

static void *counts(void *arg)
{
    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&mutex);
        long seen = count;
        if (i % 50 == 0)
            sched_yield();
        count = seen + 1;
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void *dies_with_it(void *arg)
{
    pthread_mutex_lock(&mutex);
    return arg;
}

static void libc(void)
{
    pthread_mutexattr_t how;
    pthread_t threads[4];
    pthread_mutexattr_init(&how);
    WANT(pthread_mutexattr_setprotocol(&how, PTHREAD_PRIO_INHERIT), 0);
    WANT(pthread_mutex_init(&mutex, &how), 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, counts, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    WANT(count, 1200);
    WANT(pthread_mutex_lock(&mutex), 0);
    WANT(pthread_mutex_unlock(&mutex), 0);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    WANT(pthread_mutex_init(&mutex, &how), 0);
    pthread_create(&threads[0], NULL, dies_with_it, NULL);
    pthread_join(threads[0], NULL);
    WANT(pthread_mutex_lock(&mutex), EOWNERDEAD);
    WANT(pthread_mutex_consistent(&mutex), 0);
    WANT(pthread_mutex_unlock(&mutex), 0);
}

/* Between processes: the owner is killed. */
static void processes(void)
{
    uint32_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_futex, shared, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
        shared[1] = 1;
        for (;;)
            pause();
    }
    while (!shared[1])
        rest();
    pid_t killer = fork();
    if (killer == 0) {
        until_waited_for(shared);
        kill(child, SIGKILL);
        _exit(0);
    }
    WANT(syscall(SYS_futex, shared, FUTEX_LOCK_PI, 0, NULL, NULL, 0), 0);
    CHECK(*shared == (tid() | FUTEX_WAITERS | FUTEX_OWNER_DIED));
    WANT(syscall(SYS_futex, shared, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), 0);
    waitpid(child, NULL, 0);
    waitpid(killer, NULL, 0);
}

int main(void)
{
    guest_start();
    alone();
    two();
    circle();
    requeue();
    libc();
    processes();
    return guest_end();
}
