/* argv[1] times each of some calls that newer ones have replaced, by the instruction itself; each returns at once and
 * leaves things as they were. Without an argument: their names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int file, directory, epoll;
static char buffer[1024];
static struct stat status;
static struct timespec moment = { 0, 1 };
static struct timeval times[2];
static struct rlimit limit = { 100, 100 };
static struct iovec piece = { buffer, 4 };
static struct timex clocks;
#ifdef __x86_64__
static struct timeval interval;
static struct epoll_event event;
static fd_set none;
#endif

#define CALL(name, ...) { #name, SYS_##name, { __VA_ARGS__ } }
#define AT(pointer) (long)(pointer)
static struct call {
    const char *name;
    long number, args[6];
} calls[] = {
    CALL(nanosleep, AT(&moment)), CALL(fstat, 0, AT(&status)), CALL(fstat, AT_FDCWD, AT(&status)),
    CALL(preadv, 0, AT(&piece), 1, 0), CALL(preadv, 0, AT(&piece), 1, -1), CALL(pwritev, 0, AT(&piece), 1, 0),
    CALL(renameat, AT_FDCWD, AT("/nowhere"), AT_FDCWD, AT("/x")), CALL(faccessat, AT_FDCWD, AT("/nowhere")),
    CALL(getrlimit, RLIMIT_CORE, AT(&limit)), CALL(getrlimit, RLIMIT_CORE, 0), CALL(setrlimit, RLIMIT_CORE, 0),
    CALL(mlock, AT(buffer), 1), CALL(adjtimex, AT(&clocks)), CALL(wait4, -1, 0, WNOHANG), CALL(wait4, -1, 0, WEXITED),
#ifdef __x86_64__
    CALL(open, AT("/nowhere")), CALL(creat, AT("/no/where")), CALL(unlink, AT("/nowhere")), CALL(rmdir, AT("/nowhere")),
    CALL(mkdir, AT("/no/where")), CALL(mknod, AT("/no/where")), CALL(rename, AT("/nowhere"), AT("/x")),
    CALL(link, AT("/nowhere"), AT("/x")), CALL(symlink, AT("x"), AT("/no/where")), CALL(readlink, AT("/nowhere")),
    CALL(chmod, AT("/nowhere")), CALL(chown, AT("/nowhere")), CALL(lchown, AT("/nowhere")), CALL(access, AT("/")),
    CALL(stat, AT("/"), AT(&status)), CALL(lstat, AT("/"), AT(&status)), CALL(pipe, 8), CALL(eventfd, 0, 0, 0),
    CALL(signalfd, -1, 0, 0), CALL(epoll_create, 0), CALL(epoll_wait, 0, AT(&event), 1, 0),
    CALL(getpgrp), CALL(poll, 0, 0, 0), CALL(select, 0, 0, 0, 0, AT(&interval)),
    CALL(select, 0, AT(&none), 0, 0, AT(times)), CALL(getdents, 0, AT(buffer), sizeof buffer), CALL(alarm, 0),
    CALL(utime, AT("/nowhere")), CALL(utimes, AT("/nowhere"), AT(times)), CALL(futimesat, -1, AT("x"), AT(times)),
    CALL(dup2, 2, 3), CALL(dup2, 2, 2), CALL(time, AT(buffer)),
#endif
};

int main(int argc, char **argv)
{
    file = open("/glued", O_CREAT | O_RDWR, 0600);
    directory = open("/", O_DIRECTORY);
    epoll = epoll_create1(0);
    times[0].tv_usec = 1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct call *one = &calls[i];
        long *args = one->args;
        if (argc < 2)
            puts(one->name);
        if (!strcmp(one->name, "preadv") || !strcmp(one->name, "pwritev"))
            args[0] = file;
        else if (!strcmp(one->name, "getdents"))
            args[0] = directory;
        else if (!strcmp(one->name, "epoll_wait"))
            args[0] = epoll;
        for (int rounds = argc < 2 ? 0 : atoi(argv[1]); rounds > 0; rounds--)
            syscall(one->number, args[0], args[1], args[2], args[3], args[4], args[5]);
    }
    return 0;
}
