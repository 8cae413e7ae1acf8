/* How many ways may lead from a file to those who wait for it through sets of sets.
 * man 2 epoll_ctl, fs/eventpoll.c:reverse_path_check() */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static int add(int ep, int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

int main(void)
{
    int file = eventfd(0, EFD_NONBLOCK), middle = epoll_create1(0), top = epoll_create1(0), more = epoll_create1(0);
    struct epoll_event got;
    guest_start();
    WANT(setrlimit(RLIMIT_NOFILE, &(struct rlimit) { 1500, 1500 }), 0);
    /* 101 sets watch the file, and one set watches all of them: ways of two steps, of which there may be 500 */
    for (int i = 0; i < 101; i++) {
        int low = epoll_create1(0);
        if (add(low, file) || (i < 100 && add(middle, low)))
            CHECK(!"add");
        if (i == 100) {
            WANT(add(top, middle), 0); /* 100 ways of three */
            FAILS(add(more, middle), EINVAL);
            FAILS(add(middle, low), EINVAL);
        }
    }
    WANT(eventfd_write(file, 1), 0);
    WANT(epoll_wait(top, &got, 1, 0), 1);
    WANT(epoll_ctl(top, EPOLL_CTL_DEL, middle, NULL), 0);
    WANT(add(more, middle), 0);
    WANT(epoll_wait(more, &got, 1, 0), 1);
    /* any number of sets may watch a file themselves, also when others watch one of them */
    file = eventfd(0, EFD_NONBLOCK);
    middle = epoll_create1(0);
    WANT(add(middle, file), 0);
    WANT(add(more, middle), 0);
    for (int i = 0; i < 1010; i++) {
        int low = epoll_create1(0);
        if (add(low, file))
            CHECK(!"add");
    }
    return guest_end();
}
