/* Sixty-four threads at once, with everything that pthread has for them: each kind of mutex, condition variables
 * on both clocks, barriers that are used again, read-write locks, semaphores, keys whose destructors set other
 * keys, cleanup handlers of threads that are cancelled where they wait, and fork by one of many.
 * man 3 pthread_mutexattr_settype, man 3 pthread_setcancelstate, man 7 pthreads
 */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <time.h>

enum { CROWD = 64, ROUNDS = 30 };

static pthread_t crowd[CROWD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void start(void *(*work)(void *))
{
    int failed = 0;
    for (long i = 0; i < CROWD; i++)
        failed += pthread_create(&crowd[i], NULL, work, (void *)i) != 0;
    if (failed)
        WANT(failed, 0);
}

/* Joins all; the sum of their results. */
static long join_all(void)
{
    long sum = 0;
    for (int i = 0; i < CROWD; i++) {
        void *result = NULL;
        if (pthread_join(crowd[i], &result))
            puts("FAIL: pthread_join");
        sum += (long)result;
    }
    return sum;
}

/* ---- one lock of each kind */

static pthread_mutex_t kinds[4];
static long counters[4], most_spun;
static pthread_spinlock_t spin;
static sem_t places;
static int inside, most_inside;

static void *take_each(void *arg)
{
    long wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int which = (int)((long)arg + round) % 4;
        wrong += pthread_mutex_lock(&kinds[which]) != 0;
        long seen = counters[which];
        if (round % 10 == 0)
            sched_yield();
        counters[which] = seen + 1;
        wrong += pthread_mutex_unlock(&kinds[which]) != 0;
        if (round % 10 == 5) {
            sem_wait(&places);
            int now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
            if (now > most_inside)
                most_inside = now;
            sched_yield();
            __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
            sem_post(&places);
        }
    }
    pthread_spin_lock(&spin);
    most_spun++;
    pthread_spin_unlock(&spin);
    return (void *)wrong;
}

static void *fail_to_take(void *arg)
{
    return (void *)(long)pthread_mutex_trylock(arg);
}

static void mutexes(void)
{
    static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };
    pthread_mutexattr_t attributes;
    pthread_t one;
    void *result;
    for (int i = 0; i < 4; i++) {
        pthread_mutexattr_init(&attributes);
        if (i < 3)
            pthread_mutexattr_settype(&attributes, types[i]);
        else
            pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        WANT(pthread_mutex_init(&kinds[i], &attributes), 0);
    }
    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    sem_init(&places, 0, 3);
    start(take_each);
    WANT(join_all(), 0);
    WANT(counters[0] + counters[1] + counters[2] + counters[3], CROWD * ROUNDS);
    WANT(most_spun, CROWD);
    CHECK(most_inside >= 1 && most_inside <= 3);

    WANT(pthread_mutex_lock(&kinds[1]) | pthread_mutex_lock(&kinds[1]), 0);
    pthread_create(&one, NULL, fail_to_take, &kinds[1]);
    pthread_join(one, &result);
    WANT((long)result, EBUSY);
    WANT(pthread_mutex_unlock(&kinds[1]) | pthread_mutex_unlock(&kinds[1]), 0);
    WANT(pthread_mutex_unlock(&kinds[2]), EPERM);
    WANT(pthread_mutex_lock(&kinds[2]), 0);
    WANT(pthread_mutex_lock(&kinds[2]), EDEADLK);
    WANT(pthread_mutex_unlock(&kinds[2]), 0);
}

/* ---- all wait for one word, and meet again and again */

static int go, waiting;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long written[2];

static void *meet(void *arg)
{
    long serial = 0;
    pthread_mutex_lock(&lock);
    waiting++;
    while (!go)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 5; i++)
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
    for (int i = 0; i < 4; i++) {
        if ((long)arg % 8 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            written[0]++;
            sched_yield();
            written[1]++;
        } else {
            pthread_rwlock_rdlock(&rwlock);
            serial += written[0] != written[1] ? 1000 : 0;
        }
        pthread_rwlock_unlock(&rwlock);
    }
    return (void *)serial;
}

static int wait_for_nothing(clockid_t clock)
{
    pthread_condattr_t attributes;
    pthread_cond_t never;
    struct timespec until;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, clock);
    pthread_cond_init(&never, &attributes);
    clock_gettime(clock, &until);
    until.tv_nsec += 2000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    int result = pthread_cond_timedwait(&never, &lock, &until);
    pthread_mutex_unlock(&lock);
    return result;
}

