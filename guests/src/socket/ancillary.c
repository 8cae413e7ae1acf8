/* Files and credentials that travel with messages.  man 7 unix, man 3 cmsg, man 2 recvmsg, man 2 sendmmsg
 * guest-flags: -Wno-sign-compare
 */
#include "guest.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static char data[64], control[512];
static struct iovec part;
static struct msghdr msg;

static struct msghdr *message(char *bytes, size_t count, size_t room)
{
    part = (struct iovec) { bytes, count };
    msg = (struct msghdr) { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room ? control : NULL, .msg_controllen = room };
    return &msg;
}

static size_t put(size_t offset, int type, const void *value, size_t length)
{
    struct cmsghdr *header = (void *)(control + offset);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), value, length);
    return offset + CMSG_SPACE(length);
}

/* What the last message brought: a line for each item. */
static void show(void)
{
    printf("flags %x, control %zu\n", msg.msg_flags, (size_t)msg.msg_controllen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        printf("  %d %d %zu", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
        if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(c), sizeof cred);
            printf(" %s %s", cred.pid == getpid() ? "mine" : cred.pid ? "other" : "0",
                   cred.uid == getuid() && cred.gid == getgid() ? "mine" : "other");
        }
        putchar('\n');
    }
}

static int received(int index)
{
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)) + 4 * index, 4);
    return fd;
}

