/* Calls that newer ones have replaced, by the instruction itself: what they return, what they leave in memory, and that
 * no register but the result changes. A handler that makes them by the newer calls must get all of it right. */
#include "glue.h"
#include <limits.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>

#define MILLISECOND 1000000L

static pid_t child_that_exits(int status)
{
    pid_t child = fork();
    if (!child)
        _exit(status);
    return child;
}

static pid_t child_that_dies_of(int signo)
{
    pid_t child = fork();
    if (!child) {
        raise(signo);
        _exit(99);
    }
    return child;
}

/* ---- wait4(2) ---- */
static void waiting(void)
{
    int status = -1;
    struct rusage usage;
    pid_t child, other;

    test("wait4: how a child ended");
    child = child_that_exits(42);
    CHECK(CALL(wait4, child, &status, 0, 0) == child);
    WANT(status, 42 << 8);
    child = child_that_exits(255);
    CHECK(CALL(wait4, -1, &status, 0, 0) == child);
    WANT(status, 255 << 8);
    child = child_that_dies_of(SIGTERM);
    CHECK(CALL(wait4, 0, &status, 0, 0) == child);
    WANT(status, SIGTERM);
    child = child_that_dies_of(SIGKILL);
    CHECK(CALL(wait4, -getpgrp(), &status, __WALL, 0) == child);
    WANT(status, SIGKILL);
    child = child_that_dies_of(SIGSEGV);
    CHECK(CALL(wait4, child, &status, 0, 0) == child);
    WANT(status & 0x7f, SIGSEGV);
    child = child_that_exits(0);
    memset(&usage, 0xaa, sizeof usage);
    CHECK(CALL(wait4, child, NULL, 0, &usage) == child);
    CHECK(usage.ru_nsignals == 0 && usage.ru_utime.tv_usec >= 0 && usage.ru_utime.tv_usec < 1000000);

    test("wait4: stopped and continued");
    child = fork();
    if (!child)
        for (;;)
            pause();
    kill(child, SIGSTOP);
    CHECK(CALL(wait4, child, &status, WUNTRACED, 0) == child);
    WANT(status, SIGSTOP << 8 | 0x7f);
    kill(child, SIGCONT);
    CHECK(CALL(wait4, child, &status, WCONTINUED, 0) == child);
    WANT(status, 0xffff);
    status = 1234;
    WANT(CALL(wait4, child, &status, WNOHANG | WUNTRACED | WCONTINUED, 0), 0);
    WANT(status, 1234);
    WANT(CALL(wait4, child, &status, WNOHANG, BAD), 0);
    WANT(CALL(wait4, -1, NULL, WNOHANG, 0), 0);
    kill(child, SIGKILL);
    CHECK(CALL(wait4, child, &status, __WNOTHREAD, 0) == child);
    WANT(status, SIGKILL);

    test("wait4: errors");
    FAILS(CALL(wait4, -1, &status, 0, 0), ECHILD);
    FAILS(CALL(wait4, 1, &status, 0, 0), ECHILD);
    FAILS(CALL(wait4, -12345678, &status, 0, 0), ECHILD);
    FAILS(CALL(wait4, INT_MIN, &status, 0, 0), ESRCH);
    FAILS(CALL(wait4, INT_MIN, &status, 0x100, 0), EINVAL);
    FAILS(CALL(wait4, -1, &status, WEXITED, 0), EINVAL);
    FAILS(CALL(wait4, -1, &status, WNOWAIT, 0), EINVAL);
    FAILS(CALL(wait4, -1, &status, 0x10000000, 0), EINVAL);
    FAILS(CALL(wait4, -1, &status, 1L << 40, 0), ECHILD);
    child = child_that_exits(1);
    FAILS(CALL(wait4, child, BAD, 0, 0), EFAULT);
    FAILS(CALL(wait4, child, &status, 0, 0), ECHILD);
    child = child_that_exits(1);
    FAILS(CALL(wait4, child, NULL, 0, BAD), EFAULT);
    FAILS(CALL(wait4, child, &status, 0, 0), ECHILD);
    child = child_that_exits(1);
    FAILS(CALL(wait4, child, read_only("", 1), 0, 0), EFAULT);

    test("wait4: signals");
    child = fork();
    if (!child) {
        usleep(60000);
        _exit(7);
    }
    handle(SIGALRM, 0);
    ring(20000);
    status = 1234;
    FAILS(CALL(wait4, child, &status, 0, 0), EINTR);
    CHECK(signals > 0);
    WANT(status, 1234);
    handle(SIGALRM, SA_RESTART);
    CHECK(CALL(wait4, child, &status, 0, 0) == child);
    WANT(status, 7 << 8);
    quiet();
    handle(SIGCHLD, 0);
    signals = 0;
    child = child_that_exits(3);
    other = CALL(wait4, child, &status, 0, 0);
    if (other < 0)
        other = CALL(wait4, child, &status, 0, 0);
    CHECK(other == child);
    WANT(status, 3 << 8);
    WANT(signals, 1);
    signal(SIGCHLD, SIG_DFL);
}

