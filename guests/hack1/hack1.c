/* The library of Hack #1: see hack1.h.  One source, to be included: it must not depend on how it is linked. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hack1.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif
/* si_code of a SIGSYS (include/uapi/asm-generic/siginfo.h) */
#define CODE_SECCOMP 1
#define CODE_USER_DISPATCH 2
#define KERNEL_SA_RESTORER 0x04000000
#define SIGSYS_BIT (1UL << (SIGSYS - 1))
#define PERSONALITY_QUERY 0xffffffffUL

/* The code that needs SP is in assembly, and calls these two by name. */
#define INTERNAL __attribute__((visibility("hidden"), used))
INTERNAL uintptr_t hack1_sigreturn;             /* the vDSO's __kernel_rt_sigreturn */
INTERNAL void hack1_child(void);

#if defined(__x86_64__)
#include "x86_64.h"
#elif defined(__aarch64__)
#include "aarch64.h"
#endif
#include "filter.h"
#include "vdso.h"

typedef long kernel_syscall(long number, long a0, long a1, long a2, long a3, long a4, long a5);

INTERNAL _Noreturn void hack1_leave(uintptr_t sp);
INTERNAL long hack1_call_on(uintptr_t sp, kernel_syscall *function, long number, long a0, long a1);
INTERNAL long hack1_clone(kernel_syscall *function, long flags, ucontext_t *uc, long ptid, long a3, long a4);
INTERNAL long hack1_vfork(kernel_syscall *function, long flags, ucontext_t *uc, char *save, char *save_end,
                          uintptr_t low_end);

/* struct sigaction as the kernel has it */
struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

static struct {
    unsigned options;
    struct vdso vdso;
    kernel_syscall *syscall;            /* the vDSO's __kernel_syscall */
    unsigned long umask, personality;   /* the talk's two variables, in user memory */
    struct kernel_action wanted;        /* what the program believes to be SIGSYS's action */
    long no_new_privs;                  /* what PR_GET_NO_NEW_PRIVS says to a program that hides from seccomp */
} hack1;

/* Every call of the library's own is made in the vDSO: the filter is in force, perhaps since before this program. */
#define __kernel_syscall hack1.syscall
#define REAL_(number, a0, a1, a2, a3, a4, a5, ...) \
    __kernel_syscall((number), (long)(a0), (long)(a1), (long)(a2), (long)(a3), (long)(a4), (long)(a5))
#define REAL(...) REAL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* ---- the handler of the slide ----------------------------------------------------------------------------------- */
static void do_personality(ucontext_t *uc)
{
    unsigned long persona = (unsigned)SYSCALL_ARG(uc, 0);
    SYSCALL_RESULT(uc) = hack1.personality;
    if (persona != PERSONALITY_QUERY)
        hack1.personality = persona;
}

static void do_umask(ucontext_t *uc)
{
    unsigned long mask = SYSCALL_ARG(uc, 0) & 0777;
    SYSCALL_RESULT(uc) = hack1.umask;
    hack1.umask = mask;
}

static void sys_handler(int n_unused, siginfo_t *si_unused, void *uc_)
{
    ucontext_t *uc = uc_;
    int nr = (int)SYSCALL_NUMBER(uc);

    (void)n_unused, (void)si_unused;
    /* Handle interesting syscalls: */
    switch (nr) {
    case SYS_personality:
        return do_personality(uc);
    case SYS_umask:
        return do_umask(uc);
    }
    /* Otherwise, fall back to the real syscall: */
    SYSCALL_RESULT(uc) = __kernel_syscall(nr, SYSCALL_ARG(uc, 0), SYSCALL_ARG(uc, 1), SYSCALL_ARG(uc, 2),
                                          SYSCALL_ARG(uc, 3), SYSCALL_ARG(uc, 4), SYSCALL_ARG(uc, 5));
}

