/* Pairs of AF_UNIX sockets.  man 2 socketpair, man 7 unix, man 2 send, man 2 recv */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static char buffer[1 << 18];
static volatile int pipes;

static void broken(int signal)
{
    pipes += signal == SIGPIPE;
}

static short ready(int fd)
{
    struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) ? -errno : value;
}

static int set(int fd, int name, int value)
{
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

static int inq(int fd)
{
    int count = -1;
    return ioctl(fd, FIONREAD, &count) ? -errno : count;
}

static void streams(void)
{
    int s[2];
    WANT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    WANT(fcntl(s[0], F_GETFD), FD_CLOEXEC);
    WANT(ready(s[0]), POLLOUT);
    WANT(write(s[0], "hello ", 6), 6);
    WANT(send(s[0], "world", 5, 0), 5);
    WANT(inq(s[1]), 11);
    WANT(ready(s[1]), POLLIN | POLLOUT);
    WANT(recv(s[1], buffer, 8, MSG_PEEK), 8);
    CHECK(!memcmp(buffer, "hello wo", 8));
    WANT(read(s[1], buffer, 7), 7);
    WANT(recv(s[1], buffer, 100, MSG_DONTWAIT), 4);
    CHECK(!memcmp(buffer, "orld", 4));
    FAILS(recv(s[1], buffer, 100, MSG_DONTWAIT), EAGAIN);
    struct iovec parts[3] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };
    WANT(writev(s[1], parts, 3), 5);
    char one[2], two[9];
    struct iovec into[2] = { { one, 2 }, { two, 9 } };
    WANT(readv(s[0], into, 2), 5);
    CHECK(!memcmp(one, "ab", 2) && !memcmp(two, "cde", 3));
    WANT(read(s[0], buffer, 0), 0);
    WANT(send(s[0], "", 0, 0), 0);
    FAILS(send(s[0], "x", 1, MSG_DONTWAIT) == 1 ? recv(s[1], BAD, 1, 0) : 0, EFAULT);
    WANT(recv(s[1], buffer, 5, 0), 1);
    FAILS(lseek(s[0], 0, SEEK_SET), ESPIPE);
    FAILS(pread(s[0], buffer, 1, 0), ESPIPE);
    FAILS(sendto(s[0], "x", 1, 0, (void *)&(struct sockaddr_un) { AF_UNIX, "x" }, 4), EISCONN);

    /* one side is closed, then the other */
    WANT(write(s[0], "last", 4), 4);
    WANT(shutdown(s[0], SHUT_WR), 0);
    WANT(ready(s[1]), POLLIN | POLLOUT | POLLRDHUP);
    WANT(ready(s[0]), POLLOUT);
    FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    WANT(pipes, 0);
    FAILS(write(s[0], "x", 1), EPIPE);
    WANT(pipes, 1);
    WANT(read(s[1], buffer, 10), 4);
    WANT(read(s[1], buffer, 10), 0);
    WANT(write(s[1], "back", 4), 4);
    WANT(close(s[0]), 0);
    WANT(ready(s[1]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
    WANT(option(s[1], SO_ERROR), ECONNRESET);
    WANT(option(s[1], SO_ERROR), 0);
    WANT(read(s[1], buffer, 10), 0);
    FAILS(write(s[1], "x", 1), EPIPE);
    WANT(pipes, 2);
    FAILS(shutdown(s[1], 3), EINVAL);
    close(s[1]);
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    WANT(write(s[1], "unread", 6), 6);
    close(s[0]);
    FAILS(read(s[1], buffer, 10), ECONNRESET);
    WANT(read(s[1], buffer, 10), 0);
    close(s[1]);

    /* how much fits */
    WANT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
    int count = 0;
    while (write(s[0], "x", 1) == 1)
        count++;
    WANT(count, 278);
    WANT(ready(s[0]), 0);
    WANT(read(s[1], buffer, 207), 207);
    WANT(ready(s[0]), 0);
    WANT(read(s[1], buffer, 2), 2);
    WANT(ready(s[0]), POLLOUT);
    WANT(read(s[1], buffer, 1000), 69);
    WANT(write(s[0], buffer, sizeof buffer), 219264);
    WANT(inq(s[1]), 219264);
    WANT(ioctl(s[0], TIOCOUTQ, &count), 0);
    WANT(count, 222720);
    close(s[0]);
    close(s[1]);
}

static void messages(int type)
{
    int s[2];
    WANT(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s), 0);
    CHECK(fcntl(s[0], F_GETFL) == (O_RDWR | O_NONBLOCK));
    WANT(write(s[0], "first", 5), 5);
    WANT(send(s[0], "second", 6, 0), 6);
    WANT(send(s[0], "", 0, 0), 0);
    WANT(send(s[0], "third", 5, 0), 5);
    SHOW(inq(s[1]));
    WANT(read(s[1], buffer, 3), 3);
    WANT(recv(s[1], buffer, 3, MSG_TRUNC), 6);
    WANT(recv(s[1], buffer, 3, 0), 0);
    WANT(recv(s[1], buffer, 2, MSG_PEEK | MSG_TRUNC), 5);
    WANT(recv(s[1], buffer, 100, MSG_WAITALL), 5);
    FAILS(recv(s[1], buffer, 100, 0), EAGAIN);
    FAILS(send(s[0], buffer, 212961, 0), EMSGSIZE);
    WANT(send(s[0], buffer, 212960, 0), 212960);
    FAILS(send(s[0], "x", 1, 0), EAGAIN);
    WANT(ready(s[0]), 0);
    WANT(recv(s[1], buffer, sizeof buffer, 0), 212960);
    WANT(ready(s[0]), POLLOUT);
    struct iovec parts[2] = { { "ab", 2 }, { "cde", 3 } };
    WANT(writev(s[0], parts, 2), 5);
    WANT(read(s[1], buffer, 100), 5);
    int count = 0;
    while (send(s[0], buffer, 1000, 0) == 1000)
        count++;
    WANT(count, 93);
    WANT(shutdown(s[0], SHUT_WR), 0);
    FAILS(send(s[0], "x", 1, 0), EPIPE);
    WANT(pipes, 0);
    while (recv(s[1], buffer, 1000, 0) == 1000)
        count--;
    WANT(count, 0);
    SHOW(recv(s[1], buffer, 1000, 0));
    SHOW(ready(s[1]));
    SHOW(send(s[1], "x", 1, 0));
    close(s[0]);
    SHOW(ready(s[1]));
    SHOW(send(s[1], "x", 1, 0));
    SHOW(send(s[1], "x", 1, 0));
    SHOW(recv(s[1], buffer, 1000, 0));
    WANT(pipes, 0);
    close(s[1]);
}

static void options(void)
{
    int s[2];
    struct ucred cred;
    struct timeval wait = { 0, 20000 }, got;
    struct sockaddr_un name;
    socklen_t length = sizeof cred;
    WANT(socketpair(AF_UNIX, SOCK_SEQPACKET, AF_UNIX, s), 0);
    WANT(option(s[0], SO_TYPE), SOCK_SEQPACKET);
    WANT(option(s[0], SO_DOMAIN), AF_UNIX);
    WANT(option(s[0], SO_PROTOCOL), 0);
    WANT(option(s[0], SO_ACCEPTCONN), 0);
    WANT(option(s[0], SO_ERROR), 0);
    WANT(option(s[0], SO_SNDBUF), 212992);
    WANT(option(s[0], SO_RCVBUF), 212992);
    WANT(set(s[0], SO_SNDBUF, 10000), 0);
    WANT(option(s[0], SO_SNDBUF), 20000);
    WANT(set(s[0], SO_SNDBUF, 1), 0);
    WANT(option(s[0], SO_SNDBUF), 4608);
    WANT(set(s[0], SO_RCVBUF, 50000), 0);
    WANT(option(s[0], SO_RCVBUF), 100000);
    FAILS(option(s[0], 999), ENOPROTOOPT);
    FAILS(set(s[0], SO_TYPE, 1), ENOPROTOOPT);
    FAILS(setsockopt(s[0], 6, 1, &length, 4), EOPNOTSUPP);
    FAILS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &length, 3), EINVAL);
    FAILS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, BAD, 4), EFAULT);
    WANT(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &cred, &length), 0);
    CHECK(length == sizeof cred && cred.pid == getpid() && cred.uid == geteuid() && cred.gid == getegid());
    WANT(set(s[0], SO_PASSCRED, 5), 0);
    WANT(option(s[0], SO_PASSCRED), 1);
    WANT(set(s[0], SO_PASSCRED, 0), 0);
    WANT(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    length = sizeof got;
    WANT(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &length), 0);
    CHECK(got.tv_sec == 0 && got.tv_usec == 20000);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    FAILS(recv(s[0], buffer, 10, 0), EAGAIN);
    FAILS(read(s[0], buffer, 10), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec >= 39000000);
    wait.tv_usec = 1000000;
    FAILS(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait), EDOM);
    memset(&name, 7, sizeof name);
    length = sizeof name;
    WANT(getsockname(s[0], (void *)&name, &length), 0);
    CHECK(length == 2 && name.sun_family == AF_UNIX);
    length = sizeof name;
    WANT(getpeername(s[0], (void *)&name, &length), 0);
    CHECK(length == 2 && name.sun_family == AF_UNIX);
    close(s[1]);
    FAILS(getsockname(1, (void *)&name, &length), ENOTSOCK);
    FAILS(getsockname(99, (void *)&name, &length), EBADF);
    close(s[0]);
    FAILS(socketpair(AF_UNIX, 12, 0, s), EINVAL);
    FAILS(socketpair(AF_UNIX, SOCK_STREAM, 17, s), EPROTONOSUPPORT);
    FAILS(socketpair(AF_UNIX, SOCK_RDM, 0, s), ESOCKTNOSUPPORT);
    FAILS(socketpair(99, SOCK_STREAM, 0, s), EAFNOSUPPORT);
    FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD), EFAULT);
    int lone = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(lone >= 0);
    FAILS(send(lone, "x", 1, 0), ENOTCONN);
    FAILS(recv(lone, buffer, 1, MSG_DONTWAIT), EINVAL);
    FAILS(getpeername(lone, (void *)&name, &length), ENOTCONN);
    WANT(ready(lone), POLLOUT | POLLHUP);
    name = (struct sockaddr_un) { AF_UNIX, "nobody" };
    FAILS(connect(lone, (void *)&name, sizeof name), ENOENT);
    put_file("nobody", "x", 1);
    FAILS(connect(lone, (void *)&name, sizeof name), ECONNREFUSED);
    unlink("nobody");
    close(lone);
}

