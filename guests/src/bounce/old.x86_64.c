/* Calls that newer architectures never had, as glue.c has those of both: what they return, what they leave in memory. */
#include "glue.h"
#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

static int exists(const char *path)
{
    struct stat stat;
    return !lstat(path, &stat);
}

static void naming(void)
{
    struct stat stat;
    char target[16];
    test("open, creat");
    int fd = CALL(open, "a", O_CREAT | O_RDWR | O_EXCL, 0640);
    CHECK(fd >= 0);
    WANT(CALL(stat, "a", &stat), 0);
    WANT(stat.st_mode, S_IFREG | 0640);
    FAILS(CALL(open, "a", O_CREAT | O_EXCL, 0640), EEXIST);
    FAILS(CALL(open, "nothing", O_RDONLY), ENOENT);
    FAILS(CALL(open, BAD, O_RDONLY), EFAULT);
    FAILS(CALL(open, NULL, O_RDONLY), EFAULT);
    FAILS(CALL(open, "a/b", O_RDONLY), ENOTDIR);
    FAILS(CALL(open, "", O_RDONLY), ENOENT);
    WANT(write(fd, "four", 4), 4);
    int again = CALL(creat, "a", 0777);
    CHECK(again >= 0);
    WANT(CALL(stat, "a", &stat), 0);
    WANT(stat.st_size, 0);
    WANT(stat.st_mode & 07777, 0640);
    FAILS(CALL(creat, ".", 0777), EISDIR);
    close(fd), close(again);

    test("mkdir, rmdir, mknod");
    WANT(CALL(mkdir, "d", 0750), 0);
    FAILS(CALL(mkdir, "d", 0750), EEXIST);
    FAILS(CALL(mkdir, WILD, 0750), EFAULT);
    WANT(CALL(stat, "d", &stat), 0);
    WANT(stat.st_mode, S_IFDIR | 0750);
    WANT(CALL(mknod, "d/fifo", S_IFIFO | 0600, 0), 0);
    FAILS(CALL(mknod, "d/fifo", S_IFIFO | 0600, 0), EEXIST);
    FAILS(CALL(rmdir, "d"), ENOTEMPTY);
    FAILS(CALL(rmdir, "a"), ENOTDIR);
    FAILS(CALL(unlink, "d"), EISDIR);
    WANT(CALL(unlink, "d/fifo"), 0);
    WANT(CALL(rmdir, "d"), 0);
    FAILS(CALL(rmdir, "d"), ENOENT);

    test("rename, link, symlink, readlink, unlink");
    WANT(CALL(rename, "a", "b"), 0);
    FAILS(CALL(rename, "a", "b"), ENOENT);
    FAILS(CALL(rename, BAD, "b"), EFAULT);
    FAILS(CALL(rename, "b", BAD), EFAULT);
    CHECK(!exists("a") && exists("b"));
    WANT(CALL(link, "b", "c"), 0);
    FAILS(CALL(link, "b", "c"), EEXIST);
    FAILS(CALL(link, "nothing", "x"), ENOENT);
    WANT(CALL(stat, "b", &stat), 0);
    WANT(stat.st_nlink, 2);
    WANT(CALL(symlink, "b", "s"), 0);
    FAILS(CALL(symlink, "b", "s"), EEXIST);
    FAILS(CALL(symlink, "", "t"), ENOENT);
    memset(target, 'x', sizeof target);
    WANT(CALL(readlink, "s", target, sizeof target), 1);
    CHECK(target[0] == 'b' && target[1] == 'x');
    FAILS(CALL(readlink, "b", target, sizeof target), EINVAL);
    FAILS(CALL(readlink, "s", target, 0), EINVAL);
    FAILS(CALL(readlink, "s", BAD, 8), EFAULT);
    WANT(CALL(lstat, "s", &stat), 0);
    CHECK(S_ISLNK(stat.st_mode));
    WANT(CALL(stat, "s", &stat), 0);
    CHECK(S_ISREG(stat.st_mode));
    FAILS(CALL(stat, "s", BAD), EFAULT);
    FAILS(CALL(stat, "", &stat), ENOENT);
    FAILS(CALL(lstat, "nothing", &stat), ENOENT);
    WANT(CALL(unlink, "c"), 0);
    WANT(CALL(unlink, "s"), 0);
    FAILS(CALL(unlink, "s"), ENOENT);

    test("chmod, chown, lchown, access");
    WANT(CALL(chmod, "b", 0604), 0);
    WANT(CALL(stat, "b", &stat), 0);
    WANT(stat.st_mode & 07777, 0604);
    FAILS(CALL(chmod, "nothing", 0604), ENOENT);
    WANT(CALL(chown, "b", -1, -1), 0);
    FAILS(CALL(chown, "nothing", -1, -1), ENOENT);
    WANT(CALL(symlink, "nothing", "s"), 0);
    FAILS(CALL(chown, "s", -1, -1), ENOENT);
    WANT(CALL(lchown, "s", -1, -1), 0);
    FAILS(CALL(lchown, BAD, -1, -1), EFAULT);
    WANT(CALL(access, "b", R_OK | W_OK), 0);
    FAILS(CALL(access, "b", 0100), EINVAL);
    FAILS(CALL(access, "s", F_OK), ENOENT);
    WANT(CALL(unlink, "s"), 0);
}

