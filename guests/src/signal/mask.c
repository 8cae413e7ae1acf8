/* The signal mask: what rt_sigprocmask answers and in which order, its errors with what they leave done, and all that
 * takes the mask along, puts another in its place for a while, or acts by it. Many calls come first, after which a
 * kernel may have left the mask to the program.
 * man 2 sigprocmask, man 7 signal, kernel/signal.c: sys_rt_sigprocmask(), complete_signal() */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>

typedef unsigned long long u64;
#define BIT(signal) (1ULL << ((signal) - 1))
static volatile int runs, last;
static volatile u64 mask_inside;

static long change(int how, const void *set, void *old, long size)
{
    long result = syscall(SYS_rt_sigprocmask, how, set, old, size);
    return result < 0 ? -errno : result;
}

static long set_to(u64 mask)
{
    return change(SIG_SETMASK, &mask, 0, 8);
}

static u64 mask_now(void)
{
    u64 mask = 0;
    change(1234, 0, &mask, 8); /* how does not matter when nothing is set */
    return mask;
}

static u64 mask_in_status(const char *name)
{
    char line[256];
    unsigned long long mask = 1;
    FILE *status = fopen(name, "r");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "SigBlk: %llx", &mask);
    if (status)
        fclose(status);
    return mask;
}

static void on_signal(int signal)
{
    runs++;
    last = signal;
    mask_inside = mask_now();
}

static void handler(int signal, int flags, u64 mask)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
    memcpy(&action.sa_mask, &mask, 8);
    sigaction(signal, &action, 0);
}

static void many_calls(void)
{
    for (int i = 0; i < 150; i++)
        mask_now();
}

static void answers(void)
{
    u64 one = BIT(SIGUSR1), all = ~0ULL, old = 0;
    printf("set all: %ld, mask %llx\n", change(SIG_SETMASK, &all, &old, 8), mask_now());
    printf("old %llx\n", old);
    printf("unblock one: %ld, ", change(SIG_UNBLOCK, &one, &old, 8));
    printf("old %llx, mask %llx\n", old, mask_now());
    printf("block it: %ld, ", change(SIG_BLOCK, &one, 0, 8));
    printf("mask %llx\n", mask_now());
    set_to(0);
    /* one place for both: what was there is the new mask, what comes there the old one */
    u64 both = BIT(SIGUSR2);
    printf("one place: %ld, ", change(SIG_SETMASK, &both, &both, 8));
    printf("%llx, mask %llx\n", both, mask_now());
    u64 overlap[2] = { BIT(SIGUSR1) << 32, BIT(SIGUSR1) };
    set_to(BIT(SIGINT));
    printf("half of it: %ld, ", change(SIG_BLOCK, (char *)overlap + 4, overlap, 8));
    printf("%llx %llx, mask %llx\n", overlap[0], overlap[1], mask_now());
    set_to(0);
    char odd[17] = { 0 };
    odd[1] = 2;
    printf("odd addresses: %ld, ", change(SIG_SETMASK, odd + 1, odd + 9, 8));
    printf("mask %llx\n", mask_now());
    set_to(0);
}

static void errors(void)
{
    u64 one = BIT(SIGUSR1), old = 77;
    char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 0, 8192);
    mprotect(pages + 4096, 4096, PROT_NONE);
    void *bad[] = { BAD, pages + 4096, pages + 4092, (void *)-1L, (void *)(1UL << 63), WILD, (char *)&one + (1UL << 56) };
    for (long size = 0; size < 18; size += size == 4 || size == 9 ? 4 : 1)
        printf("size %ld: %ld\n", size, change(SIG_BLOCK, &one, &old, size));
    printf("large size: %ld\n", change(SIG_BLOCK, &one, &old, (1L << 32) + 8));
    printf("mask %llx, old %llx\n", mask_now(), old);
    set_to(0);
    for (int how = -2; how < 5; how++) {
        old = 77;
        printf("how %d: %ld, ", how, change(how, &one, &old, 8));
        printf("old %llx, mask %llx\n", old, mask_now());
        set_to(0);
    }
    printf("how 1 << 32: %ld\n", syscall(SYS_rt_sigprocmask, 1L << 32, &one, &old, 8));
    printf("mask %llx\n", mask_now());
    set_to(0);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        printf("bad set %u: %ld, ", i, change(SIG_BLOCK, bad[i], &old, 8));
        printf("and how: %ld, ", change(9, bad[i], &old, 8));
        printf("and no old: %ld, mask %llx\n", change(SIG_BLOCK, bad[i], 0, 8), mask_now());
        printf("bad old %u: %ld, ", i, change(SIG_BLOCK, &one, bad[i], 8));
        printf("mask %llx\n", mask_now()); /* set nevertheless */
        printf("only asked: %ld\n", change(SIG_BLOCK, 0, bad[i], 8));
        set_to(0);
    }
    mprotect(pages, 4096, PROT_READ);
    printf("old not writable: %ld, ", change(SIG_BLOCK, pages, pages, 8));
    printf("mask %llx\n", mask_now());
    set_to(0);
    munmap(pages, 8192);
}

