/* One system call at a time, made from a known place with known registers, while something outside sends a signal at an
 * instruction of its choice. All that the program can see of it is handed out: what the handler found in its context,
 * all registers after the call, the memory around SP, and what became of the call itself.
 *
 * `plan` says what shall happen in the next trial; who injects reads it when PC is at `probe_begin`, and sets `injected`.
 * A trial is repeated with the next instruction until nothing was injected. Each observation leaves by a write to a
 * descriptor that is not open.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NOWHERE 1000
#define MILLISECOND 1000000L
#define STACK_BYTES (128 << 10)
#define AROUND 256

enum injection { NOTHING, TO_THREAD, TO_PROCESS, TWO, STOP };
enum helper { ONLY_FEEDS, SIGNALS, CONTINUES, SIGNALS_AND_CONTINUES, STOPS, STOPS_AND_SIGNALS };

struct mode {
    enum injection injection;
    enum helper helper;
    int flags;
    int depth;
    int asleep; /* only for calls that sleep */
};

/* The order is tests/bounce/injection.py's. */
static const struct mode modes[] = {
    { TO_THREAD, ONLY_FEEDS, 0, 0, 0 },
    { TO_PROCESS, ONLY_FEEDS, SA_RESTART, 0, 0 },
    { TO_THREAD, ONLY_FEEDS, SA_ONSTACK, 0, 0 },
    { TWO, ONLY_FEEDS, SA_RESTART, 0, 0 },
    { TO_THREAD, ONLY_FEEDS, SA_NODEFER, 5, 0 },
    { TO_THREAD, ONLY_FEEDS, SA_NODEFER | SA_ONSTACK, 5, 0 },
    { STOP, CONTINUES, 0, 0, 0 },
    { STOP, SIGNALS_AND_CONTINUES, SA_RESTART, 0, 0 },
    { NOTHING, SIGNALS, 0, 0, 1 },
    { NOTHING, SIGNALS, SA_RESTART, 0, 1 },
    { NOTHING, STOPS, 0, 0, 1 },
    { NOTHING, STOPS_AND_SIGNALS, SA_RESTART, 0, 1 },
    { TO_THREAD, STOPS, SA_RESTART, 0, 1 },
};

enum scenario {
    GETPID, READ, READ_WAITS, WRITE, NANOSLEEP, FUTEX, FUTEX_TIMED, PPOLL, PPOLL_UNBLOCKS, BLOCK, UNBLOCK, FORK, VFORK,
    SIGRETURN, UPPER_HALF, STEPPED, UMASK, PERSONALITY, GET_ROBUST_LIST, GET_PDEATHSIG, OPEN, EPOLL_WAIT, OLD_FORK,
    GETCPU, GETEUID, SWAP, UNBLOCK_PENDING, UNBLOCK_OTHER, ASK_MASK, BAD_OLD_MASK, WAIT4, WAIT4_WAITS, POLL, SELECT,
    GETDENTS, DUP2_SAME, UTIMES,
    SCENARIOS
};

#define REGISTERS 34
struct sighting {
    uint64_t signo, code, place, mask;
    uint64_t regs[REGISTERS];
};
#define SIGHTINGS 8
struct observation {
    uint64_t scenario, mode, step, injected, runs;
    struct sighting seen[SIGHTINGS];
    uint64_t out[REGISTERS];
    uint64_t stack_kept, mask, on_altstack;
    uint64_t extra[4];
};

volatile struct {
    uint64_t injection, step, injected;
} plan;

static struct observation now;
static const struct mode *mode;
static unsigned char stack[STACK_BYTES] __attribute__((aligned(4096)));
static unsigned char alternate[STACK_BYTES] __attribute__((aligned(4096)));
uint64_t in[REGISTERS], caller_sp, probe_sp, forks;
static int ends[2], epoll;
static struct epoll_event happened;
static int *word; /* a futex, shared with the helper */
static sigset_t usr1, usr2;
static struct timespec timeout, left;
static struct pollfd polled;
static char byte;
static sigset_t *new_mask, *old_mask;
static volatile int depth;
static pid_t waited; /* a child of the probe's own */
static int directory;
static char records[256];
static fd_set watched;
static struct timeval interval[2];
static volatile uint64_t traps, trap_pcs;

