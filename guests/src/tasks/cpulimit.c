/* RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
 * man 2 setrlimit
 * guest-abis: bounce */
#include "guest.h"
#include <sys/resource.h>
#include <sys/wait.h>

static volatile int signals;
static struct rlimit *shared;

static void on_signal(int number)
{
    (void)number;
    signals++;
    getrlimit(RLIMIT_CPU, shared);
}

static int ended(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int spins(rlim_t soft, rlim_t hard, int handled)
{
    pid_t child = fork();
    if (!child) {
        struct rlimit limit = { soft, hard };
        if (handled)
            signal(SIGXCPU, on_signal);
        if (setrlimit(RLIMIT_CPU, &limit))
            _exit(99);
        for (;;)
            ;
    }
    return ended(child);
}

int main(void)
{
    struct rlimit limit = { 1, 7 };
    guest_start();
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    WANT(spins(0, RLIM_INFINITY, 0), 1000 + SIGXCPU);
    WANT(spins(0, 0, 1), 1000 + SIGKILL);

    /* the handler finds the soft limit a second further; that is the hard one */
    shared->rlim_cur = 77;
    WANT(spins(0, 1, 1), 1000 + SIGKILL);
    WANT(shared->rlim_cur, 1);
    WANT(shared->rlim_max, 1);

    /* a child has the limit too, and its own time; who sleeps uses none */
    pid_t child = fork();
    if (!child) {
        setrlimit(RLIMIT_CPU, &limit);
        pid_t grandchild = fork();
        if (!grandchild) {
            getrlimit(RLIMIT_CPU, shared);
            limit.rlim_cur = 0;
            setrlimit(RLIMIT_CPU, &limit);
            for (;;)
                ;
        }
        int status = ended(grandchild);
        usleep(20000);
        _exit(status == 1000 + SIGXCPU ? 5 : 6);
    }
    WANT(ended(child), 5);
    WANT(shared->rlim_cur, 1);
    WANT(shared->rlim_max, 7);
    return guest_end();
}
