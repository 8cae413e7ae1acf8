/* A program with a handler for SIGSYS of its own, which it sends itself. */
#include "raw.h"

static volatile int count, code;

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    count++;
    code = info->si_code;
}

int main(void)
{
    guest_start();
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO }, before;
    WANT(sigaction(SIGSYS, &act, &before), 0);
    CHECK(before.sa_handler == SIG_DFL);
    CHECK(getpid() == gettid());
    WANT(count, 0);
    WANT(raise(SIGSYS), 0);
    WANT(count, 1);
    CHECK(code == SI_TKILL);
    return guest_end();
}
