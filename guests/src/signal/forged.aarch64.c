/* Signal frames that a handler has changed, or made up, and what rt_sigreturn makes of them: refused with SIGSEGV, put
 * right, or taken as they are.  Every case runs in a child.
 * arch/arm64/kernel/signal.c:restore_sigframe(), parse_user_sigframe(), valid_user_regs() */
#include "forged.h"

#define RECORDS_BYTES 4096
static siginfo_t *frame;

static void on_fault(int signal, siginfo_t *info, void *at)
{
    ucontext_t *fault = at;
    char text[120];
    int count = snprintf(text, sizeof text, "signal %d code %d%s", signal, signal == SIGSEGV ? 0 : info->si_code,
                         signal == SIGBUS && (uint64_t)info->si_addr == fault->uc_mcontext.pc ? " at its PC" : "");
    (void)!write(1, text, (size_t)count);
    _exit(0);
}

static void on_signal(int signal, siginfo_t *info, void *at)
{
    (void)signal;
    context = at;
    frame = info;
    change();
}

/* -- what is changed -- */
static unsigned char *records(void) { return (unsigned char *)context->uc_mcontext.__reserved; }
static struct fpsimd_context *fp(void) { return (struct fpsimd_context *)records(); }
static struct _aarch64_ctx *behind(void) { return (struct _aarch64_ctx *)(records() + sizeof *fp()); }
static void state(uint64_t bits) { context->uc_mcontext.pstate |= bits; }
static void nothing(void) { }
static void el1(void) { state(5); }
static void el1_with_el0s_sp(void) { state(4); }
static void sp_of_el1(void) { state(1); }
static void aarch32(void) { state(0x10); }
static void aarch32_user_thumb(void) { state(0x30); }
static void masked_d(void) { state(0x200); }
static void masked_a(void) { state(0x100); }
static void masked_i(void) { state(0x80); }
static void masked_f(void) { state(0x40); }
static void reserved_bits(void) { state(0xffffffff00000000UL | 0x1fe000 | 0x20); }
static void flags_only(void) { state(0xf0000000); }
static void bad_magic(void) { fp()->head.magic = 0x12345678; }
static void no_records(void) { fp()->head.magic = fp()->head.size = 0; }
static void end_with_size(void) { behind()->size = 16; }
static void small(void) { fp()->head.size = 512; }
static void large(void) { fp()->head.size = 544; }
static void size_zero(void) { fp()->head.size = 0; }
static void size_unaligned(void) { fp()->head.size = 529; }
static void size_past_the_end(void) { fp()->head.size = RECORDS_BYTES + 16; }
static void size_huge(void) { fp()->head.size = 0xfffffff0; }
static void fpsimd_twice(void) { memcpy(behind(), fp(), sizeof *fp()); behind()[sizeof *fp() / 8].magic = 0; }
static void unknown_behind(void) { behind()->magic = 0x42; behind()->size = 16; }
/* Records of ESR to the very end, so that none ends the list. */
static void without_an_end(void)
{
    for (unsigned char *at = (unsigned char *)behind(); at + 16 <= records() + RECORDS_BYTES; at += 16)
        *(struct esr_context *)at = (struct esr_context) { { ESR_MAGIC, 16 }, 0 };
}
static void to_the_last_place(void)
{
    without_an_end();
    memset(records() + RECORDS_BYTES - 16, 0, 16);
}
static void extra(uint64_t data, uint32_t size)
{
    struct extra_context *more = (struct extra_context *)behind();
    memset(more, 0, sizeof *more + 64);
    more->head = (struct _aarch64_ctx) { EXTRA_MAGIC, sizeof *more };
    more->datap = data;
    more->size = size;
}
static uint64_t behind_extra(void) { return (uint64_t)behind() + sizeof(struct extra_context) + 16; }
static void extra_sound(void) { extra(behind_extra(), 16); }
static void extra_elsewhere(void) { extra((uint64_t)alternate & -16UL, 16); }
static void extra_unaligned(void) { extra(behind_extra() + 8, 16); }
static void extra_odd_size(void) { extra(behind_extra(), 24); }
static void extra_huge(void) { extra(behind_extra(), 0xfffffff0); }
static void extra_empty(void) { extra(behind_extra(), 0); }
static void odd_pc(void) { context->uc_mcontext.pc += 2; }
static void pc_beyond(void) { context->uc_mcontext.pc = (uint64_t)WILD; }
static void pc_of_kernel(void) { context->uc_mcontext.pc = (uint64_t)-4096; }
static void pc_unmapped(void) { context->uc_mcontext.pc = 8; }
static void all_blocked(void) { memset(&context->uc_sigmask, 0xff, 8); }
static void stack_too_small(void) { context->uc_stack.ss_size = 16; }
static void stack_flags(void) { context->uc_stack.ss_flags = 77; }
static void return_from(void *sp)
{
    __asm__ volatile("mov sp, %0\n\tmov x8, #139\n\tsvc #0\n\tudf #0" : : "r"(sp) : "memory");
}
static void from_nowhere(void) { return_from((void *)16); }
static void from_beyond(void) { return_from(WILD); }
static void from_minus_16(void) { return_from((void *)-16); }
static void from_an_odd_address(void)
{
    static char copy[8192] __attribute__((aligned(16)));
    memcpy(copy + 1032, frame, 4688);
    return_from(copy + 1032);
}
static void from_the_edge(void)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(pages + PAGE - 512, frame, 512);
    munmap(pages + PAGE, PAGE);
    return_from(pages + PAGE - 512);
}
static void from_zeros(void)
{
    static char zeros[8192] __attribute__((aligned(16)));
    return_from(zeros + 1024);
}