/* ---- what goes beyond it: calls that mean something else inside a handler --------------------------------------- */
/* The call as it was made. */
static long real_call(ucontext_t *uc)
{
    return __kernel_syscall(SYSCALL_NUMBER(uc), SYSCALL_ARG(uc, 0), SYSCALL_ARG(uc, 1), SYSCALL_ARG(uc, 2),
                            SYSCALL_ARG(uc, 3), SYSCALL_ARG(uc, 4), SYSCALL_ARG(uc, 5));
}

/* Can the kernel read 8 bytes there?  rt_sigprocmask looks at the mask before it looks at what to do with it. */
static int can_read(const void *address)
{
    return REAL(SYS_rt_sigprocmask, -1, address, 0, 8) != -EFAULT;
}

static int can_write(void *address)
{
    return REAL(SYS_rt_sigprocmask, SIG_BLOCK, 0, address, 8) == 0;
}

static uint64_t *mask_of(ucontext_t *uc)
{
    return (uint64_t *)&uc->uc_sigmask;
}

/* rt_sigreturn puts back the mask that the program had at its call.  What it shall be is the real one, but without
 * SIGSYS: a trap whose signal is blocked is death. */
static void do_sigprocmask(ucontext_t *uc)
{
    const uint64_t *set = (void *)SYSCALL_ARG(uc, 1);
    if (set && SYSCALL_ARG(uc, 3) == 8 && can_read(set)) {
        uint64_t mask = *set & ~SIGSYS_BIT;
        SYSCALL_RESULT(uc) = REAL(SYS_rt_sigprocmask, SYSCALL_ARG(uc, 0), &mask, SYSCALL_ARG(uc, 2), 8);
    } else {
        SYSCALL_RESULT(uc) = real_call(uc);
    }
    REAL(SYS_rt_sigprocmask, SIG_BLOCK, 0, mask_of(uc), 8);
}

/* The calls that wait under another mask: not under one with SIGSYS, for handlers then run under it. */
static void call_with_mask(ucontext_t *uc, int argument)
{
    long given = SYSCALL_ARG(uc, argument);
    uint64_t mask;
    if (given && can_read((void *)given)) {
        mask = *(uint64_t *)given & ~SIGSYS_BIT;
        SYSCALL_ARG(uc, argument) = (long)&mask;
    }
    long result = real_call(uc);
    SYSCALL_ARG(uc, argument) = given;          /* on AArch64 the first one and the result are one register */
    SYSCALL_RESULT(uc) = result;
}

/* pselect6's mask is behind a pointer to (mask, its size). */
static void do_pselect6(ucontext_t *uc)
{
    long given = SYSCALL_ARG(uc, 5);
    const uint64_t *pair = (void *)given;
    uint64_t mask, ours[2];
    if (pair && can_read(pair) && can_read(pair + 1) && pair[0] && can_read((void *)pair[0])) {
        mask = *(uint64_t *)pair[0] & ~SIGSYS_BIT;
        ours[0] = (uint64_t)&mask;
        ours[1] = pair[1];
        SYSCALL_ARG(uc, 5) = (long)ours;
    }
    long result = real_call(uc);
    SYSCALL_ARG(uc, 5) = given;
    SYSCALL_RESULT(uc) = result;
}

/* SIGSYS is ours: the program's action is remembered, and told when it asks.  No other handler may block SIGSYS. */
static long do_sigaction(ucontext_t *uc)
{
    struct kernel_action *new = (void *)SYSCALL_ARG(uc, 1), *old = (void *)SYSCALL_ARG(uc, 2), action;
    if (SYSCALL_ARG(uc, 3) != 8 || (new && (!can_read(new) || !can_read(&new->mask))))
        return real_call(uc);
    if (new)
        action = *new;
    if ((int)SYSCALL_ARG(uc, 0) == SIGSYS) {
        if (old && (!can_write(old) || !can_write(&old->mask)))
            return -EFAULT;
        struct kernel_action before = hack1.wanted;
        if (new)
            hack1.wanted = action;
        if (old)
            *old = before;
        return 0;
    }
    action.mask &= ~SIGSYS_BIT;
    return REAL(SYS_rt_sigaction, SYSCALL_ARG(uc, 0), new ? &action : NULL, old, 8);
}

