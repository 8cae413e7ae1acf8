/* A parent and two children: the trace says who is who, and resumes what another task interrupted. */
#include "trace.h"
#include <sys/wait.h>

int main(void)
{
    int status, pid;

    begin();
    if (!S(clone, SIGCHLD, 0, 0, 0, 0))
        S(exit_group, 3);
    S(wait4, -1, &status, 0, 0);
    if (!(pid = S(clone, SIGCHLD, 0, 0, 0, 0)))
        S(kill, getpid(), SIGKILL);
    S(wait4, -1, &status, WNOHANG, 0);
    S(wait4, pid, &status, WUNTRACED, 0);
    S(wait4, -1, &status, WNOHANG, 0);
    end();
    return 0;
}
