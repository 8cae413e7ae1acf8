/* Threads as pthread makes them: mutexes, condition variables, joining, detaching, thread-local data and its
 * destructors, barriers, once, cancellation, and the end of the first thread before the others.
 * man 3 pthread_create, man 2 clone */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 16, ROUNDS = 400 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;
static __thread int own = 7;

static void *count(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        long seen = counter;
        if (i % 50 == 0)
            sched_yield();
        counter = seen + 1;
        pthread_mutex_unlock(&lock);
    }
    own += (int)(intptr_t)arg;
    return (void *)(intptr_t)own;
}

static void mutual_exclusion(void)
{
    pthread_t threads[THREADS];
    int sum = 0;
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, count, (void *)i))
            puts("FAIL: pthread_create");
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (int)(intptr_t)result;
    }
    WANT(counter, THREADS * ROUNDS);
    WANT(sum, THREADS * 7 + THREADS * (THREADS - 1) / 2);
    WANT(own, 7);
}

/* A ring: each passes the turn to the next one. */
static int turn;

static void *pass(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int round = 0; round < 20; round++) {
        pthread_mutex_lock(&lock);
        while (turn % THREADS != me)
            pthread_cond_wait(&changed, &lock);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void conditions(void)
{
    pthread_t threads[THREADS];
    struct timespec soon;
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, pass, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    WANT(turn, THREADS * 20);
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_sec++;
        soon.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    CHECK(pthread_cond_timedwait(&changed, &lock, &soon) == ETIMEDOUT);
    pthread_mutex_unlock(&lock);
}

static pthread_key_t key;
static int destroyed;

static void destroy(void *value)
{
    destroyed += (int)(intptr_t)value;
    if ((intptr_t)value == 5)
        pthread_setspecific(key, (void *)100);  /* asked for again */
}

static void *with_key(void *arg)
{
    pthread_setspecific(key, arg);
    return NULL;
}

static sem_t done;

static void *detached(void *arg)
{
    usleep(1000);
    sem_post(arg);
    return NULL;
}

static void *sleeper(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int onces;

static void only_once(void)
{
    usleep(2000);
    onces++;
}

static pthread_barrier_t barrier;

static void *meet(void *arg)
{
    (void)arg;
    pthread_once(&once, only_once);
    return (void *)(intptr_t)(pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void the_rest(void)
{
    pthread_t threads[THREADS], one;
    pthread_attr_t attributes;
    void *result;
    int serial = 0;
    WANT(pthread_key_create(&key, destroy), 0);
    pthread_create(&one, NULL, with_key, (void *)5);
    pthread_join(one, NULL);
    WANT(destroyed, 105);

    sem_init(&done, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 4; i++)
        WANT(pthread_create(&one, &attributes, detached, &done), 0);
    for (int i = 0; i < 4; i++)
        WANT(sem_wait(&done), 0);

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, meet, NULL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &result);
        serial += (int)(intptr_t)result;
    }
    WANT(serial, 1);
    WANT(onces, 1);

    pthread_create(&one, NULL, sleeper, NULL);
    usleep(1000);
    WANT(pthread_cancel(one), 0);
    pthread_join(one, &result);
    CHECK(result == PTHREAD_CANCELED);
}

/* All threads of a process see the same pid, and tids that differ. */
static void *tell(void *arg)
{
    long *told = arg;
    told[0] = getpid();
    told[1] = syscall(SYS_gettid);
    return NULL;
}

static void *outlive(void *arg)
{
    pthread_t first = *(pthread_t *)arg;
    pthread_join(first, NULL);
    puts("the first thread has gone");
    exit(23);
}

int main(void)
{
    static pthread_t self;
    pthread_t one;
    long told[2];
    int status;
    guest_start();
    mutual_exclusion();
    conditions();
    the_rest();
    pthread_create(&one, NULL, tell, told);
    pthread_join(one, NULL);
    CHECK(told[0] == getpid());
    CHECK(told[1] != getpid());
    CHECK(syscall(SYS_gettid) == getpid());
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        self = pthread_self();
        pthread_create(&one, NULL, outlive, &self);
        pthread_exit(NULL);
    }
    WANT(waitpid(child, &status, 0) == child, 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 23);
    return guest_end();
}