void probe(void);
extern char probe_begin[], site[], probe_after[], probe_end[];

#ifdef __x86_64__
enum { SP = 15, PC, FLAGS, RESULT = 13, NUMBER = 13 };
static const int arguments[] = { 8, 9, 12, 2, 0, 1 };
#define REGS 18
#define ALL(f) f(r8, 0) f(r9, 1) f(r10, 2) f(r11, 3) f(r12, 4) f(r13, 5) f(r14, 6) f(r15, 7) f(rdi, 8) f(rsi, 9) \
    f(rbp, 10) f(rbx, 11) f(rdx, 12) f(rax, 13) f(rcx, 14)
#define LOAD(name, n) "mov in+8*" #n "(%rip), %" #name "\n"
#define STORE(name, n) "mov %" #name ", 8*" #n "(%rsp)\n"
__asm__(".text\n.globl probe, probe_begin, site, probe_after, probe_end\n"
        "probe: push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, caller_sp(%rip)\n"
        "push in+8*17(%rip)\n popfq\n mov in+8*15(%rip), %rsp\n"
        ALL(LOAD)
        "probe_begin: nop\n"
        "site: syscall\n"
        "probe_after: nop\n nop\n"
        "probe_end:\n"
        ALL(STORE)
        "mov %rsp, 8*15(%rsp)\n"
        "lea 4096(%rsp), %rsp\n pushfq\n pop %rax\n lea -4096(%rsp), %rsp\n mov %rax, 8*17(%rsp)\n"
        "cmpq $0, forks(%rip)\n je 1f\n cmpq $0, 8*13(%rsp)\n jne 1f\n"
        "mov $512, %ecx\n mov %rsp, %rdi\n sub $4096, %rdi\n mov $-1, %rax\n cld\n rep stosq\n"
        "mov $231, %eax\n mov $7, %edi\n syscall\n"
        "1: mov caller_sp(%rip), %rsp\n"
        "push $0x202\n popfq\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
static void registers_of(const ucontext_t *uc, uint64_t *regs)
{
    memcpy(regs, uc->uc_mcontext.gregs, REGS * 8); /* REG_R8 ... REG_EFL */
}
#else
enum { SP = 31, PC, FLAGS, RESULT = 0, NUMBER = 8 };
static const int arguments[] = { 0, 1, 2, 3, 4, 5 };
#define REGS 34
#define PAIRS(f) f(2, 3) f(4, 5) f(6, 7) f(8, 9) f(10, 11) f(12, 13) f(14, 15) f(16, 17) f(18, 19) f(20, 21) f(22, 23) \
    f(24, 25) f(26, 27) f(28, 29)
#define LOAD(a, b) "ldp x" #a ", x" #b ", [x0, #8*" #a "]\n"
#define STORE(a, b) "stp x" #a ", x" #b ", [sp, #8*" #a "]\n"
__asm__(".text\n.globl probe, probe_begin, site, probe_after, probe_end\n"
        "probe: stp x29, x30, [sp, #-96]!\n stp x19, x20, [sp, #16]\n stp x21, x22, [sp, #32]\n"
        "stp x23, x24, [sp, #48]\n stp x25, x26, [sp, #64]\n stp x27, x28, [sp, #80]\n"
        "adrp x9, caller_sp\n add x9, x9, :lo12:caller_sp\n mov x10, sp\n str x10, [x9]\n"
        "adrp x0, in\n add x0, x0, :lo12:in\n"
        "ldr x9, [x0, #8*33]\n msr nzcv, x9\n ldr x9, [x0, #8*31]\n mov sp, x9\n"
        PAIRS(LOAD)
        "ldr x30, [x0, #8*30]\n ldp x0, x1, [x0]\n"
        "probe_begin: nop\n"
        "site: svc #0\n"
        "probe_after: nop\n nop\n"
        "probe_end: stp x0, x1, [sp]\n"
        PAIRS(STORE)
        "str x30, [sp, #8*30]\n mov x9, sp\n str x9, [sp, #8*31]\n mrs x9, nzcv\n str x9, [sp, #8*33]\n"
        "adrp x9, forks\n add x9, x9, :lo12:forks\n ldr x9, [x9]\n cbz x9, 1f\n cbnz x0, 1f\n"
        "mov x9, sp\n sub x10, x9, #4096\n mov x11, #-1\n"
        "2: str x11, [x10], #8\n cmp x10, x9\n b.ne 2b\n"
        "mov x8, #94\n mov x0, #7\n svc #0\n"
        "1: adrp x9, caller_sp\n add x9, x9, :lo12:caller_sp\n ldr x10, [x9]\n mov sp, x10\n"
        "ldp x19, x20, [sp, #16]\n ldp x21, x22, [sp, #32]\n ldp x23, x24, [sp, #48]\n ldp x25, x26, [sp, #64]\n"
        "ldp x27, x28, [sp, #80]\n ldp x29, x30, [sp], #96\n ret\n");
static void registers_of(const ucontext_t *uc, uint64_t *regs)
{
    memcpy(regs, uc->uc_mcontext.regs, 31 * 8);
    regs[SP] = uc->uc_mcontext.sp;
    regs[PC] = uc->uc_mcontext.pc;
    regs[FLAGS] = uc->uc_mcontext.pstate;
}
#endif

/* How large the image is: whole pages. */
static size_t vdso_bytes(uintptr_t vdso)
{
    const Elf64_Phdr *loaded = (const void *)(vdso + ((const Elf64_Ehdr *)vdso)->e_phoff);
    return (loaded->p_memsz + 4095) & -4096UL;
}

/* 0: at a place of the probe; 1: in the vDSO; 2: anywhere else. */
static uint64_t place_of(uintptr_t pc)
{
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    if (pc >= (uintptr_t)probe_begin && pc < (uintptr_t)probe_end)
        return 0;
    return pc >= vdso && pc < vdso + vdso_bytes(vdso) ? 1 : 2;
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;
    int saved = errno;
    if (now.runs < SIGHTINGS) {
        struct sighting *seen = &now.seen[now.runs++];
        seen->signo = signo;
        seen->code = info->si_code;
        registers_of(uc, seen->regs);
        seen->place = place_of(seen->regs[PC]);
        if (seen->place)
            memset(seen->regs, 0, sizeof seen->regs);
        else
            seen->regs[PC] -= (uintptr_t)site;
        if (forks && !seen->place && seen->regs[PC] > 0 && seen->regs[PC] < 64)
            seen->regs[RESULT] = seen->regs[RESULT] > 1; /* a pid, which goes up with every trial */
        if (waited && !seen->place && seen->regs[RESULT] == (uint64_t)waited)
            seen->regs[RESULT] = 1;
        memcpy(&seen->mask, &uc->uc_sigmask, 8);
    }
    char here;
    if (&here >= (char *)alternate && &here < (char *)alternate + STACK_BYTES)
        now.on_altstack++;
    if (depth > 0) {
        depth--;
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signo);
    }
    errno = saved;
}

