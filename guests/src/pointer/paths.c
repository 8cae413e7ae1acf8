/* Bad pointers given for paths and structures: EFAULT from each, in the order in which Linux looks.
 * man 2 intro, man 2 open, man 2 stat */
#include "guest.h"
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <time.h>

static char *edge;          /* the last byte before a page that is not there */

static char *at_edge(const char *text)
{
    char *place = edge + 1 - strlen(text);
    memcpy(place, text, strlen(text));
    return place;
}

int main(void)
{
    char back[64];
    guest_start();
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(munmap(two + PAGE, PAGE), 0);
    edge = two + PAGE - 1;
    put_file("f", "12345", 5);
    int fd = open("f", O_RDWR);

    void *bad[] = { BAD, WILD, (void *)-1L, (void *)-4096L, edge + 1 };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *p = bad[i];
        printf("bad pointer %zu\n", i);
        FAILS(syscall(SYS_openat, AT_FDCWD, p, O_RDONLY, 0), EFAULT);
        FAILS(syscall(SYS_mkdirat, AT_FDCWD, p, 0700), EFAULT);
        FAILS(syscall(SYS_unlinkat, AT_FDCWD, p, 0), EFAULT);
        FAILS(syscall(SYS_symlinkat, p, AT_FDCWD, "s"), EFAULT);
        FAILS(syscall(SYS_symlinkat, "f", AT_FDCWD, p), EFAULT);
        FAILS(syscall(SYS_linkat, AT_FDCWD, "f", AT_FDCWD, p, 0), EFAULT);
        FAILS(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, p, 0), EFAULT);
        FAILS(syscall(SYS_chdir, p), EFAULT);
        FAILS(syscall(SYS_truncate, p, 0), EFAULT);
        FAILS(syscall(SYS_faccessat, AT_FDCWD, p, 0), EFAULT);
        FAILS(syscall(SYS_fchmodat, AT_FDCWD, p, 0), EFAULT);
        FAILS(syscall(SYS_fchownat, AT_FDCWD, p, -1, -1, 0), EFAULT);
        FAILS(syscall(SYS_newfstatat, AT_FDCWD, "f", p, 0), EFAULT);
        FAILS(syscall(SYS_newfstatat, AT_FDCWD, p, back, 0), EFAULT);
        FAILS(syscall(SYS_fstat, fd, p), EFAULT);
        FAILS(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, p), EFAULT);
        FAILS(syscall(SYS_statfs, ".", p), EFAULT);
        FAILS(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self", p, 10), EFAULT);
        FAILS(syscall(SYS_getcwd, p, 4096), EFAULT);
        FAILS(syscall(SYS_getdents64, open(".", O_RDONLY), p, 1024), EFAULT);
        FAILS(syscall(SYS_utimensat, AT_FDCWD, "f", p, 0), EFAULT);
        FAILS(syscall(SYS_setxattr, p, "user.x", "v", 1, 0), EFAULT);
        FAILS(syscall(SYS_setxattr, "f", p, "v", 1, 0), EFAULT);
        FAILS(syscall(SYS_setxattr, "f", "user.x", p, 1, 0), EFAULT);
        FAILS(syscall(SYS_pipe2, p, 0), EFAULT);
        FAILS(syscall(SYS_uname, p), EFAULT);
        FAILS(syscall(SYS_sysinfo, p), EFAULT);
        FAILS(syscall(SYS_times, p), EFAULT);
        FAILS(syscall(SYS_getrusage, RUSAGE_SELF, p), EFAULT);
        FAILS(syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, p), EFAULT);
        FAILS(syscall(SYS_prlimit64, 0, RLIMIT_CORE, p, NULL), EFAULT);
        FAILS(syscall(SYS_clock_getres, CLOCK_REALTIME, p), EFAULT);
        FAILS(syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, p), EFAULT);
        FAILS(syscall(SYS_nanosleep, p, NULL), EFAULT);
        FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, p, NULL), EFAULT);
        FAILS(syscall(SYS_getrandom, p, 16, 0), EFAULT);
        FAILS(syscall(SYS_sched_getaffinity, 0, 128, p), EFAULT);
        FAILS(syscall(SYS_memfd_create, p, 0), EFAULT);
        FAILS(syscall(SYS_fcntl, fd, F_GETLK, p), EFAULT);
        FAILS(syscall(SYS_rt_sigaction, SIGUSR1, p, NULL, 8), EFAULT);
        FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, p, 8), EFAULT);
        FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, NULL, 8), EFAULT);
        FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, p, 8), EFAULT);
    }

    /* a string that runs off the mapping, and one that ends with its last byte */
    FAILS(syscall(SYS_openat, AT_FDCWD, at_edge("f"), O_RDONLY, 0), EFAULT);
    *edge = 0;
    edge--;
    CHECK(syscall(SYS_openat, AT_FDCWD, at_edge("f"), O_RDONLY, 0) > 0);
    /* one byte short of a structure */
    FAILS(syscall(SYS_newfstatat, AT_FDCWD, "f", two + PAGE + 1 - sizeof(struct stat), 0), EFAULT);
    WANT(syscall(SYS_newfstatat, AT_FDCWD, "f", two + PAGE - sizeof(struct stat), 0), 0);
    FAILS(syscall(SYS_uname, two + PAGE + 1 - sizeof(struct utsname)), EFAULT);
    WANT(syscall(SYS_uname, two + PAGE - sizeof(struct utsname)), 0);
    /* a structure in a page that may only be read */
    WANT(mprotect(two, PAGE, PROT_READ), 0);
    FAILS(syscall(SYS_newfstatat, AT_FDCWD, "f", two, 0), EFAULT);
    FAILS(syscall(SYS_getcwd, two, PAGE), EFAULT);
    return guest_end();
}
