/* A load from an address that nothing maps: SIGSEGV, SEGV_MAPERR.  man 2 sigaction */
#include "guest.h"

int main(void)
{
    guest_start();
    char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(munmap(p, PAGE), 0);
    guest_end();
    printf("%d\n", *(volatile char *)p);
    puts("not reached");
    return 1;
}
