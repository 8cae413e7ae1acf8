/* Signals between processes and threads: who gets them, who waits, and which calls they end.
 * man 2 kill, man 2 tgkill, man 7 signal, man 2 wait4 */
#include "guest.h"
#include "asleep.h"
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

static int status;
static volatile sig_atomic_t count, last, told_pid, told_code, told_status;
static __thread int mine;

static int ended(pid_t child)
{
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)context;
    count++;
    mine++;
    last = signal;
    told_pid = info->si_pid;
    told_code = info->si_code;
    told_status = info->si_status;
}

static void handle(int signal, int flags)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | flags };
    act.sa_sigaction = handler;
    sigaction(signal, &act, NULL);
}

static void block(int how, int signal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(how, &set, NULL);
}

static void refused(void)
{
    pid_t child = fork();
    if (!child)
        _exit(0);
    FAILS(kill(child, 65), EINVAL);
    FAILS(kill(child, -1), EINVAL);
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    WANT(kill(child, 0), 0);                                    /* there until it is reaped */
    WANT(kill(child, SIGKILL), 0);
    WANT(ended(child), 0);
    FAILS(kill(child, 0), ESRCH);
    FAILS(syscall(SYS_tgkill, getpid(), child, SIGUSR1), ESRCH);
    FAILS(kill(-child, 0), ESRCH);
}

/* Hand over and back by signals alone. */
static void back_and_forth(void)
{
    sigset_t none;
    sigemptyset(&none);
    handle(SIGUSR1, 0);
    handle(SIGUSR2, 0);
    block(SIG_BLOCK, SIGUSR1);
    block(SIG_BLOCK, SIGUSR2);
    fflush(stdout);
    pid_t parent = getpid(), child = fork();
    if (!child) {
        for (int i = 0; i < 100; i++) {
            while (count <= i)
                sigsuspend(&none);
            if (told_pid != parent || told_code != SI_USER)
                _exit(1);
            kill(parent, SIGUSR2);
        }
        _exit(0);
    }
    count = 0;
    for (int i = 0; i < 100; i++) {
        kill(child, SIGUSR1);
        while (count <= i)
            sigsuspend(&none);
    }
    WANT(count, 100);
    CHECK(told_pid == child);
    WANT(ended(child), 0);
    block(SIG_UNBLOCK, SIGUSR1);
    block(SIG_UNBLOCK, SIGUSR2);
}

/* A process that does nothing but compute gets its signals too. */
static void while_computing(void)
{
    count = 0;
    fflush(stdout);
    pid_t parent = getpid(), child = fork();
    if (!child) {
        kill(parent, SIGUSR1);
        while (!count)
            ;
        _exit(count);
    }
    while (!count)
        ;
    WANT(count, 1);
    WANT(kill(child, SIGUSR2), 0);
    WANT(ended(child), 1);
    child = fork();
    if (!child)
        for (;;)
            ;
    usleep(2000);
    WANT(kill(child, SIGTERM), 0);
    WANT(ended(child), 1000 + SIGTERM);
}

static void children(void)
{
    handle(SIGCHLD, SA_RESTART);
    count = 0;
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        _exit(17);
    WANT(ended(child), 17);                                     /* made again after the handler */
    WANT(count, 1);
    CHECK(told_pid == child);
    WANT(told_code, CLD_EXITED);
    WANT(told_status, 17);
    child = fork();
    if (!child) {
        raise(SIGKILL);
        _exit(1);
    }
    WANT(ended(child), 1000 + SIGKILL);
    WANT(told_code, CLD_KILLED);
    WANT(told_status, SIGKILL);
    /* news of stopping, unless they are not wanted */
    child = fork();
    if (!child)
        for (;;)
            pause();
    count = 0;
    WANT(kill(child, SIGSTOP), 0);
    WANT(waitpid(child, &status, WUNTRACED) == child, 1);
    WANT(count, 1);
    WANT(told_code, CLD_STOPPED);
    WANT(kill(child, SIGCONT), 0);
    WANT(waitpid(child, &status, WCONTINUED) == child, 1);
    for (int tries = 0; told_code != CLD_CONTINUED && tries < 2000; tries++)
        usleep(500);                                            /* told when it runs, not when it may */
    WANT(told_code, CLD_CONTINUED);
    handle(SIGCHLD, SA_RESTART | SA_NOCLDSTOP);
    count = 0;
    WANT(kill(child, SIGSTOP), 0);
    WANT(waitpid(child, &status, WUNTRACED) == child, 1);
    WANT(count, 0);
    WANT(kill(child, SIGKILL), 0);
    WANT(ended(child), 1000 + SIGKILL);
    WANT(count, 1);
    signal(SIGCHLD, SIG_DFL);
}

/* wait4 with and without SA_RESTART. */
static void interrupted_waits(void)
{
    volatile int *told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
        handle(SIGUSR1, flags);
        count = 0;
        fflush(stdout);
        pid_t parent = getpid(), child = fork();
        if (!child) {
            until_asleep(parent, parent);
            kill(parent, SIGUSR1);
            while (!flags && !*told)
                sched_yield();
            until_asleep(parent, parent);                       /* again */
            _exit(3);
        }
        if (flags) {
            WANT(ended(child), 3);
        } else {
            FAILS(wait(&status), EINTR);
            *told = 1;
            WANT(ended(child), 3);
        }
        WANT(count, 1);
    }
}

