/* Time namespaces: CLOCK_MONOTONIC and CLOCK_BOOTTIME are moved for those who are in one, by call and in the vDSO;
 * times that they say are on their clocks, and what a clock's name does not move stays. */
#include "guest.h"
#include "../vdso/lookup.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define SECOND 1000000000LL
#define DAY 86400LL

typedef int gettime_function(clockid_t, struct timespec *);
static gettime_function *by_page;

static long long ns_of(struct timespec at) { return at.tv_sec * SECOND + at.tv_nsec; }

static long long by_call(clockid_t clock)
{
    struct timespec now = { 0, 0 };
    syscall(SYS_clock_gettime, clock, &now);
    return ns_of(now);
}

/* Do call and vDSO agree? One is asked before and after the other. Coarse clocks of a call may be a tick behind. */
static int agree(clockid_t clock)
{
    struct timespec now;
    long long before = by_call(clock);
    if (!by_page)
        return 1;
    by_page(clock, &now);
    long long after = by_call(clock);
    return before - 4000000 <= ns_of(now) && ns_of(now) <= after + 4000000;
}

static const struct { const char *name; clockid_t clock; } clocks[] = {
    { "realtime", CLOCK_REALTIME }, { "monotonic", CLOCK_MONOTONIC }, { "raw", CLOCK_MONOTONIC_RAW },
    { "monotonic coarse", CLOCK_MONOTONIC_COARSE }, { "boottime", CLOCK_BOOTTIME }, { "tai", CLOCK_TAI },
    { "realtime coarse", CLOCK_REALTIME_COARSE },
};
#define CLOCKS (sizeof clocks / sizeof *clocks)
static long long outside[CLOCKS];

static void remember(void)
{
    for (size_t i = 0; i < CLOCKS; i++)
        outside[i] = by_call(clocks[i].clock);
}

/* How far each clock is from what it was when last remembered, in whole hours. */
static void compare(const char *who)
{
    printf("%s:", who);
    for (size_t i = 0; i < CLOCKS; i++) {
        long long moved = by_call(clocks[i].clock) - outside[i] + 1800 * SECOND;
        printf(" %s %+lldh%s,", clocks[i].name, moved / (3600 * SECOND) - (moved < 0), agree(clocks[i].clock) ? "" : " DISAGREES");
    }
    puts("");
}

static pid_t spawn(uint64_t flags)
{
    uint64_t args[11] = { flags, 0, 0, 0, SIGCHLD };
    fflush(stdout);
    return syscall(SYS_clone3, args, sizeof args, 0L, 0L, 0L, 0L);
}

static int reap(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return -1000;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int offsets(const char *text)
{
    int fd = open("/proc/self/timens_offsets", O_WRONLY);
    ssize_t done = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return (int)done;
}

static void show(const char *file)
{
    char line[128];
    FILE *text = fopen(file, "r");
    while (text && fgets(line, sizeof line, text))
        fputs(line, stdout);
    if (text)
        fclose(text);
}

/* Absolute times of the namespace's own clock, half a second ahead or behind: each wait says how long it was. */
static void waits(void)
{
    struct timespec at;
    long long start = by_call(CLOCK_MONOTONIC);
#define TOOK(what, from, to) do { long long took = by_call(CLOCK_MONOTONIC) - start; \
        start += took; CHECK(took >= (from) * 1000000LL && took < (to) * 1000000LL && what); } while (0)
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += 20000000;
    at.tv_sec += at.tv_nsec / SECOND;
    at.tv_nsec %= SECOND;
    WANT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL), 0);
    TOOK("clock_nanosleep", 19, 5000);
    clock_gettime(CLOCK_BOOTTIME, &at);
    at.tv_sec -= 5;
    WANT(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, NULL), 0);
    TOOK("in the past", 0, 4000);

    uint32_t word = 1;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += 20000000;
    at.tv_sec += at.tv_nsec / SECOND;
    at.tv_nsec %= SECOND;
    FAILS(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, &at, NULL, ~0), ETIMEDOUT);
    TOOK("futex", 19, 5000);

    for (int i = 0; i < 2; i++) {
        clockid_t clock = i ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
        int fd = timerfd_create(clock, 0);
        struct itimerspec set = { 0 };
        syscall(SYS_clock_gettime, clock, &set.it_value);
        set.it_value.tv_sec += 100;
        WANT(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL), 0);
        WANT(timerfd_gettime(fd, &set), 0);
        CHECK(set.it_value.tv_sec >= 90 && set.it_value.tv_sec <= 100);
        set.it_value = (struct timespec){ 1, 0 }; /* long ago */
        WANT(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL), 0);
        uint64_t ticks = 0;
        WANT(read(fd, &ticks, sizeof ticks), 8);
        CHECK(ticks == 1);
        close(fd);
        timer_t timer;
        struct sigevent none = { .sigev_notify = SIGEV_NONE };
        WANT(timer_create(clock, &none, &timer), 0);
        syscall(SYS_clock_gettime, clock, &set.it_value);
        set.it_value.tv_sec += 100;
        WANT(timer_settime(timer, TIMER_ABSTIME, &set, NULL), 0);
        WANT(timer_gettime(timer, &set), 0);
        CHECK(set.it_value.tv_sec >= 90 && set.it_value.tv_sec <= 100);
        timer_delete(timer);
    }
}

