/* Descriptors of processes.  man 2 pidfd_open, pidfd_send_signal, pidfd_getfd, clone, waitid */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define PIDFD P_PIDFD_
enum { P_PIDFD_ = 3, NONBLOCK = O_NONBLOCK, THREAD = O_EXCL };

static volatile int got, code, from;

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)context;
    got = signal;
    code = info->si_code;
    from = info->si_pid;
}

static int pidfd_open(pid_t pid, unsigned flags)
{
    return syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_send(int fd, int signal, siginfo_t *info, unsigned flags)
{
    return syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static short ready(int fd, int timeout)
{
    struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
    return poll(&p, 1, timeout) < 0 ? -1 : p.revents;
}

static volatile pid_t tid;
static int hold[2];

static void *thread_main(void *argument)
{
    char byte;
    tid = syscall(SYS_gettid);
    if (read(hold[0], &byte, 1) != 1)
        return argument;
    return NULL;
}

int main(void)
{
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    char path[64], text[256] = "", want[64];
    struct stat one, two;
    siginfo_t info;
    int end[2], fd, status;
    guest_start();
    sigaction(SIGUSR1, &act, NULL);
    WANT(pipe(end), 0);
    WANT(pipe(hold), 0);

    pid_t child = fork();
    if (!child) {
        char byte;
        close(end[1]);
        (void)!read(end[0], &byte, 1);
        _exit(9);
    }
    fd = pidfd_open(child, 0);
    CHECK(fd >= 0);
    WANT(fcntl(fd, F_GETFD), FD_CLOEXEC);
    WANT(ready(fd, 0), 0);
    FAILS(read(fd, text, 1), EINVAL);
    FAILS(write(fd, text, 1), EINVAL);
    SHOW(lseek(fd, 0, SEEK_SET));
    WANT(pidfd_send(fd, 0, NULL, 0), 0);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int proc = open(path, O_RDONLY);
    CHECK(read(proc, text, sizeof text - 1) > 0);
    snprintf(want, sizeof want, "Pid:\t%d\nNSpid:\t%d\n", child, child);
    CHECK(strstr(text, want) != NULL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(text, 0, sizeof text);
    WANT(readlink(path, text, sizeof text), 18);
    CHECK(!strcmp(text, "anon_inode:[pidfd]"));
    int again = pidfd_open(child, NONBLOCK), own = pidfd_open(getpid(), 0);
    CHECK(fcntl(again, F_GETFL) == (O_RDWR | O_NONBLOCK));
    CHECK(!fstat(fd, &one) && !fstat(again, &two) && one.st_ino == two.st_ino);
    CHECK(!fstat(own, &two) && one.st_ino != two.st_ino);

    /* another process's descriptor */
    int theirs = syscall(SYS_pidfd_getfd, fd, end[0], 0);
    CHECK(theirs >= 0);
    CHECK(!fstat(theirs, &one) && !fstat(end[0], &two) && one.st_ino == two.st_ino);
    WANT(fcntl(theirs, F_GETFD), FD_CLOEXEC);
    FAILS(syscall(SYS_pidfd_getfd, fd, 98, 0), EBADF);
    FAILS(syscall(SYS_pidfd_getfd, fd, 0, 1), EINVAL);
    FAILS(syscall(SYS_pidfd_getfd, end[0], 0, 0), EBADF);

    /* its end */
    FAILS(waitid(PIDFD, again, &info, WEXITED), EAGAIN);
    int ep = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = 5 };
    WANT(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event), 0);
    WANT(write(end[1], "x", 1), 1);
    WANT(epoll_wait(ep, &event, 1, -1), 1);
    WANT(ready(fd, -1), POLLIN);
    WANT(pidfd_send(fd, SIGUSR1, NULL, 0), 0);
    FAILS(syscall(SYS_pidfd_getfd, fd, 0, 0), ESRCH);
    WANT(waitid(PIDFD, fd, &info, WEXITED | WNOWAIT), 0);
    CHECK(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 9);
    WANT(waitid(PIDFD, again, &info, WEXITED), 0);
    FAILS(waitid(PIDFD, fd, &info, WEXITED), ECHILD);
    WANT(ready(fd, 0), POLLIN | POLLHUP);
    FAILS(pidfd_send(fd, 0, NULL, 0), ESRCH);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    proc = open(path, O_RDONLY);
    memset(text, 0, sizeof text);
    CHECK(read(proc, text, sizeof text - 1) > 0);
    CHECK(strstr(text, "Pid:\t-1\nNSpid:\t-1\n") != NULL);

    /* signals */
    WANT(pidfd_send(own, SIGUSR1, NULL, 0), 0);
    CHECK(got == SIGUSR1 && code == SI_USER && from == getpid());
    memset(&info, 0, sizeof info);
    info.si_signo = SIGUSR1;
    info.si_code = SI_QUEUE;
    info.si_pid = 4711;
    WANT(pidfd_send(own, SIGUSR1, &info, 0), 0);
    CHECK(code == SI_QUEUE && from == 4711);
    FAILS(pidfd_send(own, SIGUSR2, &info, 0), EINVAL);
    FAILS(pidfd_send(own, SIGUSR1, BAD, 0), EFAULT);
    FAILS(pidfd_send(own, SIGUSR1, NULL, 8), EINVAL);
    FAILS(pidfd_send(own, SIGUSR1, NULL, 3), EINVAL);
    FAILS(pidfd_send(own, 65, NULL, 0), EINVAL);
    FAILS(pidfd_send(end[0], 0, NULL, 0), EBADF);
    FAILS(pidfd_send(99, 0, NULL, 0), EBADF);
    int dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
    WANT(pidfd_send(dir, 0, NULL, 0), 0);
    WANT(pidfd_send(-10000, SIGUSR1, NULL, 0), 0);
    WANT(code, SI_TKILL);
    FAILS(pidfd_open(0, 0), EINVAL);
    FAILS(pidfd_open(getpid(), 1), EINVAL);
    FAILS(pidfd_open(4194303, 0), ESRCH);
    FAILS(waitid(PIDFD, end[0], &info, WEXITED), EBADF);
    FAILS(waitid(PIDFD, -1, &info, WEXITED), EINVAL);

    /* clone gives one */
    int clone_fd = -1;
#ifdef __x86_64__
    child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &clone_fd, NULL, 0);
#else
    child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &clone_fd, 0, NULL);
