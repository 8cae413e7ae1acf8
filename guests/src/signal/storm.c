/* A storm of signals: however many are sent, standard ones become one, real-time ones all arrive, in their order, as long
 * as there is room for them (RLIMIT_SIGPENDING), and who finds no room is told.
 * man 7 signal, man 3 sigqueue, man 2 setrlimit
 * storm [COUNT [HANDLED]]: how many of each kind, and how many of those that a handler takes. */
#include "guest.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ROOM 500

static volatile long count;
static volatile long handled, next, disorder;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    handled++;
    if (info->si_code == SI_QUEUE && info->si_value.sival_int != next++)
        disorder++;
}

static void handle(int signal, int flags)
{
    struct sigaction action = { .sa_flags = SA_SIGINFO | flags };
    action.sa_sigaction = on_signal;
    sigaction(signal, &action, NULL);
    handled = next = disorder = 0;
}

/* Standard signals while they are blocked: one is pending. */
static void standard(void)
{
    sigset_t set;
    puts("standard");
    handle(SIGUSR1, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    long sent = 0;
    for (long i = 0; i < count; i++)
        sent += !kill(getpid(), SIGUSR1);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(sent == count);
    WANT(handled, 1);
}

/* Real-time signals in heaps as large as there is room for, and one more: each heap arrives whole. */
static void heaps(void)
{
    const struct timespec none = { 0, 0 };
    siginfo_t info;
    sigset_t set;
    long sent = 0, taken = 0, full = 0, heaps = 0;
    puts("heaps");
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (sent < count) {
        union sigval value;
        do
            value.sival_int = (int)sent;
        while (!sigqueue(getpid(), SIGRTMIN + 1, value) && ++sent);
        full += errno == EAGAIN;
        heaps++;
        while (sigtimedwait(&set, &info, &none) > 0)
            disorder += info.si_value.sival_int != taken++;
    }
    CHECK(heaps == full && heaps >= count / ROOM);
    CHECK(taken == sent);
    WANT(disorder, 0);
}

/* Another process sends while a handler runs; when there is no room it waits. */
static void from_outside(void)
{
    pid_t parent = getpid();
    sigset_t set, old;
    int status;
    puts("from outside");
    handle(SIGRTMIN + 2, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &set, &old);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        for (long i = 0; i < count; i++) {
            union sigval value = { .sival_int = (int)i };
            while (sigqueue(parent, SIGRTMIN + 2, value)) {
                if (errno != EAGAIN)
                    _exit(1);
                sched_yield();
            }
        }
        _exit(0);
    }
    while (handled < count)
        sigsuspend(&old);
    waitpid(child, &status, 0);
    WANT(status, 0);
    CHECK(handled == count);
    WANT(disorder, 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

/* The handler sends the next one to itself, deeper and deeper were it not blocked meanwhile. */
static void from_within(void)
{
    puts("from within");
    handle(SIGUSR2, 0);
    for (long i = 0; i < count; i++)
        raise(SIGUSR2);
    CHECK(handled == count);
}

int main(int argc, char **argv)
{
    struct rlimit limit = { ROOM, ROOM };
    guest_start();
    count = argc > 1 ? atol(argv[1]) : 700;
    /* be a user who has nothing else, if that may be chosen */
    uid_t user = 100000 + getpid();
    if (getuid() == 0 && (setresgid(user, user, user) || setresuid(user, user, user)))
        return 1;
    WANT(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    standard();
    heaps();
    count = argc > 2 ? atol(argv[2]) : count;
    from_outside();
    from_within();
    return guest_end();
}