static void stamping(void)
{
    struct { long access, change; } times = { 1000000001, -3 };
    struct timeval fine[2] = { { 1234, 999999 }, { 5678, 1 } };
    struct stat stat;
    long wrong = 0;
    test("utime");
    WANT(CALL(utime, "b", &times), 0);
    CALL(stat, "b", &stat);
    CHECK(stat.st_atim.tv_sec == 1000000001 && !stat.st_atim.tv_nsec && stat.st_mtim.tv_sec == -3);
    WANT(CALL(utime, "b", NULL), 0);
    CALL(stat, "b", &stat);
    CHECK(stat.st_mtim.tv_sec > 1000000001 && stat.st_atim.tv_sec == stat.st_mtim.tv_sec);
    FAILS(CALL(utime, "nothing", &times), ENOENT);
    FAILS(CALL(utime, "b", BAD), EFAULT);
    FAILS(CALL(utime, "nothing", WILD), EFAULT);
    FAILS(CALL(utime, BAD, &times), EFAULT);

    test("utimes, futimesat");
    WANT(CALL(utimes, "b", fine), 0);
    CALL(stat, "b", &stat);
    CHECK(stat.st_atim.tv_sec == 1234 && stat.st_atim.tv_nsec == 999999000);
    CHECK(stat.st_mtim.tv_sec == 5678 && stat.st_mtim.tv_nsec == 1000);
    for (int i = 0; i < 4; i++) {
        struct timeval bad[2] = { { 1, 1 }, { 1, 1 } };
        bad[i / 2].tv_usec = i % 2 ? 1000000 : -1;
        errno = 0;
        wrong += CALL(utimes, "nothing", bad) == -1 && errno == EINVAL;
    }
    WANT(wrong, 4);
    FAILS(CALL(utimes, "nothing", fine), ENOENT);
    FAILS(CALL(utimes, "b", BAD), EFAULT);
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + PAGE, PAGE);
    FAILS(CALL(utimes, "b", pages + PAGE - 24), EFAULT);
    WANT(CALL(utimes, "b", NULL), 0);
    int fd = open("b", O_RDONLY), directory = open(".", O_DIRECTORY);
    fine[0].tv_sec = 77;
    WANT(CALL(futimesat, directory, "b", fine), 0);
    CALL(stat, "b", &stat);
    WANT(stat.st_atim.tv_sec, 77);
    fine[0].tv_sec = 78;
    WANT(CALL(futimesat, fd, NULL, fine), 0);
    CALL(stat, "b", &stat);
    WANT(stat.st_atim.tv_sec, 78);
    FAILS(CALL(futimesat, AT_FDCWD, NULL, fine), EFAULT);
    FAILS(CALL(futimesat, 999, "b", fine), EBADF);
    WANT(CALL(futimesat, AT_FDCWD, "b", NULL), 0);
    close(fd), close(directory);
}

struct old_dirent {
    unsigned long ino, off;
    unsigned short reclen;
    char name[];
};

static void listing(void)
{
    char buffer[1024] __attribute__((aligned(8))), newer[1024] __attribute__((aligned(8)));
    static const char *const names[] = { "1", "22", "333", "4444", "55555", "666666", "7777777", "a name, rather longer" };
    long count, same = 0;
    test("getdents");
    CALL(mkdir, "many", 0755);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "many/%s", names[i]);
        if (i % 2)
            CALL(mkdir, path, 0755);
        else
            close(CALL(creat, path, 0644));
    }
    int fd = open("many", O_DIRECTORY), other = open("many", O_DIRECTORY), file = open("b", O_RDONLY);
    count = CALL(getdents, fd, buffer, sizeof buffer);
    CHECK(count == syscall(SYS_getdents64, other, newer, sizeof newer) && count > 0);
    for (long at = 0; at < count;) {
        const struct old_dirent *entry = (void *)(buffer + at);
        const struct dirent *wanted = (void *)(newer + at);
        same += entry->ino == wanted->d_ino && entry->off == (unsigned long)wanted->d_off
            && entry->reclen == wanted->d_reclen && !strcmp(entry->name, wanted->d_name)
            && buffer[at + entry->reclen - 1] == wanted->d_type;
        at += wanted->d_reclen;
    }
    WANT(same, sizeof names / sizeof *names + 2);
    WANT(CALL(getdents, fd, buffer, sizeof buffer), 0);
    lseek(fd, 0, SEEK_SET);
    FAILS(CALL(getdents, fd, buffer, 23), EINVAL);
    lseek(fd, 0, SEEK_SET);
    FAILS(CALL(getdents, fd, BAD, 1024), EFAULT);
    for (same = 0; (count = CALL(getdents, fd, buffer, 64)) > 0;)
        for (long at = 0; at < count; at += ((struct old_dirent *)(void *)(buffer + at))->reclen)
            same++;
    WANT(same, sizeof names / sizeof *names + 2);
    FAILS(CALL(getdents, file, buffer, 1024), ENOTDIR);
    FAILS(CALL(getdents, 999, buffer, 1024), EBADF);
    close(fd), close(other), close(file);
}

