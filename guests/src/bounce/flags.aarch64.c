/* Flags and what lies below SP across a system call. The architecture's ABI has no red zone, but Linux touches nothing below
 * SP, and Go's threads begin with words there. */
#include "guest.h"

static uint64_t across(uint64_t flags)
{
    register long x0 __asm__("x0") = 0;
    register long x8 __asm__("x8") = SYS_getpid;
    uint64_t after, before, behind;
    __asm__ volatile("mov %[before], sp\n msr nzcv, %[flags]\n svc #0\n mrs %[after], nzcv\n mov %[behind], sp"
                     : "+r"(x0), [after] "=&r"(after), [before] "=&r"(before), [behind] "=&r"(behind), "+r"(x8)
                     : [flags] "r"(flags) : "memory", "cc");
    if (x0 != getpid() || x8 != SYS_getpid || before != behind)
        guest_check(__FILE__, __LINE__, "result, number and SP", 0);
    return after;
}

static uint64_t round_trip(uint64_t mode)
{
    uint64_t after;
    register long x0 __asm__("x0") = 0;
    register long x8 __asm__("x8") = SYS_getpid;
    __asm__ volatile("msr fpcr, %[mode]\n svc #0\n mrs %[after], fpcr\n msr fpcr, xzr"
                     : "+r"(x0), [after] "=&r"(after) : [mode] "r"(mode), "r"(x8) : "memory", "cc");
    return after;
}

/* 0 when the 128 bytes below SP are after a call what they were before it. */
static uint64_t below_sp(void)
{
    register long x0 __asm__("x0") = 0;
    register long x8 __asm__("x8") = SYS_getpid;
    uint64_t changed, at, word;
    __asm__ volatile("mov %[at], #-128\n"
                     "1: add x1, sp, %[at]\n str x1, [x1]\n add %[at], %[at], #8\n cbnz %[at], 1b\n"
                     "svc #0\n mov %[changed], #0\n mov %[at], #-128\n"
                     "2: add x1, sp, %[at]\n ldr %[word], [x1]\n eor %[word], %[word], x1\n"
                     "orr %[changed], %[changed], %[word]\n add %[at], %[at], #8\n cbnz %[at], 2b"
                     : "+r"(x0), [changed] "=&r"(changed), [at] "=&r"(at), [word] "=&r"(word) : "r"(x8) : "x1", "memory", "cc");
    return changed;
}

int main(void)
{
    guest_start();
    puts("[flags and SP]");
    for (uint64_t nzcv = 0; nzcv < 16; nzcv++)
        if (across(nzcv << 28) != nzcv << 28)
            guest_check(__FILE__, __LINE__, "NZCV", 0);
    puts("NZCV kept");
    CHECK(round_trip(1 << 22) == 1 << 22);
    CHECK(below_sp() == 0);
    return guest_end();
}
