/* System calls on a stack of 1,024 bytes, as a coroutine or a language's runtime has: the calls need none of it. */
#include "raw.h"

static volatile long seen;

static void calls(void)
{
    for (int i = 0; i < 10; i++)
        seen = raw_call(SYS_getppid);
}

int main(void)
{
    guest_start();
    call_on(small_stack(1024), calls);
    CHECK(seen == getppid());
    return guest_end();
}