/* ---- sleeping ---- */
static void sleeping(void)
{
    struct timespec wanted = { 0, 2 * MILLISECOND }, left = { 5, 5 }, before, after;
    test("nanosleep");
    WANT(CALL(nanosleep, &wanted, &left), 0);
    WANT(left.tv_sec, 5);
    WANT(CALL(nanosleep, &wanted, NULL), 0);
    FAILS(CALL(nanosleep, BAD, NULL), EFAULT);
    FAILS(CALL(nanosleep, NULL, NULL), EFAULT);
    wanted.tv_nsec = 1000000000;
    FAILS(CALL(nanosleep, &wanted, NULL), EINVAL);
    wanted.tv_nsec = -1;
    FAILS(CALL(nanosleep, &wanted, NULL), EINVAL);
    handle(SIGALRM, SA_RESTART);
    ring(20000);
    wanted = (struct timespec){ 3, 0 };
    FAILS(CALL(nanosleep, &wanted, &left), EINTR);
    CHECK(left.tv_sec == 2 && left.tv_nsec > 0 && left.tv_nsec < 1000000000);
    FAILS(CALL(nanosleep, &wanted, BAD), EFAULT);
    quiet();
    clock_gettime(CLOCK_MONOTONIC, &before);
    left = (struct timespec){ 0, 3 * MILLISECOND };
    WANT(CALL(nanosleep, &left, &left), 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >= 3 * MILLISECOND);
}