static void descriptors(void)
{
    int ends[2], fd;
    sigset_t set;
    struct epoll_event event = { .events = EPOLLIN }, came;
    test("pipe, dup2");
    WANT(CALL(pipe, ends), 0);
    FAILS(CALL(pipe, BAD), EFAULT);
    WANT(CALL(dup2, ends[0], 15), 15);
    WANT(CALL(dup2, 15, 15), 15);
    WANT(CALL(fcntl, 15, F_SETFD, FD_CLOEXEC), 0);
    WANT(CALL(dup2, 15, 15), 15);
    WANT(fcntl(15, F_GETFD), FD_CLOEXEC);
    WANT(CALL(dup2, ends[1], 15), 15);
    WANT(fcntl(15, F_GETFD), 0);
    FAILS(CALL(dup2, 999, 999), EBADF);
    FAILS(CALL(dup2, -1, -1), EBADF);
    FAILS(CALL(dup2, 999, 5), EBADF);
    FAILS(CALL(dup2, ends[0], -1), EBADF);
    FAILS(CALL(dup2, ends[0], 1 << 30), EBADF);
    WANT(CALL(dup2, 15 | 1L << 32, 15), 15);
    close(15);

    test("epoll_create, epoll_wait");
    FAILS(CALL(epoll_create, 0), EINVAL);
    FAILS(CALL(epoll_create, -1), EINVAL);
    FAILS(CALL(epoll_create, 1L << 32), EINVAL);
    fd = CALL(epoll_create, 1);
    CHECK(fd >= 0);
    WANT(epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &event), 0);
    WANT(CALL(epoll_wait, fd, &came, 1, 0), 0);
    WANT(write(ends[1], "x", 1), 1);
    WANT(CALL(epoll_wait, fd, &came, 1, -1), 1);
    WANT(came.events, EPOLLIN);
    FAILS(CALL(epoll_wait, fd, &came, 0, 0), EINVAL);
    FAILS(CALL(epoll_wait, fd, BAD, 1, 0), EFAULT);
    FAILS(CALL(epoll_wait, ends[0], &came, 1, 0), EINVAL);
    close(fd);

    test("eventfd, signalfd, inotify_init");
    fd = CALL(eventfd, 3);
    uint64_t value = 0;
    WANT(read(fd, &value, 8), 8);
    WANT(value, 3);
    close(fd);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    fd = CALL(signalfd, -1, &set, 8);
    CHECK(fd >= 0);
    FAILS(CALL(signalfd, -1, &set, 4), EINVAL);
    FAILS(CALL(signalfd, ends[0], &set, 8), EINVAL);
    close(fd);
    CHECK(CALL(getpgrp) == getpgid(0));
    close(ends[0]), close(ends[1]);
}

