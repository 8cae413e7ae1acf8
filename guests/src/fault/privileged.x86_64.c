/* A privileged instruction: #GP and so SIGSEGV; the AArch64 twin gets SIGILL. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    __asm__ volatile("hlt");
    puts("not reached");
    return 1;
}
