/* Messages that are larger than what is moved at a time, and data that the reader's buffer does not take.
 * man 7 unix, man 7 socket (SO_SNDBUFFORCE), man 2 recvmsg; net/unix/af_unix.c:unix_stream_read_generic()
 * guest-flags: -Wno-sign-compare */
#include "guest.h"
#include <sys/socket.h>
#include <sys/uio.h>

#define MIB (1UL << 20)

static char *buffer;

/* A message is sent and received as one, however it is asked for. Only root may have so much room. */
static void messages(int type)
{
    int ends[2], room = 16 << 20;
    WANT(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends), 0);
    FAILS(write(ends[0], buffer, 3 * MIB), EMSGSIZE);
    struct iovec parts[] = { { buffer, MIB + 1 }, { buffer, MIB + 1 } };
    FAILS(writev(ends[0], parts, 2), EMSGSIZE);
    int forced = !setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    long large = forced ? 3 * MIB : 2000, both = forced ? 2 * MIB + 2 : 4000;
    if (!forced)
        parts[0].iov_len = parts[1].iov_len = 2000;
    CHECK(write(ends[0], buffer, large) == large);
    CHECK(writev(ends[0], parts, 2) == both);
    CHECK(send(ends[0], "end", 3, 0) == 3);
    CHECK(read(ends[1], buffer, 8 * MIB) == large);
    CHECK(recv(ends[1], buffer, 100, MSG_PEEK | MSG_TRUNC) == both);
    WANT(read(ends[1], buffer, 100), 100);              /* the rest of it is lost */
    WANT(read(ends[1], buffer, 8 * MIB), 3);
    WANT(memcmp(buffer, "end", 3), 0);
    FAILS(read(ends[1], buffer, 8 * MIB), EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

static long receive(int fd, char *to, size_t count, struct ucred *from, int *passed)
{
    char control[256];
    struct iovec part = { to, count };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    long got = guest_result(recvmsg(fd, &message, 0));
    *from = (struct ucred){ -1, -1, -1 };
    *passed = -1;
    if (got > 0)
        for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
            if (one->cmsg_type == SCM_CREDENTIALS)
                memcpy(from, CMSG_DATA(one), sizeof *from);
            if (one->cmsg_type == SCM_RIGHTS)
                memcpy(passed, CMSG_DATA(one), sizeof *passed);
        }
    return got;
}

/* A stream's data stay where they are when the reader's buffer can't be written, with what came along. */
static void faults(void)
{
    char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ends[2], one = 1, passed;
    struct ucred from;
    munmap(edge + PAGE, PAGE);
    WANT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);

    WANT(send(ends[0], "0123456789", 10, 0), 10);
    FAILS(read(ends[1], BAD, 10), EFAULT);
    FAILS(recv(ends[1], BAD, 10, 0), EFAULT);
    FAILS(read(ends[1], edge + PAGE - 4, 10), EFAULT);
    FAILS(recv(ends[1], edge + PAGE - 4, 10, 0), EFAULT);
    WANT(receive(ends[1], buffer, 100, &from, &passed), 10);
    CHECK(from.pid == getpid() && from.uid == getuid() && from.gid == getgid());
    WANT(memcmp(buffer, "0123456789", 10), 0);

    /* the second of two pieces */
    WANT(send(ends[0], "abc", 3, 0), 3);
    WANT(send(ends[0], "defgh", 5, 0), 5);
    WANT(read(ends[1], edge + PAGE - 4, 100), 3);
    WANT(receive(ends[1], buffer, 100, &from, &passed), 5);
    CHECK(from.pid == getpid());

    /* a descriptor that came along */
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = { "xyz", 3 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
    WANT(sendmsg(ends[0], &message, 0), 3);
    WANT(receive(ends[1], BAD, 3, &from, &passed), -EFAULT);
    FAILS(recv(ends[1], BAD, 3, 0), EFAULT);
    WANT(receive(ends[1], buffer, 100, &from, &passed), 3);
    CHECK(passed > 2 && passed != ends[0] && passed != ends[1]);
    WANT(write(passed, "!", 1), 1);
    WANT(read(ends[1], buffer, 100), 1);
    close(passed);

    /* half of it read before */
    WANT(send(ends[0], "0123456789", 10, 0), 10);
    WANT(read(ends[1], buffer, 4), 4);
    FAILS(read(ends[1], BAD, 10), EFAULT);
    WANT(receive(ends[1], buffer, 100, &from, &passed), 6);
    WANT(memcmp(buffer, "456789", 6), 0);
    CHECK(from.pid == getpid());
    close(ends[0]);
    close(ends[1]);

    /* a message is lost */
    WANT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    WANT(send(ends[0], "one", 3, 0), 3);
    WANT(send(ends[0], "second", 6, 0), 6);
    FAILS(read(ends[1], BAD, 3), EFAULT);
    SHOW(read(ends[1], buffer, 100));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    guest_start();
    buffer = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    messages(SOCK_SEQPACKET);
    messages(SOCK_DGRAM);
    faults();
    return guest_end();
}
