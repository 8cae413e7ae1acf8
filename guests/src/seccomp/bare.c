/* Linux's own seccomp_data has 64 bytes, and filters see nothing beyond them.
 * guest-abis: bare
 * net/core/filter.c, kernel/seccomp.c:seccomp_check_filter() */
#include "filters.h"

int main(void)
{
    guest_start();
    no_new_privs();
    FAILS(INSTALL(0, LOAD(64), ALLOW), EINVAL);
    FAILS(INSTALL(0, LOAD(76), ALLOW), EINVAL);
    WANT(INSTALL(0, NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0), ALLOW,
                 BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
                 BPF_STMT(BPF_RET | BPF_A, 0)), 0);
    syscall(SYS_getppid);
    int told = errno;
    WANT(told, sizeof(struct seccomp_data));
    return guest_end();
}
