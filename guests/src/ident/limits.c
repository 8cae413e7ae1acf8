/* Limits and usage: prlimit64, getrusage, times, sysinfo, uname.
 * man 2 getrlimit, man 2 getrusage, man 2 times, man 2 sysinfo, man 2 uname */
#include "guest.h"
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

int main(void)
{
    struct rlimit old, new;
    guest_start();
    for (int which = 0; which < 16; which++) {
        WANT(syscall(SYS_prlimit64, 0, which, NULL, &old), 0);
        if (old.rlim_cur > old.rlim_max)
            CHECK(old.rlim_cur <= old.rlim_max);
    }
    FAILS(syscall(SYS_prlimit64, 0, 16, NULL, &old), EINVAL);
    FAILS(syscall(SYS_prlimit64, 0, -1, NULL, &old), EINVAL);
    FAILS(syscall(SYS_prlimit64, 0x7ffffff, RLIMIT_NOFILE, NULL, &old), ESRCH);
    new = (struct rlimit) { 100, 200 };
    WANT(prlimit(0, RLIMIT_NOFILE, &new, &old), 0);
    CHECK(old.rlim_cur > 100 && old.rlim_max >= old.rlim_cur);
    WANT(getrlimit(RLIMIT_NOFILE, &old), 0);
    CHECK(old.rlim_cur == 100 && old.rlim_max == 200);
    WANT(prlimit(getpid(), RLIMIT_NOFILE, NULL, &old), 0);
    new = (struct rlimit) { 201, 200 };
    FAILS(setrlimit(RLIMIT_NOFILE, &new), EINVAL);
    new = (struct rlimit) { 0, 0 };
    WANT(setrlimit(RLIMIT_CORE, &new), 0);
    WANT(getrlimit(RLIMIT_CORE, &old), 0);
    CHECK(old.rlim_cur == 0 && old.rlim_max == 0);
    /* a file can't grow past RLIMIT_FSIZE when SIGXFSZ is ignored: EFBIG */
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    WANT(getrlimit(RLIMIT_FSIZE, &old), 0);
    new = (struct rlimit) { 100, old.rlim_max };
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    static char bytes[200];
    /* nothing may be printed meanwhile: the limit holds for standard output as well */
    int set = setrlimit(RLIMIT_FSIZE, &new);
    long first = write(fd, bytes, 200), second = guest_result(write(fd, bytes, 1));
    long third = guest_result(ftruncate(fd, 101));
    setrlimit(RLIMIT_FSIZE, &old);
    WANT(set, 0);
    WANT(first, 100);
    WANT(second, -EFBIG);
    WANT(third, -EFBIG);

    struct rusage use;
    WANT(getrusage(RUSAGE_SELF, &use), 0);
    CHECK(use.ru_utime.tv_usec >= 0 && use.ru_utime.tv_usec < 1000000 && use.ru_maxrss > 0);
    WANT(getrusage(RUSAGE_CHILDREN, &use), 0);
    CHECK(use.ru_utime.tv_sec == 0 && use.ru_maxrss == 0);
    WANT(getrusage(RUSAGE_THREAD, &use), 0);
    FAILS(getrusage(77, &use), EINVAL);
    struct tms tms;
    CHECK(times(&tms) != -1 && tms.tms_cutime == 0 && tms.tms_cstime == 0);
    CHECK(syscall(SYS_times, NULL) != 0);

    struct sysinfo info;
    WANT(sysinfo(&info), 0);
    CHECK(info.uptime > 0 && info.totalram > 0 && info.freeram <= info.totalram && info.mem_unit > 0 && info.procs > 0);
    struct utsname name;
    WANT(uname(&name), 0);
    CHECK(strcmp(name.sysname, "Linux") == 0);
    CHECK(atoi(name.release) >= 5 && name.version[0] == '#' && name.nodename[0] != 0);
#ifdef __x86_64__
    const char *machine = "x86_64";
#else
    const char *machine = "aarch64";
#endif
    CHECK(strcmp(name.machine, machine) == 0);
    CHECK(sysconf(_SC_PAGESIZE) == 4096 && sysconf(_SC_CLK_TCK) == 100 && sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    return guest_end();
}
