/* A store to the program's own code: SIGSEGV, SEGV_ACCERR. */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    *(volatile char *)(uintptr_t)main = 0;
    puts("not reached");
    return 1;
}
