/* Pairs of sockets. */
#include "trace.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(void)
{
    int s[2], on = 1;
    char control[64] __attribute__((aligned(8)));
    unsigned length = 4;
    struct iovec iov[2] = { { "one", 3 }, { "two", 3 } }, in = { buffer, 20 };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 }, got = { .msg_iov = &in, .msg_iovlen = 1 };
    struct mmsghdr many[2] = { { .msg_hdr = msg }, { .msg_hdr = msg } };
    struct cmsghdr *c = (void *)control;
    struct sockaddr_un name = { AF_UNIX, "no/such" };
    struct timeval second = { 1, 5 };
    begin();
    S(socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s);
    S(socketpair, AF_UNIX, SOCK_DGRAM, 0, s);
    S(socketpair, AF_UNIX, 9, 0, s);
    S(socket, AF_UNIX, SOCK_SEQPACKET, 0);
    S(connect, 7, &name, 9);
    S(sendto, 3, "hello", 5, MSG_NOSIGNAL, NULL, 0);
    S(recvfrom, 4, buffer, 10, MSG_PEEK, NULL, NULL);
    S(recvfrom, 4, buffer, 2, 0, NULL, NULL);
    S(recvfrom, 4, buffer, 100, MSG_DONTWAIT | MSG_WAITALL, NULL, NULL);
    S(recvfrom, 4, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    S(sendmsg, 3, &msg, MSG_DONTWAIT);
    S(recvmsg, 4, &got, 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = 20;
    memcpy(CMSG_DATA(c), s, 4);
    msg.msg_control = got.msg_control = control;
    msg.msg_controllen = 24;
    got.msg_controllen = 64;
    S(sendmsg, 3, &msg, 0);
    memset(control, 0, sizeof control);
    S(recvmsg, 4, &got, MSG_CMSG_CLOEXEC);
    S(sendmsg, 3, 8L, 0);
    S(sendmmsg, 5, many, 2, 0);
    many[0].msg_hdr.msg_iov = &in;
    many[0].msg_hdr.msg_iovlen = 1;
    S(recvmmsg, 6, many, 2, MSG_WAITFORONE | MSG_DONTWAIT, NULL);
    S(getsockopt, 3, SOL_SOCKET, SO_TYPE, &on, &length);
    S(getsockopt, 3, SOL_SOCKET, SO_SNDBUF, &on, &length);
    S(getsockopt, 3, SOL_SOCKET, 999, &on, &length);
    on = 1;
    S(setsockopt, 3, SOL_SOCKET, SO_PASSCRED, &on, 4);
    S(setsockopt, 3, SOL_SOCKET, 20, &second, sizeof second);
    length = 100;
    S(getsockname, 3, buffer, &length);
    length = 100;
    S(getpeername, 7, buffer, &length);
    S(shutdown, 3, SHUT_WR);
    S(shutdown, 3, 7);
    S(shutdown, 0x3fff, SHUT_RDWR);
    end();
    return 0;
}
