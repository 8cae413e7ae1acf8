/* RLIMIT_SIGPENDING: what is queued for all processes of a user together, and how /proc tells of it.
 * man 2 setrlimit, man 2 sigqueue, man 5 proc; kernel/signal.c:__sigqueue_alloc() */
#include "guest.h"
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static char said[64];
static long base;

static const char *field(const char *name)
{
    char text[8192] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    (void)!read(fd, text, sizeof text - 1);
    close(fd);
    char *line = strstr(text, name);
    snprintf(said, sizeof said, "%.*s", line ? (int)strcspn(line, "\n") : 0, line ? line : "");
    return said;
}

static long queued(void) { return atol(field("SigQ") + 5) - base; }

static int queue(pid_t pid, int signal, int most)
{
    union sigval value = { 7 };
    int count = 0;
    while (count < most && !sigqueue(pid, signal, value))
        count++;
    return count;
}

/* A timer has room for its signal from its creation to its end, whether that is pending or not. */
static void timers(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3 };
    struct itimerspec at_once = { { 0, 0 }, { 0, 1 } };
    const struct timespec long_enough = { 10, 0 };
    sigset_t set;
    siginfo_t info;
    timer_t timer[10];
    int made = 0;
    puts("timers");
    while (made < 10 && !timer_create(CLOCK_MONOTONIC, &event, &timer[made]))
        made++;
    WANT(made, 8);
    FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer[8]), EAGAIN);
    SHOW(queued());
    WANT(queue(getpid(), SIGRTMIN, 1), 0);
    WANT(timer_delete(timer[7]), 0);
    WANT(queue(getpid(), SIGRTMIN, 5), 1);
    WANT(timer_settime(timer[0], 0, &at_once, NULL), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    WANT(sigtimedwait(&set, &info, &long_enough), SIGRTMIN + 3);
    SHOW(queued());
    event.sigev_notify = SIGEV_NONE;
    WANT(timer_delete(timer[6]), 0);
    WANT(timer_create(CLOCK_MONOTONIC, &event, &timer[6]), 0);
    SHOW(queued());
    while (made-- > 1)
        timer_delete(timer[made - 1]);
    SHOW(queued());
}

/* Without room a signal that can't be refused is pending all the same, but nothing is known of it. */
static void bare(void)
{
    const struct timespec none = { 0, 0 };
    sigset_t set;
    siginfo_t info;
    puts("no room");
    WANT(kill(getpid(), SIGRTMIN + 4), 0);
    WANT(kill(getpid(), SIGRTMIN + 4), 0);
    WANT(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2), 0);
    FAILS(syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN + 5), EAGAIN);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 4);
    sigaddset(&set, SIGUSR2);
    WANT(sigtimedwait(&set, &info, &none), SIGUSR2);
    WANT(info.si_code, SI_USER);
    WANT(info.si_pid, 0);
    WANT(info.si_uid, 0);
    WANT(sigtimedwait(&set, &info, &none), SIGRTMIN + 4);
    WANT(info.si_code, SI_USER);
    WANT(info.si_pid, 0);
    FAILS(sigtimedwait(&set, &info, &none), EAGAIN);
    /* one that finds room joins the one that did not */
    WANT(kill(getpid(), SIGRTMIN + 4), 0);
    sigaddset(&set, SIGRTMIN);
    sigdelset(&set, SIGUSR2);
    WANT(sigtimedwait(&set, &info, &none), SIGRTMIN);
    union sigval value = { 9 };
    WANT(sigqueue(getpid(), SIGRTMIN + 4, value), 0);
    sigdelset(&set, SIGRTMIN);
    WANT(sigtimedwait(&set, &info, &none), SIGRTMIN + 4);
    WANT(info.si_code, SI_QUEUE);
    FAILS(sigtimedwait(&set, &info, &none), EAGAIN);
    WANT(queue(getpid(), SIGRTMIN, 20), 1);
}

int main(void)
{
    struct rlimit limit = { 8, 8 };
    int told[2], go[2];
    sigset_t set;
    guest_start();
    /* be a user who has nothing else, if that may be chosen */
    if (getuid() == 0 && (setresgid(54323, 54323, 54323) || setresuid(54323, 54323, 54323)))
        return 1;
    base = queued();
    limit.rlim_cur = limit.rlim_max = (rlim_t)base + 8;
    WANT(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    SHOW(queued());
    WANT(queue(getpid(), SIGRTMIN, 5), 5);
    SHOW(queued());
    puts(field("ShdPnd"));
    WANT(kill(getpid(), SIGUSR1), 0);                   /* one of these takes its place as well */
    SHOW(queued());
    pipe(told);
    pipe(go);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        char byte = 0;
        union sigval value = { 1 };
        WANT(queue(getpid(), SIGRTMIN + 1, 20), 2);
        SHOW(queued());
        FAILS(sigqueue(getpid(), SIGRTMIN + 1, value), EAGAIN);
        WANT(kill(getpid(), SIGRTMIN + 2), 0);          /* without its siginfo */
        WANT(sigqueue(getpid(), SIGUSR2, value), 0);
        WANT(kill(getpid(), SIGUSR1), 0);
        puts(field("ShdPnd"));
        fflush(stdout);
        (void)!write(told[1], "x", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    (void)!read(told[0], said, 1);
    WANT(queue(getpid(), SIGRTMIN, 20), 0);
    (void)!write(go[1], "x", 1);
    waitpid(child, NULL, 0);
    /* what was queued for it is free again */
    int more = queue(getpid(), SIGRTMIN, 20);
    CHECK(more == 1 || more == 2);                      /* SIGCHLD may have found no place */
    siginfo_t info;
    struct timespec now = { 0, 0 };
    int taken = 0;
    while (sigtimedwait(&set, &info, &now) > 0)
        taken += info.si_signo == SIGRTMIN && info.si_value.sival_int == 7;
    WANT(taken - more, 5);
    SHOW(queued());
    timers();
    while (sigtimedwait(&set, &info, &now) > 0)
        ;
    WANT(queue(getpid(), SIGRTMIN, 20), 8);
    bare();
    return guest_end();
}
