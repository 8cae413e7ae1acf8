/* Each of the eight calls that a data page answers, ten times by the vDSO's function and ten times by the system call
 * instruction, between writes to descriptors that nobody has: a test counts what the kernel was entered for. What came
 * out is compared with the kernel's own answer, from a call made inside the vDSO.
 *
 * With an argument: what happens to calls that a filter, or dispatch to user space, has to see. */
#define _GNU_SOURCE
#include "../../guests/src/vdso/lookup.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BEGIN -1001 /* (call, 0 function | 1 instruction) */
#define END -1002   /* (how many answers were wrong) */
#define TIMES 10

typedef long answers(void *, void *, void *);
typedef long real_call(long number, ...);

static const struct { const char *name; long number; } calls[] = {
    { "getpid", SYS_getpid }, { "gettid", SYS_gettid }, { "getppid", SYS_getppid }, { "getuid", SYS_getuid },
    { "geteuid", SYS_geteuid }, { "getgid", SYS_getgid }, { "getegid", SYS_getegid }, { "getcpu", SYS_getcpu },
};
#define CALLS (sizeof calls / sizeof *calls)
static real_call *kernel;

static answers *function_of(size_t i)
{
    char name[32];
    snprintf(name, sizeof name, "__kernel_%s", calls[i].name);
    void *found = vdso_function(name);
    return found ? found : vdso_function("__vdso_getcpu");
}

/* How many of the answers are not the kernel's, of those that were asked for by `instruction` or else the function. */
static int wrong(size_t i, int instruction)
{
    answers *function = function_of(i);
    unsigned cpu[TIMES], node[TIMES], real[2] = { 7, 7 };
    int told[TIMES], bad = 0;
    syscall(SYS_write, BEGIN, i, instruction);
    for (int n = 0; n < TIMES; n++)
        told[n] = instruction ? syscall(calls[i].number, &cpu[n], &node[n], 0L)
                              : (int)function(&cpu[n], &node[n], 0);
    syscall(SYS_write, END, 0, 0);
    int says = (int)kernel(calls[i].number, &real[0], &real[1], 0L);
    for (int n = 0; n < TIMES; n++)
        bad += told[n] != says || (calls[i].number == SYS_getcpu && (cpu[n] != real[0] || node[n] != real[1]));
    return bad;
}

#define CHECK(what) do { if (!(what)) { bad++; printf("FAIL line %d: %s\n", __LINE__, #what); } } while (0)

/* getcpu is the one of them that can fail; what is written before it does is as the kernel writes it. */
static int errors(void)
{
    int bad = 0;
    unsigned cpu = 7, node = 7;
    char *nowhere = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(syscall(SYS_getcpu, 0L, 0L, 0L) == 0);
    CHECK(syscall(SYS_getcpu, &cpu, 0L, 0L) == 0 && cpu == 0 && node == 7);
    CHECK(syscall(SYS_getcpu, 0L, &node, 77L) == 0 && node == 0);
    cpu = node = 7;
    CHECK(syscall(SYS_getcpu, nowhere, &node, 0L) == -1 && errno == EFAULT && node == 0);
    CHECK(syscall(SYS_getcpu, &cpu, nowhere, 0L) == -1 && errno == EFAULT && cpu == 0);
    CHECK(syscall(SYS_getcpu, nowhere, nowhere, 0L) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_getcpu, 1L << 63, 0L, 0L) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_getcpu, 1L << 56 | (long)&cpu, 0L, 0L) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_getcpu, 0L, 1L << 60 | (long)&node, 0L) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_getcpu, nowhere + 4094, 0L, 0L) == -1 && errno == EFAULT);
    return bad;
}

static volatile int dispatched;
static char selector; /* SYSCALL_DISPATCH_FILTER_ALLOW */

static void on_sigsys(int number, siginfo_t *info, void *context)
{
    selector = 0;
    dispatched = number == SIGSYS && info->si_syscall == SYS_getpid ? 1 : -1;
    (void)context;
}

static int watched(void)
{
    int bad = 0, pid = getpid();
    struct sigaction action = { .sa_flags = SA_SIGINFO };
    action.sa_sigaction = on_sigsys;
    sigaction(SIGSYS, &action, 0);
    if (!prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector)) {
        CHECK(syscall(SYS_getpid) == pid && !dispatched);
        selector = 1;
        syscall(SYS_getpid);
        CHECK(dispatched == 1);
        CHECK(function_of(0)(0, 0, 0) == pid);
        CHECK(!prctl(59, 0, 0, 0, 0));
        CHECK(syscall(SYS_getpid) == pid);
    }
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, filter };
    CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    CHECK(syscall(SYS_getuid) == -1 && errno == 77);
    CHECK(syscall(SYS_getpid) == pid);
    return bad;
}

int main(int argc, char **argv)
{
    int bad = 0;
    (void)argv;
    kernel = vdso_function("__kernel_syscall");
    if (argc > 1) {
        bad = watched();
    } else {
        for (size_t i = 0; i < CALLS; i++)
            bad += wrong(i, 0) + wrong(i, 1);
        bad += errors();
    }
    puts(bad ? "not well" : "well");
    return bad != 0;
}
