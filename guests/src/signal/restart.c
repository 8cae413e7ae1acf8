/* A signal during a call: made again, or EINTR, as the call and SA_RESTART have it.
 * man 7 signal, man 2 nanosleep, man 2 sigsuspend, man 2 pause */
#include "guest.h"
#include <poll.h>
#include <sys/time.h>
#include <time.h>

static volatile int rings, feed;
static int ends[2];

static void ring(int signal)
{
    (void)signal;
    if (++rings == 2 && feed)
        (void)!write(ends[1], "x", 1);
}

static void handler(int flags)
{
    struct sigaction act = { .sa_flags = flags };
    act.sa_handler = ring;
    sigaction(SIGALRM, &act, NULL);
}

/* Ring after 20 ms, and then every 20. */
static void start(void)
{
    struct itimerval timer = { { 0, 20000 }, { 0, 20000 } };
    rings = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop(void)
{
    struct itimerval timer = { 0 };
    setitimer(ITIMER_REAL, &timer, NULL);
}

int main(void)
{
    struct timespec time, left = { -1, -1 };
    struct pollfd in;
    sigset_t set, none;
    char byte;
    guest_start();
    WANT(pipe(ends), 0);
    in = (struct pollfd) { ends[0], POLLIN, 0 };

    handler(0);
    start();
    FAILS(read(ends[0], &byte, 1), EINTR);
    CHECK(rings >= 1);
    handler(SA_RESTART);
    feed = 1;
    start();
    WANT(read(ends[0], &byte, 1), 1);                   /* the second ring writes */
    CHECK(rings >= 2 && byte == 'x');
    feed = 0;

    /* never made again, whatever SA_RESTART says */
    start();
    time = (struct timespec) { 20, 0 };
    FAILS(nanosleep(&time, &left), EINTR);
    CHECK(left.tv_sec == 19 && left.tv_nsec > 0);
    start();
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, &left), EINTR);
    start();
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += 20;
    left.tv_sec = 1234;
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, &left), EINTR);
    WANT(left.tv_sec, 1234);                            /* an absolute sleep has no rest */
    start();
    FAILS(poll(&in, 1, 20000), EINTR);
    start();
    FAILS(pause(), EINTR);
    time = (struct timespec) { 20, 0 };
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    start();
    FAILS(syscall(SYS_rt_sigtimedwait, &set, NULL, &time, 8), EINTR);
    stop();

    /* sigsuspend: the mask is there for the wait, the old one for the handler's return */
    sigemptyset(&none);
    sigaddset(&none, SIGUSR2);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    rings = 0;
    feed = 1;
    raise(SIGALRM);
    CHECK(rings == 0);
    FAILS(sigsuspend(&none), EINTR);
    CHECK(rings >= 1);
    sigprocmask(SIG_SETMASK, NULL, &set);
    CHECK(sigismember(&set, SIGALRM) && !sigismember(&set, SIGUSR2));
    FAILS(syscall(SYS_rt_sigsuspend, &none, 4), EINVAL);
    FAILS(syscall(SYS_rt_sigsuspend, BAD, 8), EFAULT);
    raise(SIGALRM);
    time = (struct timespec) { 20, 0 };
    sigemptyset(&none);
    FAILS(ppoll(&in, 1, &time, &none), EINTR);
    CHECK(rings == 2);
    WANT(read(ends[0], &byte, 1), 1);
    sigprocmask(SIG_UNBLOCK, &set, NULL);

    /* signals that do nothing end no call */
    time = (struct timespec) { 0, 50000000 };
    signal(SIGALRM, SIG_IGN);
    start();
    WANT(nanosleep(&time, &left), 0);
    WANT(poll(&in, 1, 50), 0);
    stop();
    return guest_end();
}
