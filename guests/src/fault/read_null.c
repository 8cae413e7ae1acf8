/* A load through a null pointer: SIGSEGV, SEGV_MAPERR. */
#include "guest.h"

int main(void)
{
    guest_start();
    volatile char *volatile p = NULL;
    guest_end();
    printf("%d\n", p[4]);
    puts("not reached");
    return 1;
}
