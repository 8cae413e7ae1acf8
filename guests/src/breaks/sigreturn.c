/* A handler that returns: rt_sigreturn looks for the signal's frame at SP. */
#include "raw.h"

static volatile int count;

static void handler(int signal)
{
    (void)signal;
    count++;
}

int main(void)
{
    guest_start();
    struct sigaction act = { .sa_handler = handler };
    WANT(sigaction(SIGUSR1, &act, NULL), 0);
    WANT(raise(SIGUSR1), 0);
    WANT(raise(SIGUSR1), 0);
    WANT(count, 2);
    return guest_end();
}
