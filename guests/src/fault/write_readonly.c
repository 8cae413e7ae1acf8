/* A store to a page that may only be read: SIGSEGV, SEGV_ACCERR. */
#include "guest.h"

int main(void)
{
    guest_start();
    volatile char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(p[7], 0);
    guest_end();
    p[7] = 1;
    puts("not reached");
    return 1;
}