static void meetings(void)
{
    pthread_barrier_init(&barrier, NULL, CROWD);
    start(meet);
    for (int all = 0; !all; usleep(500)) {
        pthread_mutex_lock(&lock);
        all = waiting == CROWD;
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    go = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    WANT(join_all(), 5);
    WANT(written[0], CROWD / 8 * 4);
    CHECK(wait_for_nothing(CLOCK_REALTIME) == ETIMEDOUT);
    CHECK(wait_for_nothing(CLOCK_MONOTONIC) == ETIMEDOUT);
}

/* ---- data of a thread's own */

static pthread_key_t first, second;
static int ends[2];
static __thread char own[5000] = "own";
static __thread long zero[100];

static void end_first(void *value)
{
    __atomic_add_fetch(&ends[0], 1, __ATOMIC_SEQ_CST);
    pthread_setspecific(second, value);                 /* seen in this round or the next */
}

static void end_second(void *value)
{
    (void)value;
    __atomic_add_fetch(&ends[1], 1, __ATOMIC_SEQ_CST);
}

static void *use_own(void *arg)
{
    long wrong = strcmp(own, "own") != 0;
    for (int i = 0; i < 100; i++)
        wrong += zero[i] != 0;
    memset(own, (int)(long)arg, sizeof own);
    for (int i = 0; i < 100; i++)
        zero[i] = (long)arg;
    pthread_setspecific(first, own);
    sched_yield();
    for (int i = 0; i < 100; i++)
        wrong += zero[i] != (long)arg;
    return (void *)wrong;
}

static void keys(void)
{
    WANT(pthread_key_create(&first, end_first), 0);
    WANT(pthread_key_create(&second, end_second), 0);
    start(use_own);
    WANT(join_all(), 0);
    WANT(ends[0], CROWD);
    WANT(ends[1], CROWD);
    CHECK(!strcmp(own, "own"));
}

/* ---- cancelled where they wait */

static int pipe_ends[2], cleaned[5];
static sem_t never, ready;

static void clean(void *arg)
{
    __atomic_add_fetch(&cleaned[(long)arg], 1, __ATOMIC_SEQ_CST);
}

static void unlock(void *arg)
{
    clean(arg);
    pthread_mutex_unlock(&lock);                        /* a cancelled wait holds the mutex again */
}

static void *wait_somewhere(void *arg)
{
    char byte;
    const long how = (long)arg % 5;
    if (how == 0) {
        pthread_mutex_lock(&lock);
        pthread_cleanup_push(unlock, (void *)how);
        sem_post(&ready);
        for (;;)
            pthread_cond_wait(&changed, &lock);
        pthread_cleanup_pop(0);
    }
    pthread_cleanup_push(clean, (void *)how);
    sem_post(&ready);
    if (how == 1)
        (void)!read(pipe_ends[0], &byte, 1);
    else if (how == 2)
        sem_wait(&never);
    else if (how == 3)
        for (;;)
            pause();
    else {
        int old;
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
        for (volatile long i = 0;; i++)
            ;                                           /* no call at all */
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static int refused;

static void *refuse(void *arg)
{
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    sem_post(&ready);
    usleep(2000);
    refused = 1;
    pthread_setcancelstate(old, &old);
    for (;;)
        pthread_testcancel();
    return arg;
}

static void cancellations(void)
{
    pthread_t one;
    void *result;
    long cancelled = 0;
    (void)!pipe(pipe_ends);
    sem_init(&never, 0, 0);
    sem_init(&ready, 0, 0);
    start(wait_somewhere);
    for (int i = 0; i < CROWD; i++)
        sem_wait(&ready);
    for (int i = 0; i < CROWD; i++)
        if (pthread_cancel(crowd[i]))
            puts("FAIL: pthread_cancel");
    for (int i = 0; i < CROWD; i++) {
        pthread_join(crowd[i], &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    WANT(cancelled, CROWD);
    for (int i = 0; i < 5; i++)
        WANT(cleaned[i], CROWD / 5 + (i < CROWD % 5));
    pthread_create(&one, NULL, refuse, NULL);
    sem_wait(&ready);
    WANT(pthread_cancel(one), 0);
    pthread_join(one, &result);
    CHECK(refused && result == PTHREAD_CANCELED);
}

/* ---- signals to one of many, and a child of one of many */

static volatile sig_atomic_t caught;
static pthread_t catcher;

static void on_usr1(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), catcher))
        caught++;
}

static int prepared, parent_after, child_after;
static void prepare(void) { prepared++; }
static void in_parent(void) { parent_after++; }
static void in_child(void) { child_after++; }

static void *make_child(void *arg)
{
    int status;
    (void)arg;
    catcher = pthread_self();
    pthread_kill(pthread_self(), SIGUSR1);
    fflush(stdout);
    pid_t child = fork();
    if (!child)                                         /* has this thread alone */
        _exit(child_after == 1 && getpid() == syscall(SYS_gettid) ? 7 : 8);
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return NULL;
}

static void children(void)
{
    sigset_t none;
    struct sigaction action = { .sa_handler = on_usr1 };
    pthread_t one;
    sigaction(SIGUSR1, &action, NULL);
    pthread_atfork(prepare, in_parent, in_child);
    pthread_create(&one, NULL, make_child, NULL);
    WANT(pthread_join(one, NULL), 0);
    WANT(caught, 1);
    WANT(prepared, 1);
    WANT(parent_after, 1);
    WANT(child_after, 0);
    sigfillset(&none);
    WANT(pthread_sigmask(SIG_BLOCK, NULL, &none), 0);
    CHECK(!sigismember(&none, SIGUSR1));
}

int main(void)
{
    guest_start();
    mutexes();
    meetings();
    keys();
    cancellations();
    children();
    return guest_end();
}
