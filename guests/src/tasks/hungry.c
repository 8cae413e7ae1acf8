/* A child takes all the memory that there is; who waits for it goes on.  man 5 proc (oom_score)
 * guest-options: --memory 48M
 * guest-native: no */
#include "guest.h"
#include <sys/wait.h>

static void eat(size_t pages)
{
    char *all = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; all != MAP_FAILED && i < pages; i++)
        all[i * PAGE] = 1;
}

int main(void)
{
    int status;
    pid_t child;

    guest_start();
    child = fork();
    if (child == 0) {
        eat(1 << 20);
        _exit(0);
    }
    WANT(waitpid(child, &status, 0) == child ? status : -1, SIGKILL);

    /* not who asks for the last page, but who has the most */
    child = fork();
    if (child == 0) {
        eat(8000);
        for (;;)
            pause();
    }
    usleep(1000);
    eat(5000);
    WANT(waitpid(child, &status, 0) == child ? status : -1, SIGKILL);
    return guest_end();
}
