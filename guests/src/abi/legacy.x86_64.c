/* Calls that only the x86-64 table has: open, stat, pipe, dup2, access, ... as raw numbers.
 * arch/x86/entry/syscalls/syscall_64.tbl */
#include "guest.h"
#include <poll.h>
#include <sys/time.h>
#include <time.h>

int main(void)
{
    struct stat st;
    int fds[2];
    char back[16];
    long moment = 0;
    guest_start();
    WANT(syscall(SYS_open, "f", O_RDWR | O_CREAT, 0644), 3);
    WANT(syscall(SYS_creat, "g", 0600), 4);
    WANT(syscall(SYS_stat, "f", &st), 0);
    CHECK(S_ISREG(st.st_mode));
    WANT(syscall(SYS_symlink, "f", "l"), 0);
    WANT(syscall(SYS_lstat, "l", &st), 0);
    CHECK(S_ISLNK(st.st_mode));
    WANT(syscall(SYS_readlink, "l", back, 16), 1);
    WANT(syscall(SYS_link, "f", "h"), 0);
    WANT(syscall(SYS_rename, "h", "hh"), 0);
    WANT(syscall(SYS_unlink, "hh"), 0);
    WANT(syscall(SYS_mkdir, "d", 0755), 0);
    WANT(syscall(SYS_rmdir, "d"), 0);
    WANT(syscall(SYS_chmod, "f", 0600), 0);
    WANT(syscall(SYS_chown, "f", -1, -1), 0);
    WANT(syscall(SYS_lchown, "l", -1, -1), 0);
    WANT(syscall(SYS_access, "f", R_OK), 0);
    WANT(syscall(SYS_pipe, fds), 0);
    WANT(syscall(SYS_dup2, fds[0], 9), 9);
    struct pollfd ready[2] = { { fds[0], POLLIN, 0 }, { fds[1], POLLOUT, 0 } };
    WANT(syscall(SYS_poll, ready, 2, 0), 1);
    CHECK(ready[0].revents == 0 && ready[1].revents == POLLOUT);
    WANT(write(fds[1], "x", 1), 1);
    WANT(syscall(SYS_poll, ready, 2, -1), 2);
    CHECK(ready[0].revents == POLLIN);
    struct { unsigned long bits[16]; } in = { { 1UL << fds[0] } };
    struct timeval none = { 0, 0 };
    WANT(syscall(SYS_select, fds[0] + 1, &in, NULL, NULL, &none), 1);
    CHECK(in.bits[0] == 1UL << fds[0]);
    CHECK(syscall(SYS_time, &moment) == moment && moment > 1600000000);
    WANT(syscall(SYS_utime, "f", NULL), 0);
    struct timeval times[2] = { { 1, 2 }, { 3, 4 } };
    WANT(syscall(SYS_utimes, "f", times), 0);
    WANT(stat("f", &st), 0);
    CHECK(st.st_atim.tv_sec == 1 && st.st_mtim.tv_sec == 3 && st.st_mtim.tv_nsec == 4000);
    CHECK(syscall(SYS_getpgrp) == getpgrp());
    WANT(syscall(SYS_alarm, 100), 0);
    CHECK(syscall(SYS_alarm, 0) >= 99);
    WANT(syscall(SYS_mknod, "node", S_IFREG | 0600, 0), 0);
    WANT(syscall(SYS_getdents, open(".", O_RDONLY), back, 2) == -1, 1);
    FAILS(syscall(SYS_open, BAD, O_RDONLY, 0), EFAULT);
    FAILS(syscall(SYS_pipe, BAD), EFAULT);
    FAILS(syscall(SYS_time, BAD), EFAULT);
    return guest_end();
}