static void pending(void)
{
    u64 one = BIT(SIGUSR1), two = BIT(SIGUSR2), old;
    sigset_t waits;
    handler(SIGUSR1, 0, BIT(SIGINT));
    handler(SIGUSR2, 0, 0);
    runs = 0;
    set_to(one | two);
    raise(SIGUSR1);
    sigpending(&waits);
    printf("pending %d, run %d\n", sigismember(&waits, SIGUSR1), runs);
    change(SIG_UNBLOCK, &two, &old, 8);
    printf("another unblocked: run %d, mask %llx\n", runs, mask_now());
    long result = change(SIG_UNBLOCK, &one, &old, 8);
    printf("unblocked: %ld, old %llx, run %d of %d, inside %llx, mask %llx\n", result, old, runs, last, mask_inside, mask_now());
    set_to(one | two);
    kill(getpid(), SIGUSR2);
    set_to(one);
    printf("of the process: run %d of %d, inside %llx\n", runs, last, mask_inside);
    set_to(one);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    set_to(0);
    printf("ignored meanwhile: run %d\n", runs);
    set_to(one);
    raise(SIGUSR1); /* blocked, so it is kept though it is ignored */
    handler(SIGUSR1, 0, 0);
    set_to(0);
    printf("ignored then: run %d\n", runs);
    handler(SIGUSR1, SA_NODEFER, 0);
    raise(SIGUSR1);
    printf("SA_NODEFER: inside %llx\n", mask_inside);
    handler(SIGUSR1, SA_RESETHAND, BIT(SIGKILL) | BIT(SIGHUP));
    raise(SIGUSR1);
    printf("sa_mask: inside %llx, mask %llx\n", mask_inside, mask_now());
}

static void replaced(void)
{
    u64 one = BIT(SIGUSR1), none = 0;
    struct timespec soon = { 0, 1000000 };
    siginfo_t info;
    handler(SIGUSR1, 0, 0);
    runs = 0;
    set_to(one);
    raise(SIGUSR1);
    printf("rt_sigsuspend: %ld", syscall(SYS_rt_sigsuspend, &none, 8L));
    printf(" %d, run %d, inside %llx, mask %llx\n", errno, runs, mask_inside, mask_now());
    raise(SIGUSR1);
    printf("ppoll: %ld", syscall(SYS_ppoll, 0L, 0L, &soon, &none, 8L));
    printf(" %d, run %d, mask %llx\n", errno, runs, mask_now());
    printf("ppoll: %ld, mask %llx\n", syscall(SYS_ppoll, 0L, 0L, &soon, &none, 8L), mask_now());
    raise(SIGUSR1);
    printf("rt_sigtimedwait: %ld, mask %llx\n", syscall(SYS_rt_sigtimedwait, &one, &info, &soon, 8L), mask_now());
    printf("and none: %ld %d, mask %llx\n", syscall(SYS_rt_sigtimedwait, &one, &info, &soon, 8L), errno, mask_now());
    int fd = syscall(SYS_signalfd4, -1, &one, 8L, SFD_NONBLOCK);
    struct signalfd_siginfo told;
    raise(SIGUSR1);
    printf("signalfd: %zd, ", read(fd, &told, sizeof told));
    printf("of %d; ", told.ssi_signo);
    printf("then %zd, run %d\n", read(fd, &told, sizeof told), runs);
    close(fd);
    struct itimerval in = { { 0, 0 }, { 0, 1000 } };
    handler(SIGALRM, 0, 0);
    set_to(BIT(SIGALRM));
    setitimer(ITIMER_REAL, &in, 0);
    sigset_t waits;
    do {
        nanosleep(&soon, 0);
        sigpending(&waits);
    } while (!sigismember(&waits, SIGALRM));
    printf("a timer: run %d; ", runs);
    set_to(0);
    printf("unblocked: run %d of %d\n", runs, last);
}

