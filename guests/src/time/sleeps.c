/* nanosleep and clock_nanosleep: at least as long as asked, relative and absolute; bad requests.
 * man 2 nanosleep, man 2 clock_nanosleep */
#include "guest.h"
#include <time.h>

static int64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
    struct timespec t = { 0, 30000000 }, left = { 7, 7 };
    guest_start();
    int64_t before = now(CLOCK_MONOTONIC);
    WANT(nanosleep(&t, &left), 0);
    CHECK(now(CLOCK_MONOTONIC) - before >= 30000000);
    CHECK(left.tv_sec == 7);                    /* written only when a signal interrupts */
    before = now(CLOCK_REALTIME);
    WANT(clock_nanosleep(CLOCK_REALTIME, 0, &t, NULL), 0);
    CHECK(now(CLOCK_REALTIME) - before >= 30000000);
    before = now(CLOCK_MONOTONIC) + 40000000;
    t = (struct timespec) { before / 1000000000, before % 1000000000 };
    WANT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0);
    CHECK(now(CLOCK_MONOTONIC) >= before);
    WANT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0);       /* long past: at once */
    t = (struct timespec) { 0, 0 };
    WANT(nanosleep(&t, NULL), 0);
    WANT(clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL), 0);
    WANT(clock_nanosleep(CLOCK_TAI, 0, &t, NULL), 0);
    t = (struct timespec) { 0, 1000000000 };
    FAILS(nanosleep(&t, NULL), EINVAL);
    t = (struct timespec) { -1, 0 };
    FAILS(nanosleep(&t, NULL), EINVAL);
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &t, NULL), EINVAL);
    t = (struct timespec) { 0, 1 };
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL), EOPNOTSUPP);
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_COARSE, 0, &t, NULL), EOPNOTSUPP);
    FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &t, NULL), EOPNOTSUPP);
    FAILS(syscall(SYS_clock_nanosleep, 99, 0, &t, NULL), EINVAL);
    return guest_end();
}
