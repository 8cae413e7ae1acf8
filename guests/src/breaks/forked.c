/* fork: the child has a copy of the stack, and so of whatever is on it. */
#include "raw.h"
#include <sys/wait.h>

int main(void)
{
    guest_start();
    int status = 0, child = fork();
    if (!child)
        _exit(getpid() > 0 ? 7 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return guest_end();
}