static sigjmp_buf back;

static void jump(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void forced(void)
{
    signal(SIGSEGV, jump);
    set_to(BIT(SIGUSR2));
    if (!sigsetjmp(back, 1)) {
        *(volatile int *)8 = 0;
        puts("not reached");
    }
    printf("siglongjmp: mask %llx\n", mask_now());
    for (int how = 0; how < 2; how++) {
        pid_t pid = fork();
        if (!pid) {
            many_calls();
            struct rlimit none = { 0, 0 };
            setrlimit(RLIMIT_CORE, &none);
            set_to(BIT(SIGSEGV) | BIT(SIGABRT));
            if (how)
                abort();
            *(volatile int *)8 = 0;
            _exit(1);
        }
        int status;
        waitpid(pid, &status, 0);
        printf("a fault while blocked: signal %d\n", WTERMSIG(status));
    }
    set_to(0);
}

static void *other_thread(void *at)
{
    many_calls();
    *(u64 *)at = mask_now();
    set_to(BIT(SIGUSR2)); /* its own */
    ((u64 *)at)[1] = mask_in_status("/proc/thread-self/status");
    while (runs == 0)
        usleep(1000);
    return 0;
}

static void taken_along(char *self)
{
    u64 masks[2];
    pthread_t thread;
    sigset_t none;
    set_to(BIT(SIGUSR1) | BIT(SIGHUP));
    sigemptyset(&none);
    for (int how = 0; how < 2; how++) {
        fflush(stdout);
        pid_t pid = how ? vfork() : fork();
        if (!pid) {
            if (how)
                execl(self, self, "child", (char *)0);
            u64 first = mask_now();
            many_calls();
            printf("fork: mask %llx, then %llx, in status %llx\n", first, mask_now(), mask_in_status("/proc/self/status"));
            fflush(stdout);
            execl(self, self, "child", (char *)0);
            _exit(1);
        }
        waitpid(pid, 0, 0);
    }
    /* a signal for the process is taken by the thread that does not block it */
    runs = 0;
    handler(SIGUSR1, 0, 0);
    set_to(BIT(SIGUSR1) | BIT(SIGUSR2));
    pthread_create(&thread, 0, other_thread, masks);
    kill(getpid(), SIGUSR1);
    pthread_join(thread, 0);
    printf("thread: began with %llx, then %llx; mask %llx, run %d\n", masks[0], masks[1], mask_now(), runs);
    printf("in status: %llx\n", mask_in_status("/proc/self/status"));
    set_to(0);
}

static void unrefusable(void)
{
    for (int how = 0; how < 2; how++) {
        int ends[2], status;
        char byte;
        pipe(ends);
        pid_t pid = fork();
        if (!pid) {
            many_calls();
            set_to(~0ULL);
            write(ends[1], "x", 1);
            for (;;)
                how ? sched_yield() : ppoll(0, 0, 0, 0);
        }
        read(ends[0], &byte, 1);
        kill(pid, SIGSTOP);
        waitpid(pid, &status, WUNTRACED);
        printf("all blocked: stopped %d, ", WIFSTOPPED(status));
        kill(pid, SIGTERM);
        kill(pid, SIGCONT);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        printf("killed by %d\n", WTERMSIG(status));
        close(ends[0]), close(ends[1]);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    if (argc > 1) {
        printf("execve: mask %llx", mask_now());
        many_calls();
        printf(", then %llx\n", mask_now());
        return 0;
    }
    many_calls();
    answers();
    errors();
    pending();
    replaced();
    forced();
    taken_along(argv[0]);
    unrefusable();
    return guest_end();
}
