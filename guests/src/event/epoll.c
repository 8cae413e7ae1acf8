/* Sets of descriptors.  man 7 epoll, man 2 epoll_ctl, man 2 epoll_wait */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>

static struct epoll_event got[8];

static int ctl(int ep, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = { .events = events, .data.u64 = data };
    return epoll_ctl(ep, op, fd, &event);
}

static int now(int ep)
{
    return epoll_wait(ep, got, 8, 0);
}

static void put(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, 8) != 8)
        CHECK(!"write");
}

static void take(int fd)
{
    uint64_t value;
    if (read(fd, &value, 8) != 8)
        CHECK(!"read");
}

static short ready(int fd)
{
    struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static volatile int rung;

static void ring(int signal)
{
    rung = signal;
}

static volatile int awake;

static void *waiter(void *argument)
{
    struct epoll_event one;
    long result = epoll_wait(*(int *)argument, &one, 1, -1);
    __atomic_add_fetch(&awake, 1, __ATOMIC_SEQ_CST);
    return (void *)result;
}

int main(void)
{
    int fds[2], ep = epoll_create1(EPOLL_CLOEXEC), status;
    struct epoll_event event;
    char text[512] = "", path[64], byte;
    guest_start();
    WANT(fcntl(ep, F_GETFD), FD_CLOEXEC);
    WANT(sizeof(struct epoll_event) == 12 || sizeof(struct epoll_event) == 16, 1);
    FAILS(syscall(SYS_epoll_create1, 1), EINVAL);
    WANT(pipe(fds), 0);

    /* refused */
    int file = open("f", O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDWR), dir = open(".", O_RDONLY);
    FAILS(ctl(ep, EPOLL_CTL_ADD, file, EPOLLIN, 0), EPERM);
    FAILS(ctl(ep, EPOLL_CTL_ADD, null, EPOLLIN, 0), EPERM);
    FAILS(ctl(ep, EPOLL_CTL_ADD, dir, EPOLLIN, 0), EPERM);
    FAILS(ctl(ep, EPOLL_CTL_ADD, 99, EPOLLIN, 0), EBADF);
    FAILS(ctl(99, EPOLL_CTL_ADD, fds[0], EPOLLIN, 0), EBADF);
    FAILS(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 0), EINVAL);
    FAILS(ctl(fds[1], EPOLL_CTL_ADD, fds[0], EPOLLIN, 0), EINVAL);
    FAILS(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN, 0), ENOENT);
    FAILS(ctl(ep, EPOLL_CTL_DEL, fds[0], EPOLLIN, 0), ENOENT);
    FAILS(ctl(ep, 4, fds[0], EPOLLIN, 0), EINVAL);
    FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], BAD), EFAULT);
    FAILS(epoll_wait(ep, got, 0, 0), EINVAL);
    FAILS(epoll_wait(ep, got, -1, 0), EINVAL);
    FAILS(epoll_wait(fds[0], got, 1, 0), EINVAL);
    FAILS(epoll_wait(99, got, 1, 0), EBADF);
    FAILS(syscall(SYS_epoll_pwait, ep, WILD, 1, 0, NULL, 8), EFAULT);

    /* level: told as long as it holds; the data come back */
    WANT(ctl(ep, EPOLL_CTL_ADD, fds[0], EPOLLIN, 0x1122334455667788), 0);
    FAILS(ctl(ep, EPOLL_CTL_ADD, fds[0], EPOLLIN, 0), EEXIST);
    WANT(ctl(ep, EPOLL_CTL_ADD, fds[1], EPOLLOUT, 2), 0);
    WANT(now(ep), 1);
    CHECK(got[0].events == EPOLLOUT && got[0].data.u64 == 2);
    WANT(write(fds[1], "abc", 3), 3);
    WANT(now(ep), 2);
    WANT(now(ep), 2);
    WANT(ready(ep), POLLIN);
    WANT(ctl(ep, EPOLL_CTL_DEL, fds[1], 0, 0), 0);
    WANT(now(ep), 1);
    CHECK(got[0].events == EPOLLIN && got[0].data.u64 == 0x1122334455667788);
    WANT(read(fds[0], text, 3), 3);
    WANT(now(ep), 0);
    WANT(ready(ep), 0);

    /* edge: told once for each write */
    WANT(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 3), 0);
    WANT(write(fds[1], "abc", 3), 3);
    WANT(now(ep), 1);
    WANT(now(ep), 0);
    WANT(read(fds[0], &byte, 1), 1);
    WANT(now(ep), 0);
    WANT(write(fds[1], "d", 1), 1);
    WANT(now(ep), 1);
    WANT(now(ep), 0);
    WANT(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 3), 0);
    WANT(now(ep), 1);
    /* one shot: silent until it is set again */
    WANT(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT, 4), 0);
    WANT(now(ep), 1);
    WANT(now(ep), 0);
    WANT(write(fds[1], "e", 1), 1);
    WANT(now(ep), 0);
    WANT(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT, 4), 0);
    WANT(now(ep), 1);
    WANT(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN, 5), 0);

    /* a closed descriptor stays in the set while its file is open elsewhere */
    int copy = dup(fds[0]);
    close(fds[0]);
    WANT(now(ep), 1);
    FAILS(ctl(ep, EPOLL_CTL_DEL, fds[0], 0, 0), EBADF);
    WANT(ctl(ep, EPOLL_CTL_ADD, copy, EPOLLIN, 6), 0);
    WANT(now(ep), 2);
    close(copy);
    WANT(now(ep), 0);
    close(fds[1]);

    /* hang-up and error are always told */
    WANT(pipe(fds), 0);
    WANT(ctl(ep, EPOLL_CTL_ADD, fds[0], 0, 7), 0);
    close(fds[1]);
    WANT(now(ep), 1);
    WANT(got[0].events, EPOLLHUP);
    close(fds[0]);
    WANT(pipe(fds), 0);
    WANT(ctl(ep, EPOLL_CTL_ADD, fds[1], EPOLLOUT | EPOLLET, 8), 0);
    WANT(now(ep), 1);
    close(fds[0]);
    WANT(now(ep), 1);
    WANT(got[0].events, EPOLLOUT | EPOLLERR);
    close(fds[1]);

    /* the writing end is told when a full pipe has room again, and not before */
    WANT(pipe2(fds, O_NONBLOCK), 0);
    char page[4096] = "";
    while (write(fds[1], page, sizeof page) > 0)
        ;
    WANT(ctl(ep, EPOLL_CTL_ADD, fds[1], EPOLLOUT | EPOLLET, 9), 0);
    WANT(now(ep), 0);
    WANT(read(fds[0], page, 100), 100);
    WANT(now(ep), 0);
    WANT(read(fds[0], page, 3996), 3996);
    WANT(now(ep), 1);
    WANT(read(fds[0], page, 4096), 4096);
    WANT(now(ep), 0);
    close(fds[0]);
    close(fds[1]);

    /* fairness: with room for one event, ready files take turns */
    int events[3];
    for (int i = 0; i < 3; i++) {
        events[i] = eventfd(1, EFD_NONBLOCK);
        ctl(ep, EPOLL_CTL_ADD, events[i], EPOLLIN, i);
    }
    for (int i = 0; i < 6; i++) {
        if (epoll_wait(ep, &event, 1, -1) != 1 || event.data.u64 != (uint64_t)i % 3)
            CHECK(!"turns");
    }
    take(events[0]);
    WANT(now(ep), 2);
    CHECK(got[0].data.u64 == 1 && got[1].data.u64 == 2);
    FAILS(syscall(SYS_epoll_pwait, ep, BAD, 8, 0, NULL, 8), EFAULT);
    WANT(now(ep), 2);
    take(events[1]);
    take(events[2]);

    /* an eventfd has an edge for each write */
    WANT(ctl(ep, EPOLL_CTL_MOD, events[0], EPOLLIN | EPOLLET, 1), 0);
    put(events[0]);
    WANT(now(ep), 1);
    put(events[0]);
    WANT(now(ep), 1);
    WANT(now(ep), 0);
    take(events[0]);
    WANT(now(ep), 0);

    /* a set of sets */
    int outer = epoll_create1(0);
    WANT(ctl(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 10), 0);
    WANT(now(outer), 0);
    put(events[1]);
    WANT(now(outer), 1);
    CHECK(got[0].data.u64 == 10 && got[0].events == EPOLLIN);
    WANT(now(ep), 1);
    take(events[1]);
    WANT(now(outer), 0);
    FAILS(ctl(ep, EPOLL_CTL_ADD, outer, EPOLLIN, 0), ELOOP);
    int chain[7];
    chain[0] = epoll_create1(0);
    for (int i = 1; i < 7; i++) {
        chain[i] = epoll_create1(0);
        SHOW(ctl(chain[i], EPOLL_CTL_ADD, chain[i - 1], EPOLLIN, 0));
    }
    for (int i = 0; i < 7; i++)
        close(chain[i]);
    chain[0] = epoll_create1(0);
    for (int i = 1; i < 7; i++) {
        chain[i] = epoll_create1(0);
        SHOW(ctl(chain[i - 1], EPOLL_CTL_ADD, chain[i], EPOLLIN, 0));
    }

    /* exclusive */
    WANT(ctl(outer, EPOLL_CTL_ADD, events[2], EPOLLIN | EPOLLEXCLUSIVE, 0), 0);
    FAILS(ctl(outer, EPOLL_CTL_MOD, events[2], EPOLLIN, 0), EINVAL);
    FAILS(ctl(outer, EPOLL_CTL_ADD, events[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0), EINVAL);
    FAILS(ctl(outer, EPOLL_CTL_ADD, chain[0], EPOLLIN | EPOLLEXCLUSIVE, 0), EINVAL);
    put(events[2]);
    WANT(now(outer), 2);
    take(events[2]);

    /* waiting: for another process, for a time, for a signal */
    pid_t child = fork();
    if (!child) {
        usleep(2000);
        put(events[1]);
        _exit(0);
    }
    WANT(epoll_wait(ep, got, 8, -1), 1);
    CHECK(got[0].data.u64 == 1);
    CHECK(waitpid(child, &status, 0) == child);
    take(events[1]);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    WANT(epoll_wait(ep, got, 8, 3), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec >= 3000000);
    struct sigaction act = { .sa_handler = ring, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &act, NULL);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    ualarm(2000, 0);
    FAILS(epoll_pwait(ep, got, 8, -1, &none), EINTR);
    WANT(rung, SIGALRM);
    raise(SIGALRM);
    rung = 0;
    WANT(epoll_pwait(ep, got, 8, 0, &none), 0);
    WANT(rung, 0);
    FAILS(epoll_pwait(ep, got, 8, 1000, &none), EINTR);
    WANT(rung, SIGALRM);
    sigprocmask(SIG_BLOCK, NULL, &none);
    CHECK(sigismember(&none, SIGALRM));
    FAILS(syscall(SYS_epoll_pwait, ep, got, 8, 0, &none, 4), EINVAL);

    /* one wake, one of the threads that wait in the same set */
    pthread_t threads[2];
    int quick = epoll_create1(0), wake = eventfd(0, 0);
    WANT(ctl(quick, EPOLL_CTL_ADD, wake, EPOLLIN | EPOLLET, 0), 0);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, waiter, &quick);
    for (int i = 0; i < 2; i++) {
        put(wake);
        while (awake <= i)
            usleep(100);
        usleep(3000);
        WANT(awake, i + 1);
    }
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(threads[i], &result);
        WANT((long)result, 1);
    }

    /* what /proc tells */
    snprintf(path, sizeof path, "/proc/self/fd/%d", quick);
    memset(text, 0, sizeof text);
    WANT(readlink(path, text, sizeof text), 22);
    CHECK(!strcmp(text, "anon_inode:[eventpoll]"));
    WANT(dup2(wake, 50), 50);
    WANT(ctl(quick, EPOLL_CTL_ADD, 50, EPOLLIN | EPOLLRDHUP, 0xabc), 0);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", quick);
    int info = open(path, O_RDONLY);
    memset(text, 0, sizeof text);
    CHECK(read(info, text, sizeof text - 1) > 0);
    CHECK(strstr(text, "tfd:       50 events:     2019 data:              abc  pos:0 ino:") != NULL);
    return guest_end();
}
