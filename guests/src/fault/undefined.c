/* An instruction that is not defined: SIGILL. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
#ifdef __x86_64__
    __asm__ volatile("ud2");
#else
    __asm__ volatile(".inst 0");
#endif
    puts("not reached");
    return 1;
}
