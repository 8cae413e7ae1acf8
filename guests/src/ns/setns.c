/* setns(2), and the links of /proc/<pid>/ns: which namespaces a task is in, told apart by their numbers, kept by open
 * files, and entered again. */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/vfs.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define PIDFD_GET_PID_NAMESPACE 0xff05
#define PIDFD_GET_TIME_NAMESPACE 0xff07
#define NS_GET_USERNS 0xb701
#define NS_GET_PARENT 0xb702
#define NS_GET_NSTYPE 0xb703
#define NS_GET_OWNER_UID 0xb704
#define NS_GET_PID_FROM_PIDNS 0x8004b706u
#define NS_GET_TGID_FROM_PIDNS 0x8004b707u
#define NS_GET_PID_IN_PIDNS 0x8004b708u
#define NS_GET_TGID_IN_PIDNS 0x8004b709u

static pid_t getpid_(void) { return syscall(SYS_getpid); }

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

static int ns_open(pid_t pid, const char *kind)
{
    char name[64];
    sprintf(name, "/proc/%d/ns/%s", pid, kind);
    return open(name, O_RDONLY | O_CLOEXEC);
}

static ino_t number(pid_t pid, const char *kind)
{
    char name[64];
    struct stat st;
    sprintf(name, "/proc/%d/ns/%s", pid, kind);
    return stat(name, &st) ? 0 : st.st_ino;
}

static long long monotonic_h(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return now.tv_sec / 3600;
}

static const char *host(void)
{
    static struct utsname name;
    uname(&name);
    return name.nodename;
}

static void links(void)
{
    static const char *kinds[] = { "pid", "pid_for_children", "time", "time_for_children", "uts" };
    static const int types[] = { CLONE_NEWPID, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWTIME, CLONE_NEWUTS };
    for (int i = 0; i < 5; i++) {
        char name[64], text[64] = "", expected[64];
        struct stat st;
        struct statfs fs;
        printf("-- %s\n", kinds[i]);
        sprintf(name, "/proc/self/ns/%s", kinds[i]);
        CHECK(readlink(name, text, sizeof text - 1) > 0);
        int fd = open(name, O_RDONLY);
        WANT(fstat(fd, &st), 0);
        sprintf(expected, "%.*s:[%lu]", (int)strcspn(kinds[i], "_"), kinds[i], (unsigned long)st.st_ino);
        CHECK(!strcmp(text, expected));
        CHECK(st.st_mode == (S_IFREG | 0444) && st.st_nlink == 1);
        WANT(fstatfs(fd, &fs), 0);
        CHECK(fs.f_type == 0x6e736673);
        CHECK(st.st_ino == number(getpid_(), kinds[i]));
        sprintf(name, "/proc/self/fd/%d", fd);
        memset(text, 0, sizeof text);
        readlink(name, text, sizeof text - 1);
        CHECK(!strcmp(text, expected));
        CHECK(ioctl(fd, NS_GET_NSTYPE) == types[i]);
        FAILS(ioctl(fd, NS_GET_OWNER_UID, &st), EINVAL);
        FAILS(ioctl(fd, NS_GET_PARENT), types[i] == CLONE_NEWPID ? EPERM : EINVAL);
        FAILS(read(fd, text, 1), EINVAL);
        if (types[i] == CLONE_NEWTIME)
            WANT(setns(fd, 0), 0);
        FAILS(setns(fd, CLONE_NEWNS), EINVAL);
        close(fd);
    }
    FAILS(open("/proc/self/ns/none", O_RDONLY), ENOENT);
    FAILS(setns(-1, 0), EBADF);
    FAILS(setns(0, 0), EINVAL);
}

