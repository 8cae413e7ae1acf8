/* A jump into a page without execute permission: SIGSEGV, SEGV_ACCERR. */
#include "guest.h"

int main(void)
{
    guest_start();
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(p);
    guest_end();
    ((void (*)(void))(uintptr_t)p)();
    puts("not reached");
    return 1;
}
