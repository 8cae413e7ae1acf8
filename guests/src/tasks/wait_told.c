/* What waitid(2) writes: always something, and no more than six fields.
 * man 2 waitid; kernel/exit.c:SYSCALL_DEFINE5(waitid) */
#include "guest.h"
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static union {
    siginfo_t info;
    int words[32];
} told;

static void soil(void)
{
    memset(&told, 0x55, sizeof told);
}

/* Which words of the structure were written, and that those without news are 0. */
static void written(const char *what)
{
    printf("%s:", what);
    for (int i = 0; i < 32; i++)
        if (told.words[i] != 0x55555555)
            printf(" %d", i);
    printf("; signo %d, code %d, status %d\n", told.info.si_signo, told.info.si_code, told.info.si_status);
}

static long wait_id(int type, pid_t id, void *info, int options, struct rusage *usage)
{
    return syscall(SYS_waitid, type, id, info, options, usage);
}

static void refused(void)
{
    soil();
    FAILS(wait_id(P_ALL, 0, &told, 0, NULL), EINVAL);
    written("no options");
    soil();
    FAILS(wait_id(77, 0, &told, WEXITED, NULL), EINVAL);
    written("no such type");
    soil();
    FAILS(wait_id(P_ALL, 0, &told, WEXITED, NULL), ECHILD);
    written("no child");
    soil();
    FAILS(wait_id(P_PIDFD, 99, &told, WEXITED, NULL), EBADF);
    written("no descriptor");
    FAILS(wait_id(P_ALL, 0, BAD, 0, NULL), EFAULT);
    FAILS(wait_id(P_ALL, 0, BAD, WEXITED, NULL), EFAULT);
    FAILS(wait_id(P_ALL, 0, NULL, 0, NULL), EINVAL);
}

static void nothing(int signal)
{
    (void)signal;
}

static void children(void)
{
    struct sigaction act = { .sa_handler = nothing };
    struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
    struct rusage usage;

    pid_t child = fork();
    if (!child)
        for (;;)
            pause();
    soil();
    WANT(wait_id(P_PID, child, &told, WEXITED | WNOHANG, NULL), 0);
    written("no news");
    FAILS(wait_id(P_PID, child, BAD, WEXITED | WNOHANG, NULL), EFAULT);
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    soil();
    FAILS(wait_id(P_PID, child, &told, WEXITED, NULL), EINTR);
    written("a signal");
    kill(child, SIGKILL);
    soil();
    WANT(wait_id(P_PID, child, &told, WEXITED | WNOWAIT, &usage), 0);
    written("news");
    CHECK(told.info.si_pid == child);
    soil();
    FAILS(wait_id(P_PID, child, &told, WEXITED, BAD), EFAULT);
    written("usage that can't be told");
    FAILS(wait_id(P_PID, child, &told, WEXITED, NULL), ECHILD);
}

int main(void)
{
    guest_start();
    refused();
    children();
    return guest_end();
}