static void enter_uts(void)
{
    puts("-- uts");
    int before = ns_open(getpid_(), "uts");
    ino_t old = number(getpid_(), "uts");
    WANT(unshare(CLONE_NEWUTS), 0);
    if (number(getpid_(), "uts") == old)
        return; /* else the host of a judge would be renamed */
    WANT(sethostname("inside", 6), 0);
    WANT(setdomainname("domain", 6), 0);
    CHECK(number(getpid_(), "uts") != old);
    CHECK(!strcmp(host(), "inside"));
    int inside = ns_open(getpid_(), "uts");
    pid_t child = spawn(CLONE_NEWUTS);
    if (!child) {
        CHECK(!strcmp(host(), "inside")); /* a copy */
        WANT(sethostname("deeper", 6), 0);
        char text[64] = "";
        int fd = open("/proc/sys/kernel/hostname", O_RDONLY);
        CHECK(read(fd, text, 63) == 7 && !strcmp(text, "deeper\n"));
        exit(0);
    }
    WANT(reap(child), 0);
    CHECK(!strcmp(host(), "inside"));
    WANT(setns(before, CLONE_NEWUTS), 0);
    CHECK(strcmp(host(), "inside"));
    CHECK(number(getpid_(), "uts") == old);
    WANT(setns(inside, 0), 0);
    CHECK(!strcmp(host(), "inside"));
    WANT(setns(before, 0), 0);
    close(before);
    close(inside);
}

