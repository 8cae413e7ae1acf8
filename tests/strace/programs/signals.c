/* Signals, clocks, and waiting. */
#include "trace.h"

static void handler(int signal) { (void)signal; }

int main(void)
{
    struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } action = {handler, 0, 0, 1 << 14};
    uint64_t set;
    stack_t stack = {.ss_sp = buffer, .ss_size = 8192};
    struct timespec time = {0, 5};
    siginfo_t info = {0};
    struct pollfd fds[3] = {{0, POLLIN, 0}, {1, POLLOUT | POLLIN, 0}, {-1, POLLPRI, 0}};
    fd_set reading, writing;
    struct { uint64_t *set; uint64_t size; } mask = {&set, 8};
    struct timeval past[2] = {{0, 0}, {100, 0}};
    int zero = S(openat, HERE, "/dev/zero", O_RDWR);
    struct sigaction libc = {.sa_handler = handler};
    sigaction(SIGUSR1, &libc, 0);
    sigaction(SIGUSR2, &libc, 0);

    begin();
    S(rt_sigaction, SIGTERM, &action, 0, 8);
    S(rt_sigaction, SIGTERM, 0, &action, 8);
    action.handler = SIG_IGN;
    action.flags = SA_RESTART | SA_NODEFER | SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NOCLDSTOP | SA_NOCLDWAIT;
    action.mask = ~0UL;
    S(rt_sigaction, SIGTERM, &action, 0, 8);
    S(rt_sigaction, SIGTERM, 0, &action, 8);
    S(rt_sigaction, SIGKILL, &action, 0, 8);
    S(rt_sigaction, 64, 0, (void *)1, 8);
    S(rt_sigaction, 65, 0, 0, 4);
    set = 1 << (SIGINT - 1) | 1 << (SIGUSR2 - 1);
    S(rt_sigprocmask, SIG_BLOCK, &set, 0, 8);
    S(rt_sigprocmask, SIG_SETMASK, 0, &set, 8);
    set = ~0UL;
    S(rt_sigprocmask, SIG_SETMASK, &set, &set, 8);
    set = 1UL << 39 | 1UL << 31;
    S(rt_sigprocmask, SIG_SETMASK, &set, &set, 8);
    S(rt_sigprocmask, 9, (void *)1, 0, 8);
    S(kill, getpid(), SIGUSR1);
    S(tkill, gettid(), SIGUSR1);
    S(tgkill, getpid(), gettid(), SIGUSR1);
    S(rt_sigpending, &set, 8);
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 7;
    S(rt_sigqueueinfo, getpid(), SIGUSR1, &info);
    set = 1 << (SIGUSR2 - 1);
    S(rt_sigprocmask, SIG_BLOCK, &set, 0, 8);
    S(kill, getpid(), SIGUSR2);
    S(rt_sigpending, &set, 8);
    set = 1 << (SIGUSR2 - 1);
    S(rt_sigtimedwait, &set, &info, &time, 8);
    S(rt_sigtimedwait, &set, 0, &time, 8);
    S(rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
    S(sigaltstack, &stack, 0);
    stack.ss_flags = SS_DISABLE;
    S(sigaltstack, &stack, &stack);
    S(sigaltstack, 0, &stack);
    S(kill, getpid(), 99);
    S(kill, getpid(), 0);

    S(clock_gettime, 77, &time);
    S(clock_getres, CLOCK_BOOTTIME, 0);
    S(clock_getres, CLOCK_REALTIME, &time);
    time = (struct timespec){0, 5};
    S(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, 0);
    S(nanosleep, &time, &time);
    time.tv_nsec = 2000000000;
    S(nanosleep, &time, 0);
    S(nanosleep, (void *)1, 0);
    S(gettimeofday, 0, 0);
    S(setitimer, ITIMER_REAL, past, 0);
    past[1].tv_sec = 0;
    S(setitimer, ITIMER_VIRTUAL, past, 0);
    S(setitimer, ITIMER_REAL, past, 0);
    S(getitimer, ITIMER_REAL, past);
    S(getitimer, 5, past);

    fds[0].fd = fds[1].fd = zero;
    time = (struct timespec){0, 999};
    set = 1 << (SIGINT - 1) | 1 << (SIGUSR1 - 1);
    S(ppoll, fds, 3, 0, &set, 8);
    S(ppoll, fds + 2, 1, &time, 0, 8);
    S(ppoll, fds, 0, &time, 0, 8);
    S(ppoll, (void *)1, 1, 0, 0, 8);
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_SET(zero, &reading);
    FD_SET(zero, &writing);
    S(pselect6, zero + 1, &reading, &writing, 0, 0, &mask);
    FD_ZERO(&reading);
    time = (struct timespec){0, 999};
    S(pselect6, zero + 1, &reading, 0L, 0L, &time, 0L);
    mask.set = 0;
    S(pselect6, 0, 0, 0, 0, &time, &mask);
    end();
    *(volatile int *)16 = 1;
    return 0;
}
