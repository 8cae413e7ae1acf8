/* Two processes that share `fs` and no memory see each other's umask, and after unshare(2) they don't: by their pages,
 * since each has made calls enough to have some. Between two marks, writes to descriptors that nobody has, umask is
 * served without a call. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int up[2], down[2];

static int mask(int new)
{
    syscall(SYS_write, -1001, 0, 0);
    int old = umask(new);
    umask(new);
    syscall(SYS_write, -1002, 0, 0);
    return old;
}

static int seen(void)
{
    syscall(SYS_write, -1001, 0, 0);
    int old = umask(0);
    umask(old);
    syscall(SYS_write, -1002, 0, 0);
    return old;
}

static void warm(void)
{
    for (int i = 0; i < 500; i++)
        umask(umask(022));
}

static void wait_for(int fd)
{
    char byte;
    read(fd, &byte, 1);
}

static void tell(int fd)
{
    write(fd, "x", 1);
}

int main(void)
{
    pipe(up);
    pipe(down);
    umask(022);
    warm();
    pid_t child = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0L, 0L, 0L, 0L, 0L);
    if (!child) {
        warm();
        mask(051);
        tell(up[1]);
        wait_for(down[0]);
        int shared = seen();
        unshare(CLONE_FS);
        warm();
        int kept = seen();
        mask(063);
        tell(up[1]);
        wait_for(down[0]);
        printf("the child: %03o, %03o, %03o\n", shared, kept, seen());
        fflush(stdout);
        _exit(0);
    }
    wait_for(up[0]);
    int first = seen();
    mask(037);
    tell(down[1]);
    wait_for(up[0]);
    int second = seen();
    mask(011);
    tell(down[1]);
    waitpid(child, 0, 0);
    printf("the parent: %03o, %03o, %03o\n", first, second, seen());
    return 0;
}
