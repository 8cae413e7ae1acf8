/* Filters in few words, and children that try them. man 2 seccomp */
#ifndef FILTERS_H
#define FILTERS_H

#include "guest.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define NUMBER LOAD(offsetof(struct seccomp_data, nr))
#define LOW(arg) LOAD(offsetof(struct seccomp_data, args[arg]))
#define HIGH(arg) LOAD(offsetof(struct seccomp_data, args[arg]) + 4)
#define RETURN(k) BPF_STMT(BPF_RET | BPF_K, (k))
#define ALLOW RETURN(SECCOMP_RET_ALLOW)
/* What to return of one call, while all others are allowed. */
#define ON(number, action) NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), RETURN(action), ALLOW
#define INSTALL(flags, ...) \
    install(flags, sizeof((struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter), \
            (struct sock_filter[]){ __VA_ARGS__ })

/* 0 or what seccomp(2) returns, as errno says. */
static inline long install(unsigned flags, size_t length, struct sock_filter *filter)
{
    struct sock_fprog fprog = { (unsigned short)length, filter };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &fprog);
}

static inline void no_new_privs(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        puts("FAIL: PR_SET_NO_NEW_PRIVS");
}

/* How a child ended: its status, or 1000 and the signal that killed it. */
static inline int ended(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* What `body` returns in a child of its own, whose filters it may be given; up to 255. */
static inline int in_child(int (*body)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        _exit(body());
    return ended(child);
}

/* A number of /proc/self/status. */
static inline long status_of(const char *file, const char *name)
{
    char line[256];
    long value = -1;
    FILE *status = fopen(file, "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
            value = atol(line + strlen(name) + 1);
    if (status)
        fclose(status);
    return value;
}

#endif
