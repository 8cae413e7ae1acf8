/* Syscall User Dispatch: the arguments of its prctl, the selector, the range, SIGSYS, and who inherits it.
 * Documentation/admin-guide/syscall-user-dispatch.rst, kernel/entry/syscall_user_dispatch.c
 * guest-flags: -pthread
 * guest-options: --visible origin */
#include "sigsys.h"
#include <pthread.h>

#undef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define OFF 0
#define ON 1                /* EXCLUSIVE_ON: all but a range */
#define INCLUSIVE 2
#define ALLOW 0
#define BLOCK 1

/* The range: the one instruction of raw_call, as the kernel compares it, with the address after it. */
#define SITE ((unsigned long)raw_call_after)

static volatile char selector;

static long dispatch(unsigned long mode, unsigned long offset, unsigned long length, volatile void *byte)
{
    return prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, offset, length, byte);
}

/* The handler can't return while rt_sigreturn itself would be dispatched. */
static void on_dispatch(int signal, siginfo_t *info, void *context)
{
    on_sigsys(signal, info, context);
    selector = ALLOW;
}

static void catch_dispatch(int flags)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | flags };
    act.sa_sigaction = on_dispatch;
    sigaction(SIGSYS, &act, NULL);
}

static void arguments(void)
{
    puts("arguments");
    FAILS(dispatch(OFF, 1, 0, NULL), EINVAL);
    FAILS(dispatch(OFF, 0, 1, NULL), EINVAL);
    FAILS(dispatch(OFF, 0, 0, &selector), EINVAL);
    WANT(dispatch(OFF, 0, 0, NULL), 0);
    FAILS(dispatch(3, 0, 0, &selector), EINVAL);
    FAILS(dispatch(-1, 0, 0, &selector), EINVAL);
    FAILS(dispatch(1L << 32, 0, 0, NULL), EINVAL);
    FAILS(dispatch(ON, 1, 0, &selector), EINVAL);
    FAILS(dispatch(ON, 1, -1, &selector), EINVAL);
    FAILS(dispatch(ON, -1, 1, &selector), EINVAL);
    FAILS(dispatch(ON, -1, 2, &selector), EINVAL);
    FAILS(dispatch(ON, 0, 0, (void *)-1), EFAULT);
    FAILS(dispatch(ON, 0, 0, (void *)(1UL << 55)), EFAULT);
    FAILS(dispatch(INCLUSIVE, 0, 0, &selector), EINVAL);
    FAILS(dispatch(INCLUSIVE, 1, 0, &selector), EINVAL);
    FAILS(dispatch(INCLUSIVE, -1, 1, &selector), EINVAL);
    FAILS(dispatch(INCLUSIVE, 5, -1, &selector), EINVAL);
    FAILS(dispatch(INCLUSIVE, 0, 1, (void *)-1), EFAULT);
    /* What is not looked at until a call is made: whether the byte is there. */
    selector = ALLOW;
    WANT(dispatch(ON, 0, 0, &selector), 0);
    WANT(dispatch(ON, 0, -1, &selector), 0);
    WANT(dispatch(ON, 1, -2, &selector), 0);
    WANT(dispatch(ON, -2, 1, &selector), 0);
    WANT(dispatch(INCLUSIVE, 0, -1, &selector), 0);
    WANT(dispatch(INCLUSIVE, -2, 1, NULL), 0);
    WANT(dispatch(OFF, 0, 0, NULL), 0);
}

static void dispatched(void)
{
    ucontext_t *u = &sigsys_context;
    puts("a call that is dispatched");
    catch_dispatch(0);
    handler_result = 42;
    WANT(dispatch(ON, 0, 0, &selector), 0);
    long parent = syscall(SYS_getppid);
    CHECK(sigsys_count == 0);
    selector = BLOCK;
    long result = raw_call(SYS_getppid, 100, 101, 102, 103, 104, 105);
    CHECK(result == 42 && sigsys_count == 1);
    CHECK(syscall(SYS_getppid) == parent);
    CHECK(sigsys_info.si_signo == SIGSYS && sigsys_info.si_code == SYS_USER_DISPATCH);
    CHECK(sigsys_info.si_errno == 0);
    CHECK(sigsys_info.si_call_addr == raw_call_after);
    CHECK(sigsys_info.si_syscall == SYS_getppid);
    CHECK(sigsys_info.si_arch == MY_ARCH);
    CHECK(R_NUMBER(u) == SYS_getppid);
    CHECK((char *)R_PC(u) == raw_call_after);
    CHECK(CLOBBERED(u));
    CHECK((long)R_RESULT(u) == UNTOUCHED(SYS_getppid, 100));
    CHECK(R_ARG(u, 1) == 101 && R_ARG(u, 2) == 102 && R_ARG(u, 3) == 103 && R_ARG(u, 4) == 104 && R_ARG(u, 5) == 105);
    selector = BLOCK;
    result = raw_call(-1, 100, 101, 102, 103, 104, 105);
    CHECK(result == 42 && sigsys_info.si_syscall == -1 && (long)R_NUMBER(u) == -1);
    selector = BLOCK;
    result = raw_call(1L << 40 | 12345, 100, 101, 102, 103, 104, 105);
    CHECK(result == 42 && sigsys_info.si_syscall == 12345 && (long)R_NUMBER(u) == (1L << 40 | 12345));
    selector = BLOCK;
    result = raw_call(SYS_getppid, -512, 101, 102, 103, 104, 105);
    CHECK(result == 42 && (long)R_ARG(u, 0) == -512);
    handler_result = -ENOSYS;
    selector = BLOCK;
    FAILS(syscall(SYS_getppid), ENOSYS);
    WANT(sigsys_count, 5);
    WANT(dispatch(OFF, 0, 0, NULL), 0);
    selector = BLOCK;
    CHECK(syscall(SYS_getppid) == parent);
}

