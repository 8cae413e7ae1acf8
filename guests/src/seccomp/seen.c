/* Where a call is said to be made: to a filter, in siginfo, and for a range of Syscall User Dispatch. With an argument:
 * how a program ends that makes a call it may not make.
 * guest-abis: bare */
#include "sigsys.h"
#include <sys/auxv.h>

#undef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59

static volatile char selector;

static void on_dispatch(int signal, siginfo_t *info, void *context)
{
    on_sigsys(signal, info, context);
    selector = 0;
}

static const char *place(unsigned long address)
{
    unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
    if (address == (unsigned long)raw_call_after)
        return "the program";
    return vdso && address - vdso < PAGE ? "the vDSO" : "elsewhere";
}

/* getppid fails with EIO when it is made at raw_call, else with ENOENT. */
static void filter_place(void)
{
    unsigned long at = (unsigned long)raw_call_after;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)at, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, at >> 32, 2, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int dies(const char *how)
{
    if (!strcmp(how, "second")) {
        int status;
        if (!fork())
            return dies("selector");
        wait(&status);
        how = "trap";
    }
    if (!strcmp(how, "dispatch") || !strcmp(how, "selector")) {
        prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector);
        selector = how[0] == 'd' ? 1 : 7;
    } else if (!strcmp(how, "strict"))
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    else
        install_filter(SYS_getppid, !strcmp(how, "trap") ? SECCOMP_RET_TRAP | 5
                       : !strcmp(how, "log") ? SECCOMP_RET_LOG : SECCOMP_RET_KILL_PROCESS | 3, 0);
    syscall(SYS_getppid);
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction act = { .sa_flags = SA_SIGINFO };
    if (argc > 1)
        return dies(argv[1]);
    guest_start();
    act.sa_sigaction = on_dispatch;
    sigaction(SIGSYS, &act, NULL);
    handler_result = 0;

    prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector);
    selector = 1;
    raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    printf("dispatched from %s\n", place((unsigned long)sigsys_info.si_call_addr));
    prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, raw_call_after, 1, &selector);
    sigsys_count = 0;
    selector = 1;
    raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    selector = 0;
    printf("dispatched in spite of the range: %s\n", sigsys_count ? "yes" : "no");
    prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
    install_filter(SYS_getpgid, SECCOMP_RET_TRAP, 0);
    raw_call(SYS_getpgid, 0, 0, 0, 0, 0, 0);
    printf("trapped from %s\n", place((unsigned long)sigsys_info.si_call_addr));
    printf("the registers' PC is in %s\n", place(R_PC(&sigsys_context)));
    filter_place();
    long result = raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    printf("a filter sees %s\n", result == -EIO ? "the program" : result == -ENOENT ? "another place" : "nothing");
    return guest_end();
}
