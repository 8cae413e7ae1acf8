/* SECCOMP_RET_TRAP: what siginfo says, the registers as the program made them, and what becomes of SIGSYS when it is
 * blocked, ignored or nested.  man 2 seccomp, Documentation/userspace-api/seccomp_filter.rst
 * guest-flags: -pthread
 * guest-options: --visible origin */
#include "sigsys.h"
#include <pthread.h>

#define HIGH (1L << 62)

static void check_trapped(int number, long made, int data)
{
    ucontext_t *u = &sigsys_context;
    CHECK(sigsys_info.si_signo == SIGSYS && sigsys_info.si_code == SYS_SECCOMP);
    CHECK(sigsys_info.si_errno == data);
    CHECK(sigsys_info.si_call_addr == raw_call_after);
    CHECK(sigsys_info.si_syscall == number);
    CHECK(sigsys_info.si_arch == MY_ARCH);
    CHECK((long)R_NUMBER(u) == made);
    CHECK((char *)R_PC(u) == raw_call_after);
    for (int i = 1; i < 6; i++)
        if ((long)R_ARG(u, i) != 100 + i)
            CHECK(!"an argument changed");
    CHECK(CLOBBERED(u));
}

static int blocked(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return (int)syscall(SYS_getppid) & 1;
}

static int ignored(void)
{
    signal(SIGSYS, SIG_IGN);
    return (int)syscall(SYS_getppid) & 1;
}

static int unhandled(void)
{
    signal(SIGSYS, SIG_DFL);
    return (int)syscall(SYS_getppid) & 1;
}

static void calls_itself(int signal, siginfo_t *info, void *context)
{
    if (++sigsys_count < 3)
        R_RESULT((ucontext_t *)context) = syscall(SYS_getppid) + 1;
    else
        on_sigsys(signal, info, context);
}

static int nested(int flags)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | flags };
    act.sa_sigaction = calls_itself;
    sigaction(SIGSYS, &act, NULL);
    sigsys_count = 0;
    handler_result = 40;
    return (int)syscall(SYS_getppid);
}

static int nested_deferred(void)
{
    return nested(0);
}

static int nested_allowed(void)
{
    return nested(SA_NODEFER);
}

static int reset_once(void)
{
    catch_sigsys(SA_RESETHAND);
    handler_result = 1;
    syscall(SYS_getppid);
    return (int)syscall(SYS_getppid);
}

static int sent_and_blocked(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGSYS);
    return (int)syscall(SYS_getppid) & 1;
}

/* The handler is immutable for a moment only: after TRAP it may be changed as ever. */
static int changed_after(void)
{
    handler_result = 5;
    syscall(SYS_getppid);
    return signal(SIGSYS, SIG_IGN) == SIG_ERR;
}

static int filtered_child(void)
{
    handler_result = 17;
    return (int)syscall(SYS_getppid);
}

static void *thread(void *unused)
{
    (void)unused;
    handler_result = 23;
    return (void *)syscall(SYS_getppid);
}

static char other_stack[65536] __attribute__((aligned(16)));
static volatile int was_on_stack;

static void on_other_stack(int signal, siginfo_t *info, void *context)
{
    char here;
    was_on_stack = &here > other_stack && &here < other_stack + sizeof other_stack;
    on_sigsys(signal, info, context);
}

int main(void)
{
    void *result;
    pthread_t id;
    guest_start();
    WANT(catch_sigsys(0), 0);
    WANT(install_filter(SYS_getppid, SECCOMP_RET_TRAP | 0xbeef, 0), 0);

    handler_result = 42;
    WANT(raw_call(SYS_getppid, 100, 101, 102, 103, 104, 105), 42);
    CHECK(sigsys_count == 1);
    check_trapped(SYS_getppid, SYS_getppid, 0xbeef);
    CHECK((long)R_RESULT(&sigsys_context) == UNTOUCHED(SYS_getppid, 100));

    puts("the high half of the number register");
    WANT(raw_call(HIGH | SYS_getppid, 100, 101, 102, 103, 104, 105), 42);
    check_trapped(SYS_getppid, HIGH | SYS_getppid, 0xbeef);

    puts("a first argument that is a restart code");
    WANT(raw_call(SYS_getppid, -512, 101, 102, 103, 104, 105), 42);
    CHECK((long)R_ARG(&sigsys_context, 0) == -512);
    check_trapped(SYS_getppid, SYS_getppid, 0xbeef);

    puts("numbers that no call has");
    WANT(install_filter(-1, SECCOMP_RET_TRAP | 1, 0), 0);
    WANT(raw_call(-1, 100, 101, 102, 103, 104, 105), 42);
    check_trapped(-1, -1, 1);
    WANT(raw_call(0xffffffffL, 100, 101, 102, 103, 104, 105), 42);
    check_trapped(-1, 0xffffffffL, 1);
    WANT(install_filter(1 << 29 | SYS_getppid, SECCOMP_RET_TRAP | 2, 0), 0);
    WANT(raw_call(1 << 29 | SYS_getppid, 100, 101, 102, 103, 104, 105), 42);
    check_trapped(1 << 29 | SYS_getppid, 1 << 29 | SYS_getppid, 2);

    puts("results of every kind");
    handler_result = -512;
    CHECK(raw_call(SYS_getppid, 1, 101, 102, 103, 104, 105) == -512);
    handler_result = -ENOENT;
    FAILS(syscall(SYS_getppid), ENOENT);

    puts("how SIGSYS is taken");
    CHILD(blocked, killed, SIGSYS);
    CHILD(ignored, killed, SIGSYS);
    CHILD(unhandled, killed, SIGSYS);
    CHILD(nested_deferred, killed, SIGSYS);
    CHILD(nested_allowed, exited, 42);
    CHILD(reset_once, killed, SIGSYS);
    CHILD(sent_and_blocked, killed, SIGSYS);
    CHILD(changed_after, exited, 0);
    CHILD(filtered_child, exited, 17);
    pthread_create(&id, NULL, thread, NULL);
    pthread_join(id, &result);
    WANT((long)result, 23);

    puts("on another stack");
    stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof other_stack };
    struct sigaction act = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
    act.sa_sigaction = on_other_stack;
    sigaltstack(&stack, NULL);
    sigaction(SIGSYS, &act, NULL);
    handler_result = 9;
    WANT(raw_call(SYS_getppid, 100, 101, 102, 103, 104, 105), 9);
    check_trapped(SYS_getppid, SYS_getppid, 0xbeef);
    CHECK(was_on_stack);
    return guest_end();
}
