/* vfork: the child uses its parent's stack until it exits, and the parent goes on as if nothing had been. */
#include "raw.h"
#include <sys/wait.h>

static void __attribute__((noinline)) scribble(void)
{
    volatile char room[4096];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = (char)0xaa;
}

int main(void)
{
    guest_start();
    int status = 0, child = vfork();
    if (!child) {
        scribble();
        _exit(7);
    }
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return guest_end();
}
