/* What a program does to sockets that means them no good.  man 7 unix, man 3 cmsg, man 2 recvmsg */
#include "guest.h"
#include <poll.h>
#include <sys/socket.h>

static int give(int to, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = { 0 };
    struct iovec part = { "x", 1 };
    struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return (int)sendmsg(to, &msg, 0);
}

/* A socket in the queue of a socket in the queue of a socket ...: one close() ends all of them. */
static void chain(void)
{
    int s[2], last = -1;
    for (int i = 0; i < 900; i++) {
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s))
            CHECK(!"socketpair");
        if (last >= 0 && give(s[0], last) != 1 && errno != ETOOMANYREFS) /* before Linux 6.10 four were enough */
            CHECK(!"give");
        if (last >= 0)
            close(last);
        close(s[0]);
        last = s[1];
    }
    WANT(close(last), 0);
}

/* Files come with a message whose room for them can't be written: the data are there, the files are closed. */
static void no_room(int credentials, void *room)
{
    int s[2], p[2];
    char data[8];
    struct iovec part = { data, sizeof data };
    struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = 256 };
    WANT(pipe(p), 0);
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    WANT(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &credentials, sizeof credentials), 0);
    WANT(give(s[0], p[1]), 1);
    close(p[1]);
    WANT(recvmsg(s[1], &msg, 0), 1);
    WANT(msg.msg_flags, MSG_CTRUNC);
    WANT(msg.msg_controllen, 0);
    struct pollfd end = { p[0], POLLIN, 0 };
    WANT(poll(&end, 1, 0), 1);
    CHECK(end.revents == POLLHUP);
    close(p[0]);
    close(s[0]);
    close(s[1]);
}

/* However large the buffer, a message is one piece of the kernel's memory. */
static void huge(void)
{
    int s[2], room = 1 << 29;
    size_t size = 1UL << 29;
    WANT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s), 0);
    char *zeros = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(zeros != MAP_FAILED);
    CHECK(send(s[0], zeros, size, 0) == -1 && errno == EMSGSIZE);
    if (setsockopt(s[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) == 0)
        if (send(s[0], zeros, size, 0) != -1 || errno != ENOBUFS)
            CHECK(!"ENOBUFS");
}

/* A datagram socket turns from its peer: what was on its way is lost, and the peer is told. */
static void turns_away(void)
{
    int s[2];
    char data[8];
    struct sockaddr nobody = { .sa_family = AF_UNSPEC };
    WANT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s), 0);
    WANT(send(s[0], "ab", 2, 0), 2);
    WANT(connect(s[1], &nobody, sizeof nobody), 0);
    FAILS(recv(s[1], data, sizeof data, 0), EAGAIN);
    FAILS(recv(s[0], data, sizeof data, 0), ECONNRESET);
    FAILS(recv(s[0], data, sizeof data, 0), EAGAIN);
}

int main(void)
{
    guest_start();
    chain();
    void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int credentials = 0; credentials < 2; credentials++) {
        no_room(credentials, BAD);
        no_room(credentials, page);
    }
    huge();
    turns_away();
    return guest_end();
}
