/* clone(2) and clone3(2) by hand: combinations that Linux refuses, what is shared and what is not, the words that the
 * kernel writes, stacks, exit signals, and who is whose parent.
 * man 2 clone */
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/wait.h>
#include <sys/prctl.h>

#ifndef CLONE_VM
#error "linux/sched.h has the flags"
#endif

static char stack[65536] __attribute__((aligned(16)));
static int child_word, parent_word;

/* The call itself, the same on both architectures but for the order of the last two. */
static long raw(unsigned long flags, void *sp, int *parent_tid, int *child_tid, void *tls)
{
#ifdef __x86_64__
    return syscall(SYS_clone, flags, sp, parent_tid, child_tid, tls);
#else
    return syscall(SYS_clone, flags, sp, parent_tid, tls, child_tid);
#endif
}

/* A task on a stack of its own that runs `body` and ends; the top of the stack holds what to call. */
static long on_stack(unsigned long flags, int (*body)(void), int *parent_tid, int *child_tid)
{
    void **top = (void **)(stack + sizeof stack) - 2;
    long result;
    top[0] = (void *)body;
#ifdef __x86_64__
    register int *r10 __asm__("r10") = child_tid;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tmov (%%rsp), %%rax\n\tcall *%%rax\n\t"
                     "mov %%eax, %%edi\n\tmov $60, %%eax\n\tsyscall\n1:"
                     : "=a"(result) : "a"(SYS_clone), "D"(flags), "S"(top), "d"(parent_tid), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
#else
    register long x0 __asm__("x0") = (long)flags;
    register void **x1 __asm__("x1") = top;
    register int *x2 __asm__("x2") = parent_tid;
    register long x3 __asm__("x3") = 0;
    register int *x4 __asm__("x4") = child_tid;
    register long x8 __asm__("x8") = SYS_clone;
    __asm__ volatile("svc #0\n\tcbnz x0, 1f\n\tldr x9, [sp]\n\tblr x9\n\tmov x8, #93\n\tsvc #0\n1:"
                     : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8) : "memory", "x9", "x30");
    result = x0;
#endif
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static long futex(int *uaddr, int op, int value)
{
    return syscall(SYS_futex, uaddr, op, value, NULL, NULL, 0);
}

static int ended(long child, int options)
{
    int status;
    if (waitpid((pid_t)child, &status, options) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void refused(void)
{
    FAILS(raw(CLONE_THREAD | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_THREAD | CLONE_VM | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_SIGHAND | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_THREAD | CLONE_SIGHAND | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_NEWNS | CLONE_FS | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_NEWUSER | CLONE_FS | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, NULL, &parent_word, NULL, NULL), EINVAL);
    FAILS(raw(CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, NULL, &parent_word, NULL, NULL), EINVAL);
}


static void refused_by_the_second(void)
{
    static struct { struct clone_args known; uint64_t more[4]; } longer;
    static char big[2 * PAGE];
    FAILS(syscall(SYS_clone3, NULL, 64), EFAULT);
    FAILS(syscall(SYS_clone3, BAD, 88), EFAULT);
    FAILS(syscall(SYS_clone3, &longer, 0), EINVAL);
    FAILS(syscall(SYS_clone3, &longer, 63), EINVAL);
    FAILS(syscall(SYS_clone3, big, PAGE + 8), E2BIG);
    longer.more[1] = 1;
    FAILS(syscall(SYS_clone3, &longer, sizeof longer), E2BIG);
    longer.more[1] = 0;
    longer.known.flags = SIGCHLD;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);            /* no signal number among the flags */
    longer.known.flags = 1UL << 40;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.flags = CLONE_DETACHED;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    longer.known.exit_signal = SIGCHLD;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);            /* a thread tells nobody */
    longer.known.flags = CLONE_PARENT;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.flags = 0;
    longer.known.exit_signal = 65;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.exit_signal = SIGCHLD;
    longer.known.stack_size = 4096;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.stack = (uintptr_t)stack;
    longer.known.stack_size = 0;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.stack = (uintptr_t)WILD;
    longer.known.stack_size = 4096;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.stack = longer.known.stack_size = 0;
    longer.known.set_tid_size = 33;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.set_tid_size = 1;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.set_tid_size = 0;
    longer.known.set_tid = (uintptr_t)&child_word;
    FAILS(syscall(SYS_clone3, &longer, 88), EINVAL);
    longer.known.set_tid = 0;
    fflush(stdout);
    long child = syscall(SYS_clone3, &longer, sizeof longer);   /* longer, but with zeros: fine */
    if (!child)
        _exit(5);
    WANT(ended(child, 0), 5);
}

static volatile int seen;
static int fd;

static int changes_things(void)
{
    seen = getpid();
    chdir("/");
    umask(0);
    close(fd);
    signal(SIGUSR1, SIG_IGN);
    return 3;
}

