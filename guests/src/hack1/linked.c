/* A program that links the library of Hack #1: with the slide's filter, and with Syscall User Dispatch.
 *
 * The kernel's own umask tells that it was the handler that answered.
 *
 *     guest-native: no
 *     guest-abis: seccomp
 *     guest-options: --handler none
 */
#include "guest.h"
#include "../../hack1/hack1.c"
#include <pthread.h>
#include <sys/personality.h>
#include <sys/wait.h>

static volatile int handled;

static void handler(int signal)
{
    handled = signal == SIGUSR1 && getppid() > 0;
}

static void *thread(void *argument)
{
    *(long *)argument = getppid() > 0;
    return argument;
}

/* The kernel's umask as /proc tells it. */
static long kernels_umask(void)
{
    char text[4096];
    FILE *status = fopen("/proc/self/status", "r");
    long mask = -1;
    while (status && fgets(text, sizeof text, status))
        sscanf(text, "Umask: %lo", &mask);
    fclose(status);
    return mask;
}

static int child(const char *how, unsigned options)
{
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        long ran = 0;
        int status = -1;
        pthread_t one;
        printf("%s\n", how);
        umask(022);
        personality(0);
        WANT(hack1_install(options), 0);
        WANT(umask(027), 022);
        WANT(umask(026), 027);
        WANT(kernels_umask(), options & HACK1_SLIDE ? 022 : 0);
        WANT(personality(ADDR_NO_RANDOMIZE), 0);
        WANT(personality(0xffffffff), ADDR_NO_RANDOMIZE);
        CHECK(getppid() > 0);
        FAILS(syscall(-1), ENOSYS);
        if (!(options & HACK1_SLIDE)) {
            signal(SIGUSR1, handler);
            raise(SIGUSR1);
            WANT(handled, 1);
            WANT(pthread_create(&one, NULL, thread, &ran), 0);
            WANT(pthread_join(one, NULL), 0);
            WANT(ran, 1);
        }
        fflush(stdout);
        pid_t other = fork();
        if (!other)
            _exit(getppid() > 0 ? 3 : 4);
        waitpid(other, &status, 0);
        WANT(WEXITSTATUS(status), 3);
        fflush(stdout);
        _exit(guest_failures);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

int main(void)
{
    guest_start();
    WANT(child("the slide's filter", 0), 0);
    WANT(child("the slide's filter and its handler", HACK1_SLIDE), 0);
    WANT(child("user dispatch", HACK1_DISPATCH), 0);
    WANT(child("user dispatch, the slide's handler", HACK1_DISPATCH | HACK1_SLIDE), 0);
    return guest_end();
}
