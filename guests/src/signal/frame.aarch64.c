/* struct rt_sigframe, byte for byte, and what a handler starts with.
 * arch/arm64/kernel/signal.c, man 2 sigaction */
#include "guest.h"
#include <ucontext.h>

struct frame {
    siginfo_t info;
    uint64_t uc_flags, uc_link;
    stack_t uc_stack;
    uint64_t uc_sigmask;
    char unused[120] __attribute__((aligned(8)));
    uint64_t padding;
    uint64_t fault_address, regs[31], sp, pc, pstate, more_padding;
    unsigned char records[4096];
};
_Static_assert(offsetof(struct frame, records) == 592 && sizeof(struct frame) == 4688, "struct rt_sigframe");

uint64_t entry[8];
static struct frame seen;
static uint64_t frame_record[2];
static uint32_t trampoline[2];

__attribute__((naked)) static void enter(void)
{
    __asm__("adrp x9, entry\n\tadd x9, x9, :lo12:entry\n\tmov x10, sp\n\tstp x10, x0, [x9]\n\tstp x1, x2, [x9, #16]\n\t"
            "stp x29, x30, [x9, #32]\n\tstr d3, [x9, #48]\n\tb look");
}

__attribute__((used)) void look(void)
{
    memcpy(&seen, (void *)entry[0], sizeof seen);
    memcpy(frame_record, (void *)entry[4], sizeof frame_record);
    memcpy(trampoline, (void *)entry[5], sizeof trampoline);
}

int main(void)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO };
    uint64_t sp, pc, value = 0x400a000000000000, result;
    uint32_t word[4];
    guest_start();
    act.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)enter;
    sigaction(SIGUSR1, &act, NULL);
    uint64_t pid = (uint64_t)getpid();
    register uint64_t x8 __asm__("x8") = SYS_kill, x0 __asm__("x0") = pid, x1 __asm__("x1") = SIGUSR1;
    register uint64_t x7 __asm__("x7") = 7, x19 __asm__("x19") = 19, x28 __asm__("x28") = 28;
    __asm__ volatile("fmov d3, %3\n\tmov %0, sp\n\tadr %1, 1f\n\tcmp xzr, xzr\n\tsvc #0\n1:\tfmov %2, d3"
                     : "=&r"(sp), "=&r"(pc), "=&r"(result), "+r"(value), "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x7), "r"(x19), "r"(x28)
                     : "memory", "v3", "cc");
    WANT(x0, 0);
    CHECK(result == value);
    /* where things lie */
    CHECK(entry[0] % 16 == 0 && sp - entry[0] >= sizeof seen + 16);
    CHECK(entry[1] == SIGUSR1 && entry[2] == entry[0] && entry[3] == entry[0] + 128);
    CHECK(entry[4] == ((sp - 16) & -16ul) && frame_record[0] == seen.regs[29] && frame_record[1] == seen.regs[30]);
    WANT(trampoline[0], 0xd2801168);                    /* mov x8, #139 */
    WANT(trampoline[1], 0xd4000001);                    /* svc #0 */
    CHECK(entry[6] == value);                           /* vector registers as they were */
    /* the frame */
    CHECK(!seen.uc_flags && !seen.uc_link && !seen.uc_stack.ss_sp && !seen.uc_stack.ss_size && !seen.uc_sigmask);
    CHECK(seen.regs[7] == 7 && seen.regs[19] == 19 && seen.regs[28] == 28);
    CHECK(seen.regs[0] == 0 && seen.regs[1] == SIGUSR1 && seen.regs[8] == SYS_kill);
    CHECK(seen.sp == sp && seen.pc == pc && seen.pstate == 0x60000000 && !seen.fault_address);
    CHECK(seen.info.si_signo == SIGUSR1 && seen.info.si_code == SI_USER && seen.info.si_pid == getpid());
    int junk = 0;
    for (int i = 24; i < 128; i++)
        junk |= ((char *)&seen.info)[i];
    WANT(junk, 0);
    memcpy(word, seen.records, 16);
    CHECK(word[0] == 0x46508001 && word[1] == 528);     /* FPSIMD_MAGIC */
    CHECK(!word[2] && !word[3] && !memcmp(seen.records + 16 + 48, &value, 8));
    return guest_end();
}
