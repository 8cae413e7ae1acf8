/* SECCOMP_MODE_STRICT: read, write, _exit and rt_sigreturn, and for all else SIGKILL to the thread that asks.
 * man 2 seccomp, kernel/seccomp.c:__secure_computing_strict()
 * guest-flags: -pthread */
#include "sigsys.h"
#include <pthread.h>

static void enter(void)
{
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0))
        syscall(SYS_exit, 90);
}

/* exit_group, with which a C library ends a program, is not allowed. */
static void leave(int code)
{
    for (;;)
        syscall(SYS_exit, code);
}

static int allowed(void)
{
    int ends[2];
    char byte = 0;
    pipe(ends);
    enter();
    if (write(ends[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1 || byte != 'x')
        leave(1);
    leave(0);
    return 2;
}

static int by_seccomp(void)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL))
        return 1;
    write(1, "strict\n", 7);
    leave(7);
    return 2;
}

static int ppid(void)
{
    enter();
    syscall(SYS_getppid);
    leave(1);
    return 2;
}

static int ends_group(void)
{
    enter();
    return 3;
}

static int asks_for_mode(void)
{
    enter();
    prctl(PR_GET_SECCOMP);
    leave(1);
    return 2;
}

static int unknown(void)
{
    enter();
    syscall(12345);
    leave(1);
    return 2;
}

static int no_number(void)
{
    enter();
    raw_call(-1, 0, 0, 0, 0, 0, 0);
    leave(1);
    return 2;
}

static int high_half(void)
{
    enter();
    if (raw_call(1L << 40 | SYS_write, 1, (long)"written\n", 8, 0, 0, 0) != 8)
        leave(1);
    leave(0);
    return 2;
}

static void on_signal(int signal)
{
    (void)signal;
    write(1, "signal\n", 7);
}

/* A handler's own return is a call, and allowed. */
static int handles(void)
{
    int ends[2];
    char byte;
    struct sigaction act = { .sa_flags = SA_RESTART };
    act.sa_handler = on_signal;
    sigaction(SIGALRM, &act, NULL);
    pipe(ends);
    pid_t parent = getpid(), other = fork();
    if (!other) {
        kill(parent, SIGALRM);
        write(ends[1], "x", 1);
        _exit(0);
    }
    enter();
    if (read(ends[0], &byte, 1) != 1)
        leave(1);
    leave(4);
    return 2;
}

static int stays(void)
{
    /* From one mode there is no way to the other. */
    if (install_filter(SYS_getppid, SECCOMP_RET_ERRNO | EIO, 0))
        return 1;
    FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0), EINVAL);
    FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
    FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, ""), EINVAL);
    WANT(prctl(PR_GET_SECCOMP), SECCOMP_MODE_FILTER);
    return 0;
}

static volatile int thread_tid;

static void *strict_thread(void *unused)
{
    (void)unused;
    thread_tid = syscall(SYS_gettid);
    enter();
    syscall(SYS_getppid);
    leave(1);
    return NULL;
}

static int thread_alone(void)
{
    pthread_t id;
    pthread_create(&id, NULL, strict_thread, NULL);
    while (!thread_tid || !syscall(SYS_tgkill, getpid(), thread_tid, 0))
        sched_yield();
    WANT(prctl(PR_GET_SECCOMP), 0);
    return 5;
}

int main(void)
{
    guest_start();
    WANT(prctl(PR_GET_SECCOMP), 0);
    CHILD(allowed, exited, 0);
    CHILD(by_seccomp, exited, 7);
    CHILD(ppid, killed, SIGKILL);
    CHILD(ends_group, killed, SIGKILL);
    CHILD(asks_for_mode, killed, SIGKILL);
    CHILD(unknown, killed, SIGKILL);
    CHILD(no_number, killed, SIGKILL);
    CHILD(high_half, exited, 0);
    CHILD(handles, exited, 4);
    CHILD(stays, exited, 0);
    CHILD(thread_alone, exited, 5);
    return guest_end();
}
