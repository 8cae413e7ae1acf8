/* Handlers: what they are told, what is blocked while they run, nesting, resetting, ignoring; errors of sending.
 * man 2 sigaction, man 2 kill, man 2 tgkill, man 7 signal */
#include "guest.h"
#include <ucontext.h>

static volatile int order[16], count, value_seen, code_seen, sender_good;
static sigset_t mask_inside, mask_saved;

static void note(int signal)
{
    order[count++] = signal;
    sigprocmask(SIG_BLOCK, NULL, &mask_inside);
}

static void tell(int signal, siginfo_t *info, void *context)
{
    note(signal);
    code_seen = info->si_code;
    value_seen = info->si_signo == signal;
    sender_good = info->si_pid == getpid() && info->si_uid == getuid() && info->si_errno == 0;
    memcpy(&mask_saved, &((ucontext_t *)context)->uc_sigmask, 8);
}

static void nest(int signal)
{
    int depth = count;
    note(signal);
    if (depth < 3)
        raise(signal);
    note(-signal);
}

static int install(int signal, void (*handler)(int), int flags, int blocked)
{
    struct sigaction act = { .sa_flags = flags };
    act.sa_handler = handler;
    sigemptyset(&act.sa_mask);
    if (blocked)
        sigaddset(&act.sa_mask, blocked);
    return sigaction(signal, &act, NULL);
}

static int as_default(int signal)
{
    struct sigaction act;
    sigaction(signal, NULL, &act);
    return act.sa_handler == SIG_DFL;
}

int main(void)
{
    struct sigaction act;
    sigset_t set;
    int pid = getpid();
    guest_start();
    WANT(install(SIGUSR1, note, 0, SIGUSR2), 0);
    WANT(raise(SIGUSR1), 0);
    CHECK(count == 1 && order[0] == SIGUSR1);
    CHECK(sigismember(&mask_inside, SIGUSR1) && sigismember(&mask_inside, SIGUSR2));
    sigprocmask(SIG_BLOCK, NULL, &set);
    CHECK(!sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2));
    WANT(sigaction(SIGUSR1, NULL, &act), 0);
    CHECK(act.sa_handler == note && sigismember(&act.sa_mask, SIGUSR2) && !sigismember(&act.sa_mask, SIGUSR1));

    act.sa_sigaction = tell;
    act.sa_flags = SA_SIGINFO;
    WANT(sigaction(SIGUSR1, &act, NULL), 0);
    WANT(kill(pid, SIGUSR1), 0);
    CHECK(value_seen && sender_good);
    WANT(code_seen, SI_USER);
    WANT(syscall(SYS_tgkill, pid, gettid(), SIGUSR1), 0);
    CHECK(sender_good);
    WANT(code_seen, SI_TKILL);
    WANT(syscall(SYS_tkill, gettid(), SIGUSR1), 0);
    WANT(kill(0, 0), 0);
    CHECK(count == 4 && !sigismember(&mask_saved, SIGUSR1));

    /* SA_NODEFER nests, without it the second waits for the first */
    count = 0;
    install(SIGUSR1, nest, SA_NODEFER, 0);
    raise(SIGUSR1);
    CHECK(count == 8 && order[3] == SIGUSR1 && order[4] == -SIGUSR1);
    count = 0;
    install(SIGUSR1, nest, 0, 0);
    raise(SIGUSR1);
    CHECK(count == 6 && order[1] == -SIGUSR1 && order[2] == SIGUSR1 && order[4] == SIGUSR1);

    /* SA_RESETHAND: once */
    install(SIGUSR1, note, SA_RESETHAND, 0);
    CHECK(!as_default(SIGUSR1));
    raise(SIGUSR1);
    CHECK(as_default(SIGUSR1));

    /* ignored: by choice, by default, and forgotten when it becomes ignored while pending */
    signal(SIGUSR1, SIG_IGN);
    WANT(raise(SIGUSR1), 0);
    WANT(raise(SIGCHLD), 0);
    WANT(raise(SIGWINCH), 0);
    WANT(raise(SIGURG), 0);
    WANT(raise(SIGCONT), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    sigpending(&set);
    CHECK(!sigismember(&set, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &set, NULL);

    /* several at once: by number, and each handler's frame on the last one's */
    count = 0;
    install(SIGUSR1, note, 0, 0);
    install(SIGUSR2, note, 0, 0);
    install(SIGTERM, note, 0, 0);
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(count == 3 && order[0] == SIGTERM && order[1] == SIGUSR2 && order[2] == SIGUSR1);

    /* SIGKILL and SIGSTOP can't be had or blocked */
    FAILS(install(SIGKILL, note, 0, 0), EINVAL);
    FAILS(install(SIGSTOP, note, 0, 0), EINVAL);
    FAILS(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8), EINVAL);
    FAILS(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
    FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16), EINVAL);
    FAILS(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, 8), EFAULT);
    FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, WILD, 8), EFAULT);
    uint64_t bits = ~0ul;
    WANT(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &bits, NULL, 8), 0);
    WANT(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &bits, 8), 0);
    CHECK(bits == ~(1ul << (SIGKILL - 1) | 1ul << (SIGSTOP - 1)));
    bits = 0;
    FAILS(syscall(SYS_rt_sigprocmask, 3, &bits, NULL, 8), EINVAL);
    WANT(syscall(SYS_rt_sigprocmask, 3, NULL, NULL, 8), 0);
    FAILS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &bits, NULL, 4), EINVAL);
    FAILS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, BAD, NULL, 8), EFAULT);
    WANT(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &bits, NULL, 8), 0);

    FAILS(kill(pid, 65), EINVAL);
    FAILS(kill(pid, -1), EINVAL);
    FAILS(kill(99999999, 0), ESRCH);
    FAILS(kill(-99999999, 0), ESRCH);
    FAILS(syscall(SYS_tgkill, pid, -1, 0), EINVAL);
    FAILS(syscall(SYS_tgkill, 0, pid, 0), EINVAL);
    FAILS(syscall(SYS_tgkill, 99999999, pid, 0), ESRCH);
    FAILS(syscall(SYS_tkill, 0, 0), EINVAL);
    FAILS(syscall(SYS_restart_syscall), EINTR);
    return guest_end();
}
