/* eventfd, timerfd, signalfd, epoll, POSIX timers. */
#include "trace.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

int main(void)
{
    uint64_t count = 5;
    unsigned long usr1 = 1UL << (SIGUSR1 - 1);
    struct itimerspec soon = { { 0, 5 }, { 100, 7 } }, old;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = 0x100000002 }, events[4];
    struct sigevent sigevent = { .sigev_signo = SIGUSR1, .sigev_value.sival_ptr = (void *)77 };
    int timer;
    begin();
    S(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    S(eventfd2, 7, EFD_SEMAPHORE);
    S(eventfd2, 7, 0x2);
    S(write, 3, &count, 8);
    S(read, 3, &count, 8);
    S(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK);
    S(timerfd_create, 99, TFD_CLOEXEC);
    S(timerfd_settime, 5, TFD_TIMER_ABSTIME, &soon, NULL);
    S(timerfd_settime, 5, 0, &soon, (void *)8);
    S(timerfd_settime, 3, TFD_TIMER_CANCEL_ON_SET, &soon, &old);
    S(timerfd_gettime, 3, &old);
    S(signalfd4, -1, &usr1, 8, SFD_CLOEXEC);
    S(signalfd4, -1, &usr1, 8, SFD_NONBLOCK | 1);
    S(epoll_create1, EPOLL_CLOEXEC);
    S(epoll_create1, 0);
    S(epoll_ctl, 7, EPOLL_CTL_ADD, 4, &event);
    S(epoll_ctl, 7, EPOLL_CTL_ADD, 4, &event);
    S(epoll_ctl, 7, EPOLL_CTL_MOD, 4, (void *)8);
    S(epoll_ctl, 7, 9, 4, &event);
    S(epoll_pwait, 7, events, 4, -1, NULL, 8);
    S(epoll_pwait, 7, events, 4, 0, &usr1, 8);
    S(epoll_pwait, 7, events, 0, 0, NULL, 8);
    S(epoll_ctl, 7, EPOLL_CTL_DEL, 4, NULL);
    S(timer_create, CLOCK_MONOTONIC, NULL, &timer);
    S(timer_create, CLOCK_REALTIME, &sigevent, &timer);
    sigevent.sigev_notify = SIGEV_NONE;
    S(timer_create, CLOCK_REALTIME, &sigevent, &timer);
    S(timer_settime, 2, TIMER_ABSTIME, &soon, NULL);
    S(timer_settime, 9, 0, &soon, &old);
    S(timer_gettime, 0, &old);
    S(timer_getoverrun, 1);
    S(timer_delete, 1);
    S(timer_delete, 1);
    end();
    return 0;
}
