/* epoll_pwait2: a timeout in nanoseconds.  man 2 epoll_wait */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

int main(void)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = 7 }, got[4];
    struct timespec start, end, brief = { 0, 3000000 }, none = { 0, 0 }, bad = { 0, -1 };
    guest_start();
    int ep = epoll_create1(0), counter = eventfd(0, 0);
    WANT(epoll_ctl(ep, EPOLL_CTL_ADD, counter, &event), 0);
    clock_gettime(CLOCK_MONOTONIC, &start);
    WANT(syscall(SYS_epoll_pwait2, ep, got, 4, &brief, NULL, 8), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec >= 3000000);
    WANT(brief.tv_nsec, 3000000);
    WANT(syscall(SYS_epoll_pwait2, ep, got, 4, &none, NULL, 8), 0);
    FAILS(syscall(SYS_epoll_pwait2, ep, got, 4, &bad, NULL, 8), EINVAL);
    FAILS(syscall(SYS_epoll_pwait2, ep, got, 4, BAD, NULL, 8), EFAULT);
    uint64_t one = 1;
    WANT(write(counter, &one, 8), 8);
    WANT(syscall(SYS_epoll_pwait2, ep, got, 4, NULL, NULL, 8), 1);
    WANT(got[0].data.u32, 7);
    return guest_end();
}
