/* Filters go with fork, vfork, clone and execve, stay with who has them, and are counted in /proc.
 * guest-flags: -pthread
 * kernel/fork.c:copy_seccomp(). man 2 seccomp */
#include "filters.h"
#include <pthread.h>
#include <sched.h>

#define FORBID(number, error) INSTALL(0, ON(number, SECCOMP_RET_ERRNO | (error)))

static long filters(void)
{
    return status_of("/proc/self/status", "Seccomp_filters");
}

static int asks(void)
{
    FAILS(syscall(SYS_getppid), EIO);
    WANT(filters(), 1);
    return guest_failures;
}

/* The child's own filter is no matter of its parent's. */
static int adds(void)
{
    WANT(FORBID(SYS_getpgid, EBUSY), 0);
    FAILS(syscall(SYS_getpgid, 0), EBUSY);
    FAILS(syscall(SYS_getppid), EIO);
    WANT(filters(), 2);
    return guest_failures;
}

static int by_fork(void)
{
    no_new_privs();
    WANT(filters(), 0);
    WANT(FORBID(SYS_getppid, EIO), 0);
    WANT(in_child(asks), 0);
    return guest_failures;
}

static int own_filters(void)
{
    no_new_privs();
    WANT(FORBID(SYS_getppid, EIO), 0);
    WANT(in_child(adds), 0);
    WANT(syscall(SYS_getpgid, 0) > 0, 1);
    WANT(filters(), 1);
    return guest_failures;
}

/* A newer filter can only take away: the older one's error stays, unless the newer one has a harder action. */
static int can_only_take_away(void)
{
    no_new_privs();
    WANT(FORBID(SYS_getppid, EIO), 0);
    WANT(INSTALL(0, ALLOW), 0);
    FAILS(syscall(SYS_getppid), EIO);
    WANT(FORBID(SYS_getppid, EBUSY), 0);
    FAILS(syscall(SYS_getppid), EBUSY);
    WANT(INSTALL(0, ON(SYS_getppid, SECCOMP_RET_LOG)), 0);
    FAILS(syscall(SYS_getppid), EBUSY);
    WANT(filters(), 4);
    return guest_failures;
}

static void *in_thread(void *failed)
{
    errno = 0;
    *(long *)failed = guest_result(syscall(SYS_getppid));
    return NULL;
}

static int by_thread(void)
{
    pthread_t thread;
    long seen;
    no_new_privs();
    WANT(FORBID(SYS_getppid, EIO), 0);
    pthread_create(&thread, NULL, in_thread, &seen);
    pthread_join(thread, NULL);
    WANT(seen, -EIO);
    return guest_failures;
}

static void *installs(void *failed)
{
    no_new_privs();
    if (FORBID(SYS_getppid, EIO))
        return NULL;
    return in_thread(failed);
}

/* Without TSYNC a thread's filter and its no_new_privs are its own. */
static int of_one_thread(void)
{
    pthread_t thread;
    long seen;
    pthread_create(&thread, NULL, installs, &seen);
    pthread_join(thread, NULL);
    WANT(seen, -EIO);
    CHECK(syscall(SYS_getppid) > 0);
    WANT(filters(), 0);
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    return guest_failures;
}

static int by_vfork(void)
{
    no_new_privs();
    WANT(FORBID(SYS_getppid, EIO), 0);
    volatile long seen = 0, installed = -1;
    pid_t child = vfork();
    if (!child) {
        seen = syscall(SYS_getppid);
        installed = FORBID(SYS_getpgid, EBUSY);
        _exit(0);
    }
    WANT(ended(child), 0);
    WANT(seen, -1);
    WANT(installed, 0);
    CHECK(syscall(SYS_getpgid, 0) > 0);
    return guest_failures;
}

static const char *self;

static int by_execve(void)
{
    char *const argv[] = { "inherit", "again", NULL };
    char *const envp[] = { NULL };
    no_new_privs();
    WANT(FORBID(SYS_getppid, EIO), 0);
    WANT(FORBID(SYS_getpgid, EBUSY), 0);
    fflush(stdout);
    execve(self, argv, envp);
    return 9;
}

static int again(void)
{
    puts("executed again");
    FAILS(syscall(SYS_getppid), EIO);
    FAILS(syscall(SYS_getpgid, 0), EBUSY);
    WANT(filters(), 2);
    WANT(status_of("/proc/self/status", "Seccomp"), 2);
    WANT(status_of("/proc/self/status", "NoNewPrivs"), 1);
    WANT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
    fflush(stdout);
    return guest_failures;
}

/* A filter may forbid execve itself, and prctl and seccomp. */
static int forbidden(void)
{
    char *const none[] = { NULL };
    no_new_privs();
    WANT(FORBID(SYS_execve, EPERM), 0);
    FAILS(execve(self, none, none), EPERM);
    WANT(FORBID(SYS_prctl, EPERM), 0);
    FAILS(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), EPERM);
    WANT(FORBID(SYS_seccomp, EPERM), 0);
    FAILS(INSTALL(0, ALLOW), EPERM);
    return guest_failures;
}

/* The kernel keeps its own copy of the program. */
static int kept(void)
{
    struct sock_filter program[] = { ON(SYS_getppid, SECCOMP_RET_ERRNO | EIO) };
    no_new_privs();
    WANT(install(0, sizeof program / sizeof *program, program), 0);
    for (size_t i = 0; i < sizeof program / sizeof *program; i++)
        program[i] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    FAILS(syscall(SYS_getppid), EIO);
    return guest_failures;
}

int main(int argc, char **argv)
{
    guest_start();
    self = argv[0];
    if (argc > 1)
        return again();
    WANT(in_child(by_fork), 0);
    WANT(in_child(own_filters), 0);
    WANT(in_child(can_only_take_away), 0);
    WANT(in_child(by_thread), 0);
    WANT(in_child(of_one_thread), 0);
    WANT(in_child(by_vfork), 0);
    WANT(in_child(by_execve), 0);
    WANT(in_child(forbidden), 0);
    WANT(in_child(kept), 0);
    WANT(filters(), 0);
    return guest_end();
}
