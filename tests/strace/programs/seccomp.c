/* seccomp(2) and prctl(PR_SET_SECCOMP): operations, flags, modes, and what the pointers lead to. */
#include "trace.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

int main(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog good = { 4, program }, none = { 0, program }, bad = { 4, (void *)8 }, many = { 5000, NULL };
    unsigned actions[] = { SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, 0x12340000, SECCOMP_RET_ERRNO | 1, 0 };
    struct seccomp_notif_sizes sizes;

    begin();
    S(seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL);
    S(seccomp, SECCOMP_SET_MODE_STRICT, 0, &good);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 64, &good);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0x49, &good);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0, 8);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0, &none);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0, &many);
    for (int i = 0; i < 5; i++)
        S(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]);
    S(seccomp, SECCOMP_GET_ACTION_AVAIL, 1, actions);
    S(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, NULL);
    S(seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes);
    S(seccomp, SECCOMP_GET_NOTIF_SIZES, 0, 8);
    S(seccomp, SECCOMP_GET_NOTIF_SIZES, 2, &sizes);
    S(seccomp, 7, 3, 0);
    S(prctl, PR_GET_SECCOMP);
    S(prctl, PR_SET_SECCOMP, 0, 1, 2, 3);
    S(prctl, PR_SET_SECCOMP, 5, 6, 7, 8);
    S(prctl, PR_SET_SECCOMP, 2, 0);
    S(prctl, PR_SET_SECCOMP, 2, 8);
    S(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 0, &bad);
    S(prctl, PR_SET_SECCOMP, 2, &good);
    S(getppid);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 7, &good);
    S(seccomp, SECCOMP_SET_MODE_FILTER, 1, &good);
    S(prctl, PR_SET_SECCOMP, 1, &good);
    S(prctl, PR_GET_SECCOMP);
    end();
    return 0;
}
