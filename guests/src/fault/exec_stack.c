/* The stack is not executable when PT_GNU_STACK says so.  man 5 elf */
#include "guest.h"

int main(void)
{
    guest_start();
    volatile unsigned char code[16] = { 0xc3 };
    guest_end();
    ((void (*)(void))(uintptr_t)code)();
    puts("not reached");
    return 1;
}
