/* Signal frames that a handler has changed, or made up, and what rt_sigreturn makes of them: refused with SIGSEGV, put
 * right, or taken as they are.  Every case runs in a child.
 * arch/x86/kernel/signal_64.c:sys_rt_sigreturn(), arch/x86/kernel/fpu/signal.c:fpu__restore_sig() */
#include "forged.h"

#define IP REG_RIP

static int call_faults;

static void on_fault(int signal, siginfo_t *info, void *at)
{
    ucontext_t *fault = at;
    long address = (long)info->si_addr;
    char text[120];
    if (signal == SIGTRAP && address == fault->uc_mcontext.gregs[REG_RIP])
        address = -1;                                           /* where that is the compiler decides */
    int count = call_faults ? snprintf(text, sizeof text, "signal %d", signal)
                            : snprintf(text, sizeof text, "signal %d code %d address %lx trap %lld error %lld", signal,
                                       info->si_code, address, fault->uc_mcontext.gregs[REG_TRAPNO],
                                       fault->uc_mcontext.gregs[REG_ERR]);
    (void)!write(1, text, (size_t)count);
    _exit(0);
}

static void on_signal(int signal, siginfo_t *info, void *at)
{
    (void)signal, (void)info;
    context = at;
    change();
}

/* -- what is changed -- */
static unsigned char *fp(void) { return (unsigned char *)context->uc_mcontext.fpregs; }
static void put32(int at, uint32_t value) { memcpy(fp() + at, &value, 4); }
static void selector(int at, unsigned value)
{
    unsigned short *selectors = (unsigned short *)&context->uc_mcontext.gregs[REG_CSGSFS];
    selectors[at] = (unsigned short)value;
}
static void nothing(void) { }
static void no_fpstate(void) { context->uc_mcontext.fpregs = NULL; }
static void bad_fpstate(void) { context->uc_mcontext.fpregs = BAD; }
static void wild_fpstate(void) { context->uc_mcontext.fpregs = WILD; }
static void odd_fpstate(void) { context->uc_mcontext.fpregs = (void *)(fp() + 1); }
static void bad_magic1(void) { put32(464, 0x12345678); }
static void bad_magic2(void)
{
    uint32_t size, magic = 0;
    memcpy(&size, fp() + 480, 4);
    if (fp()[464] && size >= 516)
        memcpy(fp() + size - 4, &magic, 4);
}
static void big_extended_size(void) { put32(468, 1 << 20); }
static void reserved_mxcsr(void) { put32(24, 0xffff1f80); }
static void rip_beyond(void) { context->uc_mcontext.gregs[IP] = (long)WILD; }
static void rip_of_kernel(void) { context->uc_mcontext.gregs[IP] = -4096; }
static void rip_unmapped(void) { context->uc_mcontext.gregs[IP] = 8; }
static void cs_null(void) { selector(0, 0); }
static void cs_kernel(void) { selector(0, 0x10); }
static void cs_data(void) { selector(0, 0x2b); }
static void cs_ring_0(void) { selector(0, 0x30); }
static void cs_none(void) { selector(0, 0xfff3); }
static void ss_null(void) { selector(3, 0); }
static void ss_kernel(void) { selector(3, 0x18); }
static void ss_code(void) { selector(3, 0x33); }
static void ss_none(void) { selector(3, 0xfff3); }
static void ss_none_but_lenient(void)
{
    selector(3, 0xfff3);
    context->uc_flags &= ~4UL;
}
static void fs_and_gs(void) { selector(1, 0xffff); selector(2, 0xffff); }
static void all_flags(void) { context->uc_mcontext.gregs[REG_EFL] |= ~0x40100L; }
static void no_flags(void) { context->uc_mcontext.gregs[REG_EFL] = 0; }
static void trap_flag(void) { context->uc_mcontext.gregs[REG_EFL] |= 0x100; }
static void all_blocked(void) { memset(&context->uc_sigmask, 0xff, 8); }
static void stack_too_small(void) { context->uc_stack.ss_size = 16; }
static void stack_flags(void) { context->uc_stack.ss_flags = 77; }
/* A call at an SP that is not writable is told differently when calls bounce: at the frame. */
static void return_from(void *sp)
{
    __asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall\n\tud2" : : "r"(sp) : "memory");
}
static void from_nowhere(void) { call_faults = 1; return_from(BAD); }
static void from_beyond(void) { call_faults = 1; return_from(WILD); }
static void from_the_top(void) { call_faults = 1; return_from((void *)0x7ffffffff000); }
static void from_minus_one(void) { call_faults = 1; return_from((void *)-1); }
/* Half of the frame is mapped: up to the signal mask. */
static void from_the_edge(void)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(pages + PAGE - 200, context, 200);
    munmap(pages + PAGE, PAGE);
    return_from(pages + PAGE - 200);
}
static void from_zeros(void)
{
    static char zeros[4096] __attribute__((aligned(16)));
    return_from(zeros + 1024);
}
static void from_an_odd_address(void)
{
    static char copy[4096];
    memcpy(copy + 1025, context, 304);
    return_from(copy + 1025);
}