int main(void)
{
    int s[2], p[2], status, on = 1;
    struct ucred cred = { getpid(), getuid(), getgid() };
    guest_start();
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    WANT(pipe(p), 0);

    /* a pipe's writing end goes through a socket to a child */
    pid_t child = fork();
    if (!child) {
        close(p[1]);
        if (recvmsg(s[1], message(data, 10, 64), 0) != 1)
            _exit(1);
        _exit(write(received(0), "hello", 5) == 5 ? 4 : 2);
    }
    size_t size = put(0, SCM_RIGHTS, &p[1], 4);
    WANT(sendmsg(s[0], message("x", 1, size), 0), 1);
    WANT(read(p[0], data, 10), 5);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(status, 4 << 8);

    /* several; close-on-exec; bytes before and after are not joined to them */
    int two[2] = { p[0], p[1] };
    WANT(write(s[0], "ab", 2), 2);
    size = put(0, SCM_RIGHTS, two, 8);
    WANT(sendmsg(s[0], message("cd", 2, size), 0), 2);
    WANT(write(s[0], "ef", 2), 2);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), MSG_CMSG_CLOEXEC), 4);
    show();
    int first = received(0), second = received(1);
    WANT(fcntl(first, F_GETFD), FD_CLOEXEC);
    WANT(write(second, "y", 1), 1);
    WANT(read(first, data, 1), 1);
    close(first);
    close(second);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 2);
    show();

    /* too little room: the rest is closed, and said */
    size = put(0, SCM_RIGHTS, two, 8);
    WANT(sendmsg(s[0], message("cd", 2, size), 0), 2);
    WANT(recvmsg(s[1], message(data, 20, CMSG_LEN(4)), 0), 2);
    show();
    CHECK(close(received(0)) == 0);
    size = put(0, SCM_RIGHTS, two, 8);
    WANT(sendmsg(s[0], message("cd", 2, size), 0), 2);
    WANT(recvmsg(s[1], message(data, 20, 0), 0), 2);
    show();
    size = put(0, SCM_RIGHTS, two, 8);
    WANT(sendmsg(s[0], message("cd", 2, size), 0), 2);
    WANT(read(s[1], data, 20), 2);
    /* a look leaves them there */
    size = put(0, SCM_RIGHTS, two, 4);
    WANT(sendmsg(s[0], message("cd", 2, size), 0), 2);
    WANT(recvmsg(s[1], message(data, 20, 64), MSG_PEEK), 2);
    show();
    CHECK(close(received(0)) == 0);
    WANT(recvmsg(s[1], message(data, 1, 64), 0), 1);
    show();
    CHECK(close(received(0)) == 0);
    WANT(recvmsg(s[1], message(data, 1, 64), 0), 1);
    show();

    /* credentials: those that the receiver asks for, or that the sender gives */
    WANT(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    WANT(write(s[0], "x", 1), 1);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 1);
    show();
    size = put(0, SCM_CREDENTIALS, &cred, sizeof cred);
    size = put(size, SCM_RIGHTS, two, 4);
    WANT(sendmsg(s[0], message("x", 1, size), 0), 1);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 1);
    show();
    WANT(write(s[0], "x", 1), 1);
    WANT(recvmsg(s[1], message(data, 20, 20), 0), 1);
    printf("flags %x\n", msg.msg_flags);
    child = fork();
    if (!child)
        _exit(write(s[0], "from", 4) == 4 ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(write(s[0], "mine", 4), 4);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 4);
    show();
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 4);
    show();
    on = 0;
    WANT(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);

    /* refused */
    int closed = 98;
    size = put(0, SCM_RIGHTS, &closed, 4);
    FAILS(sendmsg(s[0], message("x", 1, size), 0), EBADF);
    size = put(0, SCM_CREDENTIALS, &cred, 4);
    FAILS(sendmsg(s[0], message("x", 1, size), 0), EINVAL);
    size = put(0, 77, &cred, 4);
    FAILS(sendmsg(s[0], message("x", 1, size), 0), EINVAL);
    put(0, SCM_RIGHTS, &closed, 4);
    ((struct cmsghdr *)(void *)control)->cmsg_len = 500;
    FAILS(sendmsg(s[0], message("x", 1, CMSG_SPACE(4)), 0), EINVAL);
    FAILS(syscall(SYS_sendmsg, s[0], BAD, 0), EFAULT);
    FAILS(syscall(SYS_recvmsg, s[0], BAD, 0), EFAULT);
    message("x", 1, 0)->msg_iovlen = 1025;
    FAILS(syscall(SYS_sendmsg, s[0], &msg, 0), EMSGSIZE);
    message("x", 1, 0)->msg_iov = BAD;
    FAILS(syscall(SYS_sendmsg, s[0], &msg, 0), EFAULT);
    FAILS(sendmsg(p[0], message("x", 1, 0), 0), ENOTSOCK);
    FAILS(sendmsg(s[0], message("x", 1, 0), (int)0x80000000), EINVAL);
    FAILS(recvmsg(s[1], message(data, 1, 0), MSG_DONTWAIT), EAGAIN);

    /* messages, several in one call */
    int d[2];
    WANT(socketpair(AF_UNIX, SOCK_DGRAM, 0, d), 0);
    WANT(send(d[0], "too long", 8, 0), 8);
    WANT(recvmsg(d[1], message(data, 3, 0), 0), 3);
    show();
    struct iovec parts[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
    struct mmsghdr many[3] = { { .msg_hdr = { .msg_iov = &parts[0], .msg_iovlen = 1 } },
                               { .msg_hdr = { .msg_iov = &parts[1], .msg_iovlen = 1 } },
                               { .msg_hdr = { .msg_iov = &parts[2], .msg_iovlen = 1 } } };
    WANT(sendmmsg(d[0], many, 3, 0), 3);
    CHECK(many[0].msg_len == 1 && many[1].msg_len == 2 && many[2].msg_len == 3);
    char in[3][8];
    for (int i = 0; i < 3; i++) {
        parts[i] = (struct iovec) { in[i], 8 };
        many[i].msg_len = 0;
    }
    WANT(recvmmsg(d[1], many, 2, 0, NULL), 2);
    CHECK(many[0].msg_len == 1 && many[1].msg_len == 2 && in[1][1] == 'b');
    WANT(recvmmsg(d[1], many, 3, MSG_WAITFORONE, NULL), 1);
    CHECK(many[0].msg_len == 3);
    FAILS(recvmmsg(d[1], many, 3, MSG_DONTWAIT, NULL), EAGAIN);
    WANT(sendmmsg(d[0], many, 0, 0), 0);
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    WANT(send(d[0], "x", 1, 0), 1);
    WANT(recvfrom(d[1], data, 5, 0, (void *)&name, &length), 1);
    WANT(length, 0);

    /* a socket within itself */
    size = put(0, SCM_RIGHTS, d, 8);
    WANT(sendmsg(s[0], message("x", 1, size), 0), 1);
    close(d[0]);
    close(d[1]);
    WANT(recvmsg(s[1], message(data, 20, sizeof control), 0), 1);
    d[0] = received(0);
    d[1] = received(1);
    WANT(send(d[0], "again", 5, 0), 5);
    WANT(recv(d[1], data, 9, 0), 5);
    return guest_end();
}
