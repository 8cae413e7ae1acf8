/* Flags and what lies below SP across a system call. There is no red zone: what is below SP is anyone's, but SP, the
 * flags and the floating-point state are the program's. */
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

int main(void)
{
    guest_start();
    puts("[flags and SP]");
    for (uint64_t nzcv = 0; nzcv < 16; nzcv++)
        if (across(nzcv << 28) != nzcv << 28)
            guest_check(__FILE__, __LINE__, "NZCV", 0);
    puts("NZCV kept");
    CHECK(round_trip(1 << 22) == 1 << 22);
    return guest_end();
}