/* x86-64: the probe steps through itself. */
static void on_trap(int signo, siginfo_t *info, void *context)
{
    uint64_t regs[REGISTERS];
    (void)signo, (void)info;
    registers_of(context, regs);
    traps++;
    trap_pcs += regs[PC] - (uintptr_t)probe;
}

static void on_usr2(int signo, siginfo_t *info, void *context)
{
    /* A copy of this handler's own frame, for rt_sigreturn to take: it leads to what follows the probe's call. */
    ucontext_t *uc = context;
    (void)signo, (void)info;
#ifdef __x86_64__
    char *frame = (char *)stack + STACK_BYTES / 2, *fp = frame + 1024;
    memcpy(frame, (char *)uc - 8, 440);
    memcpy(fp, uc->uc_mcontext.fpregs, 512);
    uc = (ucontext_t *)(frame + 8);
    uc->uc_mcontext.fpregs = (void *)fp;
    for (int i = 0; i < 15; i++)
        uc->uc_mcontext.gregs[i] = 0x5000 + i;
    uc->uc_mcontext.gregs[REG_RSP] = probe_sp;
    uc->uc_mcontext.gregs[REG_RIP] = (long)probe_after;
    uc->uc_mcontext.gregs[REG_EFL] = 0x202 | 0x8d5;
    in[SP] = (uintptr_t)uc;
#else
    char *frame = (char *)stack + STACK_BYTES / 2;
    memcpy(frame, info, 4688);
    uc = (ucontext_t *)(frame + 128);
    for (int i = 0; i < 31; i++)
        uc->uc_mcontext.regs[i] = 0x5000 + i;
    uc->uc_mcontext.sp = probe_sp;
    uc->uc_mcontext.pc = (uintptr_t)probe_after;
    in[SP] = (uintptr_t)frame;
#endif
    memset(&uc->uc_sigmask, 0, 8);
}

