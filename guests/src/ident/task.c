/* What a task may ask and set of itself: prctl, personality, scheduling queries, getcpu, getrandom, rseq,
 * robust list, set_tid_address.  man 2 prctl, man 2 personality, man 7 sched, man 2 getrandom */
#include "guest.h"
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int main(void)
{
    char name[17] = { 0 };
    guest_start();
    WANT(prctl(PR_SET_NAME, "a name that is too long"), 0);
    WANT(prctl(PR_GET_NAME, name), 0);
    CHECK(strcmp(name, "a name that is ") == 0);
    FAILS(prctl(PR_SET_NAME, BAD), EFAULT);
    WANT(prctl(PR_GET_DUMPABLE), 1);
    WANT(prctl(PR_SET_DUMPABLE, 0), 0);
    WANT(prctl(PR_GET_DUMPABLE), 0);
    FAILS(prctl(PR_SET_DUMPABLE, 7), EINVAL);
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    WANT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    WANT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    FAILS(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    int number = -1;
    WANT(prctl(PR_SET_PDEATHSIG, SIGUSR1), 0);
    WANT(prctl(PR_GET_PDEATHSIG, &number), 0);
    WANT(number, SIGUSR1);
    FAILS(prctl(PR_SET_PDEATHSIG, 999), EINVAL);
    WANT(prctl(PR_GET_TIMERSLACK) > 0, 1);
    WANT(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    WANT(prctl(PR_GET_CHILD_SUBREAPER, &number), 0);
    WANT(number, 1);
    WANT(prctl(PR_CAPBSET_READ, 0) >= 0, 1);
    FAILS(prctl(PR_CAPBSET_READ, 1000), EINVAL);
    WANT(prctl(PR_GET_SECCOMP), 0);
    FAILS(prctl(123456), EINVAL);

    WANT(personality(0xffffffff), PER_LINUX);
    WANT(personality(ADDR_NO_RANDOMIZE), PER_LINUX);
    WANT(personality(0xffffffff), ADDR_NO_RANDOMIZE);

    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) >= 1);
    CHECK(syscall(SYS_sched_getaffinity, 0, sizeof cpus, &cpus) >= 8);
    WANT(sched_setaffinity(0, sizeof cpus, &cpus), 0);
    FAILS(syscall(SYS_sched_getaffinity, 0, 1, &cpus), EINVAL);
    FAILS(sched_getaffinity(0x7ffffff, sizeof cpus, &cpus), ESRCH);
    CPU_ZERO(&cpus);
    FAILS(sched_setaffinity(0, sizeof cpus, &cpus), EINVAL);
    /* musl wraps none of these two the kernel's way, so ask the kernel */
    WANT(syscall(SYS_sched_getscheduler, 0), SCHED_OTHER);
    struct sched_param param = { .sched_priority = 77 };
    WANT(syscall(SYS_sched_getparam, 0, &param), 0);
    WANT(param.sched_priority, 0);
    FAILS(syscall(SYS_sched_getscheduler, -1), EINVAL);
    WANT(sched_get_priority_max(SCHED_FIFO), 99);
    WANT(sched_get_priority_min(SCHED_FIFO), 1);
    WANT(sched_get_priority_max(SCHED_OTHER), 0);
    FAILS(sched_get_priority_max(77), EINVAL);
    WANT(sched_yield(), 0);
    WANT(syscall(SYS_getpriority, PRIO_PROCESS, 0), 20);    /* the kernel's value: 20 - nice */
    WANT(setpriority(PRIO_PROCESS, 0, 5), 0);
    WANT(getpriority(PRIO_PROCESS, 0), 5);
    FAILS(getpriority(99, 0), EINVAL);
    WANT(syscall(SYS_ioprio_get, 1, 0) >= 0, 1);

    unsigned cpu = 9999, node = 9999;
    WANT(syscall(SYS_getcpu, &cpu, &node, NULL), 0);
    CHECK(cpu < 4096 && node < 1024);
    WANT(syscall(SYS_getcpu, NULL, NULL, NULL), 0);

    unsigned char random[32] = { 0 };
    WANT(syscall(SYS_getrandom, random, sizeof random, 0), 32);
    int different = 0;
    for (int i = 1; i < 32; i++)
        different += random[i] != random[0];
    CHECK(different > 16);
    WANT(syscall(SYS_getrandom, random, 0, 0), 0);
    WANT(syscall(SYS_getrandom, random, 4, 1), 4);
    FAILS(syscall(SYS_getrandom, random, 4, 64), EINVAL);

    static struct { void *list; long offset; void *pending; } head;
    void *got = NULL;
    size_t length = 0;
    head.list = &head;
    WANT(syscall(SYS_set_robust_list, &head, sizeof head), 0);
    WANT(syscall(SYS_get_robust_list, 0, &got, &length), 0);
    CHECK(got == &head && length == sizeof head);
    FAILS(syscall(SYS_set_robust_list, &head, 1), EINVAL);
    CHECK(syscall(SYS_set_tid_address, &head) == getpid());

    static _Alignas(32) struct { uint32_t cpu_start, cpu; uint64_t section; uint32_t flags, pad[3]; } area;
    FAILS(syscall(SYS_rseq, &area, 8, 0, 0x53053053), EINVAL);
    FAILS(syscall(SYS_rseq, (char *)&area + 4, 32, 0, 0x53053053), EINVAL);
    area.cpu = (uint32_t)-1;
    WANT(syscall(SYS_rseq, &area, 32, 0, 0x53053053), 0);
    CHECK(area.cpu < 4096 && area.cpu_start < 4096);
    FAILS(syscall(SYS_rseq, &area, 32, 0, 0x53053053), EBUSY);
    FAILS(syscall(SYS_rseq, &area, 32, 1, 0x11111111), EPERM);
    WANT(syscall(SYS_rseq, &area, 32, 1, 0x53053053), 0);
    FAILS(syscall(SYS_rseq, &area, 32, 1, 0x53053053), EINVAL);
    return guest_end();
}
