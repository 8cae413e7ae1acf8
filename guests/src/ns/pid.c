/* Pid namespaces: each task has a number in its own and in all around it, and says and hears only what it can see.
 * The first of a namespace is its init: unkillable from within, parent of its orphans, and its end is theirs. */
#include "guest.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <poll.h>

struct args { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };

static int up[2]; /* what a child in a namespace tells the one outside */

static pid_t gettid_(void) { return syscall(SYS_gettid); }
static pid_t getppid_(void) { return syscall(SYS_getppid); }
static pid_t getpid_(void) { return syscall(SYS_getpid); }

static pid_t spawn(uint64_t flags, pid_t *set_tid, int levels)
{
    struct args args = { .flags = flags, .exit_signal = SIGCHLD, .set_tid = (uintptr_t)set_tid, .set_tid_size = levels };
    fflush(stdout);
    return syscall(SYS_clone3, &args, sizeof args, 0L, 0L, 0L, 0L);
}

/* The exit status, or minus the signal. */
static int reap(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return -1000;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void field(const char *file, const char *name)
{
    char line[256];
    FILE *status = fopen(file, "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, name, strlen(name))) {
            int columns = 0, last = -1;
            for (char *word = strtok(line + strlen(name), "\t\n"); word; word = strtok(NULL, "\t\n"), columns++)
                last = atoi(word);
            printf("%s %d columns, the last %d\n", name, columns, last);
        }
    if (status)
        fclose(status);
}

static volatile sig_atomic_t seen_pid, seen_signal;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)context;
    seen_signal = signal;
    seen_pid = info->si_pid;
}

static void handle(int signal)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    sigaction(signal, &action, NULL);
}

static int numbers(void)
{
    puts("-- numbers");
    WANT(getpid_(), 1);
    WANT(gettid_(), 1);
    WANT(getppid_(), 0);
    WANT(getpgid(0), 0);
    WANT(getsid(0), 0);
    FAILS(kill(2, 0), ESRCH);
    FAILS(getpgid(2), ESRCH);
    WANT(getpriority(PRIO_PROCESS, 1), 0);
    pid_t child = spawn(0, NULL, 0);
    if (!child) {
        WANT(getpid_(), 2);
        WANT(getppid_(), 1);
        WANT(setsid(), 2);
        WANT(getpgid(0), 2);
        WANT(getsid(2), 2);
        WANT(getsid(1), 0);
        exit(7);
    }
    siginfo_t info = { 0 };
    WANT(waitid(P_PID, child, &info, WEXITED | WNOWAIT), 0);
    WANT(child, 2);
    WANT(info.si_pid, 2);
    WANT(reap(2), 7);
    FAILS(waitpid(2, NULL, 0), ECHILD);
    WANT(setpgid(0, 0), 0);
    WANT(getpgrp(), 1);
    field("/proc/self/status", "NSpid:");
    field("/proc/self/status", "NStgid:");
    field("/proc/self/status", "NSpgid:");
    field("/proc/self/status", "NSsid:");
    return 0;
}

static int orphans(void)
{
    puts("-- orphans");
    pid_t child = spawn(0, NULL, 0);
    if (!child) {
        pid_t grandchild = spawn(0, NULL, 0);
        if (!grandchild) {
            while (getppid_() == 2)
                sched_yield();
            _exit(getppid_() == 1 ? 3 : 0);
        }
        _exit(4);
    }
    WANT(reap(child), 4);
    WANT(reap(3), 3);
    return 0;
}

static int unkillable(void)
{
    puts("-- unkillable");
    pid_t child = spawn(0, NULL, 0);
    if (!child) {
        WANT(kill(1, SIGTERM), 0);
        WANT(kill(1, SIGKILL), 0);
        WANT(kill(1, SIGSTOP), 0);
        FAILS(kill(-1, SIGTERM), ESRCH); /* nobody but init and itself */
        exit(0);
    }
    WANT(reap(child), 0);
    handle(SIGUSR1);
    child = spawn(0, NULL, 0);
    if (!child)
        _exit(kill(1, SIGUSR1));
    while (!seen_signal)
        sched_yield();
    WANT(seen_signal, SIGUSR1);
    WANT(seen_pid, 3);
    WANT(reap(child), 0);
    char byte = 'x'; /* now from outside */
    seen_pid = -1;
    seen_signal = 0;
    write(up[1], &byte, 1);
    while (!seen_signal)
        sched_yield();
    WANT(seen_signal, SIGUSR1);
    WANT(seen_pid, 0);
    write(up[1], &byte, 1);
    for (;;)
        pause();
}