static void arguments_are(long number, long a, long b, long c, long d, long e)
{
    const long values[] = { a, b, c, d, e };
    for (int i = 0; i < 5; i++)
        in[arguments[i]] = values[i];
    in[NUMBER] = number;
}

static void handler(int signo, void (*function)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = { .sa_flags = SA_SIGINFO | flags };
    action.sa_sigaction = function;
    sigaction(signo, &action, 0);
}

static long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

/* What sends signals from outside, at 5 and 10 ms, and at 20 feeds whoever still waits. */
static pid_t start_helper(void)
{
    pid_t parent = getpid(), pid = fork();
    if (pid)
        return pid;
    const struct timespec five = { 0, 5 * MILLISECOND }, ten = { 0, 10 * MILLISECOND };
    nanosleep(&five, 0);
    if (mode->helper >= STOPS)
        kill(parent, SIGSTOP);
    else if (mode->helper == SIGNALS)
        kill(parent, SIGUSR1);
    nanosleep(&five, 0);
    if (mode->helper == STOPS_AND_SIGNALS || mode->helper == SIGNALS_AND_CONTINUES)
        kill(parent, SIGUSR1);
    if (mode->helper >= CONTINUES)
        kill(parent, SIGCONT);
    nanosleep(&ten, 0);
    write(ends[1], "f", 1);
    *word = 1;
    syscall(SYS_futex, word, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
    nanosleep(&ten, 0);
    if (mode->injection == STOP)
        kill(parent, SIGCONT); /* it may have been stopped after its call */
    _exit(0);
}

static int sleeps(enum scenario scenario)
{
    return scenario == READ_WAITS || scenario == NANOSLEEP || scenario == FUTEX || scenario == FUTEX_TIMED
        || scenario == PPOLL || scenario == PPOLL_UNBLOCKS || scenario == EPOLL_WAIT || scenario == WAIT4_WAITS
        || scenario == POLL || scenario == SELECT;
}

static int changes_mask(enum scenario scenario)
{
    return scenario == BLOCK || scenario == UNBLOCK || (scenario >= SWAP && scenario <= BAD_OLD_MASK);
}

/* Calls that may never reach the kernel, and take none of virtual time then. */
static int is_a_variable(enum scenario scenario)
{
    return (scenario >= UMASK && scenario <= GET_PDEATHSIG) || changes_mask(scenario);
}

/* A child that ends in 20 ms, or has ended. */
static void bear(enum scenario scenario)
{
    const struct timespec later = { 0, 20 * MILLISECOND };
    siginfo_t info;
    waited = fork();
    if (!waited) {
        if (scenario == WAIT4_WAITS)
            nanosleep(&later, 0);
        _exit(42);
    }
    if (scenario == WAIT4)
        while (waitid(P_PID, waited, &info, WEXITED | WNOWAIT))
            ;
}

static void set_up(enum scenario scenario)
{
    for (int i = 0; i < REGISTERS; i++)
        in[i] = 0xabcd000000000000UL + i;
    in[SP] = probe_sp;
#ifdef __x86_64__
    in[FLAGS] = 0x202 | 0xcd5; /* CF PF AF ZF SF OF DF */
#else
    in[FLAGS] = 0xa0000000;
#endif
    timeout = (struct timespec) { 0, 17 * MILLISECOND };
    left = (struct timespec) { 77, 77 };
    polled = (struct pollfd) { ends[0], POLLIN, 0 };
    byte = '?';
    *word = 0;
    forks = scenario == FORK || scenario == VFORK || scenario == OLD_FORK;
    new_mask = &usr1;
    memset(old_mask, 0x77, 8);
    switch (scenario) {
    case GETPID: arguments_are(SYS_getpid, 1, 2, 3, 4, 5); break;
    case UPPER_HALF: arguments_are((long)(1UL << 63 | SYS_getpid), 1, 2, 3, 4, 5); break;
    case STEPPED:
        arguments_are(SYS_getpid, 1, 2, 3, 4, 5);
#ifdef __x86_64__
        in[FLAGS] |= 0x100; /* TF */
#endif
        break;
    case READ:
        write(ends[1], "abc", 3);
        /* fall through */
    case READ_WAITS: arguments_are(SYS_read, ends[0], (long)&byte, 1, 0, 0); break;
    case WRITE: arguments_are(SYS_write, ends[1], (long)"xyz", 3, 0, 0); break;
    case NANOSLEEP: arguments_are(SYS_nanosleep, (long)&timeout, (long)&left, 0, 0, 0); break;
    case FUTEX: arguments_are(SYS_futex, (long)word, 0, 0, 0, 0); break;
    case FUTEX_TIMED: arguments_are(SYS_futex, (long)word, 0, 0, (long)&timeout, 0); break;
    case PPOLL: arguments_are(SYS_ppoll, (long)&polled, 1, (long)&timeout, 0, 8); break;
    case PPOLL_UNBLOCKS: {
        static sigset_t none;
        sigprocmask(SIG_BLOCK, &usr1, 0);
        arguments_are(SYS_ppoll, (long)&polled, 1, (long)&timeout, (long)&none, 8);
        break;
    }
    case BLOCK: arguments_are(SYS_rt_sigprocmask, SIG_BLOCK, (long)new_mask, (long)old_mask, 8, 0); break;
    case UNBLOCK:
        sigprocmask(SIG_BLOCK, &usr1, 0);
        arguments_are(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)new_mask, (long)old_mask, 8, 0);
        break;
    case SWAP:
        *old_mask = usr1;
        arguments_are(SYS_rt_sigprocmask, SIG_SETMASK, (long)old_mask, (long)old_mask, 8, 0);
        break;
    case UNBLOCK_PENDING:
    case UNBLOCK_OTHER:
        sigprocmask(SIG_BLOCK, &usr1, 0);
        raise(SIGUSR1);
        new_mask = scenario == UNBLOCK_OTHER ? &usr2 : &usr1;
        arguments_are(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)new_mask, (long)old_mask, 8, 0);
        break;
    case ASK_MASK: arguments_are(SYS_rt_sigprocmask, 1234, 0, (long)old_mask, 8, 0); break;
    case BAD_OLD_MASK: arguments_are(SYS_rt_sigprocmask, SIG_BLOCK, (long)new_mask, 8, 8, 0); break;
    case FORK: arguments_are(SYS_clone, SIGCHLD, 0, 0, 0, 0); break;
#ifdef __x86_64__
    case VFORK: arguments_are(SYS_vfork, 0, 0, 0, 0, 0); break;
#else
    case VFORK: arguments_are(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0); break;
#endif
    case UMASK:
        umask(022);
        arguments_are(SYS_umask, 01333, 2, 3, 4, 5); /* of which nine bits are a number: that of restart_syscall */
        break;
    case PERSONALITY:
        personality(STICKY_TIMEOUTS);
        arguments_are(SYS_personality, UNAME26, 2, 3, 4, 5);
        break;
    case GET_ROBUST_LIST:
        syscall(SYS_set_robust_list, 0x123456, 24);
        arguments_are(SYS_get_robust_list, 0, (long)&left.tv_sec, (long)&left.tv_nsec, 4, 5);
        break;
    case GET_PDEATHSIG:
        prctl(PR_SET_PDEATHSIG, SIGURG);
        arguments_are(SYS_prctl, PR_GET_PDEATHSIG, (long)&left.tv_sec, 3, 4, 5);
        break;
#ifdef __x86_64__
    case OPEN: arguments_are(SYS_open, (long)"/nowhere", O_RDWR, 3, 4, 5); break;
    case EPOLL_WAIT: arguments_are(SYS_epoll_wait, epoll, (long)&happened, 1, 17, 0); break;
    case OLD_FORK: arguments_are(SYS_fork, 1, 2, 3, 4, 5); break;
#else
    case OPEN: arguments_are(SYS_openat, AT_FDCWD, (long)"/nowhere", O_RDWR, 3, 4); break;
    case EPOLL_WAIT: arguments_are(SYS_epoll_pwait, epoll, (long)&happened, 1, 17, 0); break;
    case OLD_FORK: arguments_are(SYS_clone, SIGCHLD, 0, 0, 0, 0); break;
#endif
    case GETCPU: arguments_are(SYS_getcpu, (long)&left.tv_sec, (long)&left.tv_nsec, 3, 4, 5); break;
    case GETEUID:
        syscall(SYS_setresuid, -1L, 4321L, -1L);
        arguments_are(SYS_geteuid, 1, 2, 3, 4, 5);
        break;
    case WAIT4:
    case WAIT4_WAITS:
        bear(scenario);
        arguments_are(SYS_wait4, -1, (long)&left.tv_sec, 0, 0, 5);
        break;
#ifdef __x86_64__
    case POLL: arguments_are(SYS_poll, (long)&polled, 1, 17, 4, 5); break;
    case SELECT:
        FD_ZERO(&watched);
        FD_SET(ends[0], &watched);
        interval[0] = (struct timeval) { 0, 17000 };
        arguments_are(SYS_select, ends[0] + 1, (long)&watched, 0, 0, (long)interval);
        break;
    case GETDENTS:
        lseek(directory, 0, SEEK_SET);
        memset(records, 0, sizeof records);
        arguments_are(SYS_getdents, directory, (long)records, sizeof records, 4, 5);
        break;
    case DUP2_SAME: arguments_are(SYS_dup2, ends[0], ends[0], 3, 4, 5); break;
    case UTIMES:
        interval[0] = (struct timeval) { 1234, 999999 };
        interval[1] = (struct timeval) { 5678, 1 };
        arguments_are(SYS_utimes, (long)"/tmp/injected", (long)interval, 3, 4, 5);
        break;
#endif
    case SIGRETURN:
        arguments_are(SYS_rt_sigreturn, 0, 0, 0, 0, 0);
        raise(SIGUSR2); /* its handler makes the frame */
        break;
    default: abort();
    }
}

