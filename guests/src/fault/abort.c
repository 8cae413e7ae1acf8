/* abort: SIGABRT, asked for by the guest itself.  man 3 abort */
#include "guest.h"

int main(void)
{
    guest_start();
    guest_end();
    abort();
    puts("not reached");
    return 1;
}