static int end_of_all(void)
{
    puts("-- the end of all");
    for (int i = 0; i < 3; i++) {
        pid_t child = spawn(i == 2 ? CLONE_NEWPID : 0, NULL, 0);
        if (!child) {
            if (spawn(0, NULL, 0) > 0)
                write(up[1], "c", 1);
            for (;;)
                pause();
        }
    }
    char byte;
    for (int i = 0; i < 3; i++)
        read(up[0], &byte, 1);
    return 9; /* those that are left hold the writing end of the pipe */
}

static int nested(int depth)
{
    if (depth == 3) {
        field("/proc/thread-self/status", "NSpid:");
        return 33;
    }
    pid_t child = spawn(CLONE_NEWPID, NULL, 0);
    if (!child) {
        CHECK(getpid_() == 1 && getppid_() == 0);
        exit(nested(depth + 1));
    }
    return child > 1 ? reap(child) : 50;
}

static void choose(void)
{
    puts("-- chosen numbers");
    pid_t wanted[3] = { 1, 0, 0 };
    pid_t child = spawn(CLONE_NEWPID, wanted, 1);
    if (!child) {
        pid_t more[3] = { 77, 0, 0 };
        child = spawn(0, more, 1);
        if (!child)
            _exit(getpid_());
        WANT(child, 77);
        FAILS(spawn(0, more, 1), EEXIST);
        WANT(reap(77), 77);
        child = spawn(0, NULL, 0);
        if (!child)
            _exit(0);
        WANT(child, 2);
        WANT(reap(2), 0);
        FAILS(spawn(0, more + 1, 1), EINVAL);
        more[0] = 1 << 30;
        FAILS(spawn(0, more, 1), EINVAL);
        FAILS(spawn(0, more, 3), EINVAL);
        exit(0);
    }
    WANT(reap(child), 0);
    FAILS(spawn(0, BAD, 1), EFAULT);
    FAILS(spawn(CLONE_THREAD, BAD, 1), EFAULT);
    FAILS(spawn(CLONE_THREAD, wanted, 1), EINVAL);
    FAILS(spawn(0, wanted, 33), EINVAL);
    FAILS(spawn(0, NULL, 1), EINVAL);
    FAILS(spawn(0, wanted, 0), EINVAL);
    wanted[0] = 2; /* a namespace begins with 1 */
    FAILS(spawn(CLONE_NEWPID, wanted, 1), EINVAL);
}

static void unshared(void)
{
    puts("-- unshare");
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pid_t self = getpid_();
        WANT(unshare(CLONE_NEWPID), 0);
        CHECK(getpid_() == self);
        FAILS(unshare(CLONE_NEWPID), EINVAL);
        FAILS(spawn(CLONE_NEWPID, NULL, 0), EINVAL);
        FAILS(spawn(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, NULL, 0), EINVAL);
        pid_t first = spawn(0, NULL, 0);
        if (!first)
            for (;;)
                pause();
        pid_t second = spawn(0, NULL, 0);
        if (!second) {
            WANT(getpid_(), 2);
            WANT(getppid_(), 0);
            exit(5);
        }
        WANT(reap(second), 5);
        pid_t third = fork();
        if (!third)
            for (;;)
                pause();
        WANT(kill(first, SIGTERM), 0); /* from outside: but only SIGKILL counts */
        WANT(kill(first, SIGKILL), 0);
        CHECK(reap(third) == -SIGKILL); /* init waits for it to be reaped */
        CHECK(reap(first) == -SIGKILL);
        FAILS(fork(), ENOMEM);
        FAILS(spawn(0, NULL, 0), ENOMEM);
        exit(0);
    }
    WANT(reap(child), 0);
}