static void uptime(const char *who, long long expected_s)
{
    double up = 0;
    struct sysinfo info;
    FILE *file = fopen("/proc/uptime", "r");
    if (file && fscanf(file, "%lf", &up) != 1)
        up = 0;
    if (file)
        fclose(file);
    sysinfo(&info);
    printf("%s: uptime ", who);
    CHECK(up > expected_s - 60 && up < expected_s + 60);
    CHECK((long long)info.uptime > expected_s - 60 && (long long)info.uptime < expected_s + 60);
}

/* [vvar] is one or two mappings on Linux, all of them unwritable. */
static void maps(void)
{
    char line[256];
    int found = 0, good = 1;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof line, file))
        if (strstr(line, "[vvar]")) {
            found++;
            good &= strstr(line, " r--p ") != NULL;
        }
    if (file)
        fclose(file);
    CHECK(found == 1 && good);
}

static void fork_after_unshare(void)
{
    puts("-- unshare, then fork");
    show("/proc/self/timens_offsets");
    FAILS(offsets("monotonic 1 0\n"), EACCES); /* the initial one */
    WANT(unshare(CLONE_NEWTIME), 0);
    show("/proc/self/timens_offsets");
    FAILS(offsets("monotonic 1\n"), EINVAL);
    FAILS(offsets("monotonic 1 1000000000\n"), EINVAL);
    FAILS(offsets("monotonic 1 -1\n"), EINVAL);
    FAILS(offsets("realtime 1 0\n"), EINVAL);
    FAILS(offsets("0 1 0\n"), EINVAL);
    FAILS(offsets("75 0\n"), EINVAL);
    FAILS(offsets("\n"), EINVAL);
    FAILS(offsets("monotonic -1000000000 0\n"), ERANGE);
    FAILS(offsets("monotonic 9223372036 0\n"), ERANGE);
    FAILS(offsets("monotonic 99999999999 0\n"), ERANGE);
    WANT(offsets("monotonic 3600 5\nboottime 7200 6\nmonotonic"), 33);
    WANT(offsets("monotonic 864000 0\nboottime 86400 0\n"), 36);
    show("/proc/self/timens_offsets");
    WANT(offsets("7 1728000 0"), 11);
    show("/proc/self/timens_offsets");
    remember();
    compare("who has unshared");
    long long up = by_call(CLOCK_BOOTTIME) / SECOND;
    pid_t child = fork();
    if (!child) {
        compare("the child");
        show("/proc/self/timens_offsets");
        FAILS(offsets("monotonic 1 0\n"), EACCES);
        uptime("inside", up + 20 * DAY);
        maps();
        waits();
        WANT(unshare(CLONE_NEWTIME), 0);
        show("/proc/self/timens_offsets");
        WANT(offsets("monotonic -3600 500000000\n"), 26);
        show("/proc/self/timens_offsets");
        child = fork();
        if (!child) {
            compare("the grandchild");
            maps();
            exit(0);
        }
        WANT(reap(child), 0);
        compare("the child again");
        exit(0);
    }
    WANT(reap(child), 0);
    FAILS(offsets("monotonic 1 0\n"), EACCES);
    uptime("outside", up);
}

static void others(char *program)
{
    puts("-- clone3, vfork, execve");
    pid_t child = spawn(CLONE_NEWTIME);
    if (!child) {
        compare("made by clone3");
        exit(0);
    }
    WANT(reap(child), 0);
    child = vfork();
    if (!child) {
        compare("made by vfork");
        _exit(0);
    }
    WANT(reap(child), 0);
    child = vfork();
    if (!child) {
        char base[2][32];
        char *arguments[] = { program, base[0], base[1], NULL };
        sprintf(base[0], "%lld", by_call(CLOCK_MONOTONIC));
        sprintf(base[1], "%lld", by_call(CLOCK_BOOTTIME));
        execv("/proc/self/exe", arguments);
        _exit(1);
    }
    WANT(reap(child), 0);
}

int main(int argc, char **argv)
{
    guest_start();
    by_page = vdso_function("__vdso_clock_gettime");
    if (!by_page)
        by_page = vdso_function("__kernel_clock_gettime");
    if (argc == 3) {
        remember();
        outside[1] = outside[2] = outside[3] = atoll(argv[1]);
        outside[4] = atoll(argv[2]);
        compare("made by execve");
        maps();
        return 0;
    }
    maps();
    fork_after_unshare();
    others(argv[0]);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        WANT(setuid(65534), 0);
        FAILS(unshare(CLONE_NEWTIME), EPERM);
        FAILS(unshare(CLONE_NEWPID), EPERM);
        FAILS(unshare(CLONE_NEWUTS), EPERM);
        FAILS(spawn(CLONE_NEWTIME), EPERM);
        exit(0);
    }
    WANT(reap(child), 0);
    return guest_end();
}