/* The alternate stack is put back by rt_sigreturn too.  While this handler is on it and the program is not, the call is
 * made with the program's SP, or it would be refused. */
static void do_sigaltstack(ucontext_t *uc)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), start = (uintptr_t)uc->uc_stack.ss_sp;
    uintptr_t size = uc->uc_stack.ss_size;
    if (here - start < size && PROGRAM_SP(uc) - start >= size)
        SYSCALL_RESULT(uc) = hack1_call_on(BELOW(PROGRAM_SP(uc)), hack1.syscall, SYS_sigaltstack, SYSCALL_ARG(uc, 0),
                                           SYSCALL_ARG(uc, 1));
    else
        SYSCALL_RESULT(uc) = real_call(uc);
    stack_t now;
    if (!REAL(SYS_sigaltstack, 0, &now)) {
        uc->uc_stack.ss_sp = now.ss_sp;
        uc->uc_stack.ss_size = now.ss_size;
        uc->uc_stack.ss_flags = now.ss_flags & ~SS_ONSTACK;
    }
}

/* Syscall User Dispatch does not outlive fork, clone and execve. */
static long dispatch_on(void)
{
    const struct vdso *vdso = &hack1.vdso;
    return REAL(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, vdso->start, vdso->end - vdso->start, 0);
}

/* What a new task does first. */
INTERNAL void hack1_child(void)
{
    if (hack1.options & HACK1_DISPATCH)
        dispatch_on();
}

