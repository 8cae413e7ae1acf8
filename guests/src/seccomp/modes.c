/* seccomp(2) and prctl(2): operations, flags, modes, privileges and bad pointers, and which error comes first.
 * kernel/seccomp.c:do_seccomp(), seccomp_set_mode_filter(). man 2 seccomp, man 2 prctl */
#include "filters.h"

#define FLAG(name) SECCOMP_FILTER_FLAG_##name

static struct sock_filter allow[] = { ALLOW };
static struct sock_fprog fprog = { 1, allow };

static long seccomp(unsigned operation, unsigned flags, void *args)
{
    return syscall(SYS_seccomp, operation, flags, args);
}

static void actions(void)
{
    static const uint32_t all[] = {
        SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
        SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW,
        SECCOMP_RET_ALLOW | 1, SECCOMP_RET_ERRNO | 1, 0x00010000, 0x80010000, 0xffffffff,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        printf("%#x: ", all[i]);
        SHOW(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, (void *)&all[i]));
    }
    FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, (void *)all), EINVAL);
    FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL), EFAULT);
    FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, WILD), EFAULT);
}

static void sizes(void)
{
    struct seccomp_notif_sizes sizes;
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes), 0);
    WANT(sizes.seccomp_notif, sizeof(struct seccomp_notif));
    WANT(sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
    WANT(sizes.seccomp_data, sizeof(struct seccomp_data));
    FAILS(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes), EINVAL);
    FAILS(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, NULL), EFAULT);
    mprotect(pages, PAGE, PROT_READ);
    FAILS(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, pages), EFAULT);
}

static void operations(void)
{
    FAILS(seccomp(4, 0, NULL), EINVAL);
    FAILS(seccomp(0xffffffff, 0, NULL), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_STRICT, 0, &fprog), EINVAL);
    FAILS(prctl(PR_SET_SECCOMP, 0, 0, 0, 0), EINVAL);
    FAILS(prctl(PR_SET_SECCOMP, 3, 0, 0, 0), EINVAL);
    FAILS(prctl(PR_SET_SECCOMP, 2, 0, 0, 0), EFAULT);
    FAILS(prctl(PR_SET_SECCOMP, 2, BAD, 0, 0), EFAULT);
    WANT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
    WANT(prctl(PR_GET_SECCOMP, 1, 2, 3, 4), 0);
}

/* With no filter that could be installed: flags come before the pointer. */
static void flags(void)
{
    static const unsigned bad[] = {
        1u << 6, 1u << 31, 0xffffffff,
        FLAG(TSYNC) | FLAG(NEW_LISTENER), FLAG(WAIT_KILLABLE_RECV), FLAG(WAIT_KILLABLE_RECV) | FLAG(TSYNC),
        0, FLAG(TSYNC), FLAG(LOG), FLAG(SPEC_ALLOW), FLAG(TSYNC_ESRCH), FLAG(TSYNC) | FLAG(TSYNC_ESRCH),
        FLAG(NEW_LISTENER), FLAG(TSYNC) | FLAG(NEW_LISTENER) | FLAG(TSYNC_ESRCH),
        FLAG(NEW_LISTENER) | FLAG(WAIT_KILLABLE_RECV),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        printf("%#x: ", bad[i]);
        SHOW(seccomp(SECCOMP_SET_MODE_FILTER, bad[i], NULL));
    }
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, WILD), EFAULT);
}

static int each_flag(void)
{
    no_new_privs();
    static const unsigned good[] = { 0, FLAG(TSYNC), FLAG(LOG), FLAG(SPEC_ALLOW), FLAG(TSYNC_ESRCH),
                                     FLAG(TSYNC) | FLAG(TSYNC_ESRCH) | FLAG(LOG) | FLAG(SPEC_ALLOW) };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        printf("%#x: ", good[i]);
        WANT(seccomp(SECCOMP_SET_MODE_FILTER, good[i], &fprog), 0);
    }
    WANT(status_of("/proc/self/status", "Seccomp"), 2);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 6);
    WANT(prctl(PR_SET_SECCOMP, 2, &fprog, 0, 0), 0);
    WANT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
    FAILS(prctl(PR_SET_SECCOMP, 1, 0, 0, 0), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL), EINVAL);
    WANT(status_of("/proc/self/status", "Seccomp_filters"), 7);
    return guest_failures;
}