static void wait_for(pid_t pid, uint64_t *status)
{
    int got;
    while (waitpid(pid, &got, 0) < 0 && errno == EINTR)
        ;
    *status = got;
}

/* The registers that the probe has stored over its stack, and whether the stack around is as it was. */
static void look_at_stack(enum scenario scenario)
{
    (void)scenario;
    memcpy(now.out, (void *)probe_sp, REGS * 8);
    unsigned char *low = (unsigned char *)probe_sp;
    now.stack_kept = 1;
#ifdef __x86_64__
    if (!forks && scenario != SIGRETURN) /* the child of a vfork wrote there */
        for (int i = 1; i <= 128; i++)
            now.stack_kept &= low[-i] == 0x5a;
#endif
    for (int i = REGISTERS * 8; i < REGISTERS * 8 + AROUND; i++)
        now.stack_kept &= low[i] == 0x5a;
}

/* What a call has left behind that is in no register: a number that is the same for the same. */
static uint64_t traces(enum scenario scenario)
{
    uint64_t sum = left.tv_sec * 1000000000UL + left.tv_nsec;
    if (scenario == SELECT)
        sum = interval[0].tv_sec * 1000000UL + interval[0].tv_usec + (FD_ISSET(ends[0], &watched) ? 1UL << 40 : 0);
    else if (scenario == GETDENTS)
        for (size_t i = 0; i < sizeof records; i++)
            sum = sum * 31 + records[i];
    else if (scenario == UTIMES) {
        struct stat stat;
        lstat("/tmp/injected", &stat);
        sum = stat.st_atim.tv_sec + stat.st_atim.tv_nsec + stat.st_mtim.tv_sec + stat.st_mtim.tv_nsec;
        utimensat(AT_FDCWD, "/tmp/injected", 0, 0);
        sum *= sum < 1UL << 31; /* not yet: the time of the last trial */
    }
    return sum;
}

