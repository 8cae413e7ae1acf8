/* Calls that seccomp or Syscall User Dispatch stop, and what a listener is asked. */
#include "trace.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

static volatile char selector;

static void handler(int signal)
{
    (void)signal;
    selector = 0;
}

static void filter(int number, unsigned verdict, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, code };
    if (flags)
        S(seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    else
        S(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(void)
{
    struct sigaction act = { .sa_handler = handler };
    unsigned long id = 5;
    struct seccomp_notif_resp response = { 5, 6, -EPERM, 0 }, go_on = { 5, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE };
    struct seccomp_notif_addfd descriptor = { 5, SECCOMP_ADDFD_FLAG_SETFD, 2, 77, O_CLOEXEC };
    sigaction(SIGSYS, &act, NULL);
    begin();
    S(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    S(prctl, 59, 1, 0, 0, &selector);
    selector = 1;
    S(getppid, 110);    /* x86-64's number of the call, so that the result register is the same on both */
    S(prctl, 59, 7, 1, 2, 3);
    S(prctl, 59, 0, 0, 0, 0);
    filter(SYS_getppid, SECCOMP_RET_TRAP | EIO, 0);
    S(getppid, 110);
    filter(SYS_getpriority, SECCOMP_RET_ERRNO | EIO, 0);
    S(getpriority, 0, 0);
    filter(SYS_getpgid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    S(ioctl, 3, SECCOMP_IOCTL_NOTIF_SEND, &response);
    S(ioctl, 3, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
    S(ioctl, 3, SECCOMP_IOCTL_NOTIF_ID_VALID, &id);
    S(ioctl, 3, SECCOMP_IOCTL_NOTIF_ADDFD, &descriptor);
    S(ioctl, 3, SECCOMP_IOCTL_NOTIF_ADDFD, 0);
    S(close, 3);
    S(getpgid, 0);
    end();
    return 0;
}
