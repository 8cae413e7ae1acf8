/* Two processes that share their mask for new files (CLONE_FS): what one sets the other has.
 * man 2 clone, man 2 umask */
#include "raw.h"
#include <sched.h>
#include <sys/wait.h>

int main(void)
{
    guest_start();
    umask(022);
    long child = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        umask(077);
        _exit(0);
    }
    CHECK(waitpid((int)child, NULL, 0) == child);
    WANT(umask(022), 077);
    return guest_end();
}