static void state(void)
{
    char here[4096];
    struct sigaction act;
    sigaction(SIGUSR1, NULL, &act);
    mode_t mask = umask(022);
    umask(mask);
    printf("memory %s, directory %s, umask %s, descriptors %s, handlers %s\n", seen ? "shared" : "own",
           strcmp(getcwd(here, sizeof here), "/") ? "own" : "shared", mask == 022 ? "own" : "shared",
           fcntl(fd, F_GETFD) == 0 ? "own" : "shared", act.sa_handler == SIG_IGN ? "shared" : "own");
    signal(SIGUSR1, SIG_DFL);
    umask(022);
    seen = 0;
}

static void sharing(void)
{
    int home = open(".", O_RDONLY | O_DIRECTORY);
    static const unsigned long some[] = {
        0, CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_VM | CLONE_SIGHAND, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND,
    };
    umask(022);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        fd = open("/dev/null", O_RDONLY);
        fflush(stdout);
        WANT(ended(on_stack(some[i] | SIGCHLD, changes_things, NULL, NULL), 0), 3);
        state();
        close(fd);
        fchdir(home);
    }
    close(home);
}

static int tells_its_word(void)
{
    return child_word == getpid() ? 4 : 5;
}

static int writes_and_sleeps(void)
{
    struct timespec time = { 0, 20000000 };
    syscall(SYS_nanosleep, &time, NULL);
    return 0;
}

static int is_a_thread(void)
{
    seen = (getpid() == (int)syscall(SYS_gettid)) ? 1 : 2;
    return 0;
}

static void words(void)
{
    /* the child's word is in its own memory; the parent's is written before the child runs */
    long child = on_stack(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, tells_its_word, &parent_word, &child_word);
    CHECK(parent_word == child);
    WANT(child_word, 0);
    WANT(ended(child, 0), 4);
    /* a bad address for the child's word is nobody's business, one for the parent's neither */
    child = on_stack(CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, tells_its_word, BAD, BAD);
    WANT(ended(child, 0), 5);

    /* cleared, and its waiter woken, when a task that shares memory ends */
    parent_word = child_word = 0;
    child = on_stack(CLONE_VM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | SIGCHLD, writes_and_sleeps, &child_word,
                     &child_word);
    CHECK(child_word == child);
    while (*(volatile int *)&child_word)
        if (futex(&child_word, FUTEX_WAIT, (int)child) && errno != EAGAIN)
            break;
    WANT(child_word, 0);
    WANT(ended(child, 0), 0);

    /* a thread: not a child that could be waited for */
    child = on_stack(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID |
                     CLONE_PARENT_SETTID, is_a_thread, &child_word, &child_word);
    while (*(volatile int *)&child_word)
        if (futex(&child_word, FUTEX_WAIT, (int)child) && errno != EAGAIN)
            break;
    WANT(seen, 2);
    FAILS(waitpid((pid_t)child, NULL, 0), ECHILD);
    FAILS(waitpid((pid_t)child, NULL, __WALL), ECHILD);
    seen = 0;
}

static int nothing(void)
{
    return 6;
}

static volatile int got;

static void note(int signal)
{
    got = signal;
}

static void exit_signals(void)
{
    signal(SIGUSR2, note);
    signal(SIGCHLD, note);
    long child = on_stack(CLONE_VM | SIGUSR2, nothing, NULL, NULL);
    FAILS(ended(child, WNOHANG), ECHILD);                        /* only __WALL and __WCLONE see such a child */
    WANT(ended(child, __WCLONE), 6);
    WANT(got, SIGUSR2);
    got = 0;
    child = on_stack(CLONE_VM, nothing, NULL, NULL);
    WANT(ended(child, __WALL), 6);
    WANT(got, 0);
    child = on_stack(CLONE_VM | SIGCHLD, nothing, NULL, NULL);
    FAILS(ended(child, __WCLONE), ECHILD);
    WANT(ended(child, __WALL), 6);
    WANT(got, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
}

/* CLONE_PARENT: a sibling, whom the common parent waits for. */
static void siblings(void)
{
    int told[2];
    long pid = 0;
    pipe(told);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        long brother = raw(CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
        if (!brother) {
            usleep(5000);
            _exit(8);
        }
        write(told[1], &brother, sizeof brother);
        _exit(waitpid((pid_t)brother, NULL, 0) == -1 && errno == ECHILD ? 7 : 1);
    }
    WANT(read(told[0], &pid, sizeof pid), 8);
    WANT(ended(child, 0), 7);
    WANT(ended(pid, 0), 8);
    FAILS(wait(NULL), ECHILD);
}

/* Handlers are forgotten, ignored ones too. */
static void cleared_handlers(void)
{
    struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
    signal(SIGUSR1, note);
    signal(SIGUSR2, SIG_IGN);
    fflush(stdout);
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (!child) {
        struct sigaction one, two;
        sigaction(SIGUSR1, NULL, &one);
        sigaction(SIGUSR2, NULL, &two);
        _exit((one.sa_handler == SIG_DFL) + 2 * (two.sa_handler == SIG_IGN));
    }
    WANT(ended(child, 0), 3);
}

int main(void)
{
    guest_start();
    refused();
    refused_by_the_second();
    sharing();
    words();
    exit_signals();
    siblings();
    cleared_handlers();
    return guest_end();
}
