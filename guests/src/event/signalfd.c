/* Signals that are read.  man 2 signalfd */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

static struct signalfd_siginfo info[4];

static short ready(int fd)
{
    struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static void *reader(void *argument)
{
    int fd = *(int *)argument;
    return (void *)(read(fd, info, sizeof *info) == sizeof *info ? (long)info[0].ssi_signo : -1L);
}

int main(void)
{
    sigset_t mask, other;
    char text[512] = "", path[64];
    guest_start();
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGRTMIN + 3);
    sigaddset(&mask, SIGKILL);                          /* taken out silently */
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(fd >= 0);
    WANT(fcntl(fd, F_GETFD), FD_CLOEXEC);
    WANT(ready(fd), 0);
    FAILS(read(fd, info, sizeof info), EAGAIN);
    FAILS(read(fd, info, 127), EINVAL);
    FAILS(write(fd, info, 128), EINVAL);
    WANT(sizeof *info, 128);

    WANT(kill(getpid(), SIGUSR1), 0);
    WANT(kill(getpid(), SIGUSR1), 0);
    WANT(ready(fd), POLLIN);
    WANT(read(fd, info, sizeof info), 128);
    CHECK(info[0].ssi_signo == SIGUSR1 && info[0].ssi_code == SI_USER && info[0].ssi_errno == 0);
    CHECK(info[0].ssi_pid == (uint32_t)getpid() && info[0].ssi_uid == getuid());

    /* real-time signals queue, with their values, and come in order */
    for (int i = 1; i <= 3; i++)
        WANT(sigqueue(getpid(), SIGRTMIN + 3, (union sigval) { .sival_int = -i }), 0);
    WANT(raise(SIGUSR1), 0);
    WANT(read(fd, info, sizeof info), 512);
    CHECK(info[0].ssi_signo == SIGUSR1 && info[0].ssi_code == SI_TKILL);
    for (int i = 1; i <= 3; i++) {
        CHECK(info[i].ssi_signo == (uint32_t)SIGRTMIN + 3 && info[i].ssi_code == SI_QUEUE);
        WANT(info[i].ssi_int, -i);
        CHECK((int)info[i].ssi_ptr == -i);
    }

    /* a child's end */
    pid_t child = fork();
    if (!child)
        _exit(5);
    struct pollfd p = { fd, POLLIN, 0 };
    WANT(poll(&p, 1, -1), 1);
    WANT(read(fd, info, sizeof info), 128);
    CHECK(info[0].ssi_signo == SIGCHLD && info[0].ssi_code == CLD_EXITED && info[0].ssi_pid == (uint32_t)child);
    WANT(info[0].ssi_status, 5);
    CHECK(waitpid(child, NULL, 0) == child);

    /* a timer's signal */
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = 77 };
    timer_t timer;
    WANT(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    struct itimerspec soon = { { 0, 0 }, { 0, 1000000 } };
    WANT(timer_settime(timer, 0, &soon, NULL), 0);
    WANT(poll(&p, 1, -1), 1);
    WANT(read(fd, info, sizeof info), 128);
    CHECK(info[0].ssi_code == SI_TIMER && info[0].ssi_int == 77 && info[0].ssi_overrun == 0);
    WANT(timer_delete(timer), 0);

    /* another mask for the same descriptor */
    sigemptyset(&other);
    sigaddset(&other, SIGUSR2);
    sigprocmask(SIG_BLOCK, &other, NULL);
    CHECK(signalfd(fd, &other, 0) == fd);
    WANT(raise(SIGUSR1), 0);
    WANT(ready(fd), 0);
    WANT(raise(SIGUSR2), 0);
    WANT(ready(fd), POLLIN);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int proc = open(path, O_RDONLY);
    CHECK(read(proc, text, sizeof text - 1) > 0);
    CHECK(strstr(text, "\nsigmask:\t0000000000000800\n") != NULL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(text, 0, sizeof text);
    WANT(readlink(path, text, sizeof text), 21);
    CHECK(!strcmp(text, "anon_inode:[signalfd]"));
    FAILS(syscall(SYS_signalfd4, -1, &mask, 8, 1), EINVAL);
    FAILS(syscall(SYS_signalfd4, -1, BAD, 8, 0), EFAULT);
    FAILS(syscall(SYS_signalfd4, 0, &mask, 8, 0), EINVAL);
    FAILS(syscall(SYS_signalfd4, 99, &mask, 8, 0), EBADF);
    WANT(read(fd, info, 128), 128);
    CHECK(signalfd(fd, &mask, 0) == fd);
    WANT(read(fd, info, 128), 128);

    /* a thread waits for the process's signal; a signal of another thread's own is not for it */
    int waiting = signalfd(-1, &mask, 0);
    pthread_t thread;
    void *result;
    WANT(pthread_create(&thread, NULL, reader, &waiting), 0);
    usleep(1000);
    WANT(raise(SIGUSR1), 0);
    usleep(1000);
    WANT(ready(fd), POLLIN);
    WANT(kill(getpid(), SIGRTMIN + 3), 0);
    WANT(pthread_join(thread, &result), 0);
    CHECK((long)result == SIGRTMIN + 3);
    WANT(read(fd, info, sizeof info), 128);
    CHECK(info[0].ssi_signo == SIGUSR1);
    return guest_end();
}
