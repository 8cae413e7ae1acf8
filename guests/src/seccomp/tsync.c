/* One thread's filter for all threads: who gets it, and which thread is named that can't have it.
 * guest-flags: -pthread
 * kernel/seccomp.c:seccomp_can_sync_threads(), seccomp_sync_threads(). man 2 seccomp */
#include "filters.h"
#include <pthread.h>

#define TSYNC SECCOMP_FILTER_FLAG_TSYNC
#define ESRCH_INSTEAD (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
#define FORBID(flags, number, error) INSTALL(flags, ON(number, SECCOMP_RET_ERRNO | (error)))

enum { THREADS = 3 };

/* Each thread does as it is told, in its turn, and waits for the end. */
static struct worker {
    pthread_t thread;
    void (*first)(void);
    pid_t tid;
    long getppid, getpgid, filters, mode, no_new_privs;
} workers[THREADS];
static pthread_barrier_t ready, go;

static void *work(void *arg)
{
    struct worker *me = arg;
    char path[64];
    me->tid = (pid_t)syscall(SYS_gettid);
    if (me->first)
        me->first();
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&go);
    errno = 0;
    me->getppid = guest_result(syscall(SYS_getppid));
    errno = 0;
    me->getpgid = guest_result(syscall(SYS_getpgid, 0));
    snprintf(path, sizeof path, "/proc/self/task/%d/status", me->tid);
    me->filters = status_of(path, "Seccomp_filters");
    me->mode = status_of(path, "Seccomp");
    me->no_new_privs = status_of(path, "NoNewPrivs");
    return NULL;
}

/* Threads 0 and up, of which those whose bits are in `odd` do something of their own first. */
static void begin(int count, int odd, void (*first)(void))
{
    pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
    pthread_barrier_init(&go, NULL, (unsigned)count + 1);
    for (int i = 0; i < count; i++) {
        workers[i].first = odd >> i & 1 ? first : NULL;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    pthread_barrier_wait(&ready);
}

static const char *outcome(long result)
{
    return result < 0 ? errno_name((int)-result) : "works";
}

static void finish(int count)
{
    pthread_barrier_wait(&go);
    for (int i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        printf("thread %d: %ld filters, mode %ld, no_new_privs %ld, getppid %s, getpgid %s\n", i, workers[i].filters,
               workers[i].mode, workers[i].no_new_privs, outcome(workers[i].getppid), outcome(workers[i].getpgid));
    }
}

static void own_filter(void)
{
    no_new_privs();
    if (FORBID(0, SYS_getpgid, EBUSY))
        puts("FAIL: no filter");
}

static int all_threads(void)
{
    begin(THREADS, 0, NULL);
    no_new_privs();
    WANT(FORBID(TSYNC, SYS_getppid, EIO), 0);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 1);
    finish(THREADS);
    return guest_failures;
}

/* A privileged thread without no_new_privs leaves the others' alone. */
static int without_no_new_privs(void)
{
    begin(THREADS, 1 << 1, no_new_privs);
    WANT(FORBID(TSYNC, SYS_getppid, EIO), 0);
    finish(THREADS);
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    return guest_failures;
}

static int one_has_its_own(void)
{
    begin(THREADS, 1 << 1, own_filter);
    no_new_privs();
    CHECK(FORBID(TSYNC, SYS_getppid, EIO) == workers[1].tid);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 0);
    WANT(status_of("/proc/self/status", "Seccomp"), 0);
    FAILS(FORBID(ESRCH_INSTEAD, SYS_getppid, EIO), ESRCH);
    WANT(FORBID(0, SYS_getppid, EIO), 0);
    CHECK(FORBID(TSYNC, SYS_getppid, EIO) == workers[1].tid);
    finish(THREADS);
    /* They have gone, and the filter can be had. */
    WANT(FORBID(TSYNC, SYS_getppid, EPERM), 0);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 2);
    return guest_failures;
}

/* Of several that can't follow, the oldest is named. */
static int the_first_is_named(void)
{
    begin(THREADS, 1 << 1 | 1 << 2, own_filter);
    no_new_privs();
    CHECK(FORBID(TSYNC, SYS_getppid, EIO) == workers[1].tid);
    finish(THREADS);
    return guest_failures;
}

/* Those with older filters of the caller's can follow, whoever added them. */
static int older_filters(void)
{
    no_new_privs();
    WANT(INSTALL(0, ALLOW), 0);
    begin(THREADS, 0, NULL);
    WANT(FORBID(0, SYS_getpgid, EBUSY), 0);
    WANT(FORBID(TSYNC, SYS_getppid, EIO), 0);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 3);
    finish(THREADS);
    return guest_failures;
}

/* One with the caller's filters and one more can't. */
static int newer_filters(void)
{
    no_new_privs();
    WANT(INSTALL(0, ALLOW), 0);
    begin(THREADS, 1 << 2, own_filter);
    CHECK(FORBID(TSYNC, SYS_getppid, EIO) == workers[2].tid);
    finish(THREADS);
    return guest_failures;
}

static void syncs(void)
{
    no_new_privs();
    if (FORBID(TSYNC, SYS_getppid, EIO))
        puts("FAIL: no filter");
}

/* The first thread of a process is one like the others. */
static int by_another(void)
{
    begin(THREADS, 1 << 2, syncs);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 1);
    WANT(status_of("/proc/self/status", "NoNewPrivs"), 1);
    FAILS(syscall(SYS_getppid), EIO);
    finish(THREADS);
    return guest_failures;
}

static int to_thread[2], from_thread[2];

static void *strictly(void *unused)
{
    char byte = 'x';
    workers[0].tid = (pid_t)syscall(SYS_gettid);
    prctl(PR_SET_SECCOMP, 1, 0, 0, 0);
    syscall(SYS_write, from_thread[1], &byte, 1);
    syscall(SYS_read, to_thread[0], &byte, 1);
    return unused;
}

/* A thread in strict mode can't follow. It lives until the process ends. */
static int strict_thread(void)
{
    pthread_t thread;
    char byte;
    if (pipe(to_thread) || pipe(from_thread))
        return 1;
    pthread_create(&thread, NULL, strictly, NULL);
    if (read(from_thread[0], &byte, 1) != 1)
        return 1;
    no_new_privs();
    CHECK(FORBID(TSYNC, SYS_getppid, EIO) == workers[0].tid);
    FAILS(FORBID(ESRCH_INSTEAD, SYS_getppid, EIO), ESRCH);
    WANT(FORBID(0, SYS_getppid, EIO), 0);
    FAILS(syscall(SYS_getppid), EIO);
    return guest_failures;
}

int main(void)
{
    guest_start();
    WANT(in_child(all_threads), 0);
    WANT(in_child(without_no_new_privs), 0);
    WANT(in_child(one_has_its_own), 0);
    WANT(in_child(the_first_is_named), 0);
    WANT(in_child(older_filters), 0);
    WANT(in_child(newer_filters), 0);
    WANT(in_child(by_another), 0);
    WANT(in_child(strict_thread), 0);
    return guest_end();
}