/* Two processes: the writer waits for room, the reader for all; and a set of descriptors tells. */
static void processes(void)
{
    int s[2], status;
    char text[64], path[64];
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    pid_t child = fork();
    if (!child) {
        close(s[0]);
        for (size_t i = 0; i < sizeof buffer; i++)
            buffer[i] = (char)(i * 7);
        for (int i = 0; i < 4; i++)
            if (write(s[1], buffer, sizeof buffer) != (ssize_t)sizeof buffer)
                _exit(1);
        _exit(3);
    }
    close(s[1]);
    for (int i = 0; i < 4; i++) {
        int bad = 0;
        if (recv(s[0], buffer, sizeof buffer, MSG_WAITALL) != (ssize_t)sizeof buffer)
            CHECK(!"all");
        for (size_t k = 0; k < sizeof buffer; k++)
            bad += buffer[k] != (char)(k * 7);
        WANT(bad, 0);
    }
    int ep = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u32 = 1 };
    WANT(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &event), 0);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 3 << 8);
    WANT(epoll_wait(ep, &event, 1, -1), 1);
    WANT(event.events, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    WANT(recv(s[0], buffer, sizeof buffer, MSG_WAITALL), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", s[0]);
    memset(text, 0, sizeof text);
    CHECK(readlink(path, text, sizeof text) > 8 && !memcmp(text, "socket:[", 8));
    struct stat st;
    WANT(fstat(s[0], &st), 0);
    WANT(st.st_mode, S_IFSOCK | 0777);
    FAILS(open(path, O_RDWR), ENXIO);
    close(s[0]);

    /* an edge for each message, and one for room */
    WANT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s), 0);
    event = (struct epoll_event) { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = 2 };
    WANT(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &event), 0);
    WANT(epoll_wait(ep, &event, 1, 0), 1);
    WANT(event.events, EPOLLOUT);
    WANT(epoll_wait(ep, &event, 1, 0), 0);
    for (int i = 0; i < 2; i++) {
        WANT(write(s[1], "x", 1), 1);
        WANT(epoll_wait(ep, &event, 1, 0), 1);
        WANT(event.events, EPOLLIN | EPOLLOUT);
        WANT(epoll_wait(ep, &event, 1, 0), 0);
    }
    close(s[0]);
    close(s[1]);
}

int main(void)
{
    guest_start();
    signal(SIGPIPE, broken);
    streams();
    pipes = 0;
    messages(SOCK_DGRAM);
    messages(SOCK_SEQPACKET);
    options();
    processes();
    return guest_end();
}
