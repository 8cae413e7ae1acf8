/* A seccomp filter that has an action for one call, and allows the rest. */
#ifndef FILTER_H
#define FILTER_H
#include "raw.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static inline int install(int number, unsigned action)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD + BPF_W + BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET + BPF_K, action),
        BPF_STMT(BPF_RET + BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#endif
