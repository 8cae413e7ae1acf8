/* poll, ppoll and the select family within one task.  man 2 poll, man 2 select */
#include "guest.h"
#include <poll.h>
#include <sys/select.h>
#include <time.h>

int main(void)
{
    int fds[2];
    guest_start();
    WANT(pipe(fds), 0);
    struct pollfd ready[3] = { { fds[0], POLLIN, 0 }, { fds[1], POLLOUT, 0 }, { -1, POLLIN, 7 } };
    WANT(poll(ready, 3, 0), 1);
    CHECK(ready[0].revents == 0 && ready[1].revents == POLLOUT && ready[2].revents == 0);
    WANT(write(fds[1], "x", 1), 1);
    WANT(poll(ready, 1, -1), 1);
    CHECK(ready[0].revents == POLLIN);
    struct timespec none = { 0, 0 }, bad = { 0, -1 };
    WANT(ppoll(ready, 2, &none, NULL), 2);
    FAILS(ppoll(ready, 2, &bad, NULL), EINVAL);
    ready[2] = (struct pollfd) { 99, POLLIN, 0 };
    WANT(poll(ready + 2, 1, 0), 1);
    CHECK(ready[2].revents == POLLNVAL);
    FAILS(poll(BAD, 1, 0), EFAULT);
    WANT(poll(NULL, 0, 1), 0);

    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &out);
    struct timeval soon = { 0, 1000 };
    WANT(select(fds[1] + 1, &in, &out, NULL, &soon), 2);
    CHECK(FD_ISSET(fds[0], &in) && FD_ISSET(fds[1], &out) && !FD_ISSET(fds[1], &in));
    char back;
    WANT(read(fds[0], &back, 1), 1);
    WANT(select(fds[1] + 1, &in, NULL, NULL, &soon), 0);
    CHECK(!FD_ISSET(fds[0], &in));
    FD_ZERO(&in);
    FD_SET(60, &in);
    FAILS(pselect(61, &in, NULL, NULL, &none, NULL), EBADF);
    FAILS(select(-1, NULL, NULL, NULL, &soon), EINVAL);

    /* the other end closes */
    WANT(close(fds[1]), 0);
    WANT(poll(ready, 1, 0), 1);
    CHECK(ready[0].revents == POLLHUP);
    WANT(read(fds[0], &back, 1), 0);
    WANT(pipe(fds), 0);
    close(fds[0]);
    ready[0] = (struct pollfd) { fds[1], POLLOUT, 0 };
    WANT(poll(ready, 1, 0), 1);
    CHECK(ready[0].revents == (POLLOUT | POLLERR));
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    FAILS(write(fds[1], "x", 1), EPIPE);
    /* regular files and the null device are always ready */
    ready[0] = (struct pollfd) { open("f", O_RDWR | O_CREAT, 0600), POLLIN | POLLOUT, 0 };
    ready[1] = (struct pollfd) { open("/dev/null", O_RDWR), POLLIN | POLLOUT, 0 };
    WANT(poll(ready, 2, 0), 2);
    CHECK(ready[0].revents == (POLLIN | POLLOUT) && ready[1].revents == (POLLIN | POLLOUT));
    return guest_end();
}
