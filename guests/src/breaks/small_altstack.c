/* A handler on an alternate stack with room for one signal's frame and 1,024 bytes, in which it makes a call.
 * man 2 sigaltstack, man 3 getauxval (AT_MINSIGSTKSZ) */
#include "raw.h"
#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static volatile long seen;

static void handler(int signal)
{
    (void)signal;
    seen = raw_call(SYS_getppid);
}

int main(void)
{
    guest_start();
    size_t size = getauxval(AT_MINSIGSTKSZ) + 1024;
    if (size < MINSIGSTKSZ)
        size = MINSIGSTKSZ;
    stack_t stack = { .ss_sp = small_stack(size) - size, .ss_size = size };
    struct sigaction act = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    WANT(sigaltstack(&stack, NULL), 0);
    WANT(sigaction(SIGUSR1, &act, NULL), 0);
    WANT(raise(SIGUSR1), 0);
    CHECK(seen == getppid());
    return guest_end();
}
