/* A load from a non-canonical address: #GP and so SIGSEGV. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    volatile char *volatile p = (volatile char *)0x8000000000001234UL;
    printf("%d\n", *p);
    puts("not reached");
    return 1;
}
