/* CPU time is each task's own: clocks, usage, and timers on it.
 * man 2 getrusage, times, setitimer, timer_create, clock_nanosleep; man 3 clock_getcpuclockid */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>

#define MS 1000000LL

static volatile int signals, stop;
static volatile unsigned long sink;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static long long now(clockid_t clock)
{
    struct timespec time = { 0, 0 };
    if (syscall(SYS_clock_gettime, clock, &time))
        return -errno;
    return time.tv_sec * 1000 * MS + time.tv_nsec;
}

static long long used(int who)
{
    struct rusage usage;
    if (getrusage(who, &usage))
        return -errno;
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * MS
           + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

/* Compute until a clock of ours has come so far. */
static void burn(clockid_t clock, long long ns)
{
    long long end = now(clock) + ns;
    while (now(clock) < end)
        for (int i = 0; i < 2000; i++)
            sink += i;
}

/* Compute for so long, and longer while so many signals are not there: a busy host looks at timers late. */
static void burn_until(clockid_t clock, long long ns, int wanted)
{
    burn(clock, ns);
    for (int i = 0; i < 100 && signals < wanted; i++)
        burn(clock, 10 * MS);
}

static void nap(long long ns)
{
    struct timespec time = { 0, ns };
    while (nanosleep(&time, &time))
        ;
}

static int ended(pid_t child, struct rusage *usage)
{
    int status;
    if (wait4(child, &status, 0, usage) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void *burns(void *arg)
{
    burn(CLOCK_THREAD_CPUTIME_ID, (long)arg * MS);
    return NULL;
}

static void *spins(void *arg)
{
    while (!stop)
        sink++;
    return arg;
}

static void *waits(void *arg)
{
    while (!stop)
        nap(2 * MS);
    return arg;
}

/* a child computes, its parent waits */
static void children(void)
{
    struct rusage usage;
    struct tms times_before, times_after;
    long long before = used(RUSAGE_SELF), clock = now(CLOCK_PROCESS_CPUTIME_ID);
    long long inherited = used(RUSAGE_CHILDREN); /* who was a shell may have waited for some */
    times(&times_before);
    pid_t child = fork();
    if (!child) {
        int fresh = used(RUSAGE_SELF) < 40 * MS && now(CLOCK_PROCESS_CPUTIME_ID) < 40 * MS;
        burn(CLOCK_PROCESS_CPUTIME_ID, 60 * MS);
        pid_t grandchild = fork();
        if (!grandchild) {
            burn(CLOCK_PROCESS_CPUTIME_ID, 60 * MS);
            _exit(3);
        }
        int status = ended(grandchild, NULL);
        _exit(fresh && used(RUSAGE_CHILDREN) >= 59 * MS ? status : 99);
    }
    CHECK(used(RUSAGE_CHILDREN) == inherited);
    WANT(ended(child, &usage), 3);
    CHECK(used(RUSAGE_SELF) - before < 50 * MS);
    CHECK(now(CLOCK_PROCESS_CPUTIME_ID) - clock < 50 * MS);
    long long counted = used(RUSAGE_CHILDREN);
    CHECK(counted - inherited >= 118 * MS);
    CHECK((usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec
          >= 118000);
    times(&times_after);
    CHECK(times_after.tms_cutime + times_after.tms_cstime - times_before.tms_cutime - times_before.tms_cstime >= 8);

    /* of one that nobody waits for nothing is counted */
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (!child) {
        burn(CLOCK_PROCESS_CPUTIME_ID, 30 * MS);
        _exit(0);
    }
    WANT(ended(child, NULL), -ECHILD);
    signal(SIGCHLD, SIG_DFL);
    CHECK(used(RUSAGE_CHILDREN) == counted);

    /* the clock of another process */
    clockid_t theirs;
    child = fork();
    if (!child) {
        burn(CLOCK_PROCESS_CPUTIME_ID, 30 * MS);
        for (;;)
            pause();
    }
    WANT(clock_getcpuclockid(child, &theirs), 0);
    while (now(theirs) < 30 * MS)
        nap(2 * MS);
    long long then = now(theirs);
    burn(CLOCK_PROCESS_CPUTIME_ID, 30 * MS);
    CHECK(now(theirs) - then < 15 * MS);
    kill(child, SIGKILL);
    WANT(ended(child, NULL), 1000 + SIGKILL);
    WANT(now(theirs), -EINVAL);
}

static void threads(void)
{
    pthread_t thread;
    clockid_t clock;
    long long own = now(CLOCK_THREAD_CPUTIME_ID), own_usage = used(RUSAGE_THREAD);
    long long process = now(CLOCK_PROCESS_CPUTIME_ID);
    pthread_create(&thread, NULL, burns, (void *)40L);
    pthread_join(thread, NULL);
    CHECK(now(CLOCK_PROCESS_CPUTIME_ID) - process >= 40 * MS); /* those of the dead count */
    CHECK(now(CLOCK_THREAD_CPUTIME_ID) - own < 25 * MS);
    CHECK(used(RUSAGE_THREAD) - own_usage < 30 * MS);
    CHECK(now(CLOCK_THREAD_CPUTIME_ID) <= now(CLOCK_PROCESS_CPUTIME_ID));

    /* a thread's clock for another */
    stop = 0;
    pthread_create(&thread, NULL, spins, NULL);
    WANT(pthread_getcpuclockid(thread, &clock), 0);
    while (now(clock) < 20 * MS)
        nap(2 * MS);
    stop = 1;
    pthread_join(thread, NULL);
    while (now(clock) != -EINVAL) /* who joins may be told before the thread is quite gone */
        sched_yield();
    CHECK(now(clock_getcpuclockid(0, &clock) ? 0 : clock) > 60 * MS);
}

/* Signals of a timer while we sleep, and while we compute. */
static void interval(int which, int number)
{
    struct itimerval timer = { { 0, 10000 }, { 0, 10000 } }, old;
    signal(number, on_signal);
    signals = 0;
    WANT(setitimer(which, &timer, NULL), 0);
    nap(40 * MS);
    CHECK(signals <= 1);
    burn_until(CLOCK_PROCESS_CPUTIME_ID, 80 * MS, 2);
    CHECK(signals >= 2);
    memset(&timer, 0, sizeof timer);
    WANT(setitimer(which, &timer, &old), 0);
    WANT(old.it_interval.tv_usec, 10000);
    CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec > 0);
    signals = 0;
    burn(CLOCK_PROCESS_CPUTIME_ID, 20 * MS);
    WANT(signals, 0);
    WANT(getitimer(which, &old), 0);
    WANT(old.it_value.tv_usec, 0);
}

static void posix_timers(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec in = { { 0, 0 }, { 0, 15 * MS } }, left;
    pthread_t thread;
    timer_t timer;
    sigset_t usr1;
    signal(SIGUSR1, on_signal);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);

    /* on our thread's time another's does not count */
    WANT(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer), 0);
    signals = 0;
    WANT(timer_settime(timer, 0, &in, NULL), 0);
    pthread_create(&thread, NULL, burns, (void *)40L);
    pthread_join(thread, NULL);
    WANT(signals, 0);
    WANT(timer_gettime(timer, &left), 0);
    CHECK(left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 15 * MS);
    burn_until(CLOCK_THREAD_CPUTIME_ID, 40 * MS, 1);
    WANT(signals, 1);
    WANT(timer_gettime(timer, &left), 0);
    WANT(left.it_value.tv_nsec, 0);
    WANT(timer_delete(timer), 0);

    /* on the process's it does */
    WANT(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer), 0);
    signals = 0;
    WANT(timer_settime(timer, 0, &in, NULL), 0);
    nap(40 * MS);
    WANT(signals, 0);
    pthread_create(&thread, NULL, burns, (void *)60L);
    pthread_join(thread, NULL);
    burn_until(CLOCK_PROCESS_CPUTIME_ID, 0, 1);
    WANT(signals, 1);
    WANT(timer_delete(timer), 0);
}

