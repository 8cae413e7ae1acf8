/* Integer division by zero: #DE and so SIGFPE.  AArch64 has no such fault. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    __asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; idiv %%ecx" ::: "eax", "ecx", "edx");
    puts("not reached");
    return 1;
}