static void polling(void)
{
    int ends[2], other[2];
    struct timeval time, *ro;
    fd_set set, write_set;
    CALL(pipe, ends);
    CALL(pipe, other);
    struct pollfd polled[2] = { { ends[0], POLLIN, 0 }, { ends[1], POLLOUT, 0 } };
    test("poll");
    WANT(CALL(poll, polled, 2, -1), 1);
    CHECK(!polled[0].revents && polled[1].revents == POLLOUT);
    WANT(CALL(poll, polled, 1, 0), 0);
    WANT(CALL(poll, polled, 1, 3), 0);
    WANT(CALL(poll, NULL, 0, 1), 0);
    polled[1].fd = 999;
    WANT(CALL(poll, polled, 2, -5), 1);
    WANT(polled[1].revents, POLLNVAL);
    FAILS(CALL(poll, BAD, 1, 0), EFAULT);
    FAILS(CALL(poll, polled, 100000000, 0), EINVAL);
    handle(SIGALRM, SA_RESTART);
    ring(10000);
    FAILS(CALL(poll, polled, 1, -1), EINTR);
    FAILS(CALL(poll, polled, 1, 1234567), EINTR);
    quiet();

    test("select");
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    FD_ZERO(&write_set);
    FD_SET(other[1], &write_set);
    WANT(CALL(select, other[1] + 1, &set, &write_set, NULL, NULL), 1);
    CHECK(!FD_ISSET(ends[0], &set) && FD_ISSET(other[1], &write_set));
    FD_SET(ends[0], &set);
    time = (struct timeval){ 0, 0 };
    WANT(CALL(select, ends[0] + 1, &set, NULL, NULL, &time), 0);
    CHECK(!FD_ISSET(ends[0], &set));
    time = (struct timeval){ 0, 2000 };
    WANT(CALL(select, 0, NULL, NULL, NULL, &time), 0);
    CHECK(time.tv_sec == 0 && time.tv_usec == 0);
    time = (struct timeval){ 100, 5000000 };
    FD_SET(other[1], &write_set);
    WANT(CALL(select, other[1] + 1, NULL, &write_set, NULL, &time), 1);
    CHECK(time.tv_sec >= 104 && time.tv_sec <= 105 && time.tv_usec >= 0 && time.tv_usec < 1000000);
    time = (struct timeval){ -1, 1000000 };
    WANT(CALL(select, 0, NULL, NULL, NULL, &time), 0);
    CHECK(time.tv_sec == -1 && time.tv_usec == 1000000);
    time = (struct timeval){ 1, -1000000 };
    WANT(CALL(select, 0, NULL, NULL, NULL, &time), 0);
    CHECK(time.tv_sec == 1 && time.tv_usec == -1000000);
    time = (struct timeval){ 3, -1 };
    FAILS(CALL(select, 0, NULL, NULL, NULL, &time), EINVAL);
    CHECK(time.tv_sec == 3 && time.tv_usec == -1);
    time = (struct timeval){ -1, 5 };
    FAILS(CALL(select, 0, NULL, NULL, NULL, &time), EINVAL);
    FAILS(CALL(select, -1, NULL, NULL, NULL, NULL), EINVAL);
    time = (struct timeval){ 50, 0 };
    FAILS(CALL(select, -1, NULL, NULL, NULL, &time), EINVAL);
    FAILS(CALL(select, 0, NULL, NULL, NULL, BAD), EFAULT);
    FAILS(CALL(select, 10, BAD, NULL, NULL, NULL), EFAULT);
    close(other[0]), close(other[1]);
    FD_SET(other[0], &set);
    FAILS(CALL(select, other[0] + 1, &set, NULL, NULL, &time), EBADF);
    time = (struct timeval){ 0, 1500 };
    ro = read_only(&time, sizeof time);
    WANT(CALL(select, 0, NULL, NULL, NULL, ro), 0);
    ring(10000);
    time = (struct timeval){ 100, 0 };
    FAILS(CALL(select, 0, NULL, NULL, NULL, &time), EINTR);
    CHECK(time.tv_sec == 99 && time.tv_usec > 0 && signals >= 1);
    FAILS(CALL(select, 0, NULL, NULL, NULL, NULL), EINTR);
    FAILS(CALL(pause), EINTR);
    quiet();
    close(ends[0]), close(ends[1]);

    test("alarm, time");
    signals = 0;
    WANT(CALL(alarm, 100), 0);
    CHECK(CALL(alarm, 1000) == 100);
    struct itimerval timer = { { 0, 0 }, { 5, 400000 } };
    setitimer(ITIMER_REAL, &timer, NULL);
    WANT(CALL(alarm, 0xffffffffUL), 5);
    CHECK(CALL(alarm, 0) >= 4294967294);
    timer.it_value = (struct timeval){ 5, 900000 };
    timer.it_interval.tv_sec = 3;
    setitimer(ITIMER_REAL, &timer, NULL);
    WANT(CALL(alarm, 1L << 32), 6);
    WANT(CALL(alarm, 0), 0);
    timer = (struct itimerval){ { 0, 0 }, { 0, 200000 } };
    setitimer(ITIMER_REAL, &timer, NULL);
    WANT(CALL(alarm, 0), 1);
    long now = CALL(time, NULL), then = -1;
    WANT(CALL(time, &then) - now <= 1, 1);
    CHECK(then - now <= 1 && then - now >= 0 && now > 1600000000);
    FAILS(CALL(time, BAD), EFAULT);
}

static void forking(void)
{
    int status = 0;
    static volatile int shared;
    test("fork, vfork");
    pid_t child = CALL(fork);
    if (!child)
        _exit(11);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 11 << 8);
    child = CALL(fork, 1, 2, 3, 4, 5, 6);
    if (!child)
        _exit(12);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 12 << 8);
    shared = 0;
    child = vfork();
    if (!child) {
        shared = 13;
        syscall(SYS_exit, 13);
    }
    WANT(shared, 13);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 13 << 8);
}

int main(void)
{
    guest_start();
    umask(0);
    naming();
    stamping();
    listing();
    descriptors();
    polling();
    forking();
    return guest_end();
}
