/* struct rt_sigframe, byte for byte, and what a handler starts with.
 * arch/x86/kernel/signal_64.c, man 2 sigaction */
#include "guest.h"
#include <ucontext.h>

struct frame {
    uint64_t restorer;
    uint64_t uc_flags, uc_link;
    stack_t uc_stack;
    uint64_t gregs[18];
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2;
    unsigned char *fpstate;
    uint64_t reserved[8];
    uint64_t uc_sigmask;
    siginfo_t info;
};
_Static_assert(sizeof(struct frame) == 440, "struct rt_sigframe");

uint64_t entry[8];
static struct frame seen;
static unsigned char fpstate[512];

__attribute__((naked)) static void enter(void)
{
    __asm__("mov %rsp, entry\n\tmov %rdi, entry+8\n\tmov %rsi, entry+16\n\tmov %rdx, entry+24\n\tmov %rax, entry+32\n\t"
            "pushf\n\tpopq entry+40\n\tmovq $0, entry+48\n\tfnstcw entry+48\n\tstmxcsr entry+52\n\tmovq %xmm3, entry+56\n\t"
            "jmp look");
}

__attribute__((used)) void look(void)
{
    memcpy(&seen, (void *)entry[0], sizeof seen);
    memcpy(fpstate, seen.fpstate, sizeof fpstate);
}

int main(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO };
    uint64_t sp, pc, value = 0x400a000000000000;
    uint32_t mxcsr = 0x3f80, word;
    guest_start();
    act.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)enter;
    sigaddset(&act.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &act, NULL);
    uint64_t pid = (uint64_t)getpid();
    register uint64_t r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r10 __asm__("r10") = 10, r12 __asm__("r12") = 12;
    register uint64_t r13 __asm__("r13") = 13, r14 __asm__("r14") = 14;
    __asm__ volatile("ldmxcsr %4\n\tmovq %3, %%xmm3\n\tmov %%rsp, %0\n\tlea 1f(%%rip), %1\n\tstd\n\tsyscall\n1:\tcld"
                     : "=&b"(sp), "=&d"(pc)
                     : "a"(SYS_kill), "m"(value), "m"(mxcsr), "D"(pid), "S"(SIGUSR1), "r"(r8), "r"(r9), "r"(r10),
                       "r"(r12), "r"(r13), "r"(r14)
                     : "rcx", "r11", "memory", "xmm3");
    /* where things lie */
    CHECK(entry[0] % 16 == 8);
    CHECK(entry[1] == SIGUSR1 && entry[2] == entry[0] + 312 && entry[3] == entry[0] + 8 && entry[4] == 0);
    CHECK((uintptr_t)seen.fpstate % 64 == 0 && (uintptr_t)seen.fpstate >= entry[0] + sizeof seen);
    CHECK((uintptr_t)seen.fpstate + 512 <= sp - 128);
    /* what the handler starts with */
    CHECK((entry[5] & 0x10500) == 0);                   /* no DF, TF, RF */
    CHECK((entry[6] & 0xffff) == 0x37f && entry[6] >> 32 == 0x1f80 && entry[7] == 0);
    /* the frame */
    CHECK(seen.restorer && (seen.uc_flags & ~1ul) == 6 && seen.uc_link == 0);
    CHECK(!seen.uc_stack.ss_sp && !seen.uc_stack.ss_size);
    for (int i = 0; i < 3; i++)
        WANT(seen.gregs[i], 8 + i);
    for (int i = 4; i < 7; i++)
        WANT(seen.gregs[i], 8 + i);
    CHECK(seen.gregs[8] == pid && seen.gregs[9] == SIGUSR1 && seen.gregs[11] == sp && seen.gregs[15] == sp);
    WANT(seen.gregs[13], 0);                            /* rax: the call's result */
    CHECK(seen.gregs[12] == pc && seen.gregs[16] == pc && seen.gregs[14] == pc);
    CHECK(seen.gregs[3] == seen.gregs[17]);             /* r11: the flags */
    WANT(seen.gregs[17] & 0x600, 0x600);
    CHECK(seen.cs == 0x33 && seen.ss == 0x2b && !seen.gs && !seen.fs);
    CHECK(!seen.err && !seen.trapno && !seen.oldmask && !seen.cr2 && !seen.uc_sigmask);
    CHECK(seen.info.si_signo == SIGUSR1 && seen.info.si_code == SI_USER && seen.info.si_pid == getpid());
    int junk = 0;
    for (int i = 24; i < 128; i++)
        junk |= ((char *)&seen.info)[i];
    WANT(junk, 0);
    memcpy(&word, fpstate + 24, 4);
    WANT(word, 0x3f80);
    CHECK(fpstate[0] == 0x7f && fpstate[1] == 3 && !memcmp(fpstate + 160 + 48, &value, 8));

    mxcsr = 0;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    WANT(mxcsr, 0x3f80);                                /* sigreturn put it back */
    return guest_end();
}
