/* The oldest sandbox: a child in strict mode, which may read, write and exit. */
#include "filter.h"
#include <sys/wait.h>

int main(void)
{
    guest_start();
    int status = 0, child = fork();
    if (!child) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
            _exit(1);
        (void)!write(1, "strict\n", 7);
        syscall(SYS_exit, 7);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return guest_end();
}