static void enter_pid(void)
{
    puts("-- pid");
    pid_t self = getpid_();
    ino_t own = number(self, "pid");
    int hold[2], say[2];
    char byte;
    WANT(pipe(hold), 0);
    WANT(pipe(say), 0);
    WANT(unshare(CLONE_NEWPID), 0);
    FAILS(readlink("/proc/self/ns/pid_for_children", &byte, 1), ENOENT);
    FAILS(ns_open(self, "pid_for_children"), ENOENT);
    int outer = ns_open(self, "pid");
    WANT(setns(outer, CLONE_NEWPID), 0);
    CHECK(number(self, "pid_for_children") == own);

    pid_t init = spawn(CLONE_NEWPID);
    if (!init) {
        close(hold[1]);
        while (read(hold[0], &byte, 1) > 0)
            ;
        exit(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1);
    }
    int inner = ns_open(init, "pid"), pidfd = syscall(SYS_pidfd_open, init, 0);
    CHECK(inner >= 0 && pidfd >= 0);
    int parent = ioctl(inner, NS_GET_PARENT);
    struct stat st;
    WANT(fstat(parent, &st), 0);
    CHECK(st.st_ino == own);
    CHECK(ioctl(inner, NS_GET_PID_FROM_PIDNS, 1) == init);
    CHECK(ioctl(inner, NS_GET_TGID_FROM_PIDNS, 1) == init);
    CHECK(ioctl(inner, NS_GET_PID_IN_PIDNS, init) == 1);
    FAILS(ioctl(inner, NS_GET_PID_FROM_PIDNS, 99), ESRCH);
    FAILS(ioctl(inner, NS_GET_TGID_IN_PIDNS, self), ESRCH);
    WANT(setns(inner, CLONE_NEWPID), 0);
    CHECK(getpid_() == self && number(self, "pid") == own);
    CHECK(number(self, "pid_for_children") == number(init, "pid"));
    pid_t child = spawn(0);
    if (!child) {
        WANT(getpid_(), 2);
        WANT(syscall(SYS_getppid), 0);
        WANT(kill(1, 0), 0);
        FAILS(setns(outer, 0), EINVAL); /* there is no way out */
        FAILS(setns(parent, CLONE_NEWPID), EINVAL);
        WANT(setns(inner, CLONE_NEWPID), 0);
        FAILS(ioctl(inner, NS_GET_PARENT), EPERM);
        pid_t grandchild = spawn(0);
        if (!grandchild) {
            while (syscall(SYS_getppid) == 2)
                sched_yield();
            int good = syscall(SYS_getppid) == 1; /* the reaper of its namespace, not the one who came in */
            pid_t own_child = spawn(0);
            if (!own_child)
                _exit(0);
            good &= reap(own_child) == 0;
            close(hold[1]);
            write(say[1], good ? "y" : "n", 1);
            while (read(hold[0], &byte, 1) > 0)
                ;
            _exit(8);
        }
        exit(6);
    }
    WANT(reap(child), 6);
    CHECK(read(say[0], &byte, 1) == 1 && byte == 'y');
    int of_init = ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0), of_time = ioctl(pidfd, PIDFD_GET_TIME_NAMESPACE, 0);
    WANT(fstat(of_init, &st), 0);
    CHECK(st.st_ino == number(init, "pid"));
    WANT(fstat(of_time, &st), 0);
    CHECK(st.st_ino == number(init, "time"));
    FAILS(ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 1), EINVAL);
    FAILS(ioctl(pidfd, 0xff40, 0), ENOTTY);
    close(of_init);
    close(of_time);
    FAILS(setns(pidfd, 0), EINVAL);
    FAILS(setns(pidfd, 1), EINVAL);
    WANT(setns(pidfd, CLONE_NEWPID | CLONE_NEWUTS), 0);
    WANT(setns(outer, 0), 0);
    close(hold[0]);
    close(hold[1]); /* init goes, and all with it */
    CHECK(reap(init) != -1000);
    FAILS(setns(pidfd, CLONE_NEWPID), ESRCH);
    FAILS(ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0), ESRCH);
    WANT(setns(inner, CLONE_NEWPID), 0); /* what is open is there, but dead */
    FAILS(spawn(0), ENOMEM);
    WANT(setns(outer, 0), 0);
    child = spawn(0);
    if (!child)
        exit(getpid_() == 1);
    WANT(reap(child), 0);
    close(outer);
    close(inner);
    close(parent);
    close(pidfd);
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void enter_time(void)
{
    puts("-- time");
    int outer = ns_open(getpid_(), "time");
    long long hours = monotonic_h();
    WANT(unshare(CLONE_NEWTIME), 0);
    int fd = open("/proc/self/timens_offsets", O_WRONLY);
    WANT(write(fd, "monotonic 3600000 0", 19), 19);
    close(fd);
    int inner = ns_open(getpid_(), "time_for_children");
    CHECK(inner >= 0 && number(getpid_(), "time") != number(getpid_(), "time_for_children"));
    CHECK(monotonic_h() - hours < 2);
    WANT(setns(inner, CLONE_NEWTIME), 0);
    CHECK(monotonic_h() - hours - 1000 < 2 && monotonic_h() - hours >= 1000);
    CHECK(number(getpid_(), "time") == number(getpid_(), "time_for_children"));
    pid_t child = spawn(0);
    if (!child) {
        CHECK(monotonic_h() - hours >= 1000);
        WANT(setns(outer, 0), 0);
        CHECK(monotonic_h() - hours < 2);
        int pidfd = syscall(SYS_pidfd_open, syscall(SYS_getppid), 0);
        WANT(setns(pidfd, CLONE_NEWTIME), 0);
        CHECK(monotonic_h() - hours >= 1000);
        pthread_t thread;
        WANT(pthread_create(&thread, NULL, idle, NULL), 0);
        FAILS(setns(outer, 0), 87); /* EUSERS: the clocks of both would change */
        exit(0);
    }
    WANT(reap(child), 0);
    WANT(setns(outer, CLONE_NEWTIME), 0);
    CHECK(monotonic_h() - hours < 2);
    fflush(stdout);
    child = fork();
    if (!child) {
        WANT(setuid(65534), 0);
        FAILS(setns(inner, 0), EPERM);
        exit(0);
    }
    WANT(reap(child), 0);
    close(inner);
    close(outer);
}

int main(void)
{
    guest_start();
    links();
    enter_uts();
    enter_pid();
    enter_time();
    return guest_end();
}