/* ---- files ---- */
static void statting(void)
{
    struct stat one, two;
    int ends[2];
    test("fstat");
    put_file("file", "twelve bytes", 12);
    int fd = open("file", O_RDWR), path = open("file", O_PATH), directory = open(".", O_DIRECTORY);
    WANT(CALL(fstat, fd, &one), 0);
    WANT(one.st_size, 12);
    WANT(CALL(fstat, path, &two), 0);
    CHECK(one.st_ino == two.st_ino && one.st_dev == two.st_dev && one.st_mode == two.st_mode);
    WANT(CALL(fstat, directory, &one), 0);
    CHECK(S_ISDIR(one.st_mode));
    WANT(pipe(ends), 0);
    WANT(CALL(fstat, ends[0], &one), 0);
    CHECK(S_ISFIFO(one.st_mode));
    FAILS(CALL(fstat, -1, &one), EBADF);
    FAILS(CALL(fstat, AT_FDCWD, &one), EBADF);
    FAILS(CALL(fstat, 4294967196L, &one), EBADF);
    FAILS(CALL(fstat, 999, &one), EBADF);
    FAILS(CALL(fstat, fd, BAD), EFAULT);
    FAILS(CALL(fstat, 999, BAD), EBADF);

    test("preadv, pwritev");
    char first[4], second[8];
    struct iovec pieces[2] = { { first, 4 }, { second, 8 } };
    WANT(CALL(preadv, fd, pieces, 2, 2, 0), 10);
    CHECK(!memcmp(first, "elve", 4) && !memcmp(second, " bytes", 6));
    WANT(CALL(preadv, fd, pieces, 2, 100, 0), 0);
    WANT(CALL(preadv, fd, pieces, 0, 0, 0), 0);
    FAILS(CALL(preadv, fd, pieces, 2, -1, -1), EINVAL);
    FAILS(CALL(preadv, fd, pieces, 2, -2, 0), EINVAL);
    FAILS(CALL(preadv, 999, pieces, 2, -1, 0), EINVAL);
    FAILS(CALL(preadv, 999, pieces, 2, 0, 0), EBADF);
    FAILS(CALL(preadv, fd, pieces, -1, 0, 0), EINVAL);
    FAILS(CALL(preadv, fd, BAD, 2, 0, 0), EFAULT);
    FAILS(CALL(preadv, ends[0], pieces, 2, 0, 0), ESPIPE);
    memcpy(first, "FOUR", 4);
    WANT(CALL(pwritev, fd, pieces, 1, 8, 0), 4);
    FAILS(CALL(pwritev, fd, pieces, 1, -1, 0), EINVAL);
    WANT(lseek(fd, 0, SEEK_CUR), 0);
    WANT(read(fd, second, 8), 8);
    WANT(read(fd, first, 4), 4);
    CHECK(!memcmp(first, "FOUR", 4));

    test("renameat, faccessat");
    WANT(CALL(renameat, AT_FDCWD, "file", directory, "moved"), 0);
    FAILS(CALL(renameat, AT_FDCWD, "file", directory, "moved"), ENOENT);
    FAILS(CALL(renameat, AT_FDCWD, BAD, AT_FDCWD, "moved"), EFAULT);
    FAILS(CALL(renameat, AT_FDCWD, ".", AT_FDCWD, "moved"), EBUSY);
    WANT(CALL(faccessat, directory, "moved", R_OK, AT_SYMLINK_NOFOLLOW), 0);
    FAILS(CALL(faccessat, AT_FDCWD, "moved", 8), EINVAL);
    FAILS(CALL(faccessat, AT_FDCWD, "file", F_OK), ENOENT);
    FAILS(CALL(faccessat, 999, "file", F_OK), EBADF);
    FAILS(CALL(faccessat, AT_FDCWD, BAD, F_OK), EFAULT);
    for (int i = 0; i < 2; i++)
        close(ends[i]);
    close(fd), close(path), close(directory);
}

static void limits(void)
{
    struct rlimit one, two, set = { 17, 4096 };
    struct timex times = { .modes = 0 };
    test("getrlimit, setrlimit");
    WANT(CALL(getrlimit, RLIMIT_CORE, &one), 0);
    getrlimit(RLIMIT_CORE, &two);
    CHECK(one.rlim_cur == two.rlim_cur && one.rlim_max == two.rlim_max);
    FAILS(CALL(getrlimit, RLIMIT_NLIMITS, &one), EINVAL);
    FAILS(CALL(getrlimit, -1, &one), EINVAL);
    FAILS(CALL(getrlimit, RLIMIT_NOFILE, NULL), EFAULT);
    FAILS(CALL(getrlimit, RLIMIT_NOFILE, BAD), EFAULT);
    FAILS(CALL(getrlimit, RLIMIT_NLIMITS, NULL), EINVAL);
    WANT(CALL(setrlimit, RLIMIT_NOFILE, &set), 0);
    WANT(CALL(getrlimit, RLIMIT_NOFILE, &one), 0);
    CHECK(one.rlim_cur == 17 && one.rlim_max == 4096);
    set.rlim_cur = 5000;
    FAILS(CALL(setrlimit, RLIMIT_NOFILE, &set), EINVAL);
    FAILS(CALL(setrlimit, RLIMIT_NOFILE, NULL), EFAULT);
    FAILS(CALL(setrlimit, RLIMIT_NLIMITS, NULL), EFAULT);
    FAILS(CALL(setrlimit, RLIMIT_NLIMITS, &set), EINVAL);

    test("mlock, adjtimex");
    static char memory[2 * PAGE];
    WANT(CALL(mlock, memory, 1), 0);
    WANT(munlock(memory, 1), 0);
    FAILS(CALL(mlock, -1, 1), EINVAL);
    FAILS(CALL(mlock, 1L << 45, 4096), ENOMEM);
    CHECK(CALL(adjtimex, &times) >= 0);
    CHECK(times.tick > 0);
    FAILS(CALL(adjtimex, BAD), EFAULT);
}

int main(void)
{
    guest_start();
    waiting();
    sleeping();
    statting();
    limits();
    return guest_end();
}
