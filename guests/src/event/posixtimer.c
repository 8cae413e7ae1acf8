/* POSIX timers.  man 2 timer_create, timer_settime, timer_getoverrun */
#include "guest.h"
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#define MS 1000000L

static siginfo_t last;
static volatile int count;
static volatile pthread_t who;

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    last = *info;
    who = pthread_self();
    count++;
}

static int set(int timer, int flags, long value_ns, long interval_ns)
{
    struct itimerspec new = {
        { interval_ns / 1000000000, interval_ns % 1000000000 }, { value_ns / 1000000000, value_ns % 1000000000 }
    };
    return syscall(SYS_timer_settime, timer, flags, &new, NULL);
}

static long left(int timer)
{
    struct itimerspec now;
    if (syscall(SYS_timer_gettime, timer, &now))
        return -errno;
    return now.it_value.tv_sec * 1000000000L + now.it_value.tv_nsec;
}

static int create(clockid_t clock, int notify, int signal, long value)
{
    struct sigevent event = { .sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_ptr = (void *)value };
    int timer = -1;
    event.sigev_notify_thread_id = syscall(SYS_gettid);
    return syscall(SYS_timer_create, clock, &event, &timer) ? -1 : timer;
}

static void *other_thread(void *argument)
{
    int timer = create(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN, 5);
    count = 0;
    set(timer, 0, MS, 0);
    while (!count)
        ;
    *(int *)argument = pthread_equal(who, pthread_self());
    syscall(SYS_timer_delete, timer);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        /* after execve no timer is left, and none fires */
        usleep(250000);
        return left(atoi(argv[1])) == -EINVAL ? 6 : 1;
    }
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    sigset_t set_of, old;
    int timer, status;
    guest_start();
    sigaction(SIGALRM, &act, NULL);
    sigaction(SIGRTMIN, &act, NULL);
    sigaction(SIGUSR1, &act, NULL);

    WANT(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer), 0);
    WANT(left(timer), 0);
    WANT(set(timer, 0, 100000 * MS, 0), 0);
    CHECK(left(timer) > 0 && left(timer) <= 100000 * MS);
    sigemptyset(&set_of);
    sigaddset(&set_of, SIGALRM);
    sigprocmask(SIG_BLOCK, &set_of, &old);
    WANT(set(timer, 0, 2 * MS, 0), 0);
    sigsuspend(&old);
    sigprocmask(SIG_SETMASK, &old, NULL);
    WANT(count, 1);
    WANT(last.si_signo, SIGALRM);
    WANT(last.si_code, SI_TIMER);
    CHECK(last.si_value.sival_int == timer && last.si_timerid == timer);
    WANT(last.si_overrun, 0);
    WANT(left(timer), 0);
    WANT(syscall(SYS_timer_getoverrun, timer), 0);
    WANT(syscall(SYS_timer_delete, timer), 0);
    FAILS(syscall(SYS_timer_delete, timer), EINVAL);
    FAILS(set(timer, 0, 1, 0), EINVAL);

    /* overruns: ten ends pass while the signal is blocked; one signal is pending */
    timer = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0x123456789L);
    sigemptyset(&set_of);
    sigaddset(&set_of, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set_of, &old);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    WANT(set(timer, TIMER_ABSTIME, start.tv_sec * 1000000000L + start.tv_nsec - 1000 * MS, 100 * MS), 0);
    count = 0;
    siginfo_t info;
    CHECK(sigwaitinfo(&set_of, &info) == SIGRTMIN);
    CHECK(info.si_code == SI_TIMER && info.si_timerid == timer && info.si_value.sival_ptr == (void *)0x123456789L);
    CHECK(info.si_overrun == 10 || info.si_overrun == 11);
    CHECK(syscall(SYS_timer_getoverrun, timer) == info.si_overrun);
    WANT(set(timer, 0, 0, 5), 0);
    WANT(syscall(SYS_timer_getoverrun, timer), 0);
    /* setting it again takes a pending signal back */
    WANT(set(timer, TIMER_ABSTIME, 1, 0), 0);
    sigset_t pending;
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGRTMIN));
    WANT(set(timer, 0, 0, 0), 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    WANT(count, 0);

    /* while it computes, and while it sleeps */
    WANT(set(timer, 0, MS, MS), 0);
    while (count < 3)
        ;
    count = 0;
    struct timespec rest, sleeping = { 1000, 0 };
    FAILS(nanosleep(&sleeping, &rest), EINTR);
    CHECK(count >= 1);
    WANT(syscall(SYS_timer_delete, timer), 0);

    /* two timers with the same ordinary signal: both are told */
    int first = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 1), second = create(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGUSR1, 2);
    sigaddset(&set_of, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set_of, NULL);
    WANT(set(first, TIMER_ABSTIME, 1, 0), 0);
    WANT(set(second, TIMER_ABSTIME, 1, 0), 0);
    count = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    WANT(count, 2);

    /* nobody is told */
    timer = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    WANT(set(timer, 0, 100000 * MS, 0), 0);
    CHECK(left(timer) > 99000 * MS);
    WANT(set(timer, 0, 1, 0), 0);
    usleep(10);
    WANT(left(timer), 0);
    WANT(set(timer, 0, 1, 1000 * MS), 0);
    CHECK(left(timer) > 0);

    /* CPU time */
    timer = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 7);
    count = 0;
    WANT(set(timer, 0, MS, 0), 0);
    while (!count)
        ;
    WANT(last.si_value.sival_int, 7);

    /* a thread's own; and a process's timers are not its child's */
    int own = 0;
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, other_thread, &own), 0);
    WANT(pthread_join(thread, NULL), 0);
    WANT(own, 1);
    timer = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 8);
    pid_t child = fork();
    if (!child)
        _exit(left(timer) == -EINVAL ? 7 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(WEXITSTATUS(status), 7);
    child = fork();
    if (!child) {
        char number[16];
        timer = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGKILL, 0);
        set(timer, 0, 200 * MS, 0);
        snprintf(number, sizeof number, "%d", timer);
        execl("/proc/self/exe", argv[0], number, NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 6 << 8);

    FAILS(create(CLOCK_MONOTONIC_RAW, SIGEV_SIGNAL, SIGUSR1, 0), EOPNOTSUPP);
    FAILS(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 65, 0), EINVAL);
    FAILS(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0), EINVAL);
    FAILS(create(CLOCK_MONOTONIC, 3, SIGUSR1, 0), EINVAL);
    FAILS(create(10, SIGEV_SIGNAL, SIGUSR1, 0), EINVAL);
    FAILS(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, BAD), EFAULT);
    FAILS(syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &timer), EFAULT);
    FAILS(set(first, 0, -1000000000L, 0), EINVAL);
    FAILS(syscall(SYS_timer_settime, first, 0, NULL, NULL), EINVAL);
    FAILS(syscall(SYS_timer_gettime, first, BAD), EFAULT);
    FAILS(syscall(SYS_timer_getoverrun, 999), EINVAL);

    /* ignored, then not: a periodic timer's signal comes after all */
    signal(SIGUSR1, SIG_IGN);
    count = 0;
    WANT(set(first, TIMER_ABSTIME, 1, 100000 * MS), 0);
    sigaction(SIGUSR1, &act, NULL);
    SHOW(count);
    return guest_end();
}
