/* What a seccomp filter sees of a bounce: each call once, with the number and the arguments that the program gave, and
 * nothing of the numbers that end bounces. The names are those of the tests that docs/bounce-abi.md asks for.
 * man 2 seccomp */
#include "guest.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define REDIRECT (1U << 29)
#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define KILL_IF(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS)

static void test(const char *name)
{
    printf("[%s]\n", name);
    fflush(stdout);
}

static inline __attribute__((always_inline)) long call3(uint64_t number, long a, long b, long c)
{
#ifdef __aarch64__
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register uint64_t x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    return x0;
#else
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#endif
}

static void install(struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = { .len = (unsigned short)count, .filter = filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
        _exit(99);
}

/* Kills on what no program that only makes calls has ever used, and on every number that has bit 29. */
static void strict(void)
{
    struct sock_filter filter[] = {
        NUMBER,
        KILL_IF(0xffffffff),
        KILL_IF(REDIRECT | SYS_getpid),
        KILL_IF(0x3fffffff),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, REDIRECT, 0, 1),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        RETURN(SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof *filter);
}

static volatile int handled;
static void on_signal(int signal) { handled += signal == SIGUSR1; }

/* Calls of all kinds, with signals, restarts and children among them. */
static int lives(void)
{
    struct timespec moment = { 0, 1000000 };
    int ends[2], status;
    char byte;
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < 3; i++)
        if (call3(SYS_getpid, 1, 2, 3) != getpid() || call3(1UL << 63 | SYS_getppid, 1, 2, 3) != getppid() || raise(SIGUSR1))
            return 1;
    if (handled != 3 || pipe(ends) || write(ends[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1)
        return 2;
    if (call3(SYS_nanosleep, (long)&moment, 0, 0))
        return 3;
    pid_t child = fork();
    if (!child)
        call3(SYS_exit_group, 5, 0, 0);
    if (waitpid(child, &status, 0) != child || status != 5 << 8)
        return 4;
    child = vfork();
    if (!child)
        call3(SYS_exit_group, 6, 0, 0);
    if (waitpid(child, &status, 0) != child || status != 6 << 8)
        return 5;
    return 7;
}

static int ending(int (*what)(void))
{
    int status = -1;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        strict();
        _exit(what());
    }
    waitpid(child, &status, 0);
    return status & ~0x80;                      /* whether there is a core is nobody's business */
}

static int minus_one(void) { return (int)call3(-1UL, 1, 2, 3); }
static int minus_one_of_32_bits(void) { return (int)call3(0xffffffffUL, 1, 2, 3); }
static int flagged(void) { return (int)call3(REDIRECT | SYS_getpid, 1, 2, 3); }
static int no_number(void) { return (int)call3(0x3fffffffUL, 1, 2, 3); }
static int no_number_unflagged(void) { return call3(0x1fffffffUL, 1, 2, 3) == -ENOSYS ? 8 : 9; }

static void numbers(void)
{
    test("a filter that kills on -1 and on REDIRECT|getpid");
    WANT(ending(lives), 7 << 8);
    WANT(ending(minus_one), SIGSYS);
    WANT(ending(minus_one_of_32_bits), SIGSYS);
    WANT(ending(flagged), SIGSYS);
    WANT(ending(no_number), SIGSYS);
    WANT(ending(no_number_unflagged), 8 << 8);
}

/* The data that the filter gets: refuses with an errno of its own what is not as the program made it. */
#define ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define UPPER(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]) + 4)
#define WITH(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 1, 0), RETURN(SECCOMP_RET_ERRNO | EXDEV)

static int sees_arguments(void)
{
    struct sock_filter filter[] = {
        NUMBER,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        ARGUMENT(0), WITH(0x11111111), UPPER(0), WITH(0x22222222),
        ARGUMENT(1), WITH(0x33333333), UPPER(1), WITH(0x44444444),
        ARGUMENT(2), WITH(0x55555555), UPPER(2), WITH(0x66666666),
        RETURN(SECCOMP_RET_ERRNO | ELOOP),
    };
    install(filter, sizeof filter / sizeof *filter);
    long result = call3(SYS_getppid, 0x2222222211111111, 0x4444444433333333, 0x6666666655555555);
    if (result != -ELOOP)
        return (int)-result;
    return call3(SYS_getppid, 1, 2, 3) == -EXDEV ? 7 : 8;
}

/* Refused, a call has no effect, and all that the program sees of it is the error. */
static int refuses(void)
{
    struct sock_filter filter[] = {
        NUMBER,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_ERRNO | EBADMSG),
    };
    int ends[2];
    char byte;
    if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK))
        return 1;
    install(filter, sizeof filter / sizeof *filter);
    if (call3(SYS_write, ends[1], (long)"x", 1) != -EBADMSG)
        return 2;
    return call3(SYS_read, ends[0], (long)&byte, 1) == -EAGAIN ? 7 : 3;
}

static void data(void)
{
    test("a filter sees the program's arguments");
    WANT(ending(sees_arguments), 7 << 8);
    test("a filter refuses a call in a bounce");
    WANT(ending(refuses), 7 << 8);
}

int main(void)
{
    guest_start();
    numbers();
    data();
    return guest_end();
}
