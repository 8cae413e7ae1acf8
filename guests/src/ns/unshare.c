/* unshare(2): a table of descriptors and a place in the tree of one's own; what a task shares with others and can't
 * leave; kinds of namespaces that there are not everywhere are left out. */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

static pid_t gettid_(void) { return syscall(SYS_gettid); }

static char stack[2][65536] __attribute__((aligned(16)));
static volatile int stage;

static void await(int wanted)
{
    while (stage != wanted)
        sched_yield();
}

static mode_t mask(void)
{
    mode_t old = umask(0);
    umask(old);
    return old;
}

/* Another task with the same memory, that shares what the flags say. */
static int other(void *unused)
{
    (void)unused;
    umask(027);
    close(0);
    stage = 1;
    await(2);
    umask(077);
    dup2(1, 0);
    if (chdir("/proc"))
        stage = 100;
    stage = 3;
    await(4);
    return unshare(CLONE_FS | CLONE_FILES) ? 1 : 0;
}

static void with_memory(void)
{
    char place[256];
    puts("-- with the memory");
    WANT(chdir("/"), 0);
    umask(022);
    stage = 0;
    pid_t child = clone(other, stack[0] + sizeof stack[0], CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL);
    await(1);
    CHECK(mask() == 027);
    FAILS(fcntl(0, F_GETFD), EBADF);
    FAILS(unshare(CLONE_VM), EINVAL);
    WANT(unshare(CLONE_THREAD), 0);
    WANT(unshare(CLONE_SIGHAND), 0);
    WANT(unshare(CLONE_FS | CLONE_FILES), 0);
    CHECK(mask() == 027);
    stage = 2;
    await(3);
    CHECK(mask() == 027);
    FAILS(fcntl(0, F_GETFD), EBADF);
    CHECK(getcwd(place, sizeof place) && !strcmp(place, "/"));
    umask(022);
    stage = 4;
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(mask() == 022);
}

/* The same without the memory: two address spaces with one place in the tree. */
static void without_memory(void)
{
    int up[2], down[2];
    char byte = 'x';
    puts("-- without the memory");
    WANT(pipe(up), 0);
    WANT(pipe(down), 0);
    umask(022);
    fflush(stdout);
    pid_t child = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        umask(051);
        write(up[1], &byte, 1);
        read(down[0], &byte, 1);
        int good = mask() == 037; /* what the parent has set */
        good &= !unshare(CLONE_FS);
        good &= mask() == 037;
        umask(063);
        write(up[1], good ? "y" : "n", 1);
        read(down[0], &byte, 1);
        _exit(mask() == 063 ? 0 : 1);
    }
    read(up[0], &byte, 1);
    CHECK(mask() == 051);
    umask(037);
    write(down[1], &byte, 1);
    read(up[0], &byte, 1);
    CHECK(byte == 'y');
    CHECK(mask() == 037);
    umask(022);
    write(down[1], &byte, 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(mask() == 022);
    close(up[0]);
    close(up[1]);
    close(down[0]);
    close(down[1]);
}

static void *thread(void *unused)
{
    umask(026);
    stage = 1;
    await(2);
    CHECK(mask() == 026);
    WANT(unshare(CLONE_FS), 0);
    CHECK(mask() == 026);
    umask(062);
    stage = 3;
    await(4);
    CHECK(mask() == 062);
    return unused;
}

static void threads(void)
{
    puts("-- threads");
    pthread_t made;
    stage = 0;
    umask(022);
    WANT(pthread_create(&made, NULL, thread, NULL), 0);
    await(1);
    CHECK(mask() == 026);
    FAILS(unshare(CLONE_THREAD), EINVAL);
    FAILS(unshare(CLONE_SIGHAND), EINVAL);
    FAILS(unshare(CLONE_VM), EINVAL);
    WANT(unshare(0), 0);
    WANT(unshare(CLONE_SYSVSEM), 0);
    stage = 2;
    await(3);
    CHECK(mask() == 026);
    umask(033);
    stage = 4;
    WANT(pthread_join(made, NULL), 0);
    CHECK(mask() == 033);
    CHECK(gettid_() == (pid_t)syscall(SYS_getpid));
}

int main(void)
{
    guest_start();
    WANT(unshare(0), 0);
    WANT(unshare(CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM), 0);
    FAILS(unshare(CLONE_PARENT), EINVAL);
    FAILS(unshare(CLONE_VFORK), EINVAL);
    FAILS(unshare(1), EINVAL);
    FAILS(syscall(SYS_unshare, 1L << 32), EINVAL);
    threads();
    with_memory();
    without_memory();
    return guest_end();
}
