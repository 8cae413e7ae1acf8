/* Real-time signals queue in order and carry a value; sigwaitinfo and its kin; what may be forged.
 * man 7 signal, man 3 sigqueue, man 2 sigtimedwait, man 2 rt_sigqueueinfo, man 2 sigpending */
#include "guest.h"
#include <time.h>

#define RT1 (SIGRTMIN + 1)
#define RT2 (SIGRTMIN + 2)

static volatile int seen[16], count;

static void note(int signal, siginfo_t *info, void *context)
{
    (void)context;
    seen[count++] = (signal - SIGRTMIN) * 100 + info->si_value.sival_int;
}

static int queue(int signal, int value)
{
    return sigqueue(getpid(), signal, (union sigval) { .sival_int = value });
}

int main(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO, .sa_sigaction = note };
    struct timespec no_time = { 0, 0 }, short_time = { 0, 5000000 };
    sigset_t set, pending;
    siginfo_t info;
    guest_start();
    sigaction(RT1, &act, NULL);
    sigaction(RT2, &act, NULL);
    sigemptyset(&set);
    sigaddset(&set, RT1);
    sigaddset(&set, RT2);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    WANT(queue(RT2, 1), 0);
    WANT(queue(RT1, 2), 0);
    WANT(queue(RT1, 3), 0);
    WANT(queue(RT2, 4), 0);
    WANT(sigpending(&pending), 0);
    CHECK(sigismember(&pending, RT1) && sigismember(&pending, RT2) && !sigismember(&pending, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    /* each handler's frame lies on the last one's: the last delivered runs first, for they do not block each other */
    CHECK(count == 4);
    for (int i = 0; i < count; i++)
        SHOW(seen[i]);

    /* taken without a handler: lowest number first, then oldest */
    sigprocmask(SIG_BLOCK, &set, NULL);
    queue(RT2, 5);
    queue(RT1, 6);
    queue(RT1, 7);
    kill(getpid(), SIGUSR1);
    WANT(sigwaitinfo(&set, &info), SIGUSR1);
    WANT(info.si_code, SI_USER);
    WANT(sigwaitinfo(&set, &info) - SIGRTMIN, 1);
    WANT(info.si_value.sival_int, 6);
    WANT(info.si_code, SI_QUEUE);
    CHECK(info.si_pid == getpid() && info.si_uid == getuid());
    WANT(sigtimedwait(&set, &info, &no_time) - SIGRTMIN, 1);
    WANT(sigtimedwait(&set, &info, &no_time) - SIGRTMIN, 2);
    FAILS(sigtimedwait(&set, &info, &no_time), EAGAIN);
    FAILS(sigtimedwait(&set, &info, &short_time), EAGAIN);
    short_time.tv_nsec = -1;
    FAILS(sigtimedwait(&set, &info, &short_time), EINVAL);
    FAILS(syscall(SYS_rt_sigtimedwait, BAD, NULL, NULL, 8), EFAULT);
    FAILS(syscall(SYS_rt_sigtimedwait, &set, NULL, BAD, 8), EFAULT);
    FAILS(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 4), EINVAL);
    kill(getpid(), SIGUSR1);
    FAILS(syscall(SYS_rt_sigtimedwait, &set, BAD, &no_time, 8), EFAULT);
    FAILS(sigtimedwait(&set, NULL, &no_time), EAGAIN);      /* it was taken all the same */

    /* an ignored signal that is blocked is not lost */
    signal(SIGUSR1, SIG_IGN);
    kill(getpid(), SIGUSR1);
    WANT(sigtimedwait(&set, NULL, &no_time), SIGUSR1);

    /* a standard signal is there once at most, and keeps its first siginfo */
    signal(SIGUSR1, SIG_DFL);
    queue(SIGUSR1, 8);
    queue(SIGUSR1, 9);
    WANT(sigtimedwait(&set, &info, &no_time), SIGUSR1);
    WANT(info.si_value.sival_int, 8);
    FAILS(sigtimedwait(&set, &info, &no_time), EAGAIN);

    /* the raw call: any negative code, to oneself even the kernel's; what Linux does not know is E2BIG */
    memset(&info, 0, sizeof info);
    info.si_signo = 77;
    info.si_code = -60;
    info.si_value.sival_int = 10;
    WANT(syscall(SYS_rt_sigqueueinfo, getpid(), RT1, &info), 0);
    memset(&info, 0xff, sizeof info);
    WANT(sigwaitinfo(&set, &info) - SIGRTMIN, 1);
    WANT(info.si_signo - SIGRTMIN, 1);
    WANT(info.si_code, -60);
    WANT(info.si_value.sival_int, 10);
    info.si_code = SI_KERNEL;
    WANT(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), RT1, &info), 0);
    WANT(sigwaitinfo(&set, &info) - SIGRTMIN, 1);
    FAILS(syscall(SYS_rt_sigqueueinfo, 1, 0, &info), getpid() == 1 ? 0 : EPERM);
    info.si_code = -100;
    memset((char *)&info + 100, 1, 4);
    FAILS(syscall(SYS_rt_sigqueueinfo, getpid(), RT1, &info), E2BIG);
    FAILS(syscall(SYS_rt_sigqueueinfo, getpid(), RT1, BAD), EFAULT);
    FAILS(syscall(SYS_rt_tgsigqueueinfo, getpid(), 0, RT1, &info), E2BIG);
    info.si_code = SI_QUEUE;
    FAILS(syscall(SYS_rt_tgsigqueueinfo, getpid(), 0, RT1, &info), EINVAL);
    FAILS(syscall(SYS_rt_sigqueueinfo, 99999999, RT1, &info), ESRCH);
    FAILS(syscall(SYS_rt_sigqueueinfo, getpid(), 65, &info), EINVAL);
    FAILS(syscall(SYS_rt_sigpending, &pending, 9), EINVAL);
    FAILS(syscall(SYS_rt_sigpending, BAD, 8), EFAULT);
    return guest_end();
}
