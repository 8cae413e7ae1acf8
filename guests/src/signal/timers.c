/* Interval timers and alarm.  man 2 setitimer, man 2 alarm */
#include "guest.h"
#include <sys/time.h>
#include <time.h>

static volatile int rings, last, code;

static void ring(int signal, siginfo_t *info, void *context)
{
    (void)context;
    last = signal;
    code = info->si_code;
    rings++;
}

int main(void)
{
    struct sigaction act = { .sa_sigaction = ring, .sa_flags = SA_SIGINFO };
    struct itimerval timer = { { 0, 0 }, { 100, 250000 } }, old = { { 9, 9 }, { 9, 9 } };
    guest_start();
    sigaction(SIGALRM, &act, NULL);
    sigaction(SIGVTALRM, &act, NULL);
    sigaction(SIGPROF, &act, NULL);
    WANT(getitimer(ITIMER_REAL, &old), 0);
    CHECK(!old.it_value.tv_sec && !old.it_value.tv_usec && !old.it_interval.tv_sec && !old.it_interval.tv_usec);
    WANT(setitimer(ITIMER_REAL, &timer, NULL), 0);
    WANT(getitimer(ITIMER_REAL, &old), 0);
    WANT(old.it_value.tv_sec, 100);
    WANT(alarm(50), 101);                              /* musl rounds up */
    WANT(alarm(7), 50);
    WANT(alarm(0), 7);
    WANT(alarm(0), 0);
    timer.it_value.tv_usec = 1000000;
    FAILS(setitimer(ITIMER_REAL, &timer, NULL), EINVAL);
    timer = (struct itimerval) { { -1, 0 }, { 0, 0 } };
    FAILS(setitimer(ITIMER_REAL, &timer, NULL), EINVAL);
    timer = (struct itimerval) { 0 };
    FAILS(setitimer(3, &timer, NULL), EINVAL);
    FAILS(getitimer(-1, &timer), EINVAL);
    FAILS(getitimer(ITIMER_REAL, BAD), EFAULT);
    FAILS(setitimer(ITIMER_REAL, BAD, NULL), EFAULT);
    FAILS(setitimer(ITIMER_REAL, &timer, WILD), EFAULT);

    /* a program that only computes is interrupted too */
    timer = (struct itimerval) { { 0, 10000 }, { 0, 10000 } };
    WANT(setitimer(ITIMER_REAL, &timer, NULL), 0);
    while (rings < 3)
        ;
    timer = (struct itimerval) { 0 };
    WANT(setitimer(ITIMER_REAL, &timer, &old), 0);
    CHECK(old.it_interval.tv_usec == 10000 && old.it_value.tv_usec <= 10000);
    WANT(last, SIGALRM);
    WANT(code, SI_KERNEL);
    rings = 0;
    timer = (struct itimerval) { { 0, 0 }, { 0, 10000 } };
    WANT(setitimer(ITIMER_PROF, &timer, NULL), 0);
    while (!rings)
        ;
    WANT(last, SIGPROF);
    rings = 0;
    WANT(setitimer(ITIMER_VIRTUAL, &timer, NULL), 0);
    while (!rings)
        ;
    WANT(last, SIGVTALRM);
    WANT(getitimer(ITIMER_VIRTUAL, &old), 0);
    CHECK(!old.it_value.tv_sec && !old.it_value.tv_usec);
    return guest_end();
}
