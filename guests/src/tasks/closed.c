/* A thread sleeps in a call on a descriptor, and another closes it and opens something else there: the call goes on with
 * the file that it found (fs/file.c:fdget()), and the file lives for as long.
 * man 2 close */
#include "guest.h"
#include "asleep.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static int fd, peer, beside;
static char buffer[70000];
static pid_t sleeper;
static pthread_t thread;
static long (*call)(void);
static long result;

static void *run(void *unused)
{
    (void)unused;
    sleeper = (pid_t)syscall(SYS_gettid);
    errno = 0;
    result = call();
    if (result == -1)
        result = -errno;
    return NULL;
}

static long reads(void)
{
    return read(fd, buffer, 10);
}

static long receives(void)
{
    return recv(fd, buffer, 4, MSG_WAITALL);
}

static long writes(void)
{
    return write(fd, buffer, sizeof buffer);
}

static long polls(void)
{
    struct pollfd entry = { fd, POLLIN, 0 };
    long count = poll(&entry, 1, 10000);
    return count * 100 + entry.revents;
}

static long selects(void)
{
    struct timeval limit = { 10, 0 };
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    return select(fd + 1, &in, NULL, NULL, &limit);
}

static long waits_for_epoll(void)
{
    struct epoll_event event;
    return epoll_wait(fd, &event, 1, 10000);
}

static long locks(void)
{
    return flock(fd, LOCK_EX);
}

static long splices(void)
{
    return splice(fd, NULL, beside, NULL, 10, 0);
}

static long is_told(void)
{
    struct seccomp_notif request = { 0 };
    return ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &request) ? -1 : request.data.nr == SYS_getppid;
}

static void write_four(void)
{
    WANT(write(peer, "abcd", 4), 4);
}

static void write_eight(void)
{
    WANT(write(peer, "\1\0\0\0\0\0\0", 8), 8);
}

static void close_peer(void)
{
    close(peer);
    peer = -1;
}

static void drain(void)
{
    long all = 0;
    while (all < (long)sizeof buffer) {
        long some = read(peer, buffer, sizeof buffer);
        if (some <= 0)
            break;
        all += some;
    }
    printf("drained %ld\n", all);
}

static void nothing(void)
{
}

static void interrupt(void)
{
    syscall(SYS_tgkill, getpid(), sleeper, SIGUSR1);
}

static void on_signal(int number)
{
    (void)number;
}

/* Once a thread sleeps in `sleeps`, `fd` becomes another file; then `event` comes. */
static void closed_under(const char *name, long (*sleeps)(void), void (*event)(void))
{
    int was = fd;
    call = sleeps;
    sleeper = 0;
    pthread_create(&thread, NULL, run, NULL);
    while (!*(volatile pid_t *)&sleeper)
        usleep(1000);
    until_asleep(getpid(), sleeper);
    close(fd);
    CHECK(open("/dev/zero", O_RDWR) == was);
    event();
    pthread_join(thread, NULL);
    printf("%s: %ld\n", name, result);
    close(was);
}

static void pipe_end(int side)
{
    int ends[2];
    pipe(ends);
    fd = ends[side];
    peer = ends[!side];
}

static void socket_end(int type)
{
    int ends[2];
    socketpair(AF_UNIX, type, 0, ends);
    fd = ends[0];
    peer = ends[1];
}

static void files(void)
{
    struct itimerspec soon = { { 0, 0 }, { 0, 60000000 } };
    struct epoll_event event = { EPOLLIN, { 0 } };
    int set, other[2];

    pipe_end(0), closed_under("read", reads, write_four), close(peer);
    pipe_end(0), closed_under("read to the end", reads, close_peer);
    pipe_end(1), closed_under("write", writes, drain), close(peer);
    pipe_end(0), closed_under("poll", polls, write_four), close(peer);
    pipe_end(0), closed_under("select", selects, write_four), close(peer);
    socket_end(SOCK_STREAM), closed_under("recv", receives, write_four), close(peer);
    socket_end(SOCK_SEQPACKET), closed_under("recv of a message", receives, write_four), close(peer);
    socket_end(SOCK_STREAM), closed_under("read of a socket", reads, write_four), close(peer);
    peer = dup(fd = eventfd(0, 0)), closed_under("read of an eventfd", reads, write_eight), close(peer);
    fd = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(fd, 0, &soon, NULL);
    closed_under("read of a timerfd", reads, nothing);
    pipe_end(0);
    set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    beside = fd;
    fd = set;
    closed_under("epoll_wait", waits_for_epoll, write_four), close(peer), close(beside);
    peer = open("lock", O_CREAT | O_RDWR, 0600);
    flock(peer, LOCK_EX);
    fd = open("lock", O_RDWR);
    closed_under("flock", locks, close_peer);
    fd = open("lock", O_RDWR);
    WANT(flock(fd, LOCK_EX | LOCK_NB), 0);                      /* nobody has it any more */
    close(fd);
    pipe(other);
    beside = other[1];
    pipe_end(0), closed_under("splice", splices, write_four), close(peer);
    close(other[0]), close(other[1]);
}

/* What becomes of the file when the call ends otherwise. */
static void ends(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    int status;

    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    pipe_end(0);
    closed_under("interrupted", reads, interrupt);
    FAILS(write(peer, "x", 1), EPIPE);
    close(peer);
    pipe_end(0);
    closed_under("poll, interrupted", polls, interrupt);
    FAILS(write(peer, "x", 1), EPIPE);
    close(peer);
    pipe_end(0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        close(peer);
        call = reads;
        sleeper = 0;
        pthread_create(&thread, NULL, run, NULL);
        while (!*(volatile pid_t *)&sleeper)
            usleep(1000);
        until_asleep(getpid(), sleeper);
        close(fd);
        _exit(0);
    }
    close(fd);
    CHECK(waitpid(child, &status, 0) == child);
    FAILS(write(peer, "x", 1), EPIPE);
    close(peer);
}

static void listener(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

    int go[2];

    pipe(go);
    peer = go[1];
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    CHECK(fd >= 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        int listening = fd;
        close(peer);
        read(go[0], buffer, 1);                                 /* until the parent says so */
        close(listening);
        errno = 0;
        _exit(syscall(SYS_getppid) == -1 ? errno : 0);
    }
    closed_under("NOTIF_RECV", is_told, close_peer);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    printf("asked when nobody listens any more: %s\n", errno_name(WEXITSTATUS(status)));
}

int main(void)
{
    guest_start();
    files();
    ends();
    listener();
    return guest_end();
}