/* A child without a stack of its own, in the same memory: it goes on, and uses the stack that this handler is on. */
static long do_vfork(ucontext_t *uc, long flags)
{
    enum { STACK_BYTES = 1 << 16 };
    uintptr_t end = frame_end(uc);
    size_t used = ((end - (uintptr_t)__builtin_frame_address(0)) & -16UL) + 4096, size = used + STACK_BYTES;
    char *save = (void *)REAL(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((unsigned long)save >= -4095UL)
        return (long)save;
    SYSCALL_RESULT(uc) = 0;                             /* what the child sees */
    long child = hack1_vfork(hack1.syscall, flags, uc, save, save + (size & -16UL), end);
    REAL(SYS_munmap, save, size);
    return child;
}

/* clone: a child in the same memory with a stack of its own can't return through a frame that is on its parent's. */
static long do_clone(ucontext_t *uc, long flags, uintptr_t stack)
{
    if (stack == (uintptr_t)PROGRAM_SP(uc))             /* so says glibc's vfork on AArch64 */
        stack = 0;
    if (!stack && (flags & (CLONE_VM | CLONE_VFORK)) == (CLONE_VM | CLONE_VFORK))
        return do_vfork(uc, flags);
    if (!stack) {
        long child = REAL(SYS_clone, flags, 0, SYSCALL_ARG(uc, 2), SYSCALL_ARG(uc, 3), SYSCALL_ARG(uc, 4));
        if (!child)
            hack1_child();
        return child;
    }
    ucontext_t *copy = copy_frame(uc, stack);
    SYSCALL_RESULT(copy) = 0;
    PROGRAM_SP(copy) = stack;
    if ((flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM) {
        copy->uc_stack.ss_sp = NULL;
        copy->uc_stack.ss_size = 0;
        copy->uc_stack.ss_flags = SS_DISABLE;
    }
    return hack1_clone(hack1.syscall, flags, copy, SYSCALL_ARG(uc, 2), SYSCALL_ARG(uc, 3), SYSCALL_ARG(uc, 4));
}

/* ---- the two variables have consequences ------------------------------------------------------------------------ */
/* The kernel's own umask is 0; the mask is applied here, to the argument that is a new file's mode. */
static void create_with_mask(ucontext_t *uc, int mode_argument)
{
    long given = SYSCALL_ARG(uc, mode_argument);
    SYSCALL_ARG(uc, mode_argument) = given & ~hack1.umask;
    long result = real_call(uc);
    SYSCALL_ARG(uc, mode_argument) = given;
    SYSCALL_RESULT(uc) = result;
}

/* Files whose mode is in a structure, or is none of the arguments: the kernel does it, for once. */
static void create_by_kernel(ucontext_t *uc)
{
    REAL(SYS_umask, hack1.umask);
    SYSCALL_RESULT(uc) = real_call(uc);
    REAL(SYS_umask, 0);
}

/* The next program finds both where it expects them: in the kernel. */
static long do_execve(ucontext_t *uc)
{
    long kernels = REAL(SYS_personality, hack1.personality);
    REAL(SYS_umask, hack1.umask);
    long result = real_call(uc);
    REAL(SYS_umask, 0);
    REAL(SYS_personality, kernels);
    return result;
}

/* ---- SIGSYS and seccomp of the program's own -------------------------------------------------------------------- */
/* A SIGSYS that somebody sent. */
static void program_sigsys(int signal, siginfo_t *si, ucontext_t *uc)
{
    struct kernel_action action = hack1.wanted;
    if (action.handler == (uintptr_t)SIG_IGN)
        return;
    if (action.handler == (uintptr_t)SIG_DFL) {
        action.flags = action.mask = 0;
        REAL(SYS_rt_sigaction, SIGSYS, &action, 0, 8);
        REAL(SYS_kill, REAL(SYS_getpid), SIGSYS);
        return;
    }
    ((void (*)(int, siginfo_t *, void *))action.handler)(signal, si, uc);
}

/* The talk's interception of prctl: what a kernel without seccomp would say. */
static int hidden_prctl(ucontext_t *uc)
{
    switch ((int)SYSCALL_ARG(uc, 0)) {
    case PR_GET_SECCOMP:
    case PR_SET_SECCOMP:
    case PR_SET_SYSCALL_USER_DISPATCH:
        SYSCALL_RESULT(uc) = -EINVAL;
        return 1;
    case PR_SET_NO_NEW_PRIVS:
        SYSCALL_RESULT(uc) = real_call(uc);
        if (!SYSCALL_RESULT(uc))
            hack1.no_new_privs = 1;
        return 1;
    case PR_GET_NO_NEW_PRIVS:
        SYSCALL_RESULT(uc) = hack1.no_new_privs;
        return 1;
    }
    return 0;
}

/* ---- the handler that is usual ---------------------------------------------------------------------------------- */
static void careful_handler(int signal, siginfo_t *si, void *uc_)
{
    ucontext_t *uc = uc_;
    if (si->si_code != CODE_SECCOMP && si->si_code != CODE_USER_DISPATCH)
        return program_sigsys(signal, si, uc);
    switch ((int)SYSCALL_NUMBER(uc)) {
    case SYS_rt_sigreturn:
        /* the frame that is meant is the program's, at its SP */
        hack1_leave(PROGRAM_SP(uc));
    case SYS_rt_sigprocmask:
        return do_sigprocmask(uc);
    case SYS_rt_sigaction:
        SYSCALL_RESULT(uc) = do_sigaction(uc);
        return;
    case SYS_sigaltstack:
        return do_sigaltstack(uc);
    case SYS_rt_sigsuspend:
        return call_with_mask(uc, 0);
    case SYS_ppoll:
        return call_with_mask(uc, 3);
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        return call_with_mask(uc, 4);
    case SYS_pselect6:
        return do_pselect6(uc);
    case SYS_clone:
        SYSCALL_RESULT(uc) = do_clone(uc, SYSCALL_ARG(uc, 0), SYSCALL_ARG(uc, 1));
        return;
    case SYS_clone3:
        /* its stack is in a structure; the C libraries know what to do on a kernel without it */
        SYSCALL_RESULT(uc) = -ENOSYS;
        return;
    case SYS_execve:
    case SYS_execveat:
        SYSCALL_RESULT(uc) = do_execve(uc);
        return;
    case SYS_openat:
    case SYS_mknodat:
        return create_with_mask(uc, (int)SYSCALL_NUMBER(uc) == SYS_openat ? 3 : 2);
    case SYS_mkdirat:
        return create_with_mask(uc, 2);
    case SYS_openat2:
    case SYS_mq_open:
    case SYS_bind:
        return create_by_kernel(uc);
#ifdef SYS_fork
    case SYS_fork:
        SYSCALL_RESULT(uc) = do_clone(uc, SIGCHLD, 0);
        return;
    case SYS_vfork:
        SYSCALL_RESULT(uc) = do_clone(uc, CLONE_VM | CLONE_VFORK | SIGCHLD, 0);
        return;
    case SYS_open:
        return create_with_mask(uc, 2);
    case SYS_creat:
    case SYS_mkdir:
    case SYS_mknod:
        return create_with_mask(uc, 1);
#endif
    case SYS_seccomp:
        if (hack1.options & HACK1_HIDE) {
            SYSCALL_RESULT(uc) = -ENOSYS;
            return;
        }
        break;
    case SYS_prctl:
        if (hack1.options & HACK1_HIDE && hidden_prctl(uc))
            return;
        break;
    }
    sys_handler(signal, si, uc);
}

/* ---- at the start ----------------------------------------------------------------------------------------------- */
static long install_handler(void)
{
    int slide = hack1.options & HACK1_SLIDE;
    struct kernel_action action = {
        .handler = (uintptr_t)(slide ? sys_handler : careful_handler),
        /* SA_NODEFER: handlers of other signals run while this one waits in a real call, and trap in their turn.
         * SA_ONSTACK: stacks that are too small for a signal's frame belong to programs that have an alternate one.
         * SA_RESTORER: the program's would make an old-style call. */
        .flags = SA_SIGINFO | KERNEL_SA_RESTORER | (slide ? 0 : SA_NODEFER | SA_ONSTACK),
        .restorer = hack1_sigreturn,
    };
    return REAL(SYS_rt_sigaction, SIGSYS, &action, slide ? NULL : &hack1.wanted, 8);
}

static long install_filter(void)
{
    if (REAL(SYS_prctl, PR_GET_SECCOMP) == SECCOMP_MODE_FILTER) {
        hack1.no_new_privs = 0;
        return 0;       /* both came with execve */
    }
    const struct sock_filter *filter = insns;
    __asm__("" : "+r"(filter));         /* or the compiler makes the structure a constant, with a relocation */
    struct sock_fprog program = { sizeof insns / sizeof *insns, (struct sock_filter *)filter };
    long result = REAL(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
    return result ? result : REAL(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* hack1_install() for a program whose auxiliary vector has told where the vDSO is. */
static int hack1_install_at(unsigned options, uintptr_t vdso)
{
    hack1.options = options;
    if (!vdso)
        return -ENOSYS;
    hack1.syscall = (kernel_syscall *)vdso_symbol(vdso, "__kernel_syscall", "UABI_1", &hack1.vdso);
    hack1_sigreturn = vdso_symbol(vdso, "__kernel_rt_sigreturn", SIGRETURN_VERSION, &hack1.vdso);
    if (!hack1.syscall || !hack1_sigreturn)
        return -ENOSYS;
    hack1.personality = REAL(SYS_personality, PERSONALITY_QUERY);
    hack1.umask = REAL(SYS_umask, 0);
    if (options & HACK1_SLIDE)
        REAL(SYS_umask, hack1.umask);
    hack1.no_new_privs = REAL(SYS_prctl, PR_GET_NO_NEW_PRIVS);
    uint64_t mask = SIGSYS_BIT;
    REAL(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, 8);
    long result = install_handler();
    return result ? result : options & HACK1_DISPATCH ? dispatch_on() : install_filter();
}

#ifndef HACK1_INJECTED
int hack1_install(unsigned options)
{
    return hack1_install_at(options, getauxval(AT_SYSINFO_EHDR));
}
#endif

#ifdef HACK1_CONSTRUCTOR
__attribute__((constructor)) static void hack1_before_main(void)
{
    hack1_install(HACK1_CONSTRUCTOR);
}
#endif
