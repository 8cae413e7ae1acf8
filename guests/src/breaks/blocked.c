/* A program that blocks every signal, SIGSYS among them, for some calls: so does every C library around fork. */
#include "raw.h"

int main(void)
{
    guest_start();
    sigset_t all, now;
    sigfillset(&all);
    WANT(sigprocmask(SIG_BLOCK, &all, NULL), 0);
    CHECK(getpid() == gettid());
    WANT(sigprocmask(SIG_BLOCK, NULL, &now), 0);
    CHECK(sigismember(&now, SIGTERM));
    CHECK(sigismember(&now, SIGSYS));
    return guest_end();
}