#endif
    if (!child)
        _exit(fcntl(clone_fd, F_GETFD) == -1 ? 8 : 1);
    CHECK(child > 0 && clone_fd >= 0);
    WANT(fcntl(clone_fd, F_GETFD), FD_CLOEXEC);
    WANT(ready(clone_fd, -1), POLLIN);
    WANT(waitid(PIDFD, clone_fd, &info, WEXITED), 0);
    CHECK(info.si_pid == child);
    WANT(info.si_status, 8);
    FAILS(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, NULL, &clone_fd, NULL, NULL), EINVAL);
    FAILS(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, BAD, NULL, NULL), EFAULT);

    /* threads */
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, thread_main, NULL), 0);
    while (!tid)
        sched_yield();
    FAILS(pidfd_open(tid, 0), ENOENT);
    int thread_fd = pidfd_open(tid, THREAD);
    CHECK(thread_fd >= 0);
    WANT(ready(thread_fd, 0), 0);
    FAILS(waitid(PIDFD, thread_fd, &info, WEXITED), ECHILD);
    WANT(write(hold[1], "x", 1), 1);
    WANT(ready(thread_fd, -1) & POLLIN, POLLIN);
    WANT(pthread_join(thread, NULL), 0);
    WANT(ready(own, 0), 0);
    (void)status;
    return guest_end();
}
