/* Children: their statuses, waiting for this one or that one, news of stopping and going on, orphans, and what nobody
 * wants to know.
 * man 2 wait4, man 2 waitid, man 2 prctl */
#include "guest.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#ifndef __WNOTHREAD
#define __WNOTHREAD 0x20000000
#endif

static int status;
static siginfo_t info;

/* A child that calls `end(argument)`. */
static pid_t child_of(void (*end)(int), int argument)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        end(argument);
        _exit(99);
    }
    return child;
}

static void leave(int code)
{
    _exit(code);
}

static void leave_all(int code)
{
    syscall(SYS_exit, code);
}

static void die(int signal)
{
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    raise(signal);
}

static void linger(int milliseconds)
{
    usleep((unsigned)milliseconds * 1000);
    _exit(0);
}

static void stay(int unused)
{
    (void)unused;
    for (;;)
        pause();
}

static void show(int status)
{
    if (WIFEXITED(status))
        printf("exited with %d\n", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        printf("killed by %d%s\n", WTERMSIG(status), WCOREDUMP(status) ? ", core" : "");
    else if (WIFSTOPPED(status))
        printf("stopped by %d\n", WSTOPSIG(status));
    else
        printf("%s\n", WIFCONTINUED(status) ? "continued" : "something else");
}

static void statuses(void)
{
    static const int codes[] = { 0, 1, 255, 256, -1, 0x1234 };
    static const int deadly[] = { SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGUSR1, SIGALRM, SIGPIPE };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        pid_t child = child_of(leave, codes[i]);
        CHECK(wait(&status) == child);
        show(status);
    }
    CHECK(waitpid(child_of(leave_all, 77), &status, 0) > 0);
    show(status);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        CHECK(waitpid(child_of(die, deadly[i]), &status, 0) > 0);
        show(status);
    }
    CHECK(waitpid(child_of(die, SIGRTMIN), &status, 0) > 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGRTMIN);
    FAILS(wait(&status), ECHILD);
}

static void whom(void)
{
    FAILS(waitpid(1, &status, 0), ECHILD);
    FAILS(waitpid(getpid(), &status, 0), ECHILD);
    FAILS(waitpid(-12345678, &status, 0), ECHILD);
    FAILS(waitpid(-1, &status, 0x40), EINVAL);
    FAILS(syscall(SYS_wait4, INT32_MIN, &status, 0, NULL), ESRCH);
    pid_t first = child_of(stay, 0), second = child_of(leave, 2);
    CHECK(waitpid(second, &status, 0) == second);
    WANT(waitpid(first, &status, WNOHANG), 0);
    WANT(waitpid(0, &status, WNOHANG), 0);
    WANT(waitpid(-getpgrp(), &status, WNOHANG), 0);
    FAILS(waitpid(second, &status, WNOHANG), ECHILD);
    WANT(setpgid(first, 0), 0);
    FAILS(waitpid(0, &status, WNOHANG), ECHILD);                /* in another group now */
    WANT(waitpid(-first, &status, WNOHANG), 0);
    WANT(kill(first, SIGKILL), 0);
    CHECK(waitpid(-first, &status, 0) == first);
    show(status);
    /* a bad pointer is found out after the child has been reaped */
    first = child_of(leave, 3);
    FAILS(waitpid(first, BAD, 0), EFAULT);
    FAILS(waitpid(first, &status, 0), ECHILD);
    struct rusage usage;
    memset(&usage, 0x55, sizeof usage);
    first = child_of(leave, 4);
    CHECK(wait4(first, NULL, 0, &usage) == first);
    CHECK(usage.ru_utime.tv_usec >= 0 && usage.ru_utime.tv_usec < 1000000 && usage.ru_utime.tv_sec < 10);
    FAILS(wait4(-1, NULL, 0, BAD), ECHILD);
}

static void tell(void)
{
    printf("signo %d errno %d code %d status %d\n", info.si_signo, info.si_errno, info.si_code, info.si_status);
}