static void sleeping(void)
{
    struct timespec time = { 0, 20 * MS };
    clockid_t own;
    pthread_t thread;
    pthread_getcpuclockid(pthread_self(), &own);
    WANT(syscall(SYS_clock_nanosleep, own, 0, &time, NULL) ? -errno : 0, -EINVAL);
    WANT(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL) ? -errno : 0, -EOPNOTSUPP);
    stop = 0;
    pthread_create(&thread, NULL, spins, NULL);
    long long before = now(CLOCK_PROCESS_CPUTIME_ID);
    WANT(syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &time, NULL) ? -errno : 0, 0);
    CHECK(now(CLOCK_PROCESS_CPUTIME_ID) - before >= 20 * MS);
    stop = 1;
    pthread_join(thread, NULL);
}

/* sleeping is giving the CPU away; computing beside somebody who computes is losing it */
static void switches(void)
{
    struct rusage before, after;
    pthread_t thread;
    getrusage(RUSAGE_THREAD, &before);
    for (int i = 0; i < 5; i++)
        nap(1 * MS);
    getrusage(RUSAGE_THREAD, &after);
    CHECK(after.ru_nvcsw - before.ru_nvcsw >= 5);
    stop = 0;
    pthread_create(&thread, NULL, waits, NULL);
    for (int i = 0; i < 20; i++)
        nap(1 * MS);
    stop = 1;
    pthread_join(thread, NULL);
    struct rusage process;
    getrusage(RUSAGE_SELF, &process);
    getrusage(RUSAGE_THREAD, &after);
    CHECK(process.ru_nvcsw > after.ru_nvcsw);
}

int main(void)
{
    guest_start();
    children();
    threads();
    interval(ITIMER_PROF, SIGPROF);
    interval(ITIMER_VIRTUAL, SIGVTALRM);
    posix_timers();
    sleeping();
    switches();
    return guest_end();
}
