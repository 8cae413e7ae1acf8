/* A breakpoint instruction nobody waits for: SIGTRAP. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
#ifdef __x86_64__
    __asm__ volatile("int3");
#else
    __asm__ volatile("brk #7");
#endif
    puts("not reached");
    return 1;
}
