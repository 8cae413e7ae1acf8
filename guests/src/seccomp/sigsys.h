/* What the guests about SIGSYS share: filters that do one thing to one call, a call made at a known place, and what the
 * handler of SIGSYS saw. */
#ifndef SIGSYS_H
#define SIGSYS_H

#include "guest.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif
#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

/* raw_call(number, arg0 .. arg5): the call, made by the instruction that ends at raw_call_after. */
extern char raw_call_after[];
long raw_call(long number, long a, long b, long c, long d, long e, long f);

#if defined __x86_64__
#define MY_ARCH AUDIT_ARCH_X86_64
#define RESTART_SYSCALL 219
#define R_NUMBER(u) ((u)->uc_mcontext.gregs[REG_RAX])
#define R_RESULT(u) ((u)->uc_mcontext.gregs[REG_RAX])
#define R_PC(u) ((u)->uc_mcontext.gregs[REG_RIP])
/* What the result register holds before a call. */
#define UNTOUCHED(number, first) (number)
/* rcx and r11 are what `syscall` makes of them. */
#define CLOBBERED(u) ((u)->uc_mcontext.gregs[REG_RCX] == R_PC(u) \
                      && (u)->uc_mcontext.gregs[REG_R11] == (u)->uc_mcontext.gregs[REG_EFL])
#define R_ARG(u, i) ((u)->uc_mcontext.gregs[(const int[]){ REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 }[i]])
__asm__(".text; .globl raw_call; raw_call:\n"
        "mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; mov %r8, %r10; mov %r9, %r8; mov 8(%rsp), %r9\n"
        "syscall\n"
        ".globl raw_call_after; raw_call_after: ret\n");
#else
#define MY_ARCH AUDIT_ARCH_AARCH64
#define RESTART_SYSCALL 128
#define R_NUMBER(u) ((u)->uc_mcontext.regs[8])
#define R_RESULT(u) ((u)->uc_mcontext.regs[0])
#define R_PC(u) ((u)->uc_mcontext.pc)
#define UNTOUCHED(number, first) (first)
#define CLOBBERED(u) 1
#define R_ARG(u, i) ((u)->uc_mcontext.regs[i])
__asm__(".text; .globl raw_call; raw_call:\n"
        "mov x8, x0; mov x0, x1; mov x1, x2; mov x2, x3; mov x3, x4; mov x4, x5; mov x5, x6\n"
        "svc #0\n"
        ".globl raw_call_after; raw_call_after: ret\n");
#endif

/* A filter that answers calls of one number with `verdict`, and all others with ALLOW. */
static inline int install_filter(int number, unsigned verdict, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* What the last SIGSYS told, and the registers that it found; then the call has `handler_result`. */
static volatile int sigsys_count;
static siginfo_t sigsys_info;
static ucontext_t sigsys_context;
static volatile long handler_result;

static inline void on_sigsys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    sigsys_count++;
    sigsys_info = *info;
    sigsys_context = *(ucontext_t *)context;
    R_RESULT((ucontext_t *)context) = handler_result;
}

static inline int catch_sigsys(int flags)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | flags };
    act.sa_sigaction = on_sigsys;
    return sigaction(SIGSYS, &act, NULL);
}

/* The wait status of a child that runs `body`, whose result is its exit status. */
static inline int child(int (*body)(void))
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        int code = body();
        fflush(stdout);
        _exit(code);
    }
    waitpid(pid, &status, 0);
    return status;
}

/* What became of a child: CHILD(body, how, number) with how = exited or killed. */
#define CHILD(body, how, number) \
    do { int status_ = child(body); \
         guest_check(__FILE__, __LINE__, #body " " #how " " #number, \
                     how(status_, number)); } while (0)
#define exited(status, code) (WIFEXITED(status) && WEXITSTATUS(status) == (code))
#define killed(status, signal) (WIFSIGNALED(status) && WTERMSIG(status) == (signal))

#endif