static void ids(void)
{
    FAILS(waitid(P_ALL, 0, &info, 0), EINVAL);
    FAILS(waitid(P_ALL, 0, &info, WNOHANG), EINVAL);
    FAILS(waitid(P_ALL, 0, &info, WEXITED | 0x100), EINVAL);
    FAILS(waitid(77, 0, &info, WEXITED), EINVAL);
    FAILS(waitid(P_PID, 0, &info, WEXITED), EINVAL);
    FAILS(waitid(P_PID, -3, &info, WEXITED), EINVAL);
    FAILS(waitid(P_PGID, -3, &info, WEXITED), EINVAL);
    FAILS(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
    pid_t child = child_of(leave, 300);
    WANT(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    tell();
    CHECK(info.si_pid == child && info.si_uid == getuid());
    memset(&info, 0x55, sizeof info);
    WANT(waitid(P_PID, (id_t)child, &info, WEXITED), 0);
    tell();
    FAILS(waitid(P_PID, (id_t)child, &info, WEXITED), ECHILD);
    child = child_of(die, SIGTERM);
    WANT(waitid(P_ALL, 12345, &info, WEXITED), 0);
    tell();
    child = child_of(stay, 0);
    memset(&info, 0x55, sizeof info);
    WANT(waitid(P_PGID, 0, &info, WEXITED | WNOHANG), 0);
    tell();                                                     /* zeros: nothing has happened */
    CHECK(info.si_pid == 0);
    WANT(kill(child, SIGKILL), 0);
    WANT(syscall(SYS_waitid, P_PID, child, NULL, WEXITED, NULL), 0);
    child = child_of(leave, 5);
    FAILS(syscall(SYS_waitid, P_PID, child, BAD, WEXITED, NULL), EFAULT);
    FAILS(waitid(P_PID, (id_t)child, &info, WEXITED), ECHILD);
}

static void stopping(void)
{
    pid_t child = child_of(stay, 0);
    WANT(kill(child, SIGSTOP), 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    show(status);
    WANT(waitpid(child, &status, WUNTRACED | WNOHANG), 0);      /* told once */
    WANT(waitpid(child, &status, WCONTINUED | WNOHANG), 0);
    WANT(kill(child, SIGUSR1), 0);                              /* waits until it goes on */
    WANT(waitpid(child, &status, WNOHANG), 0);
    WANT(kill(child, SIGCONT), 0);
    CHECK(waitpid(child, &status, 0) == child);
    show(status);

    child = child_of(stay, 0);
    WANT(setpgid(child, 0), 0);                                 /* no orphaned group, whoever started us */
    WANT(kill(child, SIGTSTP), 0);
    WANT(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOWAIT), 0);
    tell();
    WANT(waitid(P_PID, (id_t)child, &info, WSTOPPED), 0);
    tell();
    WANT(kill(child, SIGCONT), 0);
    WANT(waitid(P_PID, (id_t)child, &info, WCONTINUED), 0);
    tell();
    WANT(kill(child, SIGSTOP), 0);
    WANT(waitid(P_PID, (id_t)child, &info, WSTOPPED), 0);
    WANT(kill(child, SIGKILL), 0);                              /* stopped or not */
    CHECK(waitpid(child, &status, 0) == child);
    show(status);
}

/* A grandchild whose parent has gone belongs to the nearest subreaper. */
static void orphans(void)
{
    int told[2];
    pid_t pids[2];
    pipe(told);
    WANT(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pid_t self = getpid();
        if (!fork()) {
            while (getppid() == self)
                usleep(1000);
            pids[0] = getpid();
            pids[1] = getppid();
            write(told[1], pids, sizeof pids);
            _exit(31);
        }
        _exit(30);
    }
    CHECK(waitpid(child, &status, 0) == child);
    show(status);
    WANT(read(told[0], pids, sizeof pids), sizeof pids);
    CHECK(pids[1] == getpid());
    CHECK(waitpid(pids[0], &status, 0) == pids[0]);
    show(status);
    /* an orphan that has ended before its parent */
    child = fork();
    if (!child) {
        if (!fork())
            _exit(32);
        usleep(10000);
        _exit(33);
    }
    CHECK(waitpid(child, &status, 0) == child);
    show(status);
    CHECK(wait(&status) > 0);
    show(status);
    FAILS(wait(&status), ECHILD);
    WANT(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
}

/* With SIGCHLD ignored children leave nothing; wait(2) returns when the last is gone. */
static void unwanted(void)
{
    signal(SIGCHLD, SIG_IGN);
    child_of(leave, 1);
    child_of(linger, 20);
    FAILS(wait(&status), ECHILD);
    struct sigaction act = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
    sigaction(SIGCHLD, &act, NULL);
    pid_t child = child_of(linger, 20);
    FAILS(waitpid(child, &status, 0), ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

static int pending(int signal)
{
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signal);
}

/* The end of a child whose parent ignores SIGCHLD is no signal, not even a pending one. */
static void unwanted_and_blocked(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGCHLD, SIG_IGN);
    child_of(leave, 1);
    FAILS(wait(&status), ECHILD);
    WANT(pending(SIGCHLD), 0);
    struct sigaction act = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
    sigaction(SIGCHLD, &act, NULL);
    child_of(leave, 1);
    FAILS(wait(&status), ECHILD);
    WANT(pending(SIGCHLD), 1);
    signal(SIGCHLD, SIG_IGN);
    WANT(pending(SIGCHLD), 0);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void told_of_death(void)
{
    int told[2];
    char byte;
    pipe(told);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pid_t self = getpid();
        if (!fork()) {
            close(told[0]);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == self)
                write(told[1], "x", 1);
            for (;;)
                pause();
        }
        close(told[1]);
        read(told[0], &byte, 1);
        _exit(0);
    }
    close(told[1]);
    CHECK(waitpid(child, &status, 0) == child);
    WANT(read(told[0], &byte, 1), 0);                           /* the pipe's last writer was killed */
}

int main(void)
{
    guest_start();
    statuses();
    whom();
    ids();
    stopping();
    orphans();
    unwanted();
    unwanted_and_blocked();
    told_of_death();
    return guest_end();
}