static const struct forgery cases[] = {
#define CASE(name) { #name, name }
    CASE(nothing), CASE(el1), CASE(el1_with_el0s_sp), CASE(sp_of_el1), CASE(aarch32), CASE(aarch32_user_thumb),
    CASE(masked_d), CASE(masked_a), CASE(masked_i), CASE(masked_f), CASE(reserved_bits), CASE(flags_only),
    CASE(bad_magic), CASE(no_records), CASE(end_with_size), CASE(small), CASE(large), CASE(size_zero),
    CASE(size_unaligned), CASE(size_past_the_end), CASE(size_huge), CASE(fpsimd_twice), CASE(unknown_behind),
    CASE(without_an_end), CASE(to_the_last_place), CASE(extra_sound), CASE(extra_elsewhere), CASE(extra_unaligned),
    CASE(extra_odd_size), CASE(extra_huge), CASE(extra_empty), CASE(odd_pc), CASE(pc_beyond), CASE(pc_of_kernel),
    CASE(pc_unmapped), CASE(all_blocked), CASE(stack_too_small), CASE(stack_flags), CASE(from_nowhere),
    CASE(from_beyond), CASE(from_minus_16), CASE(from_an_odd_address), CASE(from_the_edge), CASE(from_zeros),
};

static void run_case(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
    stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate }, now;
    uint64_t number = 0x400a000000000000, kept;
    sigset_t mask;
    sigaltstack(&stack, NULL);
    act.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGILL, &act, NULL);
    act.sa_flags = SA_SIGINFO;
    act.sa_sigaction = on_signal;
    sigaction(SIGUSR1, &act, NULL);
    register long x0 __asm__("x0") = getpid();
    register long x1 __asm__("x1") = SIGUSR1;
    register long x8 __asm__("x8") = SYS_kill;
    __asm__ volatile("fmov d9, %4\n\tsvc #0\n\tfmov %0, d9"
                     : "=&r"(kept), "+r"(x0) : "r"(x1), "r"(x8), "r"(number) : "memory", "v9");
    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaltstack(NULL, &now);
    char text[120];
    int count = snprintf(text, sizeof text, "went on: vectors %s KILL blocked %d mask %d stack %s",
                         kept == number ? "kept" : "other", sigismember(&mask, SIGKILL), sigismember(&mask, SIGUSR2),
                         now.ss_size == 65536 ? "kept" : "new");
    (void)!write(1, text, (size_t)count);
    _exit(0);
}

int main(void)
{
    return forge_all(cases, sizeof cases / sizeof *cases, run_case);
}
