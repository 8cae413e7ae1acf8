/* guest-args: status
 * What the tests of streams and signals need: a loop that computes for ever, output without end, input
 * passed on byte by byte, and the plain end. */
#include "guest.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char byte;
    guest_start();
    puts(what);
    if (!strcmp(what, "spin"))
        for (volatile unsigned long i = 0;; i++)
            ;
    if (!strcmp(what, "flood"))
        for (;;)
            puts("and so on and on");
    if (!strcmp(what, "flood-ignoring")) {
        signal(SIGPIPE, SIG_IGN);
        while (write(1, "more\n", 5) == 5)
            ;
        return errno == EPIPE ? 9 : 8;
    }
    if (!strcmp(what, "pass"))
        while (read(0, &byte, 1) == 1)
            if (write(1, &byte, 1) != 1)
                return 1;
    if (!strncmp(what, "epoll", 5)) {
        struct epoll_event event = { .events = EPOLLIN | (strstr(what, "edge") ? EPOLLET : 0) };
        char text[64];
        ssize_t length;
        int ep = epoll_create1(0);
        printf("add %d\n", epoll_ctl(ep, EPOLL_CTL_ADD, 0, &event) ? errno : 0);
        fcntl(0, F_SETFL, O_NONBLOCK);
        do {
            puts("wait");
            int count = epoll_wait(ep, &event, 1, 20000);
            printf("events %d %x\n", count, count == 1 ? event.events : 0);
            while ((length = read(0, text, sizeof text)) > 0)
                printf("read %zd\n", length);
        } while (length < 0);
    }
    if (!strcmp(what, "wait"))
        pause();
    return guest_end();
}