static void trial(enum scenario scenario)
{
    pid_t helper = 0;
    memset(stack, 0x5a, sizeof stack);
    memset(now.seen, 0, sizeof now.seen);
    memset(now.out, 0, sizeof now.out);
    memset(now.extra, 0, sizeof now.extra);
    now.scenario = scenario;
    now.runs = now.on_altstack = 0;
    set_up(scenario);
    handler(SIGUSR1, on_signal, mode->flags);
    handler(SIGRTMIN + 1, on_signal, mode->flags);
    depth = mode->depth - 1;
    if (sleeps(scenario) || mode->helper != ONLY_FEEDS)
        helper = start_helper();
    plan.injection = mode->injection;
    plan.step = now.step;
    plan.injected = 0;
    traps = trap_pcs = 0;
    long start = now_ns();
    probe();
    long took = now_ns() - start;
    now.injected = plan.injected;
    plan.injection = NOTHING;
    look_at_stack(scenario);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, 0, &mask);
    memcpy(&now.mask, &mask, 8);
    sigprocmask(SIG_UNBLOCK, &usr1, 0); /* what is still pending comes now */
    now.extra[0] = is_a_variable(scenario) ? 0 : took; /* of virtual time */
    now.extra[1] = (unsigned char)byte << 8 | polled.revents;
    if (scenario == STEPPED) {
        now.extra[0] = traps;
        now.extra[1] = trap_pcs;
    }
    now.extra[2] = traces(scenario);
    if (waited) {
        now.out[RESULT] = now.out[RESULT] == (uint64_t)waited ? 1 : now.out[RESULT];
        waitpid(waited, 0, 0);
        waited = 0;
    }
    if (scenario == GETEUID)
        syscall(SYS_setresuid, -1L, 0L, -1L);
    else if (scenario == UMASK)
        now.extra[2] = umask(022);
    else if (scenario == PERSONALITY)
        now.extra[2] = personality(0xffffffff);
    else if (changes_mask(scenario))
        memcpy(&now.extra[2], old_mask, 8);
    syscall(SYS_set_robust_list, 0, 24);
    if (forks)
        wait_for(now.out[RESULT], &now.extra[3]);
    if (forks || scenario == GETPID || scenario == UPPER_HALF || scenario == STEPPED) /* the pid itself goes up with every helper */
        now.out[RESULT] = now.out[RESULT] > 1;
    if (helper) {
        uint64_t status;
        wait_for(helper, &status);
    }
    int queued = 0;
    ioctl(ends[0], FIONREAD, &queued);
    now.extra[3] = now.extra[3] << 8 | queued;
    while (queued--)
        read(ends[0], &byte, 1);
    syscall(SYS_write, NOWHERE, &now, sizeof now);
}

