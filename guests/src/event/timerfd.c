/* Timers that are read.  man 2 timerfd_create */
#include "guest.h"
#include <poll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#define MS 1000000L

static uint64_t ticks;

static struct itimerspec spec(long value_ns, long interval_ns)
{
    return (struct itimerspec) {
        { interval_ns / 1000000000, interval_ns % 1000000000 }, { value_ns / 1000000000, value_ns % 1000000000 }
    };
}

static int set(int fd, int flags, long value_ns, long interval_ns)
{
    struct itimerspec new = spec(value_ns, interval_ns);
    return timerfd_settime(fd, flags, &new, NULL);
}

static long now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static short ready(int fd, int timeout)
{
    struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
    return poll(&p, 1, timeout) < 0 ? -1 : p.revents;
}

int main(void)
{
    clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME };
    struct itimerspec left, bad = spec(1, 0);
    char text[512], path[64];
    guest_start();
    for (int i = 0; i < 3; i++) {
        int fd = timerfd_create(clocks[i], TFD_NONBLOCK | TFD_CLOEXEC);
        CHECK(fd >= 0);
        WANT(ready(fd, 0), 0);
        FAILS(read(fd, &ticks, 8), EAGAIN);
        long start = now(clocks[i]);
        WANT(set(fd, 0, 5 * MS, 0), 0);
        WANT(ready(fd, -1), POLLIN);
        CHECK(now(clocks[i]) - start >= 5 * MS);
        WANT(read(fd, &ticks, 8), 8);
        WANT(ticks, 1);
        WANT(timerfd_gettime(fd, &left), 0);
        CHECK(!left.it_value.tv_sec && !left.it_value.tv_nsec);
        /* at a time on the clock itself */
        WANT(set(fd, TFD_TIMER_ABSTIME, now(clocks[i]) + 3 * MS, 0), 0);
        WANT(ready(fd, -1), POLLIN);
        /* long past, and periodic: all the ends since */
        WANT(set(fd, TFD_TIMER_ABSTIME, now(clocks[i]) - 1000 * MS, 100 * MS), 0);
        WANT(ready(fd, 0), POLLIN);
        WANT(read(fd, &ticks, 8), 8);
        CHECK(ticks == 11 || ticks == 12);
        close(fd);
    }
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    WANT(set(fd, 0, 100000 * MS, 50000 * MS), 0);
    WANT(timerfd_gettime(fd, &left), 0);
    CHECK(left.it_value.tv_sec == 99 && left.it_interval.tv_sec == 50);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int info = open(path, O_RDONLY);
    ssize_t length = read(info, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = 0;
    char *own = strstr(text, "clockid");
    CHECK(own && strstr(own, "clockid: 1\nticks: 0\nsettime flags: 00\nit_value: (99, "));
    CHECK(own && strstr(own, ")\nit_interval: (50, 0)\n"));
    struct itimerspec new = spec(1 * MS, 2 * MS);
    WANT(timerfd_settime(fd, 0, &new, &left), 0);
    CHECK(left.it_value.tv_sec == 99 && left.it_interval.tv_sec == 50);
    WANT(read(fd, &ticks, 8), 8);
    CHECK(ticks >= 1);
    WANT(read(fd, &ticks, 8), 8);
    CHECK(ticks >= 1);
    WANT(set(fd, 0, 0, 0), 0);
    WANT(ready(fd, 3), 0);
    FAILS(read(fd, &ticks, 7), EINVAL);
    FAILS(write(fd, &ticks, 8), EINVAL);
    FAILS(timerfd_create(CLOCK_MONOTONIC_RAW, 0), EINVAL);
    FAILS(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    FAILS(timerfd_create(CLOCK_TAI, 0), EINVAL);
    FAILS(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    FAILS(timerfd_settime(fd, 4, &bad, NULL), EINVAL);
    bad.it_value.tv_nsec = 1000000000;
    FAILS(timerfd_settime(fd, 0, &bad, NULL), EINVAL);
    bad = spec(1, 0);
    bad.it_value.tv_sec = -1;
    FAILS(timerfd_settime(fd, 0, &bad, NULL), EINVAL);
    bad = spec(1, 0);
    FAILS(timerfd_settime(0, 0, &bad, NULL), EINVAL);
    FAILS(timerfd_settime(99, 0, &bad, NULL), EBADF);
    FAILS(timerfd_settime(fd, 0, BAD, NULL), EFAULT);
    FAILS(timerfd_gettime(fd, BAD), EFAULT);
    WANT(set(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, 1, 0), 0);
    WANT(read(fd, &ticks, 8), 8);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(text, 0, sizeof text);
    WANT(readlink(path, text, sizeof text), 20);
    CHECK(!strcmp(text, "anon_inode:[timerfd]"));

    /* a child waits for the parent's timer */
    pid_t child = fork();
    if (!child)
        _exit(read(fd, &ticks, 8) == 8 && ticks == 1 ? 7 : 1);
    WANT(set(fd, 0, 2 * MS, 0), 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    WANT(WEXITSTATUS(status), 7);
    return guest_end();
}
