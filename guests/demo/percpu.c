/* Two processes and one question: who am I? The parent asks the vDSO once (where it does not know, the kernel); the child
 * keeps CPU 0 busy meanwhile. With an argument it asks the function that reads again. To be stepped through with a page
 * of data for each CPU (docs/data-pages.md). */
#define _GNU_SOURCE
#include "../src/vdso/lookup.h"
#include <sched.h>
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    (void)argv;
    const char *name = argc > 1 ? "__kernel_getpid_retry" : "__kernel_getpid";
    int (*told)(void) = (int (*)(void))vdso_function(name);
    int ready[2];
    char byte;
    if (!told)
        told = getpid;
    if (pipe(ready))
        return 2;
    pid_t child = fork();
    if (!child) {
        cpu_set_t first;
        CPU_ZERO(&first);
        CPU_SET(0, &first);
        sched_setaffinity(0, sizeof first, &first);
        write(ready[1], "", 1);
        for (;;)
            sched_yield();
    }
    read(ready[0], &byte, 1);
    int pid = told();
    kill(child, SIGKILL);
    return pid != getpid();
}