int main(void)
{
    stack_t alt = { .ss_sp = alternate, .ss_size = sizeof alternate };
    sigaltstack(&alt, 0);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    static sigset_t old;
    old_mask = &old;
    probe_sp = (uintptr_t)stack + STACK_BYTES - 8192;
    handler(SIGUSR2, on_usr2, 0);
    handler(SIGTRAP, on_trap, 0);
    /* at the same place on all machines, however many mappings each has */
    word = mmap((void *)0x7000000000, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (word != (void *)0x7000000000 || pipe(ends))
        return 1;
    epoll = epoll_create1(0);
    struct epoll_event in_pipe = { .events = EPOLLIN };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &in_pipe))
        return 1;
    directory = mkdir("/tmp/records", 0755) ? -1 : open("/tmp/records", O_DIRECTORY);
    close(open("/tmp/records/file", O_CREAT | O_RDWR, 0644));
    close(open("/tmp/injected", O_CREAT | O_RDWR, 0644));
#ifdef __x86_64__
    const int scenarios = SCENARIOS;
#else
    const int scenarios = POLL;
#endif
    for (int scenario = 0; scenario < scenarios; scenario++)
        for (unsigned m = 0; m < sizeof modes / sizeof *modes; m++) {
            mode = &modes[m];
            if (mode->asleep && !sleeps(scenario))
                continue;
            now.mode = m;
            for (now.step = 0; now.step < 250; now.step++) {
                trial(scenario);
                if (!now.injected)
                    break;
            }
        }
    return 0;
}
