/* A sandbox of the program's own: a filter that refuses one call, and one that ends who makes another. */
#include "filter.h"
#include <sys/wait.h>

int main(void)
{
    guest_start();
    WANT(prctl(PR_GET_SECCOMP), 0);
    WANT(install(SYS_getppid, SECCOMP_RET_ERRNO | EPERM), 0);
    FAILS(syscall(SYS_getppid), EPERM);
    int status = 0, child = fork();
    if (!child) {
        install(SYS_getsid, SECCOMP_RET_KILL_PROCESS);
        syscall(SYS_getsid, 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    return guest_end();
}
