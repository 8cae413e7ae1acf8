/* futex(2): who is counted when waiters are moved, who may be moved and woken by what, and a word that is mapped where
 * another was.  man 2 futex; kernel/futex/requeue.c, waitwake.c */
#include "guest.h"
#include "asleep.h"
#include <linux/futex.h>
#include <pthread.h>
#include <time.h>

static uint32_t word, other, lock;
static volatile int starting, ended;

static long futex(uint32_t *uaddr, int op, uint32_t val, const void *timeout, uint32_t *uaddr2, uint32_t val3)
{
    return syscall(SYS_futex, uaddr, op, val, timeout, uaddr2, val3);
}

#define MOVE(from, wake, move, to) futex(from, FUTEX_REQUEUE_PRIVATE, wake, (void *)(move), to, 0)
#define WAKE(uaddr, count) futex(uaddr, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0)

static void *waits(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    long result = futex(arg, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
    return (void *)result;
}

static void *waits_for_lock(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    long result = futex(arg, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 1, NULL, &lock, 0);
    if (!result)
        futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
    return (void *)result;
}

static void *locks(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    long result = futex(arg, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    if (!result)
        futex(arg, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    return (void *)result;
}

static pthread_t start(void *(*function)(void *), uint32_t *uaddr)
{
    pthread_t thread;
    starting = 0;
    pthread_create(&thread, NULL, function, uaddr);
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

static void to_the_same(void)
{
    pthread_t threads[5];
    puts("to the same word");
    word = other = 1;
    for (int i = 0; i < 5; i++)
        threads[i] = start(waits, &word);
    WANT(MOVE(&word, 1, 2L, &word), 3);
    WANT(join(threads[0]), 0);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)9L, &word, 1), 4);
    WANT(MOVE(&word, 0, 0L, &word), 0);
    WANT(WAKE(&word, 1), 1);
    WANT(join(threads[1]), 0);                  /* they kept their places */
    WANT(WAKE(&word, 9), 3);
    for (int i = 2; i < 5; i++)
        WANT(join(threads[i]), 0);
}

static void with_pi(void)
{
    puts("who waits for a lock");
    word = other = 1;
    pthread_t first = start(waits_for_lock, &word);
    FAILS(WAKE(&word, 1), EINVAL);
    FAILS(MOVE(&word, 1, 1L, &other), EINVAL);
    FAILS(MOVE(&word, 0, 1L, &other), EINVAL);
    WANT(MOVE(&word, 0, 0L, &other), 0);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1L, &other, 1), EINVAL);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1L, &other, 1), EINVAL);    /* not the lock it named */
    pthread_t second = start(waits, &word);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)9L, &lock, 1), EINVAL);     /* but the first was moved */
    WANT(join(first), 0);
    WANT(WAKE(&word, 1), 1);
    WANT(join(second), 0);

    /* behind one who just waits */
    first = start(waits, &word);
    second = start(waits_for_lock, &word);
    FAILS(futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)9L, &lock, 1), EINVAL);
    WANT(WAKE(&word, 1), 1);                    /* no look at the second */
    WANT(join(first), 0);
    first = start(waits, &word);
    FAILS(WAKE(&word, 9), EINVAL);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)0L, &lock, 1), 1);
    WANT(join(second), 0);
    second = start(waits_for_lock, &word);
    FAILS(WAKE(&word, 9), EINVAL);              /* and the first is awake */
    WANT(join(first), 0);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)0L, &lock, 1), 1);
    WANT(join(second), 0);
}

static void a_held_lock(void)
{
    puts("a lock is not woken");
    WANT(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
    pthread_t thread = start(locks, &lock);
    FAILS(WAKE(&lock, 1), EINVAL);
    FAILS(MOVE(&lock, 1, 1L, &other), EINVAL);
    WANT(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
    WANT(join(thread), 0);
}

static void *waits_for_lock_shared(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    long result = futex(arg, FUTEX_WAIT_REQUEUE_PI, 1, NULL, &lock, 0);
    if (!result)
        futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
    return (void *)result;
}

static void *ends(void *arg)
{
    syscall(SYS_set_tid_address, arg);
    starting = (int)syscall(SYS_gettid);
    syscall(SYS_exit, 0);
    return NULL;
}

/* A thread's end wakes who waits for it, unless who waits there waits for a lock. */
static void at_an_end(void)
{
    puts("a thread's end");
    word = 1;
    pthread_t waiting = start(waits_for_lock_shared, &word), ending;
    starting = 0;
    pthread_create(&ending, NULL, ends, &word);         /* never joined: its word is another */
    while (__atomic_load_n(&word, __ATOMIC_SEQ_CST))
        usleep(100);
    WANT(futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)0L, &lock, 0), 1);
    WANT(join(waiting), 0);
}

static void *waits_shared(void *arg)
{
    starting = (int)syscall(SYS_gettid);
    return (void *)futex(arg, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void *waits_a_while(void *arg)
{
    const struct timespec while_ = { 0, 50000000 };
    starting = (int)syscall(SYS_gettid);
    return (void *)futex(arg, FUTEX_WAIT, 0, &while_, NULL, 0);
}

/* The page of a waiter goes away, and another takes its place: nobody waits there. */
static void another_mapping(void)
{
    puts("another page at the same place");
    int flags = MAP_SHARED | MAP_ANONYMOUS, strange = 0;
    uint32_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    uint32_t *twin = mremap(page, 0, PAGE, MREMAP_MAYMOVE);
    pthread_t thread = start(waits_shared, page), another;
    for (int i = 0; i < 20; i++) {
        munmap(page, PAGE);
        if (mmap(page, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0) != page)
            strange++;
        strange += futex(page, FUTEX_WAKE, 9, NULL, NULL, 0) != 0;
    }
    WANT(strange, 0);
    WANT(futex(twin, FUTEX_WAKE, 9, NULL, NULL, 0), 1);
    WANT(join(thread), 0);
    munmap(twin, PAGE);
    /* nothing is left of the waiter's page but that it waits */
    another = start(waits_a_while, page);
    for (int i = 0; i < 20; i++) {
        munmap(page, PAGE);
        mmap(page, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0);
        strange += futex(page, FUTEX_WAKE, 9, NULL, NULL, 0) != 0;
    }
    WANT(strange, 0);
    WANT(join(another), -1);                    /* ETIMEDOUT */
}

int main(void)
{
    guest_start();
    to_the_same();
    with_pi();
    a_held_lock();
    at_an_end();
    another_mapping();
    return guest_end();
}
