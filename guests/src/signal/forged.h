/* What the guests of forged frames share: each case changes the frame of a signal in a child of its own, and what becomes
 * of that child is told. */
#ifndef FORGED_H
#define FORGED_H

#include "guest.h"
#include <sys/wait.h>
#include <ucontext.h>

static char alternate[65536];
static ucontext_t *context;                                     /* the frame's */
static void (*change)(void);                                    /* what the case does to it */

struct forgery {
    const char *name;
    void (*change)(void);
};

static int forge_all(const struct forgery *cases, size_t count, void (*run_case)(void))
{
    guest_start();
    for (size_t i = 0; i < count; i++) {
        int status;
        printf("%s: ", cases[i].name);
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            change = cases[i].change;
            run_case();
        }
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status))
            printf("killed by %d", WTERMSIG(status));
        puts("");
    }
    return guest_end();
}

#endif
