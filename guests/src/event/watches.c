/* A user's epoll sets together watch so many files and no more (/proc/sys/fs/epoll/max_user_watches).
 * man 7 epoll, man 2 epoll_ctl (ENOSPC)
 * guest-options: --memory 16M
 * guest-native: no */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/wait.h>

#define SETS 40

static long limit(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/fs/epoll/max_user_watches", O_RDONLY);
    (void)!read(fd, text, sizeof text - 1);
    close(fd);
    return atol(text);
}

static int sets[SETS], ends[2];

/* Fill sets with copies of one descriptor until it can't be done; how many there are. */
static long fill(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    long count = 0;
    for (int set = 0; set < SETS; set++)
        for (int fd = 200; fd < 400; fd++) {
            if (epoll_ctl(sets[set], EPOLL_CTL_ADD, fd, &event))
                return count;
            count++;
        }
    return count;
}

int main(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    long most = limit();
    guest_start();
    pipe(ends);
    for (int fd = 200; fd < 400; fd++)
        dup2(ends[0], fd);
    for (int set = 0; set < SETS; set++)
        sets[set] = epoll_create1(0);
    CHECK(most > 1000 && most < SETS * 200);
    CHECK(fill() == most);
    FAILS(epoll_ctl(sets[SETS - 1], EPOLL_CTL_ADD, 200, &event), ENOSPC);
    WANT(epoll_ctl(sets[0], EPOLL_CTL_DEL, 200, NULL), 0);
    WANT(epoll_ctl(sets[SETS - 1], EPOLL_CTL_ADD, 200, &event), 0);
    FAILS(epoll_ctl(sets[0], EPOLL_CTL_ADD, 200, &event), ENOSPC);
    /* another user has its own */
    pid_t child = fork();
    if (!child) {
        WANT(setuid(77777), 0);
        int own = epoll_create1(0);
        WANT(epoll_ctl(own, EPOLL_CTL_ADD, 200, &event), 0);
        FAILS(epoll_ctl(sets[0], EPOLL_CTL_ADD, 200, &event), ENOSPC);      /* the set's maker counts */
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (int set = 0; set < SETS; set++) {
        close(sets[set]);
        sets[set] = epoll_create1(0);
    }
    CHECK(fill() == most);
    /* a file that is gone is watched no longer */
    for (int fd = 200; fd < 400; fd++)
        close(fd);
    close(ends[0]);
    pipe(ends);
    for (int fd = 200; fd < 400; fd++)
        dup2(ends[0], fd);
    CHECK(fill() == most);
    return guest_end();
}