/* A user without privileges. The length comes before them, the program after. */
static int privileges(void)
{
    struct sock_fprog none = { 0, allow }, many = { 4097, allow }, faults = { 1, (struct sock_filter *)BAD };
    struct sock_fprog invalid = { 1, (struct sock_filter[]){ BPF_STMT(BPF_RET | BPF_X, 0) } };
    if (setgid(65534) || setuid(65534))
        return 1;
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &fprog), EACCES);
    FAILS(prctl(PR_SET_SECCOMP, 2, &fprog, 0, 0), EACCES);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, BAD), EFAULT);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &none), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &many), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &faults), EACCES);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &invalid), EACCES);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 1u << 6, &fprog), EINVAL);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, FLAG(NEW_LISTENER), &fprog), EACCES);
    WANT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
    no_new_privs();
    WANT(status_of("/proc/self/status", "NoNewPrivs"), 1);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &faults), EFAULT);
    FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &invalid), EINVAL);
    WANT(seccomp(SECCOMP_SET_MODE_FILTER, 0, &fprog), 0);
    return guest_failures;
}

static int privileged(void)
{
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    WANT(seccomp(SECCOMP_SET_MODE_FILTER, 0, &fprog), 0);
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    return guest_failures;
}

/* Strict mode lets read, write, exit and rt_sigreturn be; prctl ignores its other arguments when it sets it. */
static int strict(void)
{
    char byte = 'x';
    int ends[2];
    if (pipe(ends) || prctl(PR_SET_SECCOMP, 1, BAD, 5, 6))
        return 1;
    if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
        syscall(SYS_exit, 2);
    syscall(SYS_exit, 7);
    return 3;
}

static int strict_by_seccomp(void)
{
    if (seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL))
        return 1;
    syscall(SYS_exit, 8);
    return 3;
}

static int strict_asks(void)
{
    seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL);
    prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
    return 3;
}

static int strict_again(void)
{
    seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL);
    prctl(PR_SET_SECCOMP, 1, 0, 0, 0);
    return 3;
}

static int strict_exits_whole(void)
{
    seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL);
    syscall(SYS_exit_group, 0);
    return 3;
}

/* What others see of a task in strict mode. */
static void seen(void)
{
    int go[2], done[2];
    char byte = 'x', path[64];
    if (pipe(go) || pipe(done))
        return;
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_SECCOMP, 1, 0, 0, 0);
        syscall(SYS_write, done[1], &byte, 1);
        syscall(SYS_read, go[0], &byte, 1);
        syscall(SYS_exit, 9);
    }
    read(done[0], &byte, 1);
    snprintf(path, sizeof path, "/proc/%d/status", child);
    WANT(status_of(path, "Seccomp"), 1);
    WANT(status_of(path, "Seccomp_filters"), 0);
    write(go[1], &byte, 1);
    WANT(ended(child), 9);
}

int main(void)
{
    char text[256] = "";
    guest_start();
    actions();
    sizes();
    operations();
    flags();
    WANT(in_child(each_flag), 0);
    WANT(in_child(privileges), 0);
    WANT(in_child(privileged), 0);
    WANT(in_child(strict), 7);
    WANT(in_child(strict_by_seccomp), 8);
    WANT(in_child(strict_asks), 1000 + SIGKILL);
    WANT(in_child(strict_again), 1000 + SIGKILL);
    WANT(in_child(strict_exits_whole), 1000 + SIGKILL);
    seen();
    int fd = open("/proc/sys/kernel/seccomp/actions_avail", O_RDONLY);
    read(fd, text, sizeof text - 1);
    printf("%s", text);
    close(fd);
    return guest_end();
}
