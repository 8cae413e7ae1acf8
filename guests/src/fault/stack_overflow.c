/* Recursion without end: the stack grows down to RLIMIT_STACK and then faults with SIGSEGV.
 * man 2 setrlimit "RLIMIT_STACK" */
#include "guest.h"
#include <sys/resource.h>

static volatile int without_end = 1;

static int deep(volatile char *above)
{
    volatile char here[512];
    here[0] = above[0];
    return without_end ? deep(here) + here[0] : 0;
}

int main(void)
{
    guest_start();
    struct rlimit limit;
    WANT(getrlimit(RLIMIT_STACK, &limit), 0);
    limit.rlim_cur = 1 << 20;
    WANT(setrlimit(RLIMIT_STACK, &limit), 0);
    guest_end();
    volatile char first = 0;
    return deep(&first);
}
