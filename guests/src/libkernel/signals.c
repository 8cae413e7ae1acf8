/* Signals where every call is a function of the vDSO: a blocking function that a handler interrupts, with and without
 * SA_RESTART, one that a stop interrupts, handlers within handlers, masks.
 * guest-library: libkernel
 */
#include "guest.h"
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <uabi/uabi.h>

static volatile int handled, nested, deepest;
static int fds[2];

static void count(int signal)
{
    (void)signal;
    handled++;
}

static void feed(int signal)
{
    (void)signal;
    handled++;
    __kernel_write(fds[1], "x", 1);
}

static void nest(int signal)
{
    handled++;
    if (++nested > deepest)
        deepest = nested;
    if (signal != SIGTERM)
        raise(signal == SIGUSR1 ? SIGUSR2 : SIGTERM);
    nested--;
}

static void on(int signal, void (*handler)(int), int flags)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

    sigaction(signal, &action, NULL);
}

/* Again and again: however late the call comes, one of them finds it waiting. 0: no more. */
static void every_ms(long milliseconds)
{
    struct itimerval timer = { .it_value.tv_usec = milliseconds * 1000, .it_interval.tv_usec = milliseconds * 1000 };

    __kernel_setitimer(ITIMER_REAL, &timer, NULL);
}

int main(void)
{
    struct timespec second = { 5, 0 }, left = { 0, 0 }, short_time = { 0, 20000000 };
    struct pollfd wait = { .events = POLLIN };
    struct kernel_set { unsigned long bits; } set, old, pending;
    char byte;

    guest_start();
    pipe(fds);                      /* read and ppoll wait for it */
    wait.fd = fds[0];

    puts("-- a handler interrupts read");
    on(SIGALRM, count, 0);
    every_ms(30);
    WANT(__kernel_read(fds[0], &byte, 1), -EINTR);
    CHECK(handled > 0);

    puts("-- with SA_RESTART the call is made again, in the function");
    on(SIGALRM, feed, SA_RESTART);
    WANT(__kernel_read(fds[0], &byte, 1), 1);
    every_ms(0);
    __kernel_fcntl((unsigned)fds[0], F_SETFL, O_NONBLOCK);
    while (__kernel_read(fds[0], &byte, 1) == 1)
        ;

    puts("-- calls that are not restarted, whatever the flag");
    on(SIGALRM, count, SA_RESTART);
    every_ms(30);
    WANT(__kernel_ppoll(&wait, 1, NULL, NULL, 0), -EINTR);
    WANT(__kernel_nanosleep(&second, &left), -EINTR);
    every_ms(0);
    CHECK(left.tv_sec == 4 && left.tv_nsec > 0);

    puts("-- a call that goes on by restart_syscall: a stop without a handler");
    pid_t child = fork();
    if (!child)
        __kernel_exit_group(__kernel_nanosleep(&short_time, &left) ? 1 : 7);
    for (int i = 0; i < 3; i++) {
        kill(child, SIGSTOP);
        kill(child, SIGCONT);
    }
    int status;
    WANT(waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1, 7);

    puts("-- handlers within handlers");
    handled = 0;
    on(SIGUSR1, nest, 0);
    on(SIGUSR2, nest, 0);
    on(SIGTERM, nest, 0);
    WANT(raise(SIGUSR1), 0);
    WANT(handled, 3);
    WANT(deepest, 3);

    puts("-- masks");
    set.bits = 1UL << (SIGUSR1 - 1);
    handled = 0;
    on(SIGUSR1, count, 0);
    WANT(__kernel_rt_sigprocmask(SIG_BLOCK, &set, &old, 8), 0);
    WANT(raise(SIGUSR1), 0);
    WANT(handled, 0);
    WANT(__kernel_rt_sigpending(&pending, 8), 0);
    CHECK(pending.bits == set.bits);
    set.bits = 0;
    WANT(__kernel_rt_sigsuspend(&set, 8), -EINTR);
    WANT(handled, 1);
    WANT(__kernel_rt_sigprocmask(SIG_SETMASK, &old, NULL, 8), 0);
    return guest_end();
}