static const struct forgery cases[] = {
#define CASE(name) { #name, name }
    CASE(nothing), CASE(no_fpstate), CASE(bad_fpstate), CASE(wild_fpstate), CASE(odd_fpstate), CASE(bad_magic1),
    CASE(bad_magic2), CASE(big_extended_size), CASE(reserved_mxcsr), CASE(rip_beyond), CASE(rip_of_kernel),
    CASE(rip_unmapped), CASE(cs_null), CASE(cs_kernel), CASE(cs_data), CASE(cs_ring_0), CASE(cs_none),
    CASE(ss_null), CASE(ss_kernel), CASE(ss_code), CASE(ss_none), CASE(ss_none_but_lenient), CASE(fs_and_gs),
    CASE(all_flags), CASE(no_flags), CASE(trap_flag), CASE(all_blocked), CASE(stack_too_small), CASE(stack_flags),
    CASE(from_nowhere), CASE(from_beyond), CASE(from_the_top), CASE(from_minus_one), CASE(from_the_edge),
    CASE(from_zeros), CASE(from_an_odd_address),
};

static void run_case(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
    stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate }, now;
    uint64_t flags, number = 0x400a000000000000, kept;
    uint32_t mxcsr = 0x3f80;
    sigset_t mask;
    sigaltstack(&stack, NULL);
    act.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGILL, &act, NULL);
    sigaction(SIGTRAP, &act, NULL);
    act.sa_flags = SA_SIGINFO;
    act.sa_sigaction = on_signal;
    sigaction(SIGUSR1, &act, NULL);
    long pid = getpid();
    __asm__ volatile("ldmxcsr %4\n\tmovq %3, %%xmm9\n\tsyscall\n\tpushf\n\tpop %0\n\tmovq %%xmm9, %1\n\tstmxcsr %2\n\tcld"
                     : "=&r"(flags), "=&r"(kept), "=m"(mxcsr)
                     : "m"(number), "m"(mxcsr), "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
                     : "rcx", "r11", "memory", "xmm9");
    /* the flag that popf sets by itself, and AC, which would trap here */
    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaltstack(NULL, &now);
    char text[120];
    int count = snprintf(text, sizeof text, "went on: flags %lx vectors %s mxcsr %x KILL blocked %d mask %d stack %s",
                         (long)(flags & ~0x4000cd5L), kept == number ? "kept" : kept ? "other" : "zero", mxcsr,
                         sigismember(&mask, SIGKILL), sigismember(&mask, SIGUSR2), now.ss_size == 65536 ? "kept" : "new");
    (void)!write(1, text, (size_t)count);
    _exit(0);
}

int main(void)
{
    return forge_all(cases, sizeof cases / sizeof *cases, run_case);
}
