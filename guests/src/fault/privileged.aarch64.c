/* A privileged instruction is undefined at EL0: SIGILL; the x86-64 twin gets SIGSEGV. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    __asm__ volatile("msr vbar_el1, xzr");
    puts("not reached");
    return 1;
}
