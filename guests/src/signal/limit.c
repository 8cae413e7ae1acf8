/* RLIMIT_SIGPENDING: what is queued for all processes of a user together, and how /proc tells of it.
 * man 2 setrlimit, man 2 sigqueue, man 5 proc; kernel/signal.c:__sigqueue_alloc() */
#include "guest.h"
#include <sys/resource.h>
#include <sys/wait.h>

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
    WANT(queue(getpid(), SIGRTMIN, 20), 8);
    return guest_end();
}