static int counted(unsigned long mode, unsigned long offset, unsigned long length)
{
    sigsys_count = 0;
    selector = ALLOW;
    if (dispatch(mode, offset, length, &selector))
        return -1;
    selector = BLOCK;
    raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    selector = ALLOW;
    dispatch(OFF, 0, 0, NULL);
    return sigsys_count;
}

static void ranges(void)
{
    puts("ranges");
    catch_dispatch(0);
    WANT(counted(ON, SITE, 1), 0);
    WANT(counted(ON, SITE - 1, 2), 0);
    WANT(counted(ON, SITE - 1, 1), 1);
    WANT(counted(ON, SITE + 1, 1), 1);
    WANT(counted(ON, 1, -2), 0);
    WANT(counted(ON, 0, 0), 1);
    WANT(counted(INCLUSIVE, SITE, 1), 1);
    WANT(counted(INCLUSIVE, SITE - 1, 2), 1);
    WANT(counted(INCLUSIVE, SITE - 1, 1), 0);
    WANT(counted(INCLUSIVE, SITE + 1, 1), 0);
    WANT(counted(INCLUSIVE, 0, -1), 1);
}

/* Without a selector, only the range says what is dispatched. */
static int no_selector(void)
{
    catch_sigsys(0);
    sigsys_count = 0;
    handler_result = 11;
    dispatch(INCLUSIVE, SITE, 1, NULL);
    return raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0) == 11 && sigsys_count == 1 ? 11 : 1;
}

static int bad_value(void)
{
    catch_dispatch(0);
    dispatch(ON, 0, 0, &selector);
    selector = 2;
    syscall(SYS_getppid);
    return 1;
}

static int no_byte(void)
{
    signal(SIGSEGV, SIG_IGN);
    dispatch(ON, 0, 0, (void *)64);
    return 1;
}

static int byte_goes_away(void)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    dispatch(ON, 0, 0, page);
    if (syscall(SYS_getppid) < 0)
        return 1;
    munmap(page, PAGE);
    return 2;
}

static int blocked(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    catch_dispatch(0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    dispatch(ON, 0, 0, &selector);
    selector = BLOCK;
    syscall(SYS_getppid);
    return 1;
}

static int unhandled(void)
{
    signal(SIGSYS, SIG_DFL);
    dispatch(ON, 0, 0, &selector);
    selector = BLOCK;
    syscall(SYS_getppid);
    return 1;
}

static int forked(void)
{
    signal(SIGSYS, SIG_DFL);
    dispatch(ON, SITE, 1, &selector);
    selector = BLOCK;
    long pid = raw_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
    if (!pid)
        _exit(syscall(SYS_getppid) > 0 ? 21 : 1);
    selector = ALLOW;
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static void *in_thread(void *unused)
{
    (void)unused;
    selector = BLOCK;
    return (void *)(long)(syscall(SYS_getppid) > 0);
}

static int threaded(void)
{
    pthread_t id;
    void *result;
    signal(SIGSYS, SIG_DFL);
    dispatch(INCLUSIVE, SITE, 1, NULL);
    pthread_create(&id, NULL, in_thread, NULL);
    pthread_join(id, &result);
    return result ? 22 : 1;
}

static char *program;

static int executed(void)
{
    signal(SIGSYS, SIG_DFL);
    selector = ALLOW;
    dispatch(ON, 0, 0, &selector);
    execl(program, "dispatch", "again", NULL);
    return 1;
}

/* The handler returns by a call that is dispatched as well, and SIGSYS is blocked. */
static int returns_dispatched(void)
{
    catch_sigsys(0);
    handler_result = 31;
    dispatch(ON, 0, 0, &selector);
    selector = BLOCK;
    long result = syscall(SYS_getppid);
    selector = ALLOW;
    return result == 31 ? 31 : 1;
}

#if defined __aarch64__
/* Except where the code that returns is the kernel's own, in the vDSO. */
static int returns_by_vdso(void)
{
    struct { void *handler; unsigned long flags, restorer, mask; } act = { on_sigsys, SA_SIGINFO, 0, 0 };
    syscall(SYS_rt_sigaction, SIGSYS, &act, NULL, 8);
    handler_result = 31;
    dispatch(ON, 0, 0, &selector);
    selector = BLOCK;
    long result = syscall(SYS_getppid);
    selector = ALLOW;
    return result == 31 ? 31 : 1;
}
#endif

/* What is dispatched is not filtered. */
static int before_filters(void)
{
    catch_dispatch(0);
    handler_result = 33;
    install_filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0);
    dispatch(ON, 0, 0, &selector);
    selector = BLOCK;
    return (int)syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
    guest_start();
    if (argc > 1)
        return syscall(SYS_getppid) > 0 ? 24 : 1;
    program = argv[0];
    arguments();
    dispatched();
    ranges();
    puts("ends");
    CHILD(no_selector, exited, 11);
    CHILD(bad_value, killed, SIGSYS);
    CHILD(no_byte, killed, SIGSEGV);
    CHILD(byte_goes_away, killed, SIGSEGV);
    CHILD(blocked, killed, SIGSYS);
    CHILD(unhandled, killed, SIGSYS);
    CHILD(forked, exited, 21);
    CHILD(threaded, exited, 22);
    CHILD(executed, exited, 24);
    CHILD(returns_dispatched, killed, SIGSYS);
#if defined __aarch64__
    if (!exited(child(returns_by_vdso), 31))
        CHECK(!"returns by the vDSO");
#endif
    CHILD(before_filters, exited, 33);
    return guest_end();
}
