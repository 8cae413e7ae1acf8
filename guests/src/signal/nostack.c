/* Signals for which there is no stack: it is not mapped, not writable, full, or SP is nowhere.  Then it is SIGSEGV, once
 * more on a stack of its own if it has one, and the end if that can't be told either.
 * kernel/signal.c:signal_setup_done(), force_sigsegv(); man 2 sigaltstack */
#include "guest.h"
#include <sys/resource.h>
#include <sys/wait.h>

static char *area;
static volatile int depth;

static void say(const char *text) { (void)!write(1, text, strlen(text)); }
static void on_usr1(int signal) { (void)signal; say("handled; "); }

static void on_segv(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    say(info->si_code == SI_KERNEL ? "SIGSEGV of the kernel" : info->si_code == SEGV_MAPERR ? "SIGSEGV, not mapped"
        : info->si_code == SEGV_ACCERR ? "SIGSEGV, not allowed" : "SIGSEGV of another kind");
    _exit(0);
}

static void handle(int signal, int flags, void *handler)
{
    struct sigaction act = { .sa_flags = flags | SA_SIGINFO };
    act.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)handler;
    sigaction(signal, &act, NULL);
}

static void alternate(void *sp, size_t size)
{
    stack_t stack = { .ss_sp = sp, .ss_size = size };
    sigaltstack(&stack, NULL);
}

enum segv { DEFAULT, PLAIN, ONSTACK, BLOCKED, IGNORED };

static void raise_on(void *sp, size_t size, enum segv segv)
{
    sigset_t set;
    alternate(sp, size);
    handle(SIGUSR1, SA_ONSTACK, (void *)(uintptr_t)on_usr1);
    if (segv != DEFAULT)
        handle(SIGSEGV, segv == ONSTACK ? SA_ONSTACK : 0, (void *)(uintptr_t)on_segv);
    if (segv == IGNORED)
        signal(SIGSEGV, SIG_IGN);
    if (segv == BLOCKED) {
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    kill(getpid(), SIGUSR1);
    say("went on");
    _exit(0);
}

static void sound(enum segv segv) { raise_on(area, 65536, segv); }
static void unmapped(enum segv segv)
{
    munmap(area, 65536);
    raise_on(area, 65536, segv);
}
static void read_only(enum segv segv)
{
    mprotect(area, 65536, PROT_READ);
    raise_on(area, 65536, segv);
}
static void not_accessible(enum segv segv)
{
    mprotect(area, 65536, PROT_NONE);
    raise_on(area, 65536, segv);
}
/* The top page can be written, the rest of what a frame needs can't. */
static void half(enum segv segv)
{
    mprotect(area, 65536 - PAGE / 2, PROT_NONE);
    raise_on(area, 65536 - PAGE + 256, segv);
}
static void beyond(enum segv segv) { raise_on(WILD, 65536, segv); }
static void of_the_kernel(enum segv segv) { raise_on((void *)-65536, 65536, segv); }

/* SIGUSR1 from a handler on the alternate stack that has used it up: what is left is enough for a call, not for a frame. */
static void again(int signal)
{
    volatile char here = 0;
    volatile char *used = __builtin_alloca((size_t)((char *)&here - area) - 600);
    used[0] = (char)signal;
    if (++depth == 1)
        kill(getpid(), SIGUSR1);
    say("too deep; ");
}

static void full(enum segv segv)
{
    alternate(area, 65536);
    handle(SIGUSR1, SA_ONSTACK | SA_NODEFER, (void *)(uintptr_t)again);
    if (segv != DEFAULT)
        handle(SIGSEGV, segv == ONSTACK ? SA_ONSTACK : 0, (void *)(uintptr_t)on_segv);
    kill(getpid(), SIGUSR1);
}

static int grow(int n)
{
    volatile char page[PAGE];
    page[0] = (char)n;
    return n < 0 ? 0 : grow(n + 1) + page[0];
}
/* The stack itself, at its limit. */
static void at_the_limit(enum segv segv)
{
    struct rlimit limit = { 256 << 10, 256 << 10 };
    setrlimit(RLIMIT_STACK, &limit);
    alternate(area, 65536);
    if (segv != DEFAULT)
        handle(SIGSEGV, segv == ONSTACK ? SA_ONSTACK : 0, (void *)(uintptr_t)on_segv);
    _exit(grow(0));
}

static const struct { const char *name; void (*run)(enum segv segv); } cases[] = {
    { "sound", sound }, { "unmapped", unmapped }, { "read-only", read_only }, { "not accessible", not_accessible },
    { "half", half }, { "beyond", beyond }, { "of the kernel", of_the_kernel }, { "full", full },
    { "at the limit", at_the_limit },
};
static const char *const kinds[] = { "default", "on the plain stack", "there too", "blocked", "ignored" };

int main(void)
{
    guest_start();
    /* nothing lies below it, into which a full stack would go on */
    area = mmap(NULL, 2 * 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area += 65536;
    mprotect(area, 65536, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (enum segv segv = DEFAULT; segv <= IGNORED; segv++) {
            int status;
            if (segv >= BLOCKED && i > 2)
                break;
            if (segv == ONSTACK && cases[i].run == full)
                continue;               /* whose depends on where the last frame ends */
            printf("%s, SIGSEGV %s: ", cases[i].name, kinds[segv]);
            fflush(stdout);
            pid_t child = fork();
            if (!child) {
                cases[i].run(segv);
                _exit(1);
            }
            waitpid(child, &status, 0);
            if (WIFSIGNALED(status))
                printf("killed by %d", WTERMSIG(status));
            puts("");
        }
    return guest_end();
}
