/* Structures that grow: what the program knows and the kernel does not must be 0, as far as it can be read.
 * include/linux/uaccess.h:copy_struct_from_user(), lib/usercopy.c:check_zeroed_user() */
#include "guest.h"
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif

static char *edge;                                              /* from here on nothing is mapped */
static int listener;

static long opens(void *arg, size_t size)
{
    return syscall(SYS_openat2, AT_FDCWD, "/none", arg, size);
}

static long clones(void *arg, size_t size)
{
    return syscall(SYS_clone3, arg, size);
}

static long schedules(void *arg, size_t size)
{
    (void)size;                                                 /* it is in the structure */
    return syscall(SYS_sched_setattr, 0, arg, 0);
}

static long sets(void *arg, size_t size)
{
    return syscall(SYS_setxattrat, AT_FDCWD, "/none", 0, "user.a", arg, size);
}

static long adds(void *arg, size_t size)
{
    return ioctl(listener, _IOC(_IOC_WRITE, SECCOMP_IOC_MAGIC, 3, size), arg);
}

/* `known`: the size that the kernel has; `sized`: the structure begins with its size. */
static void try(const char *name, long (*call)(void *, size_t), size_t known, int sized)
{
    static const struct { int readable, size; char byte; } cases[] = {
        { 8, 8, 0 }, { 8, 8, 1 }, { 8, 16, 0 }, { 8, 16, 1 }, { 0, 8, 0 }, { 16, 2000, 1 }, { 16, 2000, 0 },
        { 3, 3, 1 }, { 3, 4, 0 }, { 3, 4, 1 },
    };
    char *at;
    printf("%s:", name);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        at = edge - known - cases[i].readable;
        memset(at, 0, known + (size_t)cases[i].readable);
        if (cases[i].readable)
            edge[-1] = cases[i].byte;
        if (sized)
            *(uint32_t *)(void *)at = (uint32_t)known + (uint32_t)cases[i].size;
        errno = 0;
        call(at, known + (size_t)cases[i].size);
        printf(" %s", errno ? errno_name(errno) : "0");
        if (sized && errno == E2BIG)
            printf("(%d)", *(uint32_t *)(void *)at == known);
    }
    at = edge - known + 4;
    memset(at, 0, known - 4);
    if (sized)
        *(uint32_t *)(void *)at = (uint32_t)known;
    errno = 0;
    call(at, known);
    printf("; %s\n", errno ? errno_name(errno) : "0");
}

int main(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { 1, &allow };

    guest_start();
    edge = (char *)mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
    munmap(edge, PAGE);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    CHECK(listener >= 0);
    try("openat2", opens, sizeof(struct open_how), 0);
    try("sched_setattr", schedules, 56, 1);
    try("setxattrat", sets, 16, 0);
    try("ioctl", adds, sizeof(struct seccomp_notif_addfd), 0);
    *(uint32_t *)(void *)(edge - 8) = 0;
    FAILS(clones(edge - 88, 89), EFAULT);
    memset(edge - 89, 1, 89);
    FAILS(clones(edge - 89, 89), E2BIG);
    FAILS(clones(edge - 89, 200), E2BIG);
    FAILS(clones(edge - 89, 5000), E2BIG);
    FAILS(clones(edge - 63, 64), EFAULT);
    FAILS(clones(edge - 64, 63), EINVAL);
    return guest_end();
}