static volatile int ready;
static pthread_t thread;

static void *blocks_it(void *arg)
{
    block(SIG_BLOCK, SIGUSR1);
    ready = 1;
    while (ready)
        usleep(500);
    *(int *)arg = mine;
    return NULL;
}

static void *takes_it(void *arg)
{
    block(SIG_UNBLOCK, SIGUSR1);
    ready = 1;
    while (!mine)
        usleep(500);
    *(int *)arg = mine;
    return NULL;
}

static void *sleeps_with_it(void *arg)
{
    struct timespec long_time = { 100, 0 };
    block(SIG_UNBLOCK, SIGUSR1);
    ready = 1;
    *(long *)arg = nanosleep(&long_time, NULL) ? -errno : 0;
    return NULL;
}

static void *waits_for_it(void *arg)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    ready = 1;
    *(int *)arg = sigwaitinfo(&set, NULL);
    return NULL;
}

/* A signal for the process goes to a thread that does not block it. */
static void threads(void)
{
    int got = 0;
    long result = 0;
    handle(SIGUSR1, 0);
    mine = count = 0;
    pthread_create(&thread, NULL, blocks_it, &got);
    while (!ready)
        usleep(500);
    WANT(kill(getpid(), SIGUSR1), 0);
    WANT(mine, 1);                                              /* at once: this thread takes it */
    ready = 0;
    pthread_join(thread, NULL);
    WANT(got, 0);

    block(SIG_BLOCK, SIGUSR1);
    mine = count = 0;
    pthread_create(&thread, NULL, takes_it, &got);
    while (!ready)
        usleep(500);
    WANT(kill(getpid(), SIGUSR1), 0);
    pthread_join(thread, NULL);
    WANT(got, 1);
    WANT(mine, 0);
    ready = 0;

    pthread_create(&thread, NULL, sleeps_with_it, &result);
    while (!ready)
        usleep(500);
    usleep(3000);
    WANT(kill(getpid(), SIGUSR1), 0);                           /* ends the sleep of the one that can take it */
    pthread_join(thread, NULL);
    FAILS((errno = (int)-result, -1), EINTR);
    ready = 0;

    pthread_create(&thread, NULL, waits_for_it, &got);
    while (!ready)
        usleep(500);
    usleep(3000);
    count = 0;
    WANT(kill(getpid(), SIGUSR1), 0);
    pthread_join(thread, NULL);
    WANT(got, SIGUSR1);
    WANT(count, 0);

    /* all block it: it waits; for one thread it is that thread's alone */
    WANT(kill(getpid(), SIGUSR1), 0);
    sigset_t set;
    sigpending(&set);
    WANT(sigismember(&set, SIGUSR1), 1);
    WANT(count, 0);
    block(SIG_UNBLOCK, SIGUSR1);
    WANT(count, 1);
    ready = 0;
    pthread_create(&thread, NULL, sleeps_with_it, &result);
    while (!ready)
        usleep(500);
    usleep(3000);
    mine = 0;
    WANT(pthread_kill(thread, SIGUSR1), 0);
    pthread_join(thread, NULL);
    WANT(mine, 0);
    FAILS((errno = (int)-result, -1), EINTR);
}

static void *spins(void *arg)
{
    for (;;)
        ;
    return arg;
}

/* A fatal signal for one thread ends them all. */
static void fatal(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, i ? spins : blocks_it, &status);
        pthread_kill(thread, SIGTERM);
        for (;;)
            pause();
    }
    WANT(ended(child), 1000 + SIGTERM);
    child = fork();
    if (!child) {
        pthread_create(&thread, NULL, spins, NULL);
        usleep(1000);
        *(volatile int *)BAD = 0;
    }
    WANT(ended(child), 1000 + SIGSEGV);
}

/* kill(0) and kill(-pgrp): everybody in the group. */
static void groups(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        pid_t members[3];
        int good = 1;
        setpgid(0, 0);
        for (int i = 0; i < 3; i++)
            if (!(members[i] = fork()))
                for (;;)
                    pause();
        signal(SIGTERM, SIG_IGN);
        kill(0, SIGTERM);
        for (int i = 0; i < 3; i++)
            good &= ended(members[i]) == 1000 + SIGTERM;
        _exit(good ? 0 : 1);
    }
    WANT(ended(child), 0);
    child = fork();
    if (!child)
        for (;;)
            pause();
    setpgid(child, child);
    WANT(kill(-child, SIGUSR1) || kill(-child, SIGKILL), 0);
    CHECK(ended(child) >= 1000);
}

int main(void)
{
    guest_start();
    refused();
    back_and_forth();
    while_computing();
    children();
    interrupted_waits();
    threads();
    fatal();
    groups();
    return guest_end();
}