static void sent(void)
{
    puts("-- credentials and locks");
    int pair[2], one = 1;
    WANT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    WANT(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one), 0);
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK(file >= 0);
    struct flock own = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
    WANT(fcntl(file, F_SETLK, &own), 0);
    pid_t self = getpid_();
    pid_t child = spawn(CLONE_NEWPID, NULL, 0);
    if (!child) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        WANT(fcntl(file, F_GETLK, &lock), 0);
        WANT(lock.l_type, F_WRLCK);
        WANT(lock.l_pid, 0);
        lock = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
        WANT(fcntl(file, F_SETLK, &lock), 0);
        struct ucred peer;
        socklen_t length = sizeof peer;
        WANT(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &peer, &length), 0);
        WANT(peer.pid, 0);
        WANT(fcntl(file, F_SETOWN, 1), 0);
        WANT(fcntl(file, F_GETOWN), 1);
        FAILS(fcntl(file, F_SETOWN, 5), ESRCH);
        send(pair[1], "x", 1, 0);
        char byte;
        recv(pair[1], &byte, 1, 0);
        exit(0);
    }
    char byte, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec io = { &byte, 1 };
    struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    WANT(recvmsg(pair[0], &message, 0), 1);
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof sender);
    CHECK(sender.pid == child);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
    WANT(fcntl(file, F_GETLK, &lock), 0);
    CHECK(lock.l_pid == child);
    CHECK(fcntl(file, F_GETOWN) == child);
    send(pair[0], "y", 1, 0);
    WANT(reap(child), 0);
    CHECK(self == getpid_());
    close(file);
}

/* The signal of a parent's death is from that parent, or from nobody that can be seen. */
static void deaths(uint64_t flags)
{
    int told[2], ready[2];
    char byte = 'x';
    WANT(pipe(told), 0);
    WANT(pipe(ready), 0);
    pid_t parent = spawn(0, NULL, 0);
    if (!parent) {
        pid_t self = getpid_();
        if (!spawn(flags, NULL, 0)) {
            sigset_t set;
            siginfo_t info;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set, NULL);
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            write(ready[1], &byte, 1);
            sigwaitinfo(&set, &info);
            byte = info.si_pid == self ? 's' : info.si_pid ? '?' : '0';
            write(told[1], &byte, 1);
            _exit(0);
        }
        read(ready[0], &byte, 1);
        _exit(0);
    }
    WANT(reap(parent), 0);
    WANT(read(told[0], &byte, 1), 1);
    CHECK(byte == (flags ? '0' : 's'));
    close(ready[0]);
    close(ready[1]);
    parent = spawn(0, NULL, 0); /* and SIGKILL reaches the first of a namespace so */
    if (!parent) {
        if (!spawn(flags, NULL, 0)) {
            close(told[0]);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            write(told[1], &byte, 1);
            for (;;)
                pause();
        }
        read(told[0], &byte, 1);
        _exit(0);
    }
    close(told[1]);
    WANT(reap(parent), 0);
    WANT(read(told[0], &byte, 1), 0);
    close(told[0]);
}

static pid_t enter(int (*body)(void))
{
    pid_t child = spawn(CLONE_NEWPID, NULL, 0);
    if (!child) {
        int status = body();
        exit(status);
    }
    return child;
}

int main(void)
{
    guest_start();
    WANT(pipe(up), 0);
    WANT(reap(enter(numbers)), 0);
    WANT(reap(enter(orphans)), 0);

    pid_t child = enter(unkillable);
    char byte;
    WANT(read(up[0], &byte, 1), 1);
    WANT(kill(child, SIGUSR1), 0);
    WANT(read(up[0], &byte, 1), 1);
    int status;
    WANT(kill(child, SIGSTOP), 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    WANT(kill(child, SIGKILL), 0);
    CHECK(reap(child) == -SIGKILL);

    child = enter(end_of_all);
    WANT(reap(child), 9);
    close(up[1]);
    WANT(read(up[0], &byte, 1), 0);
    close(up[0]);

    puts("-- nested");
    WANT(nested(0), 33);
    choose();
    unshared();
    FAILS(spawn(CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL, 0), EINVAL);
    WANT(pipe(up), 0);
    sent();
    puts("-- a parent's death");
    deaths(0);
    deaths(CLONE_NEWPID);
    return guest_end();
}
